/* systemd-shutdown(8) makes /run/initramfs the root, with the OS's own at /oldroot, and executes
 * /shutdown there as PID 1 (https://systemd.io/INITRD_INTERFACE). So the disk can be unmounted whole
 * before the laptop gets it back, and nothing is needed of it afterwards: what waited for it then
 * would wait for ever. */
#include "last.h"

#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include "start.h"

#define OLD_ROOT "/oldroot"
/* Where the keeper's folder is, when what is around it has become the root. */
#define FOLDER "/stiefelsystem"
#define MOUNTS_MAX 256
#define PATH_SIZE 512
/* Who was killed just now may hold a filesystem for some moments. */
#define TRIES 30
#define BETWEEN_TRIES_MS 100

static char mounts[MOUNTS_MAX][PATH_SIZE];

static bool below_old_root(const char *path)
{
	size_t length = strlen(OLD_ROOT);

	return strncmp(path, OLD_ROOT, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* List what is mounted of the OS, in the order in which it was. Returns how much. */
static int list_mounts(void)
{
	FILE *table = setmntent("/proc/self/mounts", "r");
	const struct mntent *entry;
	int count = 0;

	while (table && count < MOUNTS_MAX && (entry = getmntent(table)))
		if (below_old_root(entry->mnt_dir) && strlen(entry->mnt_dir) < PATH_SIZE)
			strcpy(mounts[count++], entry->mnt_dir);
	if (table)
		endmntent(table);
	return count;
}

static void unmount_all(void)
{
	const struct timespec pause = {.tv_nsec = BETWEEN_TRIES_MS * 1000000L};
	int count = list_mounts();

	for (int tries = 0; count > 0 && tries < TRIES; tries++) {
		for (int i = count - 1; i >= 0; i--)
			umount2(mounts[i], 0);
		count = list_mounts();
		if (count > 0)
			nanosleep(&pause, NULL);
	}
	/* At least nothing more is written, and the filesystem is in order. */
	for (int i = count - 1; i >= 0; i--)
		if (mount(NULL, mounts[i], NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
			fprintf(stderr, "stiefel-link: cannot unmount %s\n", mounts[i]);
}

static unsigned int order(const char *verb)
{
	if (strcmp(verb, "poweroff") == 0)
		return RB_POWER_OFF;
	if (strcmp(verb, "halt") == 0)
		return RB_HALT_SYSTEM;
	if (strcmp(verb, "kexec") == 0)
		return RB_KEXEC;
	return RB_AUTOBOOT;
}

void last(int count, char **arguments)
{
	unmount_all();
	end(FOLDER);
	reboot((int)order(count > 1 ? arguments[1] : "reboot"));
	/* There was no kernel for kexec, say. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
