#include "tunnel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <linux/wireguard.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netlink.h"
#include "nic.h"
#include "say.h"

/* 1500 less 40 of IPv6, 8 of UDP and 32 of WireGuard. */
#define TUNNEL_MTU 1420
/* Both sides say something so often that a peer which has moved is found within it. */
#define KEEPALIVE_SECONDS 5

static void put_endpoint(struct message *message, const struct session *session, uint32_t link)
{
	struct sockaddr_in6 endpoint = {.sin6_family = AF_INET6,
					.sin6_port = htons(session->wg_port),
					.sin6_addr = session->server,
					.sin6_scope_id = link};

	put_bytes(message, WGPEER_A_ENDPOINT, &endpoint, sizeof(endpoint));
}

static void put_whole_peer(struct message *message, const struct session *session)
{
	uint16_t seconds = KEEPALIVE_SECONDS;
	size_t list, item;

	put_u32(message, WGPEER_A_FLAGS, WGPEER_F_REPLACE_ALLOWEDIPS);
	put_bytes(message, WGPEER_A_PRESHARED_KEY, session->preshared_key, SECRET_BYTES);
	put_u16(message, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, seconds);
	list = nest_begin(message, WGPEER_A_ALLOWEDIPS);
	item = nest_begin(message, 0);
	put_u16(message, WGALLOWEDIP_A_FAMILY, AF_INET6);
	put_bytes(message, WGALLOWEDIP_A_IPADDR, &session->inner_server,
		  sizeof(session->inner_server));
	put_u8(message, WGALLOWEDIP_A_CIDR_MASK, 128);
	nest_end(message, item);
	nest_end(message, list);
}

/* Tell WireGuard all about the session, or only the peer's new place. Returns 0 or -errno. */
static int configure(const struct session *session, uint32_t tunnel, uint32_t link, bool whole)
{
	struct message message;
	size_t list, item;
	int generic = netlink_open(NETLINK_GENERIC, 0);
	int result = generic < 0 ? -EIO : family_number(generic, WG_GENL_NAME);

	if (result < 0)
		goto out;
	command_begin(&message, result, WG_CMD_SET_DEVICE, WG_GENL_VERSION);
	put_u32(&message, WGDEVICE_A_IFINDEX, tunnel);
	if (whole) {
		put_u32(&message, WGDEVICE_A_FLAGS, WGDEVICE_F_REPLACE_PEERS);
		put_bytes(&message, WGDEVICE_A_PRIVATE_KEY, session->private_key, SECRET_BYTES);
		put_u16(&message, WGDEVICE_A_LISTEN_PORT, session->wg_port);
	}
	list = nest_begin(&message, WGDEVICE_A_PEERS);
	item = nest_begin(&message, 0);
	put_bytes(&message, WGPEER_A_PUBLIC_KEY, session->peer_key, SECRET_BYTES);
	put_endpoint(&message, session, link);
	if (whole)
		put_whole_peer(&message, session);
	else
		put_u32(&message, WGPEER_A_FLAGS, WGPEER_F_UPDATE_ONLY);
	nest_end(&message, item);
	nest_end(&message, list);
	result = netlink_ask(generic, &message);
	explicit_bzero(&message, sizeof(message));
out:
	if (generic >= 0)
		close(generic);
	return result;
}

void tunnel_remove(int route)
{
	struct ifinfomsg any = {.ifi_family = AF_UNSPEC};
	struct message message;

	message_begin(&message, RTM_DELLINK, NLM_F_ACK, &any, sizeof(any));
	put_text(&message, IFLA_IFNAME, TUNNEL_NAME);
	netlink_ask(route, &message);
}

/* Make the interface. Returns 0 or -errno. */
static int make_interface(int route)
{
	struct ifinfomsg head = {.ifi_family = AF_UNSPEC};
	struct message message;
	size_t about;

	message_begin(&message, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &head,
		      sizeof(head));
	put_text(&message, IFLA_IFNAME, TUNNEL_NAME);
	put_u32(&message, IFLA_MTU, TUNNEL_MTU);
	about = nest_begin(&message, IFLA_LINKINFO);
	put_text(&message, IFLA_INFO_KIND, WG_GENL_NAME);
	nest_end(&message, about);
	return netlink_ask(route, &message);
}

int tunnel_make(int route, const struct session *session, uint32_t link)
{
	uint32_t tunnel;
	int result;

	tunnel_remove(route);
	result = make_interface(route);
	if (result < 0)
		return fail("cannot make the WireGuard interface %s: %s%s", TUNNEL_NAME,
			    strerror(-result),
			    result == -EOPNOTSUPP ? "; is the module wireguard in this initrd?" : "");
	tunnel = if_nametoindex(TUNNEL_NAME);
	interface_quiet(tunnel);
	result = configure(session, tunnel, link, true);
	if (result == 0)
		result = interface_up(route, tunnel);
	if (result == 0)
		result = interface_address(route, tunnel, &session->inner_address);
	if (result >= 0)
		return (int)tunnel;
	tunnel_remove(route);
	return fail("cannot set up the WireGuard interface %s: %s", TUNNEL_NAME, strerror(-result));
}

int tunnel_move(const struct session *session, uint32_t tunnel, uint32_t link)
{
	int result = configure(session, tunnel, link, false);

	if (result < 0)
		return fail("cannot tell WireGuard where the laptop is: %s", strerror(-result));
	return 0;
}
