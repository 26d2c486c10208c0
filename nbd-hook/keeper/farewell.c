#include "farewell.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "say.h"

/* The server ends its processes and flushes its disk before it answers. */
#define FAREWELL_MS 35000
#define AGAIN_MS 300
/* A server that floods us does not keep the keeper from its work. */
#define DATAGRAMS_AT_ONCE 16

static void stop(struct farewell *farewell)
{
	close(farewell->socket);
	farewell->socket = -1;
}

int farewell_start(struct farewell *farewell, const struct sockaddr_in6 *from,
		   const struct sockaddr_in6 *to)
{
	int opened = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	/* Connected: datagrams of others than the server do not arrive. */
	if (opened < 0 || bind(opened, (const struct sockaddr *)from, sizeof(*from)) < 0 ||
	    connect(opened, (const struct sockaddr *)to, sizeof(*to)) < 0) {
		fail("cannot tell the laptop that the session ends: %s", strerror(errno));
		if (opened >= 0)
			close(opened);
		return -1;
	}
	farewell->socket = opened;
	farewell->again = now_ms();
	farewell->deadline = farewell->again + FAREWELL_MS;
	return 0;
}

/* Compared in constant time, though nobody learns much from one attempt in a session. */
static bool same(const uint8_t *one, const uint8_t *other)
{
	volatile uint8_t difference = 0;

	for (size_t i = 0; i < SECRET_BYTES; i++)
		difference |= one[i] ^ other[i];
	return difference == 0;
}

static bool acknowledged(struct farewell *farewell, const struct session *session)
{
	uint8_t answer[SECRET_BYTES + 1];

	for (int i = 0; i < DATAGRAMS_AT_ONCE; i++) {
		ssize_t length = recv(farewell->socket, answer, sizeof(answer), 0);

		if (length == SECRET_BYTES && same(answer, session->ended))
			return true;
		/* Other errors are ICMP messages about datagrams of ours; the next may do better. */
		if (length < 0 && errno == EAGAIN)
			break;
	}
	return false;
}

int farewell_step(struct farewell *farewell, const struct session *session)
{
	int64_t now = now_ms();

	if (acknowledged(farewell, session)) {
		stop(farewell);
		return 1;
	}
	if (now >= farewell->deadline) {
		stop(farewell);
		return fail("the laptop has not acknowledged the end of the session in %d s; end it "
			    "there: Ctrl-Alt-Del on the laptop", FAREWELL_MS / 1000);
	}
	if (now >= farewell->again) {
		farewell->again = now + AGAIN_MS;
		/* One that cannot be sent is like one that is lost. */
		if (send(farewell->socket, session->end, SECRET_BYTES, MSG_NOSIGNAL) < 0)
			return 0;
	}
	return 0;
}
