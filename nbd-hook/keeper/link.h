/* The way to the laptop: the NIC, whichever it is now, and the tunnel through it. */
#ifndef LINK_H
#define LINK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "nic.h"
#include "session.h"

#define LINK_NAME "stiefellink"

struct link {
	int route;       /* rtnetlink, for questions */
	int events;      /* rtnetlink, tells when to look; poll for POLLIN */
	struct nic nic;  /* its index is 0 if there is none */
	uint32_t tunnel; /* the tunnel's number, 0 if there is none */
	bool ready;      /* set up; carrier is another question */
};

/* Open the sockets. Returns 0, or -1 with fail(). */
int link_open(struct link *link);

/* Look at the interfaces, and set up what is new, or was changed by others. Says what is gone and
 * what is back. Returns 0, also if there is no NIC; or -1 with fail(), to be tried again. */
int link_look(struct link *link, const struct session *session);

/* The interface that connections go through; 0 if there is none. */
uint32_t link_path(const struct link *link, const struct session *session);

/* Both ends of a connection to a port of the laptop. */
void link_ends(const struct link *link, const struct session *session, uint16_t port,
	       struct sockaddr_in6 *from, struct sockaddr_in6 *to);

#endif
