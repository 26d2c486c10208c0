#include "control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "say.h"

static int set_address(struct sockaddr_un *address, const char *folder)
{
	int length;

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	length = snprintf(address->sun_path, sizeof(address->sun_path), "%s/status", folder);
	if (length >= (int)sizeof(address->sun_path))
		return fail("the folder's name is too long for a socket: %s", folder);
	return 0;
}

int control_listen(const char *folder)
{
	struct sockaddr_un address;
	int opened;

	if (set_address(&address, folder) < 0)
		return -1;
	opened = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	unlink(address.sun_path);
	if (opened >= 0 && bind(opened, (struct sockaddr *)&address, sizeof(address)) == 0)
		return opened;
	fail("cannot listen at %s: %s", address.sun_path, strerror(errno));
	if (opened >= 0)
		close(opened);
	return -1;
}

int control_receive(int opened, char *text, size_t size, struct asker *asker)
{
	ssize_t length;

	asker->size = sizeof(asker->address);
	length = recvfrom(opened, text, size - 1, 0, (struct sockaddr *)&asker->address,
			  &asker->size);
	if (length < 0)
		return 0;
	text[length] = '\0';
	return 1;
}

void control_answer(int opened, const struct asker *asker, char verdict, const char *text)
{
	char answer[CONTROL_TEXT_MAX + 1];
	int length = snprintf(answer, sizeof(answer), "%c%s", verdict, text);

	if (length >= (int)sizeof(answer))
		length = (int)sizeof(answer) - 1;
	if (asker->size > 0 &&
	    sendto(opened, answer, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT,
		   (const struct sockaddr *)&asker->address, asker->size) < 0)
		note("somebody asked, and did not wait for the answer");
}

/* Send the request and wait for the answer. Returns its length, or -1 with fail(). */
static ssize_t exchange(int opened, const char *folder, const char *request, int seconds,
			char *answer, size_t size)
{
	struct sockaddr_un keeper, own = {.sun_family = AF_UNIX};
	struct pollfd waiting = {.fd = opened, .events = POLLIN};
	ssize_t length;

	if (set_address(&keeper, folder) < 0)
		return -1;
	/* No name but one that the kernel makes up, for the answer. */
	if (bind(opened, (struct sockaddr *)&own, sizeof(own.sun_family)) < 0 ||
	    connect(opened, (struct sockaddr *)&keeper, sizeof(keeper)) < 0 ||
	    send(opened, request, strlen(request), MSG_NOSIGNAL) < 0)
		return fail("cannot ask the link keeper at %s: %s; does it run? Only root may ask",
			    keeper.sun_path, strerror(errno));
	if (poll(&waiting, 1, seconds * 1000) != 1)
		return fail("the link keeper has not answered in %d s", seconds);
	length = recv(opened, answer, size - 1, 0);
	if (length < 1)
		return fail("the link keeper's answer is empty");
	answer[length] = '\0';
	return length;
}

int control_ask(const char *folder, const char *request, int seconds)
{
	char answer[CONTROL_TEXT_MAX + 1] = "";
	int opened = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (opened < 0)
		fail("cannot open a socket: %s", strerror(errno));
	if (opened < 0 || exchange(opened, folder, request, seconds, answer, sizeof(answer)) < 0) {
		fprintf(stderr, "stiefel-link: %s\n", problem());
		return 1;
	}
	if (answer[0] == CONTROL_GOOD)
		return printf("%s\n", answer + 1) < 0;
	fprintf(stderr, "stiefel-link: %s\n", answer + 1);
	return 1;
}
