/* One attempt to get a connection to the NBD server, up to the end of the handshake, which never
 * waits: the caller polls. */
#ifndef DIAL_H
#define DIAL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "handshake.h"

struct dial {
	int socket; /* -1: there is none under way */
	bool connected;
	int64_t deadline; /* of now_ms() */
	size_t sent;
	struct handshake handshake;
};

/* Start an attempt, from one address to another, for an export with sectors of so many bytes. `name`
 * must stay as long. Returns 0, or -1 with fail(). */
int dial_start(struct dial *dial, const struct sockaddr_in6 *from, const struct sockaddr_in6 *to,
	       const char *name, uint32_t sector);

/* What to poll its socket for. */
short dial_events(const struct dial *dial);

/* Go on: the socket is ready, or some time has passed. Returns 1 when the connection is made: then
 * `handshake.export` is good, and the socket is the caller's. Returns 0 if it goes on; -1 with
 * fail() when the attempt, and its socket, has ended. */
int dial_step(struct dial *dial, bool ready);

/* Give the attempt up. */
void dial_end(struct dial *dial);

#endif
