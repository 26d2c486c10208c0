#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "netlink.h"
#include "places.h"
#include "say.h"
#include "session.h"

/* How long requests wait for a connection before they fail, in seconds: a day. */
#define DEAD_CONNECTION_SECONDS 86400

/* No descriptor: for the kernel to stumble over. */
#define NO_SOCKET ((uint32_t)-1)

/* Begin a command to nbd0. Returns the generic netlink socket for it, or a negative errno. */
static int begin(struct message *message, uint8_t command)
{
	int generic = netlink_open(NETLINK_GENERIC, 0);
	int family = generic < 0 ? -EIO : family_number(generic, NBD_GENL_FAMILY_NAME);

	if (family < 0) {
		if (generic >= 0)
			close(generic);
		return family;
	}
	command_begin(message, family, command, NBD_GENL_VERSION);
	put_u32(message, NBD_ATTR_INDEX, 0);
	return generic;
}

static int finish(int generic, struct message *message)
{
	int result = netlink_ask(generic, message);

	close(generic);
	return result;
}

static void put_sockets(struct message *message, const uint32_t *sockets, unsigned int count)
{
	size_t list = nest_begin(message, NBD_ATTR_SOCKETS);

	for (unsigned int i = 0; i < count; i++) {
		size_t item = nest_begin(message, NBD_SOCK_ITEM);

		put_u32(message, NBD_SOCK_FD, sockets[i]);
		nest_end(message, item);
	}
	nest_end(message, list);
}

int device_connect(const int *sockets, unsigned int count, const struct export *export,
		   uint32_t sector)
{
	uint32_t numbers[CONNECTIONS_MAX];
	struct message message;
	int generic = begin(&message, NBD_CMD_CONNECT);
	int result = generic;

	if (generic == -ENOENT)
		return fail("the kernel has no NBD; is the module nbd in this initrd, and loaded?");
	if (generic >= 0) {
		for (unsigned int i = 0; i < count && i < CONNECTIONS_MAX; i++)
			numbers[i] = (uint32_t)sockets[i];
		put_u64(&message, NBD_ATTR_SIZE_BYTES, export->size);
		put_u64(&message, NBD_ATTR_BLOCK_SIZE_BYTES, sector);
		/* 0: a request may take as long as it takes. */
		put_u64(&message, NBD_ATTR_TIMEOUT, 0);
		put_u64(&message, NBD_ATTR_DEAD_CONN_TIMEOUT, DEAD_CONNECTION_SECONDS);
		put_u64(&message, NBD_ATTR_SERVER_FLAGS, export->flags);
		put_sockets(&message, numbers, count);
		result = finish(generic, &message);
	}
	if (result < 0)
		return fail("the kernel does not connect /dev/nbd0: %s%s", strerror(-result),
			    result == -EBUSY ? "; something else uses it: nbd-client -d /dev/nbd0" : "");
	return 0;
}

void device_disconnect(void)
{
	struct message message;
	int generic = begin(&message, NBD_CMD_DISCONNECT);

	if (generic >= 0)
		finish(generic, &message);
}

int device_offer(int connection)
{
	/* Whether it took a socket, or had no dead one, the kernel says 0. It takes one after the
	 * other, though, and stops at the first for which there is no dead one. So another follows
	 * that is none: it is looked at, and gives EBADF, only if the first was taken. */
	uint32_t sockets[] = {(uint32_t)connection, NO_SOCKET};
	struct message message;
	int generic = begin(&message, NBD_CMD_RECONFIGURE);
	int result = generic;

	if (generic >= 0) {
		put_sockets(&message, sockets, 2);
		result = finish(generic, &message);
	}
	if (result == -EBADF)
		return 1;
	if (result == 0 || result == -ENOSPC)
		return 0;
	return fail("the kernel does not take a new connection for /dev/nbd0: %s", strerror(-result));
}

static void set_queue(const char *setting, const char *value)
{
	char path[64];

	snprintf(path, sizeof(path), "block/nbd0/queue/%s", setting);
	if (place_write(places.sys, path, value) < 0)
		note("cannot set /sys/%s to %s: %s", path, value, strerror(errno));
}

void device_tune(unsigned int connections)
{
	set_queue("read_ahead_kb", "1024");
	/* The laptop sorts requests itself. */
	set_queue("scheduler", "none");
	/* At this interval, in ms, the block layer looks at requests that have no answer. With one
	 * connection, it sends those again whose connection was replaced, and leaves the others
	 * alone. With several, it takes the connection for dead: at 3 s, a laptop's disk that is slow
	 * to flush would lose one after the other, and requests that the server still has in its
	 * queue would be sent a second time. So it stays at the kernel's own 30 s then. */
	if (connections == 1)
		set_queue("io_timeout", "3000");
}

pid_t device_scan(void)
{
	pid_t child = fork();
	int disk;

	if (child < 0)
		return fail("cannot start a process to look for partitions: %s", strerror(errno));
	if (child > 0)
		return child;
	/* The first one who opens a disk waits until the kernel has read its partition table. */
	disk = openat(places.dev, "nbd0", O_RDONLY | O_CLOEXEC);
	_exit(disk < 0 ? errno : 0);
}
