/* How `stiefel-link status` and `stiefel-link end` talk to the keeper: datagrams over a socket in its
 * folder, which root alone can enter. */
#ifndef CONTROL_H
#define CONTROL_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CONTROL_FOLDER "/run/initramfs/stiefelsystem"
#define CONTROL_TEXT_MAX 2048

/* An answer starts with this, or with another character if what was asked for failed. */
#define CONTROL_GOOD '+'
#define CONTROL_BAD '-'

/* Who asked, to be answered now or later. */
struct asker {
	struct sockaddr_un address;
	socklen_t size;
};

/* Listen in a folder, where nobody else does. Returns the socket, or -1 with fail(). */
int control_listen(const char *folder);

/* Receive a request. Returns 1 and its text, 0 if there is none (any more). */
int control_receive(int socket, char *text, size_t size, struct asker *asker);

/* Answer it. Who does not listen any more gets nothing. */
void control_answer(int socket, const struct asker *asker, char verdict, const char *text);

/* The other side: ask the keeper of a folder, and print its answer: a good one on stdout, a bad one
 * on stderr. Returns the program's exit status, which is 1 also if there is no answer in `seconds`. */
int control_ask(const char *folder, const char *request, int seconds);

#endif
