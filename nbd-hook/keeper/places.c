#include "places.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "say.h"

struct places places = {-1, -1, -1, -1, -1, -1};

static int folder_open(const char *path)
{
	int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (folder < 0)
		return fail("cannot open %s: %s; it must be mounted before the link is made", path,
			    strerror(errno));
	return folder;
}

int places_open(void)
{
	if ((places.dev = folder_open("/dev")) < 0 || (places.proc = folder_open("/proc")) < 0 ||
	    (places.sys = folder_open("/sys")) < 0)
		return -1;
	places.pts = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
	places.kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	places.console = open("/dev/console", O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	return 0;
}

int place_write(int folder, const char *path, const char *text)
{
	int file = openat(folder, path, O_WRONLY | O_CLOEXEC);
	ssize_t written;
	int reason;

	if (file < 0)
		return -1;
	written = write(file, text, strlen(text));
	reason = errno;
	close(file);
	errno = reason;
	return written < 0 ? -1 : 0;
}

bool place_has(int folder, const char *path)
{
	struct stat about;

	return fstatat(folder, path, &about, AT_SYMLINK_NOFOLLOW) == 0;
}
