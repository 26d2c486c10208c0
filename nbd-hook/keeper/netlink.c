#include "netlink.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "say.h"

/* The kernel makes answers of at most 32 KiB (NLMSG_GOODSIZE and netlink_dump). */
#define ANSWER_MAX 65536
/* It answers within the call that asks; this is for a kernel that never does. */
#define ANSWER_MS 10000

#define ALIGNED(length) (((length) + 3u) & ~(size_t)3u)

/* --- building --- */

/* Append bytes, then zeros up to a boundary of 4. */
static void append(struct message *message, const void *bytes, size_t size)
{
	size_t room = sizeof(message->bytes) - message->length;

	if (message->too_long || ALIGNED(size) > room) {
		message->too_long = true;
		return;
	}
	memset(message->bytes + message->length, 0, ALIGNED(size));
	if (size)
		memcpy(message->bytes + message->length, bytes, size);
	message->length += ALIGNED(size);
}

void message_begin(struct message *message, uint16_t type, uint16_t flags, const void *header,
		   size_t size)
{
	struct nlmsghdr head = {.nlmsg_type = type, .nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST)};

	message->length = 0;
	message->too_long = false;
	append(message, &head, sizeof(head));
	append(message, header, size);
}

void put_bytes(struct message *message, uint16_t type, const void *value, size_t size)
{
	struct nlattr head = {.nla_len = (uint16_t)(sizeof(head) + size), .nla_type = type};

	append(message, &head, sizeof(head));
	append(message, value, size);
}

void put_text(struct message *message, uint16_t type, const char *text)
{
	put_bytes(message, type, text, strlen(text) + 1);
}

void put_u8(struct message *message, uint16_t type, uint8_t value)
{
	put_bytes(message, type, &value, sizeof(value));
}

void put_u16(struct message *message, uint16_t type, uint16_t value)
{
	put_bytes(message, type, &value, sizeof(value));
}

void put_u32(struct message *message, uint16_t type, uint32_t value)
{
	put_bytes(message, type, &value, sizeof(value));
}

void put_u64(struct message *message, uint16_t type, uint64_t value)
{
	put_bytes(message, type, &value, sizeof(value));
}

size_t nest_begin(struct message *message, uint16_t type)
{
	size_t start = message->length;

	put_bytes(message, (uint16_t)(type | NLA_F_NESTED), NULL, 0);
	return start;
}

void nest_end(struct message *message, size_t start)
{
	uint16_t length = (uint16_t)(message->length - start);

	if (!message->too_long)
		memcpy(message->bytes + start, &length, sizeof(length));
}

void command_begin(struct message *message, int family, uint8_t command, uint8_t version)
{
	struct genlmsghdr head = {.cmd = command, .version = version};

	message_begin(message, (uint16_t)family, NLM_F_ACK, &head, sizeof(head));
}

/* --- reading --- */

bool skip(struct span *rest, size_t size)
{
	if (rest->length < size)
		return false;
	rest->bytes += size;
	rest->length -= size;
	return true;
}

/* Split off a part of `length` bytes, and what pads it; the last one may lack its padding. */
static struct span take(struct span *rest, size_t length)
{
	struct span part = {rest->bytes, length};

	skip(rest, ALIGNED(length) < rest->length ? ALIGNED(length) : rest->length);
	return part;
}

bool next_answer(struct span *rest, struct answer *answer)
{
	struct nlmsghdr head;

	if (rest->length < sizeof(head))
		return false;
	memcpy(&head, rest->bytes, sizeof(head));
	if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > rest->length)
		return false;
	answer->type = head.nlmsg_type;
	answer->sequence = head.nlmsg_seq;
	answer->payload = take(rest, head.nlmsg_len);
	return skip(&answer->payload, sizeof(head));
}

bool next_attribute(struct span *rest, struct attribute *attribute)
{
	struct nlattr head;

	if (rest->length < sizeof(head))
		return false;
	memcpy(&head, rest->bytes, sizeof(head));
	if (head.nla_len < sizeof(head) || head.nla_len > rest->length)
		return false;
	attribute->type = (uint16_t)(head.nla_type & (unsigned int)NLA_TYPE_MASK);
	attribute->value = take(rest, head.nla_len);
	return skip(&attribute->value, sizeof(head));
}

bool find_attribute(struct span attributes, uint16_t type, struct span *value)
{
	struct attribute attribute;

	while (next_attribute(&attributes, &attribute))
		if (attribute.type == type) {
			*value = attribute.value;
			return true;
		}
	return false;
}

bool read_value(struct span value, void *to, size_t size)
{
	if (value.length != size)
		return false;
	memcpy(to, value.bytes, size);
	return true;
}

/* --- asking the kernel --- */

int netlink_open(int protocol, uint32_t groups)
{
	struct sockaddr_nl own = {.nl_family = AF_NETLINK, .nl_groups = groups};
	int on = 1;
	int connection = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

	if (connection < 0)
		return fail("cannot open a netlink socket: %s", strerror(errno));
	/* An error shall not bring back the whole request: there may be keys in it. */
	setsockopt(connection, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	if (bind(connection, (struct sockaddr *)&own, sizeof(own)) < 0) {
		fail("cannot bind a netlink socket: %s", strerror(errno));
		close(connection);
		return -1;
	}
	return connection;
}

static int send_message(int connection, struct message *message, uint32_t sequence)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct nlmsghdr head;

	if (message->too_long)
		return -EMSGSIZE;
	memcpy(&head, message->bytes, sizeof(head));
	head.nlmsg_len = (uint32_t)message->length;
	head.nlmsg_seq = sequence;
	memcpy(message->bytes, &head, sizeof(head));
	if (sendto(connection, message->bytes, message->length, 0, (struct sockaddr *)&kernel,
		   sizeof(kernel)) < 0)
		return -errno;
	return 0;
}

/* Receive one datagram of the kernel itself into `buffer`. Returns its length or -errno. */
static int receive(int connection, uint8_t *buffer, size_t size)
{
	struct pollfd waiting = {.fd = connection, .events = POLLIN};
	struct sockaddr_nl from = {0};
	struct iovec part = {buffer, size};
	struct msghdr head = {.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &part,
			      .msg_iovlen = 1};
	ssize_t length;

	do {
		if (poll(&waiting, 1, ANSWER_MS) == 0)
			return -ETIMEDOUT;
		length = recvmsg(connection, &head, 0);
	} while ((length < 0 && errno == EINTR) || (length >= 0 && from.nl_pid != 0));
	if (length < 0)
		return -errno;
	return head.msg_flags & MSG_TRUNC ? -EMSGSIZE : (int)length;
}

/* The errno in an NLMSG_ERROR or NLMSG_DONE, which both start with it; 0 is good. */
static int verdict(const struct answer *answer)
{
	int32_t code;
	struct span first = {answer->payload.bytes, sizeof(code)};

	if (answer->payload.length < sizeof(code) || !read_value(first, &code, sizeof(code)))
		return answer->type == NLMSG_DONE ? 0 : -EBADMSG;
	return code;
}

int netlink_list(int connection, struct message *message,
		 void (*take_one)(const struct answer *answer, void *context), void *context)
{
	static uint8_t buffer[ANSWER_MAX];
	static uint32_t sequence;
	uint32_t ours = ++sequence;
	int length = send_message(connection, message, ours);

	if (length < 0)
		return length;
	while ((length = receive(connection, buffer, sizeof(buffer))) >= 0) {
		struct span rest = {buffer, (size_t)length};
		struct answer answer;

		while (next_answer(&rest, &answer)) {
			if (answer.sequence != ours)
				continue; /* of a request that was given up */
			if (answer.type == NLMSG_ERROR || answer.type == NLMSG_DONE)
				return verdict(&answer);
			if (take_one)
				take_one(&answer, context);
		}
	}
	return length;
}

int netlink_ask(int connection, struct message *message)
{
	return netlink_list(connection, message, NULL, NULL);
}

void netlink_drain(int connection)
{
	uint8_t buffer[256];

	/* ENOBUFS says that events were lost. They are only a reason to look, so that is no loss. */
	while (recv(connection, buffer, sizeof(buffer), MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
		;
}

/* --- generic netlink --- */

uint16_t family_in(const struct answer *answer)
{
	struct span attributes = answer->payload, value;
	uint16_t number = 0;

	if (!skip(&attributes, sizeof(struct genlmsghdr)) ||
	    !find_attribute(attributes, CTRL_ATTR_FAMILY_ID, &value) ||
	    !read_value(value, &number, sizeof(number)))
		return 0;
	return number;
}

static void keep_family(const struct answer *answer, void *context)
{
	*(uint16_t *)context = family_in(answer);
}

int family_number(int connection, const char *name)
{
	struct message message;
	uint16_t number = 0;
	int result;

	command_begin(&message, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
	put_text(&message, CTRL_ATTR_FAMILY_NAME, name);
	result = netlink_list(connection, &message, keep_family, &number);
	if (result < 0)
		return result;
	return number ? number : -ENOENT;
}
