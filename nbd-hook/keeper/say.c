#include "say.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "places.h"

/* Terminals are looked for by number: reading a folder would need memory. */
#define PSEUDO_TERMINALS 256
#define VIRTUAL_CONSOLES 63 /* MAX_NR_CONSOLES of Linux */

static char last_problem[512] = "no reason is known";

int fail(const char *format, ...)
{
	/* Formatted apart: the former problem may be among the values. */
	char text[sizeof(last_problem)];
	va_list values;

	va_start(values, format);
	vsnprintf(text, sizeof(text), format, values);
	va_end(values);
	snprintf(last_problem, sizeof(last_problem), "%s", text);
	return -1;
}

const char *problem(void)
{
	return last_problem;
}

/* Write what can be written now. What cannot, a terminal that is stopped, say, is dropped. */
static void put(int descriptor, const char *text, int length)
{
	if (descriptor >= 0 && length > 0 && write(descriptor, text, (size_t)length) < 0)
		return;
}

static void log_line(const char *text)
{
	char line[640];
	/* <5>: notice, see printk in Linux's documentation. One write is one record. */
	int length = snprintf(line, sizeof(line), "<5>stiefel-link: %s\n", text);

	put(places.kmsg, line, length < (int)sizeof(line) ? length : (int)sizeof(line) - 1);
}

/* Write to a terminal that somebody uses, as wall(1) does: one that belongs to a user, or whose
 * root lets others write there (mesg y). */
static void tell_terminal(int folder, const char *name, bool mesg_counts, const char *text,
			  int length)
{
	struct stat about;
	int terminal;

	/* Looked at first: opening a virtual console that nobody has opened would make one. */
	if (folder < 0 || fstatat(folder, name, &about, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISCHR(about.st_mode))
		return;
	if (about.st_uid == 0 && !(mesg_counts && (about.st_mode & S_IWGRP)))
		return;
	terminal = openat(folder, name, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (terminal < 0)
		return;
	put(terminal, text, length);
	close(terminal);
}

static void tell_everyone(const char *text)
{
	char line[640], name[16];
	int length = snprintf(line, sizeof(line), "\r\nstiefelsystem: %s\r\n", text);

	if (length >= (int)sizeof(line))
		length = (int)sizeof(line) - 1;
	put(places.console, line, length);
	for (int number = 0; number < PSEUDO_TERMINALS; number++) {
		snprintf(name, sizeof(name), "%d", number);
		tell_terminal(places.pts, name, true, line, length);
	}
	for (int number = 1; number <= VIRTUAL_CONSOLES; number++) {
		snprintf(name, sizeof(name), "tty%d", number);
		/* udev gives all of them to the group tty, whether they are in use or not. */
		tell_terminal(places.dev, name, false, line, length);
	}
}

void note(const char *format, ...)
{
	char text[512];
	va_list values;

	va_start(values, format);
	vsnprintf(text, sizeof(text), format, values);
	va_end(values);
	log_line(text);
}

void say(const char *format, ...)
{
	char text[512];
	va_list values;

	va_start(values, format);
	vsnprintf(text, sizeof(text), format, values);
	va_end(values);
	log_line(text);
	tell_everyone(text);
}
