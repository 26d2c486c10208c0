/* The kernel's NBD client and its device, /dev/nbd0. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdint.h>
#include <sys/types.h>

#include "handshake.h"

/* Connect /dev/nbd0 over these sockets, whose handshakes are done. The caller keeps them:
 * the kernel shuts down a socket that it takes for dead, and the caller sees that by poll(2). Returns
 * 0, or -1 with fail(). */
int device_connect(const int *sockets, unsigned int count, const struct export *export,
		   uint32_t sector);

/* Settings of its queue that suit a disk on a network. */
void device_tune(unsigned int connections);

/* Start a process that has the partitions looked for, by opening the device, which waits for the
 * disk. Returns its id, or -1 with fail(). */
pid_t device_scan(void);

/* Offer one more socket in place of a dead one. Returns 1 if the kernel took it, 0 if it has no dead
 * one, or -1 with fail(). */
int device_offer(int socket);

/* Disconnect it; all that waits for it fails. */
void device_disconnect(void);

#endif
