/* The WireGuard tunnel to the laptop, in the kernel. */
#ifndef TUNNEL_H
#define TUNNEL_H

#include <stdint.h>

#include "session.h"

#define TUNNEL_NAME "stiefeltun"

/* Make the tunnel anew, with the laptop as its only peer, reached through the interface `link`, and
 * switch it on. Returns its interface's number, or -1 with fail(). */
int tunnel_make(int route, const struct session *session, uint32_t link);

/* Reach the laptop through the interface `link` from now on. Returns 0, or -1 with fail(). */
int tunnel_move(const struct session *session, uint32_t tunnel, uint32_t link);

/* Remove the tunnel, if there is one. */
void tunnel_remove(int route);

#endif
