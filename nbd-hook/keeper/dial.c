#include "dial.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "say.h"

/* The kernel asks again after 1 s. When a cable is back, a new attempt is faster than its third. */
#define CONNECT_MS 2000
/* nbd-server takes seconds to be ready on a slow machine, and who is there before ends the others. */
#define HANDSHAKE_MS 10000

/* A connection on which nothing was acknowledged for so long is dead, in ms. TCP alone would try for
 * many minutes, and less and less often. */
#define DEAD_MS 10000
/* The same where there is nothing to send: seconds before asking, between questions, and how many. */
#define IDLE_SECONDS 5
#define PROBE_SECONDS 2
#define PROBES 3

static int set_options(int connection)
{
	const struct { int level, option, value; } options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_MS},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, IDLE_SECONDS},
		{IPPROTO_TCP, TCP_KEEPINTVL, PROBE_SECONDS},
		{IPPROTO_TCP, TCP_KEEPCNT, PROBES},
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (setsockopt(connection, options[i].level, options[i].option, &options[i].value,
			       sizeof(options[i].value)) < 0)
			return -1;
	return 0;
}

/* End the attempt for what errno says. */
static int give_up(struct dial *dial, const char *what)
{
	int reason = errno;

	dial_end(dial);
	return fail("%s: %s", what, strerror(reason));
}

int dial_start(struct dial *dial, const struct sockaddr_in6 *from, const struct sockaddr_in6 *to,
	       const char *name, uint32_t sector)
{
	memset(dial, 0, sizeof(*dial));
	handshake_begin(&dial->handshake, name, sector);
	dial->deadline = now_ms() + CONNECT_MS;
	dial->socket = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (dial->socket < 0)
		return give_up(dial, "cannot open a TCP socket");
	if (set_options(dial->socket) < 0)
		return give_up(dial, "cannot set up a TCP socket");
	if (bind(dial->socket, (const struct sockaddr *)from, sizeof(*from)) < 0)
		return give_up(dial, "cannot use this machine's own address");
	if (connect(dial->socket, (const struct sockaddr *)to, sizeof(*to)) < 0 &&
	    errno != EINPROGRESS)
		return give_up(dial, "cannot connect to the laptop");
	return 0;
}

void dial_end(struct dial *dial)
{
	if (dial->socket >= 0)
		close(dial->socket);
	dial->socket = -1;
}

short dial_events(const struct dial *dial)
{
	return dial->connected && dial->sent == dial->handshake.to_send ? POLLIN : POLLOUT;
}

static int finish_connecting(struct dial *dial)
{
	int reason = 0;
	socklen_t size = sizeof(reason);

	if (getsockopt(dial->socket, SOL_SOCKET, SO_ERROR, &reason, &size) < 0)
		reason = errno;
	errno = reason;
	if (reason != 0)
		return give_up(dial, "cannot connect to the laptop");
	dial->connected = true;
	dial->deadline = now_ms() + HANDSHAKE_MS;
	return 0;
}

static int send_some(struct dial *dial)
{
	const struct handshake *handshake = &dial->handshake;
	ssize_t count = send(dial->socket, handshake->out + dial->sent,
			     handshake->to_send - dial->sent, MSG_NOSIGNAL);

	if (count < 0)
		return errno == EAGAIN ? 0 : give_up(dial, "cannot send to the NBD server");
	dial->sent += (size_t)count;
	return 0;
}

static int receive_some(struct dial *dial)
{
	size_t room;
	uint8_t *place = handshake_room(&dial->handshake, &room);
	ssize_t count = recv(dial->socket, place, room, 0);
	int result;

	if (count < 0)
		return errno == EAGAIN ? 0 : give_up(dial, "cannot receive from the NBD server");
	if (count == 0) {
		dial_end(dial);
		return fail("the NBD server hangs up in the handshake; does it admit this machine, and "
			    "know this session's disk?");
	}
	result = handshake_received(&dial->handshake, (size_t)count);
	if (result < 0)
		dial_end(dial);
	/* What has come was the answer to all that was sent, so there is only new output now. */
	if (dial->handshake.have == 0)
		dial->sent = 0;
	return result;
}

/* From here on the kernel uses it; it takes the socket as it is. */
static int make_blocking(struct dial *dial)
{
	int flags = fcntl(dial->socket, F_GETFL);

	if (flags < 0 || fcntl(dial->socket, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return give_up(dial, "cannot hand the connection to the kernel");
	return 1;
}

int dial_step(struct dial *dial, bool ready)
{
	int result = 0;

	if (now_ms() > dial->deadline) {
		const char *what = dial->connected ? "take part in NBD's handshake" : "answer";

		dial_end(dial);
		return fail("the laptop does not %s; is the cable plugged in, and the laptop on?", what);
	}
	if (!ready)
		return 0;
	if (!dial->connected)
		result = finish_connecting(dial);
	else if (dial_events(dial) == POLLOUT)
		result = send_some(dial);
	else
		result = receive_some(dial);
	return result == 1 ? make_blocking(dial) : result;
}
