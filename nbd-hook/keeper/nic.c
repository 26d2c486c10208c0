#include "nic.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>

#include "places.h"
#include "say.h"

struct search {
	const uint8_t *mac;
	struct nic found;
};

bool nic_in(const struct answer *answer, const uint8_t mac[6], struct nic *nic)
{
	struct ifinfomsg head;
	struct span attributes = answer->payload, value;
	uint8_t seen[6];

	if (answer->type != RTM_NEWLINK || !skip(&attributes, sizeof(head)))
		return false;
	memcpy(&head, answer->payload.bytes, sizeof(head));
	if (head.ifi_type != ARPHRD_ETHER || head.ifi_index <= 0 ||
	    !find_attribute(attributes, IFLA_ADDRESS, &value) ||
	    !read_value(value, seen, sizeof(seen)) || memcmp(seen, mac, sizeof(seen)) != 0)
		return false;
	/* The name goes into paths. The kernel allows no slash in it; nor does this. */
	if (!find_attribute(attributes, IFLA_IFNAME, &value) || value.length < 2 ||
	    value.length > sizeof(nic->name) ||
	    strnlen((const char *)value.bytes, value.length) != value.length - 1 ||
	    memchr(value.bytes, '/', value.length) || value.bytes[0] == '.')
		return false;
	memcpy(nic->name, value.bytes, value.length);
	nic->index = (uint32_t)head.ifi_index;
	nic->up = head.ifi_flags & IFF_UP;
	nic->carrier = head.ifi_flags & IFF_LOWER_UP;
	return true;
}

/* Bridges, bonds and VLANs have a MAC of their members, but no device. */
static bool has_hardware(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "class/net/%s/device", name);
	return place_has(places.sys, path);
}

static void consider(const struct answer *answer, void *context)
{
	struct search *search = context;
	struct nic nic;

	if (search->found.index == 0 && nic_in(answer, search->mac, &nic) && has_hardware(nic.name))
		search->found = nic;
}

int nic_find(int route, const uint8_t mac[6], struct nic *nic)
{
	struct search search = {.mac = mac};
	struct ifinfomsg all = {.ifi_family = AF_UNSPEC};
	struct message message;
	int result;

	message_begin(&message, RTM_GETLINK, NLM_F_DUMP, &all, sizeof(all));
	result = netlink_list(route, &message, consider, &search);
	if (result < 0)
		return fail("cannot list the network interfaces: %s", strerror(-result));
	*nic = search.found;
	return 0;
}

static int change(int route, uint32_t index, uint32_t flags, uint32_t mask, const char *name)
{
	struct ifinfomsg head = {.ifi_index = (int)index, .ifi_flags = flags, .ifi_change = mask};
	struct message message;

	message_begin(&message, RTM_NEWLINK, NLM_F_ACK, &head, sizeof(head));
	if (name)
		put_text(&message, IFLA_IFNAME, name);
	return netlink_ask(route, &message);
}

int interface_up(int route, uint32_t index)
{
	return change(route, index, IFF_UP, IFF_UP, NULL);
}

/* Write one of an interface's IPv6 settings; Documentation/networking/ip-sysctl.rst. */
static void set_ipv6(const char *name, const char *setting, const char *value)
{
	char path[96];

	snprintf(path, sizeof(path), "sys/net/ipv6/conf/%s/%s", name, setting);
	if (place_write(places.proc, path, value) < 0)
		note("cannot set /proc/%s to %s: %s", path, value, strerror(errno));
}

void interface_quiet(uint32_t index)
{
	char name[IF_NAMESIZE];

	if (!if_indextoname(index, name))
		return;
	set_ipv6(name, "disable_ipv6", "0");
	set_ipv6(name, "accept_dad", "0");
	set_ipv6(name, "addr_gen_mode", "1"); /* none */
	set_ipv6(name, "accept_ra", "0");
}

int nic_start(int route, const struct nic *nic, const char *name)
{
	int result = change(route, nic->index, 0, IFF_UP, NULL);

	if (result == 0 && strcmp(nic->name, name) != 0) {
		result = change(route, nic->index, 0, 0, name);
		/* It works under any name; only rules that go by the name do not find it. */
		if (result < 0)
			note("cannot rename %s to %s: %s", nic->name, name, strerror(-result));
		result = 0;
	}
	interface_quiet(nic->index);
	if (result == 0)
		result = interface_up(route, nic->index);
	if (result < 0)
		return fail("cannot switch the network interface %s on: %s", nic->name,
			    strerror(-result));
	return 0;
}

static int add_address(int route, uint32_t index, const struct in6_addr *address)
{
	struct ifaddrmsg head = {.ifa_family = AF_INET6, .ifa_prefixlen = 64,
				 .ifa_flags = IFA_F_NODAD, .ifa_scope = RT_SCOPE_LINK,
				 .ifa_index = index};
	struct message message;

	message_begin(&message, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &head,
		      sizeof(head));
	put_bytes(&message, IFA_LOCAL, address, sizeof(*address));
	put_bytes(&message, IFA_ADDRESS, address, sizeof(*address));
	return netlink_ask(route, &message);
}

int interface_address(int route, uint32_t index, const struct in6_addr *address)
{
	int result = add_address(route, index, address);

	/* IPv6 is off there: somebody has set it for all interfaces. */
	if (result == -EACCES) {
		interface_quiet(index);
		result = add_address(route, index, address);
	}
	if (result == -EEXIST)
		return 0;
	return result < 0 ? result : 1;
}

void interface_neighbour(int route, uint32_t index, const struct in6_addr *address)
{
	const uint8_t *own = address->s6_addr + 8;
	struct ndmsg head = {.ndm_family = AF_INET6, .ndm_ifindex = (int)index,
			     .ndm_state = NUD_PERMANENT};
	/* RFC 4291, appendix A: ff:fe in the middle, and the first byte's second bit inverted. */
	uint8_t mac[6] = {own[0] ^ 2, own[1], own[2], own[5], own[6], own[7]};
	struct message message;
	int result;

	if (own[3] != 0xff || own[4] != 0xfe || (mac[0] & 1))
		return;
	message_begin(&message, RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, &head,
		      sizeof(head));
	put_bytes(&message, NDA_DST, address, sizeof(*address));
	put_bytes(&message, NDA_LLADDR, mac, sizeof(mac));
	result = netlink_ask(route, &message);
	if (result < 0)
		note("cannot add the laptop as a permanent neighbour: %s", strerror(-result));
}
