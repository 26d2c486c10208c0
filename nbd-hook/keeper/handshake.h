/* NBD's fixed newstyle handshake, without any I/O: bytes in, bytes out.
 *
 * https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, "Newstyle negotiation". Wants
 * the export by NBD_OPT_GO, and by NBD_OPT_EXPORT_NAME where the server does not know that. Neither
 * TLS nor structured replies are negotiated: the kernel's client has none.
 *
 * Never takes more bytes than the handshake has, as what follows is the kernel's. */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the protocol allows for strings, the longest data that is of use here. */
#define HANDSHAKE_DATA_MAX 4096

/* Transmission flags of the export that matter here (proto.md, "Transmission flags"). */
#define EXPORT_HAS_FLAGS 1u
#define EXPORT_READ_ONLY 2u
#define EXPORT_FLUSH 4u
#define EXPORT_MULTI_CONN 256u

struct export {
	uint64_t size; /* in bytes */
	uint16_t flags;
};

enum handshake_stage { GREETING, OPTION_REPLY, OPTION_DATA, EXPORT_REPLY, FINISHED };

struct handshake {
	const char *name; /* of the export */
	uint32_t sector;
	enum handshake_stage stage;
	size_t have, want; /* bytes of `in` that have come, and that the stage needs */
	size_t to_send;    /* bytes of `out` that the caller is to send before it goes on */
	bool no_zeroes;
	bool export_seen;
	unsigned int replies;
	uint32_t reply_type;
	struct export export; /* the result */
	uint8_t in[HANDSHAKE_DATA_MAX];
	uint8_t out[160];
};

/* Start a handshake for the export `name`, of a disk with sectors of `sector` bytes. */
void handshake_begin(struct handshake *handshake, const char *name, uint32_t sector);

/* Where the next bytes go; `room` is how many may be read now, and is never 0. */
uint8_t *handshake_room(struct handshake *handshake, size_t *room);

/* `count` bytes have come there. Returns 1 when the handshake is over, and `export` good; 0 if it
 * goes on, after `to_send` bytes of `out` have been sent; -1 with fail(). */
int handshake_received(struct handshake *handshake, size_t count);

#endif
