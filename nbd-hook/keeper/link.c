#include "link.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "netlink.h"
#include "say.h"
#include "tunnel.h"

int link_open(struct link *link)
{
	memset(link, 0, sizeof(*link));
	link->route = netlink_open(NETLINK_ROUTE, 0);
	link->events = netlink_open(NETLINK_ROUTE, RTMGRP_LINK | RTMGRP_IPV6_IFADDR);
	return link->route < 0 || link->events < 0 ? -1 : 0;
}

uint32_t link_path(const struct link *link, const struct session *session)
{
	if (!link->ready)
		return 0;
	return session->encrypted ? link->tunnel : link->nic.index;
}

void link_ends(const struct link *link, const struct session *session, uint16_t port,
	       struct sockaddr_in6 *from, struct sockaddr_in6 *to)
{
	struct sockaddr_in6 end = {.sin6_family = AF_INET6,
				   .sin6_scope_id = link_path(link, session)};

	*from = *to = end;
	from->sin6_addr = session->encrypted ? session->inner_address : session->address;
	to->sin6_addr = session->encrypted ? session->inner_server : session->server;
	to->sin6_port = htons(port);
}

/* Keep the tunnel's own setting-up, or make it if it is not there. `moved`: the NIC is another. */
static int look_at_tunnel(struct link *link, const struct session *session, bool moved)
{
	int result;

	if (link->tunnel) {
		result = interface_up(link->route, link->tunnel);
		if (result == 0)
			result = interface_address(link->route, link->tunnel,
						   &session->inner_address);
		if (result == 1)
			note("somebody took the tunnel's address; it is back");
		if (result >= 0)
			return moved ? tunnel_move(session, link->tunnel, link->nic.index) : 0;
		note("the tunnel is gone: %s; it is made again", strerror(-result));
	}
	link->tunnel = 0;
	result = tunnel_make(link->route, session, link->nic.index);
	if (result < 0)
		return -1;
	link->tunnel = (uint32_t)result;
	return 0;
}

/* Set up what is new, or what somebody has changed: the target's own network programs, say. */
static int set_up(struct link *link, const struct session *session, const struct nic *now)
{
	bool moved = now->index != link->nic.index || !link->ready;
	/* udev has a name of its own for one that is plugged in. Only if it is a new one: no quarrels. */
	bool renamed = strcmp(now->name, link->nic.name) != 0 && strcmp(now->name, LINK_NAME) != 0;
	int result;

	link->ready = false;
	link->nic = *now;
	if (renamed && !moved)
		note("somebody called %s %s; it gets its name back", LINK_NAME, now->name);
	if (moved || renamed || !now->up) {
		if (nic_start(link->route, now, LINK_NAME) < 0)
			return -1;
		if_indextoname(now->index, link->nic.name);
	}
	result = interface_address(link->route, now->index, &session->address);
	if (result < 0)
		return fail("cannot give %s its address: %s", now->name, strerror(-result));
	if (result == 1)
		interface_neighbour(link->route, now->index, &session->server);
	if (result == 1 && !moved && !renamed && now->up)
		note("somebody took the address of %s; it is back", now->name);
	if (session->encrypted && look_at_tunnel(link, session, moved) < 0)
		return -1;
	link->ready = true;
	return 0;
}

int link_look(struct link *link, const struct session *session)
{
	uint32_t former = link->nic.index;
	bool carrier = link->nic.carrier;
	struct nic now;

	if (nic_find(link->route, session->mac, &now) < 0)
		return -1;
	if (now.index == 0) {
		if (former)
			note("the network interface to the laptop is gone");
		link->nic = now;
		link->ready = false;
		return 0;
	}
	if (now.index != former)
		note("the network interface to the laptop is %s, number %u", now.name, now.index);
	else if (now.carrier != carrier)
		note(now.carrier ? "the cable to the laptop has a signal"
				 : "the cable to the laptop has no signal");
	return set_up(link, session, &now);
}
