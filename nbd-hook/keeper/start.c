#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "move.h"
#include "say.h"

/* More than all deadlines of the keeper together. */
#define START_SECONDS 150
/* Both together less than the 90 s that systemd-shutdown(8) has for whoever it calls at the end. */
#define FLUSH_SECONDS 45
/* The keeper tries for 35 s. */
#define END_SECONDS 40

/* Become the keeper: by a new exec, for the program's new place, and for the name. systemd spares
 * processes whose argv[0] starts with '@' when it ends all others
 * (https://systemd.io/ROOT_STORAGE_DAEMONS). */
static void become_keeper(const char *folder, int starter)
{
	char program[PATH_MAX];

	/* Nothing else of what the caller has open may live as long as the keeper. */
	snprintf(program, sizeof(program), "%s/" PROGRAM, folder);
	if (dup2(starter, STARTER_PIPE) == STARTER_PIPE && fcntl(STARTER_PIPE, F_SETFD, 0) == 0 &&
	    close_range(STARTER_PIPE + 1, ~0u, 0) == 0)
		execl(program, "@stiefel-link", "keep", folder, (char *)NULL);
	dprintf(STARTER_PIPE, "%ccannot start the keeper: %s; its folder's filesystem must allow "
		"programs", CONTROL_BAD, strerror(errno));
	_exit(1);
}

/* Read the keeper's verdict. Returns its length; 0 if it ended without one, -1 if it hangs. */
static ssize_t read_verdict(int from, char *text, size_t size)
{
	struct pollfd waiting = {.fd = from, .events = POLLIN};
	ssize_t length;

	if (poll(&waiting, 1, START_SECONDS * 1000) != 1)
		return -1;
	length = read(from, text, size - 1);
	text[length > 0 ? length : 0] = '\0';
	return length > 0 ? length : 0;
}

int start(const char *folder)
{
	char verdict[1024] = "";
	int ends[2];
	pid_t keeper;
	ssize_t length;

	if (move_in(folder) < 0) {
		fprintf(stderr, "stiefel-link: %s\n", problem());
		return 1;
	}
	if (pipe2(ends, O_CLOEXEC) < 0 || (keeper = fork()) < 0) {
		fprintf(stderr, "stiefel-link: cannot start the keeper: %s\n", strerror(errno));
		return 1;
	}
	if (keeper == 0)
		become_keeper(folder, ends[1]);
	close(ends[1]);
	length = read_verdict(ends[0], verdict, sizeof(verdict));
	if (length > 0 && verdict[0] == CONTROL_GOOD)
		return 0;
	if (length < 0)
		kill(keeper, SIGKILL);
	fprintf(stderr, "stiefel-link: %s\n",
		length > 0 ? verdict + 1 : "the keeper has ended without a word; see dmesg");
	return 1;
}

/* Write all that the kernel has for the disk, and have the laptop write it to its medium. In a
 * process of its own: nothing ends a process that waits for a disk. */
static int flush_disk(void)
{
	pid_t child = fork();
	struct pollfd waiting = {.events = POLLIN};
	int status = 0;

	if (child == 0) {
		int disk = open("/dev/nbd0", O_RDONLY | O_CLOEXEC);

		/* First whatever is still in memory, also that of partitions and of what lies on
		 * them; then what the laptop has in its memory. */
		sync();
		_exit(disk < 0 || fsync(disk) < 0 ? errno : 0);
	}
	waiting.fd = child < 0 ? -1 : (int)syscall(SYS_pidfd_open, child, 0);
	if (waiting.fd < 0)
		return fail("cannot start a process to flush the disk: %s", strerror(errno));
	if (poll(&waiting, 1, FLUSH_SECONDS * 1000) != 1)
		return fail("the disk could not be flushed in %d s; the session goes on, so that "
			    "nothing is lost", FLUSH_SECONDS);
	waitpid(child, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return fail("the disk cannot be flushed: %s; the session goes on",
			    WIFEXITED(status) ? strerror(WEXITSTATUS(status)) : "killed");
	return 0;
}

int end(const char *folder)
{
	if (flush_disk() < 0) {
		fprintf(stderr, "stiefel-link: %s\n", problem());
		return 1;
	}
	return control_ask(folder, "end", END_SECONDS);
}
