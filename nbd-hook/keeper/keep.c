/* The keeper itself: one loop that waits for whatever happens next. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "device.h"
#include "guard.h"
#include "keeper.h"
#include "netlink.h"
#include "places.h"
#include "say.h"
#include "start.h"
#include "tunnel.h"

#define NIC_MS 60000
#define DISK_MS 60000
/* While the disk waits, it is looked after the clock at least so often. */
#define WAITING_TICK_MS 1000

/* What is polled, and where; what is not there is -1, which poll(2) passes over. */
enum { EVENTS, DIAL, SCAN, STARTER, CONTROL, FAREWELL, FIRST_SOCKET,
       POLLED = FIRST_SOCKET + CONNECTIONS_MAX };

static int64_t earlier(int64_t one, int64_t other)
{
	return one < other ? one : other;
}

/* When the loop has something to do, though nothing happens. */
static int64_t next_time(const struct keeper *k)
{
	int64_t next = k->look_at;

	if (k->phase < KEEPING)
		next = earlier(next, k->deadline);
	if (k->dial.socket >= 0)
		next = earlier(next, k->dial.deadline + 1);
	else if (k->phase != SEARCHING && k->phase != ENDED && k->link.ready &&
		 alive(k) < k->wanted)
		next = earlier(next, k->dial_at);
	if (k->farewell.socket >= 0)
		next = earlier(next, k->farewell.again);
	if (k->waiting_since)
		next = earlier(next, now_ms() + WAITING_TICK_MS);
	return next;
}

static int wait_for_news(const struct keeper *k, struct pollfd polled[POLLED])
{
	int64_t next = next_time(k), now = now_ms();
	int timeout = -1;

	for (int i = 0; i < POLLED; i++)
		polled[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	polled[EVENTS].fd = k->link.events;
	polled[DIAL].fd = k->dial.socket;
	polled[DIAL].events = dial_events(&k->dial);
	polled[SCAN].fd = k->scan_ends;
	polled[STARTER].fd = k->starter;
	polled[STARTER].events = 0; /* an error: nobody reads any more */
	polled[CONTROL].fd = k->control;
	polled[FAREWELL].fd = k->farewell.socket;
	for (unsigned int i = 0; i < k->wanted; i++) {
		/* The kernel receives from these, and shuts down a socket that it takes for dead. */
		polled[FIRST_SOCKET + i].fd = k->sockets[i];
		polled[FIRST_SOCKET + i].events = POLLRDHUP;
	}
	if (next != INT64_MAX)
		timeout = next <= now ? 0 : (int)earlier(next - now, 1000000);
	if (poll(polled, POLLED, timeout) < 0 && errno != EINTR)
		return fail("poll: %s", strerror(errno));
	return 0;
}

static void tell_starter(struct keeper *k, char verdict, const char *text)
{
	char line[600];
	int length = snprintf(line, sizeof(line), "%c%s", verdict, text);

	if (k->starter >= 0 && write(k->starter, line, (size_t)length) < 0)
		note("whoever started the keeper is gone");
	close(k->starter);
	k->starter = -1;
}

/* From one phase to the next, as far as that takes no event. */
static int advance(struct keeper *k)
{
	if (k->phase == SEARCHING && k->link.nic.index) {
		k->phase = CONNECTING;
		k->deadline = now_ms() + DISK_MS;
	}
	if (k->phase == SCANNING && k->scan == 0) {
		k->scan = device_scan();
		if (k->scan < 0)
			return -1;
		k->scan_ends = (int)syscall(SYS_pidfd_open, k->scan, 0);
		if (k->scan_ends < 0)
			return fail("cannot wait for a process: %s", strerror(errno));
	}
	return 0;
}

static int finish_scan(struct keeper *k)
{
	int status = 0;

	waitpid(k->scan, &status, 0);
	close(k->scan_ends);
	k->scan_ends = -1;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return fail("the laptop's disk is connected, but cannot be read: %s",
			    WIFEXITED(status) ? strerror(WEXITSTATUS(status)) : "killed");
	k->phase = KEEPING;
	say("the laptop's disk is /dev/nbd0, over %s%s, with %u connection%s", k->link.nic.name,
	    k->session.encrypted ? " and WireGuard" : ", NOT encrypted", k->wanted,
	    k->wanted == 1 ? "" : "s");
	tell_starter(k, CONTROL_GOOD, "");
	return 0;
}

/* What to say when a phase has taken too long. */
static int fail_for_time(const struct keeper *k)
{
	const uint8_t *mac = k->session.mac;

	if (k->phase == SEARCHING)
		return fail("no network interface has the MAC %02x:%02x:%02x:%02x:%02x:%02x, waited "
			    "%d s; is its driver in this initrd?%s%s", mac[0], mac[1], mac[2], mac[3],
			    mac[4], mac[5], NIC_MS / 1000, k->trouble[0] ? "\n" : "", k->trouble);
	if (k->link.ready && !k->link.nic.carrier)
		return fail("the cable at %s has no signal, waited %d s; is it plugged in at both ends, "
			    "and the laptop on?", k->link.nic.name, DISK_MS / 1000);
	if (k->phase == SCANNING)
		return fail("the laptop's disk is connected, but nothing could be read from it in %d s",
			    DISK_MS / 1000);
	return fail("the laptop does not give its disk, tried for %d s: %s", DISK_MS / 1000,
		    k->trouble[0] ? k->trouble : "no answer");
}

static void begin_farewell(struct keeper *k, const struct asker *asker)
{
	struct sockaddr_in6 from, to;

	if (k->phase == ENDED) {
		control_answer(k->control, asker, CONTROL_GOOD, "the session has ended already");
	} else if (k->phase != KEEPING || k->farewell.socket >= 0) {
		control_answer(k->control, asker, CONTROL_BAD,
			       k->phase == KEEPING ? "the session is about to end already"
						   : "the disk is not connected yet");
	} else {
		link_ends(&k->link, &k->session, k->session.end_port, &from, &to);
		k->who_ends = *asker;
		if (farewell_start(&k->farewell, &from, &to) < 0)
			control_answer(k->control, asker, CONTROL_BAD, problem());
	}
}

static void step_farewell(struct keeper *k)
{
	int result = farewell_step(&k->farewell, &k->session);

	if (result < 0) {
		note("%s", problem());
		control_answer(k->control, &k->who_ends, CONTROL_BAD, problem());
	} else if (result == 1) {
		k->phase = ENDED;
		dial_end(&k->dial);
		note("the session has ended; the laptop knows");
		control_answer(k->control, &k->who_ends, CONTROL_GOOD, "the session has ended");
	}
}

static void answer_requests(struct keeper *k)
{
	char request[32], text[CONTROL_TEXT_MAX];
	struct asker asker;

	while (control_receive(k->control, request, sizeof(request), &asker)) {
		if (strcmp(request, "end") == 0) {
			begin_farewell(k, &asker);
		} else if (strcmp(request, "status") == 0 || strcmp(request, "json") == 0) {
			report_status(k, request[0] == 'j', text);
			control_answer(k->control, &asker, CONTROL_GOOD, text);
		} else {
			control_answer(k->control, &asker, CONTROL_BAD, "unknown request");
		}
	}
}

/* All that is due, or has happened. Returns 0, or -1 with fail() if there can be no disk. */
static int handle(struct keeper *k, const struct pollfd polled[POLLED])
{
	for (unsigned int i = 0; i < k->wanted; i++)
		if (k->sockets[i] >= 0 && polled[FIRST_SOCKET + i].revents)
			bury(k, i);
	if (polled[EVENTS].revents) {
		netlink_drain(k->link.events);
		k->look_at = earlier(k->look_at, k->look_again);
	}
	if (revive_step(k, polled[DIAL].revents != 0) < 0)
		return -1;
	if (polled[SCAN].revents && finish_scan(k) < 0)
		return -1;
	if (polled[STARTER].revents && k->phase < KEEPING)
		return fail("whoever wanted the disk is gone");
	if (polled[CONTROL].revents)
		answer_requests(k);
	if (k->farewell.socket >= 0)
		step_farewell(k);
	if (k->phase < KEEPING && now_ms() >= k->deadline)
		return fail_for_time(k);
	return 0;
}

static int loop(struct keeper *k)
{
	struct pollfd polled[POLLED];

	for (;;) {
		if (now_ms() >= k->look_at)
			look(k);
		if (advance(k) < 0)
			return -1;
		revive(k);
		report_waiting(k);
		if (wait_for_news(k, polled) < 0 || handle(k, polled) < 0)
			return -1;
	}
}

static void clean_up(struct keeper *k)
{
	dial_end(&k->dial);
	for (unsigned int i = 0; i < k->wanted; i++)
		if (k->sockets[i] >= 0)
			drop(k, i);
	if (k->phase == SCANNING)
		device_disconnect();
	if (k->link.tunnel)
		tunnel_remove(k->link.route);
}

static int prepare(struct keeper *k, const char *folder)
{
	int inside = guard_folder(folder);

	if (inside < 0 || places_open() < 0 || session_take(&k->session, inside) < 0 ||
	    guard_become() < 0 || link_open(&k->link) < 0)
		return -1;
	k->control = control_listen(folder);
	k->wanted = k->session.connections;
	k->deadline = now_ms() + NIC_MS;
	return k->control < 0 ? -1 : 0;
}

int keep(const char *folder)
{
	static struct keeper k;

	k.starter = STARTER_PIPE;
	k.dial.socket = k.farewell.socket = k.scan_ends = -1;
	for (int i = 0; i < CONNECTIONS_MAX; i++)
		k.sockets[i] = -1;
	if (prepare(&k, folder) == 0 && loop(&k) == 0)
		return 0;
	/* Before the disk is there, the starter says so. Afterwards, nothing leads to here but a
	 * kernel that cannot poll. */
	note("%s", problem());
	tell_starter(&k, CONTROL_BAD, problem());
	clean_up(&k);
	return 1;
}
