/* The network interfaces of the link: finding the NIC, and setting up it and the tunnel. */
#ifndef NIC_H
#define NIC_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "netlink.h"

struct nic {
	uint32_t index; /* 0: there is none */
	bool up;        /* switched on */
	bool carrier;   /* and there is somebody at the other end of the cable */
	char name[IF_NAMESIZE];
};

/* Whether an RTM_NEWLINK tells of an Ethernet interface with this MAC; if so, fill in `nic`. */
bool nic_in(const struct answer *answer, const uint8_t mac[6], struct nic *nic);

/* Look for the NIC, by an rtnetlink socket: `index` is 0 if there is none with this MAC that has
 * hardware of its own. Returns 0, or -1 with fail(). */
int nic_find(int route, const uint8_t mac[6], struct nic *nic);

/* Switch it off, give it its name, and switch it on, without any address of the kernel's making.
 * Returns 0, or -1 with fail(). */
int nic_start(int route, const struct nic *nic, const char *name);

/* Switch an interface on. Returns 0 or a negative errno. */
int interface_up(int route, uint32_t index);

/* Keep the kernel from giving an interface addresses of its own making. */
void interface_quiet(uint32_t index);

/* Give an interface an address, with a prefix of 64, and IPv6 if it has none. Returns 1 if the address
 * was not there, 0 if it was, or a negative errno. */
int interface_address(int route, uint32_t index, const struct in6_addr *address);

/* Tell an interface the MAC that belongs to an address, where the address itself has it (EUI-64):
 * a firewall that drops neighbour discovery cannot break the link then. */
void interface_neighbour(int route, uint32_t index, const struct in6_addr *address);

#endif
