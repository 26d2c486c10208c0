/* From the initrd, which is emptied when the OS takes over, to where the keeper stays. */
#ifndef MOVE_H
#define MOVE_H

#define PROGRAM "stiefel-link"

/* Put this program into `folder`, and the file `session` that lies beside it, unless they are there.
 * What held keys in the former place is removed. Returns 0, or -1 with fail(). */
int move_in(const char *folder);

#endif
