/* Netlink messages: building them, sending them to the kernel, and reading its answers.
 *
 * Every length in what is read is checked before it is used; values are copied out, so nothing
 * depends on alignment. */
#ifndef NETLINK_H
#define NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- building --- */

struct message {
	size_t length;
	bool too_long; /* something did not fit; sending fails */
	uint8_t bytes[2048];
};

/* Start a request: a message type, NLM_F_* flags, and the header that this type has. */
void message_begin(struct message *message, uint16_t type, uint16_t flags, const void *header,
		   size_t size);

void put_bytes(struct message *message, uint16_t type, const void *value, size_t size);
void put_text(struct message *message, uint16_t type, const char *text);
void put_u8(struct message *message, uint16_t type, uint8_t value);
void put_u16(struct message *message, uint16_t type, uint16_t value);
void put_u32(struct message *message, uint16_t type, uint32_t value);
void put_u64(struct message *message, uint16_t type, uint64_t value);

/* Open a nested attribute; what it returns is for nest_end, when all that belongs in it is put. */
size_t nest_begin(struct message *message, uint16_t type);
void nest_end(struct message *message, size_t start);

/* --- reading --- */

struct span {
	const uint8_t *bytes;
	size_t length;
};

struct answer {
	uint16_t type;
	uint32_t sequence;
	struct span payload;
};

struct attribute {
	uint16_t type; /* without NLA_F_* */
	struct span value;
};

/* Take the next message, or attribute, from the front of `rest`. False at its end, and where what
 * follows is malformed. */
bool next_answer(struct span *rest, struct answer *answer);
bool next_attribute(struct span *rest, struct attribute *attribute);

/* Skip a fixed header. False if there are fewer bytes. */
bool skip(struct span *rest, size_t size);

/* Look for the first attribute of a type. */
bool find_attribute(struct span attributes, uint16_t type, struct span *value);

/* Copy a value out, if it has exactly this size. */
bool read_value(struct span value, void *to, size_t size);

/* --- asking the kernel --- */

/* A socket for NETLINK_ROUTE or NETLINK_GENERIC that does not block, for events of `groups` (a mask
 * of RTMGRP_*, or 0). Returns it, or -1 with fail(). */
int netlink_open(int protocol, uint32_t groups);

/* Send a request and wait for the kernel's verdict. Returns 0 or a negative errno, as the kernel
 * says; the socket must not be one for events. */
int netlink_ask(int socket, struct message *message);

/* Send a request and call `take` for each message of the answer. Returns as above. */
int netlink_list(int socket, struct message *message,
		 void (*take)(const struct answer *answer, void *context), void *context);

/* Throw away the events that have come. */
void netlink_drain(int socket);

/* --- generic netlink --- */

/* The number of a family, such as "nbd", or a negative errno: -ENOENT if its module is not there. */
int family_number(int socket, const char *name);

/* The same from the kernel's answer; 0 if it is not in it. */
uint16_t family_in(const struct answer *answer);

/* message_begin for a command of a family. */
void command_begin(struct message *message, int family, uint8_t command, uint8_t version);

#endif
