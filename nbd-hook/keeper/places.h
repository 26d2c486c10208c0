/* The folders that the keeper uses, opened once.
 *
 * After the initrd's switch_root, a process that was there before still has the old, emptied root
 * folder: it finds nothing by an absolute path. And the new root lies on the very disk that the
 * keeper keeps. So everything is reached from these descriptors, which stay good when the
 * filesystems behind them are moved. */
#ifndef PLACES_H
#define PLACES_H

#include <stdbool.h>

struct places {
	int dev;     /* /dev */
	int pts;     /* /dev/pts, a filesystem of its own; -1 if there is none */
	int proc;    /* /proc */
	int sys;     /* /sys */
	int kmsg;    /* /dev/kmsg, for writing; -1 if it cannot be opened */
	int console; /* /dev/console, likewise */
};

extern struct places places;

/* Open them all. Returns 0, or -1 with fail(). */
int places_open(void);

/* Write a text to a file below one of the folders. Returns 0, or -1 with errno. */
int place_write(int folder, const char *path, const char *text);

/* Whether there is such a file, a link that leads nowhere included. */
bool place_has(int folder, const char *path);

#endif
