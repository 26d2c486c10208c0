/* Connections: the first ones, and those that replace the dead. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "device.h"
#include "keeper.h"
#include "say.h"

#define AGAIN_MS 500
/* Between two looks at the interfaces: events come in swarms, most of them for what we do. */
#define LOOK_AGAIN_MS 100
/* And where something is missing, or could not be set up. */
#define MEND_AGAIN_MS 1000

unsigned int alive(const struct keeper *keeper)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < keeper->wanted; i++)
		count += keeper->sockets[i] >= 0;
	return count;
}

void drop(struct keeper *keeper, unsigned int number)
{
	/* The kernel holds the same socket, and learns thereby that it is dead, if it does not know. */
	shutdown(keeper->sockets[number], SHUT_RDWR);
	close(keeper->sockets[number]);
	keeper->sockets[number] = -1;
}

void bury(struct keeper *keeper, unsigned int number)
{
	drop(keeper, number);
	note("a connection is dead, %u of %u are left", alive(keeper), keeper->wanted);
	/* At once, unless the server is one that drops everybody at once. */
	if (now_ms() < keeper->stored_at + AGAIN_MS)
		keeper->dial_at = keeper->stored_at + AGAIN_MS;
}

/* An attempt has failed, as fail() says: another one later. */
static void try_again(struct keeper *keeper)
{
	keeper->dial_at = now_ms() + AGAIN_MS;
	if (strncmp(keeper->trouble, problem(), sizeof(keeper->trouble) - 1) == 0)
		return;
	snprintf(keeper->trouble, sizeof(keeper->trouble), "%s", problem());
	note("%s", keeper->trouble);
}

void revive(struct keeper *keeper)
{
	struct sockaddr_in6 from, to;

	if (keeper->phase == SEARCHING || keeper->phase == ENDED || keeper->dial.socket >= 0 ||
	    keeper->path == 0 || !keeper->link.ready || alive(keeper) == keeper->wanted ||
	    now_ms() < keeper->dial_at)
		return;
	link_ends(&keeper->link, &keeper->session, keeper->session.port, &from, &to);
	if (dial_start(&keeper->dial, &from, &to, keeper->session.export,
		       keeper->session.sector) < 0)
		try_again(keeper);
}

/* The first connection has shown what the disk is like. */
static void learn_export(struct keeper *keeper)
{
	keeper->export = keeper->dial.handshake.export;
	/* Without this flag, what one connection has flushed need not be flushed for another. */
	if (!(keeper->export.flags & EXPORT_MULTI_CONN) && keeper->wanted > 1) {
		note("the NBD server is not made for several connections; there is only one");
		keeper->wanted = 1;
	}
}

/* Put a connection where one is missing. */
static void store(struct keeper *keeper, int connection)
{
	unsigned int i = 0;

	while (keeper->sockets[i] >= 0)
		i++;
	keeper->sockets[i] = connection;
	keeper->stored_at = now_ms();
	keeper->trouble[0] = '\0';
	keeper->dial_at = 0;
}

/* The first connections are complete: the kernel gets them. */
static int connect_disk(struct keeper *keeper)
{
	if (device_connect(keeper->sockets, keeper->wanted, &keeper->export,
			   keeper->session.sector) < 0)
		return -1;
	keeper->phase = SCANNING;
	device_tune(keeper->wanted);
	return 0;
}

/* A connection is made. Is it to the same disk, and does the kernel want it? */
static int use(struct keeper *keeper)
{
	const struct export *export = &keeper->dial.handshake.export;
	int connection = keeper->dial.socket;
	int taken;

	keeper->dial.socket = -1;
	if (keeper->export.size == 0)
		learn_export(keeper);
	if (export->size != keeper->export.size || export->flags != keeper->export.flags) {
		fail("the NBD server has another disk now: %llu bytes with flags %#x, not %llu with %#x",
		     (unsigned long long)export->size, export->flags,
		     (unsigned long long)keeper->export.size, keeper->export.flags);
		close(connection);
		try_again(keeper);
		return 0;
	}
	if (keeper->phase == CONNECTING) {
		store(keeper, connection);
		return alive(keeper) == keeper->wanted ? connect_disk(keeper) : 0;
	}
	taken = device_offer(connection);
	if (taken == 1) {
		store(keeper, connection);
		keeper->revived++;
		note("connection %u of %u is back", alive(keeper), keeper->wanted);
		return 0;
	}
	close(connection);
	if (taken == 0)
		fail("the kernel has not noticed yet which connection is dead");
	try_again(keeper);
	return 0;
}

int revive_step(struct keeper *keeper, bool ready)
{
	int result;

	if (keeper->dial.socket < 0)
		return 0;
	result = dial_step(&keeper->dial, ready);
	if (result < 0)
		try_again(keeper);
	return result == 1 ? use(keeper) : 0;
}

/* The connections, and the attempt, have no way any more that could come back. */
static void drop_all(struct keeper *keeper)
{
	dial_end(&keeper->dial);
	for (unsigned int i = 0; i < keeper->wanted; i++)
		if (keeper->sockets[i] >= 0)
			drop(keeper, i);
}

void look(struct keeper *keeper)
{
	bool carrier = keeper->link.nic.carrier;
	uint32_t path;

	if (link_look(&keeper->link, &keeper->session) < 0)
		try_again(keeper);
	keeper->look_at = keeper->link.ready ? INT64_MAX : now_ms() + MEND_AGAIN_MS;
	keeper->look_again = now_ms() + (keeper->link.ready ? LOOK_AGAIN_MS : MEND_AGAIN_MS);
	path = link_path(&keeper->link, &keeper->session);
	/* A socket stays with the number of its interface, even when that is gone. */
	if (path && keeper->path && path != keeper->path)
		drop_all(keeper);
	if (path)
		keeper->path = path;
	/* No need to wait for what was under way when the cable was out. */
	if (!keeper->link.ready || (keeper->link.nic.carrier && !carrier)) {
		dial_end(&keeper->dial);
		keeper->dial_at = 0;
	}
}
