/* What is told to people: why something failed, and what the link does. */
#ifndef SAY_H
#define SAY_H

/* Keep a problem's description for the caller, printf-like, and return -1, which the caller
 * returns, too. It says what was attempted, what is wrong, and what to do next. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The description that the last fail() kept. */
const char *problem(void);

/* Into the kernel's log only: what is of interest afterwards. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* To the kernel's log, the console, and everyone's terminals: what a person at the machine must
 * know. Never waits for a terminal. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
