/* The two ends of the keeper's life that are seen from outside. */
#ifndef START_H
#define START_H

/* The keeper is started with a pipe at this descriptor. Into it goes CONTROL_GOOD when the disk is
 * there, or CONTROL_BAD and the problem. */
#define STARTER_PIPE 3

/* `run`: start the keeper, and wait until the disk is there. Returns the exit status. */
int start(const char *folder);

/* `end`: have everything written to the disk, and the session ended. Returns the exit status. */
int end(const char *folder);

#endif
