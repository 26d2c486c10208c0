/* All that reads bytes of others, for libFuzzer; or, with -DREPLAY, for the files that are named.
 * The first byte says which: 's' a session, 'h' a server's side of a handshake, 'n' netlink. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handshake.h"
#include "netlink.h"
#include "nic.h"
#include "session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
	if (!condition)
		abort();
}

static void fuzz_session(const uint8_t *data, size_t size)
{
	struct session session;

	if (session_parse(&session, (const char *)data, size) < 0)
		return;
	require(session.connections >= 1 && session.connections <= CONNECTIONS_MAX);
	require(session.sector >= 512 && session.sector <= 4096);
	require(session.port && session.end_port && session.export[0]);
	require(!session.encrypted == !session.wg_port);
}

/* The second byte says in pieces of which size the rest comes. */
static void fuzz_handshake(const uint8_t *data, size_t size)
{
	struct handshake handshake;
	size_t piece = size ? data[0] % 64 + 1u : 1, room;
	int result = 0;

	handshake_begin(&handshake, "disk", 512);
	for (size_t at = size ? 1 : 0; at < size && result == 0;) {
		uint8_t *place = handshake_room(&handshake, &room);
		size_t count = size - at < piece ? size - at : piece;

		require(room > 0 && place + room <= handshake.in + sizeof(handshake.in));
		count = count < room ? count : room;
		memcpy(place, data + at, count);
		at += count;
		result = handshake_received(&handshake, count);
		require(handshake.to_send <= sizeof(handshake.out));
	}
	if (result == 1)
		require(handshake.export.size && handshake.export.size % 512 == 0 &&
			(handshake.export.flags & 7) == 5);
}

static void fuzz_netlink(const uint8_t *data, size_t size)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0, 0, 2};
	struct span rest = {data, size};
	struct answer answer;
	struct nic nic;

	while (next_answer(&rest, &answer)) {
		family_in(&answer);
		if (nic_in(&answer, mac, &nic))
			require(nic.index && strlen(nic.name) > 0 && !strchr(nic.name, '/'));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] == 's')
		fuzz_session(data + 1, size - 1);
	else if (data[0] == 'h')
		fuzz_handshake(data + 1, size - 1);
	else if (data[0] == 'n')
		fuzz_netlink(data + 1, size - 1);
	return 0;
}

#ifdef REPLAY
int main(int count, char **names)
{
	static uint8_t all[1 << 16];

	for (int i = 1; i < count; i++) {
		FILE *file = fopen(names[i], "rb");
		size_t size = file ? fread(all, 1, sizeof(all), file) : 0;
		uint8_t *exact = malloc(size ? size : 1);

		require(file != NULL);
		memcpy(exact, all, size);
		LLVMFuzzerTestOneInput(exact, size);
		free(exact);
		fclose(file);
	}
	return 0;
}
#endif
