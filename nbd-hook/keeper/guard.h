/* What makes a process one that a root filesystem can depend on. */
#ifndef GUARD_H
#define GUARD_H

/* Open the keeper's folder, which has to be ours alone, and claim it: one keeper for one folder.
 * Returns its descriptor, which is kept open for ever, or -1 with fail(). */
int guard_folder(const char *folder);

/* Stay alive: in memory, for nobody's signal, in a session of its own, without standard streams.
 * Returns 0, or -1 with fail(). */
int guard_become(void);

#endif
