#include "move.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "say.h"

/* More than any program of ours has; sendfile(2) ends at the end of the file. */
#define WHOLE (64 << 20)

/* Copy an open file to a new one. Returns 0, or -1 with errno; then there is no new one. */
static int copy(int from, int folder, const char *name, mode_t mode)
{
	int to = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	ssize_t done = 1;
	int error;

	if (to < 0)
		return errno == EEXIST ? 0 : -1;
	while (done > 0)
		done = sendfile(to, from, NULL, WHOLE);
	error = done < 0 ? errno : 0;
	if (close(to) < 0 && error == 0)
		error = errno;
	if (error)
		unlinkat(folder, name, 0);
	errno = error;
	return error ? -1 : 0;
}

/* The folder in which this program lies; -1 if that cannot be told. */
static int open_own_folder(void)
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (length < 0)
		return -1;
	path[length] = '\0';
	return open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Move the session's settings and keys, if they are beside the program. */
static int move_session(int folder)
{
	int own = open_own_folder();
	int file = own < 0 ? -1 : openat(own, "session", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	int result = 0;

	if (file >= 0) {
		result = copy(file, folder, "session", 0600);
		/* Also where the name stays: the memory of what was in it is given back. */
		if (result == 0 && (ftruncate(file, 0) < 0 || unlinkat(own, "session", 0) < 0))
			result = -1;
		close(file);
	}
	if (own >= 0)
		close(own);
	return result;
}

int move_in(const char *folder)
{
	int inside = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int result = -1;

	if (inside < 0) {
		fail("cannot open the folder %s: %s", folder, strerror(errno));
	} else {
		result = program < 0 ? -1 : copy(program, inside, PROGRAM, 0700);
		if (result == 0 && faccessat(inside, "session", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			result = move_session(inside);
		if (result < 0)
			fail("cannot move into the folder %s: %s", folder, strerror(errno));
		close(inside);
	}
	if (program >= 0)
		close(program);
	return result;
}
