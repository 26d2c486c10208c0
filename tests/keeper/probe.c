/* Parts of the keeper, for tests to call one by one; never shipped. Exits 0, or 1 with the problem on
 * stdout. */
#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bytes.h"
#include "dial.h"
#include "guard.h"
#include "netlink.h"
#include "nic.h"
#include "places.h"
#include "say.h"
#include "session.h"
#include <linux/netlink.h>

static int bad(void)
{
	printf("%s\n", problem());
	return 1;
}

static void print_hex(const char *name, const uint8_t *bytes, size_t size)
{
	printf("%s=", name);
	for (size_t i = 0; i < size; i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

static void print_address(const char *name, const struct in6_addr *address)
{
	char text[INET6_ADDRSTRLEN];

	printf("%s=%s\n", name, inet_ntop(AF_INET6, address, text, sizeof(text)));
}

static void print_session(const struct session *s)
{
	print_hex("mac", s->mac, 6);
	print_address("address", &s->address);
	print_address("server", &s->server);
	printf("port=%u\nexport=%s\nsector=%u\nconnections=%u\nencryption=%d\n", s->port, s->export,
	       s->sector, s->connections, s->encrypted);
	print_hex("private", s->private_key, SECRET_BYTES);
	print_hex("peer", s->peer_key, SECRET_BYTES);
	print_hex("preshared", s->preshared_key, SECRET_BYTES);
	printf("wg-port=%u\n", s->wg_port);
	print_address("inner-address", &s->inner_address);
	print_address("inner-server", &s->inner_server);
	print_hex("end", s->end, SECRET_BYTES);
	print_hex("ended", s->ended, SECRET_BYTES);
	printf("end-port=%u\n", s->end_port);
}

/* probe session: parse what is on stdin. */
static int probe_session(void)
{
	/* Exactly as long as the text, so that the sanitizer sees a read beyond it. */
	static char all[2 * SESSION_FILE_MAX];
	size_t length = fread(all, 1, sizeof(all), stdin);
	char *text = malloc(length ? length : 1);
	struct session session;
	int result;

	memcpy(text, all, length);
	result = session_parse(&session, text, length);
	free(text);
	if (result < 0)
		return bad();
	print_session(&session);
	return 0;
}

/* probe take FOLDER: the same for the file there, which is removed. */
static int probe_take(const char *folder)
{
	struct session session;
	int inside = guard_folder(folder);

	if (inside < 0 || session_take(&session, inside) < 0)
		return bad();
	print_session(&session);
	return 0;
}

/* Read the first bytes of the disk: shows that the handshake took neither more nor less than its
 * own bytes. NBD_CMD_READ, then the simple reply. */
static int read_first(int connection, uint32_t sector)
{
	uint8_t request[28] = {0x25, 0x60, 0x95, 0x13}, reply[16 + 4096];
	size_t have = 0;

	put_big_endian(request + 24, sector, 4);
	if (send(connection, request, sizeof(request), 0) != sizeof(request))
		return fail("cannot send a request");
	while (have < 16 + sector) {
		ssize_t count = recv(connection, reply + have, 16 + sector - have, 0);

		if (count <= 0)
			return fail("the reply is cut");
		have += (size_t)count;
	}
	if (big_endian(reply, 4) != 0x67446698)
		return fail("the reply is none");
	print_hex("first", reply + 16, 16);
	return 0;
}

/* probe dial ADDRESS PORT EXPORT SECTOR [read] */
static int probe_dial(char **arguments)
{
	uint32_t sector = (uint32_t)atoi(arguments[3]);
	struct sockaddr_in6 from = {.sin6_family = AF_INET6}, to = from;
	struct dial dial;
	int result;

	inet_pton(AF_INET6, arguments[0], &to.sin6_addr);
	to.sin6_port = htons((uint16_t)atoi(arguments[1]));
	result = dial_start(&dial, &from, &to, arguments[2], sector);
	while (result == 0) {
		struct pollfd ready = {.fd = dial.socket, .events = dial_events(&dial)};

		result = dial_step(&dial, poll(&ready, 1, 100) == 1);
	}
	if (result < 0)
		return bad();
	printf("size=%llu\nflags=%#x\n", (unsigned long long)dial.handshake.export.size,
	       dial.handshake.export.flags);
	fflush(stdout);
	if (arguments[4] && read_first(dial.socket, sector) < 0)
		return bad();
	close(dial.socket);
	return 0;
}

/* probe interface NAME NEW-NAME ADDRESS SERVER: set an interface up, twice, as the keeper does. */
static int probe_interface(char **arguments)
{
	struct nic nic = {.index = if_nametoindex(arguments[0])};
	struct in6_addr address, server;
	int route = netlink_open(NETLINK_ROUTE, 0);
	int first, second;

	snprintf(nic.name, sizeof(nic.name), "%s", arguments[0]);
	inet_pton(AF_INET6, arguments[2], &address);
	inet_pton(AF_INET6, arguments[3], &server);
	if (places_open() < 0 || nic_start(route, &nic, arguments[1]) < 0)
		return bad();
	first = interface_address(route, nic.index, &address);
	second = interface_address(route, nic.index, &address);
	interface_neighbour(route, nic.index, &server);
	printf("first=%d\nsecond=%d\nfamily=%d\n", first, second > 0, family_number(
		netlink_open(NETLINK_GENERIC, 0), "nlctrl"));
	return 0;
}

int main(int count, char **arguments)
{
	if (count == 2 && strcmp(arguments[1], "session") == 0)
		return probe_session();
	if (count == 3 && strcmp(arguments[1], "take") == 0)
		return probe_take(arguments[2]);
	if (count >= 6 && strcmp(arguments[1], "dial") == 0)
		return probe_dial(arguments + 2);
	if (count == 6 && strcmp(arguments[1], "interface") == 0)
		return probe_interface(arguments + 2);
	return 2;
}
