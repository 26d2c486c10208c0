/* stiefel-link, the link keeper: brings the laptop's disk to /dev/nbd0, and keeps it there.
 *
 * docs/design.md says what for. `run` starts a second process, the keeper, which stays beside the
 * target's OS as long as that runs; keep.c is its loop. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "keeper.h"
#include "last.h"
#include "start.h"

#define STATUS_SECONDS 5

static int usage(void)
{
	fputs("usage: stiefel-link run FOLDER\n"
	      "       stiefel-link status [--json] [--folder FOLDER]\n"
	      "       stiefel-link end [--folder FOLDER]\n"
	      "\n"
	      "run     connect the laptop's disk as /dev/nbd0, and keep it there: as the file 'session'\n"
	      "        says, in FOLDER or beside this program, which moves to FOLDER\n"
	      "status  what the link does now\n"
	      "end     flush the disk and end the session: after it, the disk is gone\n"
	      "\n"
	      "FOLDER is root's alone, and in memory; " CONTROL_FOLDER " unless it is named.\n",
	      stderr);
	return 2;
}

int main(int count, char **arguments)
{
	const char *folder = CONTROL_FOLDER;
	bool json = false;

	/* As systemd-shutdown(8) calls it, in its place. */
	if (getpid() == 1 && count >= 1 && strcmp(basename(arguments[0]), LAST_NAME) == 0)
		last(count, arguments);
	if (count == 3 && strcmp(arguments[1], "run") == 0)
		return start(arguments[2]);
	/* The part that runs beside the OS; start.c calls it so, and nobody else. */
	if (count == 3 && strcmp(arguments[1], "keep") == 0 &&
	    fcntl(STARTER_PIPE, F_GETFD) >= 0)
		return keep(arguments[2]);
	for (int i = 2; i < count; i++) {
		if (strcmp(arguments[i], "--json") == 0)
			json = true;
		else if (strcmp(arguments[i], "--folder") == 0 && i + 1 < count)
			folder = arguments[++i];
		else
			return usage();
	}
	if (count >= 2 && strcmp(arguments[1], "status") == 0)
		return control_ask(folder, json ? "json" : "status", STATUS_SECONDS);
	if (count >= 2 && !json && strcmp(arguments[1], "end") == 0)
		return end(folder);
	return usage();
}
