#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "places.h"
#include "say.h"

int guard_folder(const char *folder)
{
	struct stat about;
	int inside = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (inside < 0)
		return fail("cannot open the folder %s: %s", folder, strerror(errno));
	if (fstat(inside, &about) < 0 || about.st_uid != geteuid() || (about.st_mode & 077) != 0)
		fail("the folder %s is not root's alone; it holds keys: chmod 0700 it", folder);
	else if (flock(inside, LOCK_EX | LOCK_NB) < 0)
		fail("a link keeper runs already at %s: see stiefel-link status", folder);
	else
		return inside;
	close(inside);
	return -1;
}

static int close_streams(void)
{
	int nothing = openat(places.dev, "null", O_RDWR | O_CLOEXEC);

	for (int stream = 0; stream <= 2; stream++)
		if (nothing < 0 || dup2(nothing, stream) < 0)
			return fail("cannot open /dev/null: %s", strerror(errno));
	close(nothing);
	return 0;
}

int guard_become(void)
{
	const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2,
			       SIGTSTP, SIGTTIN, SIGTTOU};

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	umask(077);
	/* Fails only for the leader of a group, who has no terminal to lose then. */
	setsid();
	if (chdir("/") < 0 || close_streams() < 0)
		return fail("cannot leave what started the keeper: %s", strerror(errno));
	if (place_write(places.proc, "self/oom_score_adj", "-1000") < 0)
		note("cannot be kept from the kernel's out-of-memory killer: %s", strerror(errno));
	/* Memory for us is never got by writing pages to the disk that waits for us. */
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
		note("cannot be marked as serving a disk: %s", strerror(errno));
	/* Keys are in this memory: no core file, and nobody but root looks. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		return fail("cannot lock the link keeper in memory: %s; it needs root",
			    strerror(errno));
	return 0;
}
