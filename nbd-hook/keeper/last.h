/* What runs when the target's OS has ended: the last program on this machine. */
#ifndef LAST_H
#define LAST_H

/* The name by which it is called. */
#define LAST_NAME "shutdown"

/* Unmount what is left, end the session, and power off, reboot, halt or kexec, as the arguments of
 * systemd-shutdown(8) say. As PID 1, in a root that has no need of the disk: does not return. */
void last(int count, char **arguments);

#endif
