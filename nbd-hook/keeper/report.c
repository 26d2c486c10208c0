/* What the keeper tells: to people when the disk waits, and to who asks. */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "keeper.h"
#include "say.h"

/* A stall that is shorter is no news. */
#define NEWS_MS 2000
/* A cable with a bad plug is not reported each time. */
#define BETWEEN_NEWS_MS 10000
/* A laptop that has a signal, and does not answer for so long, has forgotten the session. */
#define FORGOTTEN_MS 120000

/* Whether requests cannot get through, as far as can be told at once. */
static bool waits(const struct keeper *keeper)
{
	return keeper->phase == KEEPING &&
	       (alive(keeper) == 0 || !keeper->link.ready || !keeper->link.nic.carrier);
}

static void report_end_of_waiting(struct keeper *keeper, int64_t now)
{
	long long seconds = (long long)(now - keeper->waiting_since + 500) / 1000;

	if (keeper->announced)
		say("the disk goes on after %lld s", seconds);
	keeper->waiting_since = 0;
	keeper->announced = keeper->warned = false;
}

void report_waiting(struct keeper *keeper)
{
	int64_t now = now_ms();

	if (!waits(keeper)) {
		if (keeper->waiting_since)
			report_end_of_waiting(keeper, now);
		return;
	}
	if (!keeper->waiting_since)
		keeper->waiting_since = now;
	if (!keeper->announced && now - keeper->waiting_since >= NEWS_MS &&
	    (!keeper->announced_at || now - keeper->announced_at >= BETWEEN_NEWS_MS)) {
		say("the disk waits for the laptop: is the cable plugged in, and the laptop on?");
		keeper->announced_at = now;
		keeper->announced = true;
	}
	if (!keeper->warned && keeper->link.nic.carrier &&
	    now - keeper->waiting_since >= FORGOTTEN_MS) {
		say("the laptop does not answer, though the cable has a signal. If it was restarted, "
		    "this session cannot go on: restart this machine, too");
		keeper->warned = true;
	}
}

struct output {
	char *text;
	size_t length;
};

static void add(struct output *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct output *out, const char *format, ...)
{
	size_t room = CONTROL_TEXT_MAX - out->length;
	va_list values;
	int count;

	va_start(values, format);
	count = vsnprintf(out->text + out->length, room, format, values);
	va_end(values);
	if (count > 0)
		out->length += (size_t)count < room ? (size_t)count : room - 1;
}

/* A text as a JSON string: without what would need escapes, which is nothing of interest. */
static void add_string(struct output *out, const char *text)
{
	add(out, "\"");
	for (; *text; text++)
		add(out, "%c", *text < ' ' || *text > '~' || *text == '"' || *text == '\\' ? '.' : *text);
	add(out, "\"");
}

static const char *state(const struct keeper *keeper)
{
	if (keeper->phase == ENDED)
		return "ended";
	if (keeper->phase != KEEPING)
		return "connecting";
	return waits(keeper) ? "waiting" : "connected";
}

static void status_json(const struct keeper *k, long long waiting, struct output *out)
{
	add(out, "{\"state\": \"%s\", ", state(k));
	add(out, "\"interface\": ");
	add_string(out, k->link.nic.index ? k->link.nic.name : "");
	add(out, ", \"carrier\": %s, ", k->link.nic.index && k->link.nic.carrier ? "true" : "false");
	add(out, "\"encryption\": \"%s\", ", k->session.encrypted ? "wireguard" : "none");
	add(out, "\"connections\": %u, \"alive\": %u, ", k->wanted, alive(k));
	add(out, "\"connections_asked_for\": %u, ", k->session.connections);
	add(out, "\"revived\": %u, \"size\": %llu, ", k->revived, (unsigned long long)k->export.size);
	add(out, "\"waiting_seconds\": %lld, \"trouble\": ", waiting);
	add_string(out, k->trouble);
	add(out, "}");
}

static void status_text(const struct keeper *k, long long waiting, struct output *out)
{
	char server[INET6_ADDRSTRLEN] = "";

	inet_ntop(AF_INET6, &k->session.server, server, sizeof(server));
	add(out, "%s: /dev/nbd0, %llu bytes of the laptop at %s", state(k),
	    (unsigned long long)k->export.size, server);
	if (waiting)
		add(out, "\nwaits for the laptop since %lld s", waiting);
	add(out, "\ninterface: %s", k->link.nic.index ? k->link.nic.name : "gone");
	if (k->link.nic.index)
		add(out, ", the cable has %s signal", k->link.nic.carrier ? "a" : "no");
	add(out, "\nencryption: %s", k->session.encrypted ? "wireguard" : "none");
	add(out, "\nconnections: %u of %u alive, %u replaced so far", alive(k), k->wanted, k->revived);
	if (k->wanted < k->session.connections)
		add(out, "; the server allows no more than %u, of %u", k->wanted,
		    k->session.connections);
	if (k->trouble[0])
		add(out, "\nlast trouble: %s", k->trouble);
}

void report_status(const struct keeper *keeper, bool json, char *text)
{
	struct output out = {.text = text};
	long long waiting = 0;

	if (keeper->waiting_since)
		waiting = (long long)(now_ms() - keeper->waiting_since) / 1000;
	if (json)
		status_json(keeper, waiting, &out);
	else
		status_text(keeper, waiting, &out);
}
