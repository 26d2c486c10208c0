#include "handshake.h"

#include <stdio.h>
#include <string.h>

#include "bytes.h"
#include "say.h"

#define NBD_MAGIC 0x4e42444d41474943u    /* NBDMAGIC */
#define OPTION_MAGIC 0x49484156454f5054u /* IHAVEOPT */
#define REPLY_MAGIC 0x0003e889045565a9u

enum { FIXED_NEWSTYLE = 1, NO_ZEROES = 2 };             /* handshake flags of both sides */
enum { OPT_EXPORT_NAME = 1, OPT_GO = 7 };
enum { REP_ACK = 1, REP_INFO = 3 };
enum { INFO_EXPORT = 0, INFO_BLOCK_SIZE = 3 };

#define REP_ERROR 0x80000000u /* or more: an error */
#define REP_ERR_UNSUP (REP_ERROR + 1)
#define REP_ERR_POLICY (REP_ERROR + 2)
#define REP_ERR_TLS_REQD (REP_ERROR + 5)
#define REP_ERR_UNKNOWN (REP_ERROR + 6)
#define REP_ERR_SHUTDOWN (REP_ERROR + 7)

/* More than any server has to say about an export; an endless list is cut here. */
#define REPLIES_MAX 32
/* The largest request of Linux's client (NBD sets max_hw_sectors to 65536 of 512 bytes). */
#define REQUEST_MAX (32u << 20)

static void expect(struct handshake *h, enum handshake_stage stage, size_t bytes)
{
	h->stage = stage;
	h->have = 0;
	h->want = bytes;
}

static void send_bytes(struct handshake *h, const void *bytes, size_t count)
{
	memcpy(h->out + h->to_send, bytes, count);
	h->to_send += count;
}

static void send_number(struct handshake *h, uint64_t value, size_t size)
{
	put_big_endian(h->out + h->to_send, value, size);
	h->to_send += size;
}

void handshake_begin(struct handshake *h, const char *name, uint32_t sector)
{
	memset(h, 0, sizeof(*h));
	h->name = name;
	h->sector = sector;
	expect(h, GREETING, 18);
}

uint8_t *handshake_room(struct handshake *h, size_t *room)
{
	*room = h->want - h->have;
	return h->in + h->have;
}

/* Magic numbers and flags of the server. Answered by flags of ours, and the wish for the export
 * with its block sizes. */
static int take_greeting(struct handshake *h)
{
	uint64_t flags = big_endian(h->in + 16, 2);
	size_t name_length = strlen(h->name);

	if (big_endian(h->in, 8) != NBD_MAGIC)
		return fail("the server does not speak NBD; does something else use its port?");
	if (big_endian(h->in + 8, 8) != OPTION_MAGIC || !(flags & FIXED_NEWSTYLE))
		return fail("the NBD server is too old: it does not know the fixed newstyle handshake");
	h->no_zeroes = flags & NO_ZEROES;
	h->to_send = 0;
	send_number(h, FIXED_NEWSTYLE | (h->no_zeroes ? NO_ZEROES : 0), 4);
	send_number(h, OPTION_MAGIC, 8);
	send_number(h, OPT_GO, 4);
	send_number(h, 4 + name_length + 2 + 2, 4);
	send_number(h, name_length, 4);
	send_bytes(h, h->name, name_length);
	send_number(h, 1, 2);
	send_number(h, INFO_BLOCK_SIZE, 2);
	expect(h, OPTION_REPLY, 20);
	return 0;
}

/* The server does not know NBD_OPT_GO: ask in the old way, which has no errors but hanging up. */
static int ask_by_name(struct handshake *h)
{
	h->to_send = 0;
	send_number(h, OPTION_MAGIC, 8);
	send_number(h, OPT_EXPORT_NAME, 4);
	send_number(h, strlen(h->name), 4);
	send_bytes(h, h->name, strlen(h->name));
	expect(h, EXPORT_REPLY, h->no_zeroes ? 10 : 10 + 124);
	return 0;
}

/* Whether this is a disk that can be trusted as one. */
static int check_export(struct handshake *h)
{
	const struct export *export = &h->export;

	if (!(export->flags & EXPORT_HAS_FLAGS) || !(export->flags & EXPORT_FLUSH))
		return fail("the NBD server offers no flush, so fsync would lose data; "
			    "give its export 'flush = true'");
	if (export->flags & EXPORT_READ_ONLY)
		return fail("the NBD server gives the disk for reading only");
	if (export->size == 0 || export->size > INT64_MAX || export->size % h->sector != 0)
		return fail("the NBD server's disk has %llu bytes, which is not whole sectors of %u",
			    (unsigned long long)export->size, h->sector);
	expect(h, FINISHED, 0);
	return 1;
}

static void set_export(struct handshake *h, const uint8_t *bytes)
{
	h->export.size = big_endian(bytes, 8);
	h->export.flags = (uint16_t)big_endian(bytes + 8, 2);
	h->export_seen = true;
}

static int take_block_sizes(struct handshake *h)
{
	uint32_t smallest = (uint32_t)big_endian(h->in + 2, 4);
	uint32_t largest = (uint32_t)big_endian(h->in + 10, 4);

	if (smallest > h->sector)
		return fail("the NBD server takes no blocks below %u bytes, but the disk's sectors have "
			    "%u", smallest, h->sector);
	if (largest < REQUEST_MAX)
		return fail("the NBD server takes no requests above %u bytes; Linux may send %u",
			    largest, REQUEST_MAX);
	return 0;
}

static int take_info(struct handshake *h)
{
	uint64_t kind = h->want >= 2 ? big_endian(h->in, 2) : UINT64_MAX;

	if ((kind == INFO_EXPORT && h->want != 12) || (kind == INFO_BLOCK_SIZE && h->want != 14) ||
	    kind == UINT64_MAX)
		return fail("the NBD server's information has a wrong length, %zu bytes", h->want);
	if (kind == INFO_EXPORT)
		set_export(h, h->in + 2);
	else if (kind == INFO_BLOCK_SIZE && take_block_sizes(h) < 0)
		return -1;
	expect(h, OPTION_REPLY, 20);
	return 0;
}

/* What an error reply says. The server's own words go to people, so they are made harmless. */
static int refuse(struct handshake *h)
{
	char words[121];
	size_t length = h->want < sizeof(words) - 1 ? h->want : sizeof(words) - 1;
	const char *why = "for a reason of its own";

	for (size_t i = 0; i < length; i++)
		words[i] = h->in[i] >= ' ' && h->in[i] <= '~' ? (char)h->in[i] : '.';
	words[length] = '\0';
	if (h->reply_type == REP_ERR_UNKNOWN)
		why = "it does not know this session's disk";
	else if (h->reply_type == REP_ERR_POLICY)
		why = "it does not admit this machine";
	else if (h->reply_type == REP_ERR_TLS_REQD)
		why = "it wants TLS";
	else if (h->reply_type == REP_ERR_SHUTDOWN)
		why = "it is ending";
	return fail("the NBD server refuses: %s (error %#x%s%s)", why, h->reply_type,
		    length ? ": " : "", words);
}

static int take_data(struct handshake *h)
{
	if (h->reply_type == REP_ERR_UNSUP)
		return ask_by_name(h);
	if (h->reply_type >= REP_ERROR)
		return refuse(h);
	if (h->reply_type == REP_INFO)
		return take_info(h);
	if (h->reply_type != REP_ACK || h->want != 0)
		return fail("the NBD server answers with type %u and %zu bytes, which is not an answer "
			    "to the wish for the disk", h->reply_type, h->want);
	if (!h->export_seen)
		return fail("the NBD server gives the disk, but not its size");
	return check_export(h);
}

static int take_reply(struct handshake *h)
{
	uint64_t length = big_endian(h->in + 16, 4);

	if (big_endian(h->in, 8) != REPLY_MAGIC || big_endian(h->in + 8, 4) != OPT_GO)
		return fail("the NBD server's answer belongs to nothing that was asked");
	if (length > HANDSHAKE_DATA_MAX)
		return fail("the NBD server announces an answer of %llu bytes; at most %d are taken",
			    (unsigned long long)length, HANDSHAKE_DATA_MAX);
	if (++h->replies > REPLIES_MAX)
		return fail("the NBD server's answers have no end; %d were read", REPLIES_MAX);
	h->reply_type = (uint32_t)big_endian(h->in + 12, 4);
	expect(h, OPTION_DATA, (size_t)length);
	return length ? 0 : take_data(h);
}

static int take_export(struct handshake *h)
{
	set_export(h, h->in);
	return check_export(h);
}

int handshake_received(struct handshake *h, size_t count)
{
	h->have += count;
	if (h->have < h->want)
		return 0;
	h->to_send = 0;
	switch (h->stage) {
	case GREETING: return take_greeting(h);
	case OPTION_REPLY: return take_reply(h);
	case OPTION_DATA: return take_data(h);
	case EXPORT_REPLY: return take_export(h);
	case FINISHED: break;
	}
	return fail("the NBD handshake is over already");
}
