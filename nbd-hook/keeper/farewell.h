/* The end of the session, told to the server, and its acknowledgement. */
#ifndef FAREWELL_H
#define FAREWELL_H

#include <netinet/in.h>
#include <stdint.h>

#include "session.h"

struct farewell {
	int socket;       /* -1: none is under way */
	int64_t deadline; /* of now_ms() */
	int64_t again;    /* when to send again */
};

/* Start telling the server, for at most 10 s. Returns 0, or -1 with fail(). */
int farewell_start(struct farewell *farewell, const struct sockaddr_in6 *from,
		   const struct sockaddr_in6 *to);

/* Go on: send when it is time, and read what has come. Returns 1 when the server has acknowledged;
 * 0 if it goes on; -1 with fail() when it did not in time. */
int farewell_step(struct farewell *farewell, const struct session *session);

#endif
