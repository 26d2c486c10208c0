#include "session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "say.h"

/* The longest is a secret of 64 digits. */
#define VALUE_MAX 64

static bool all_of(const char *value, const char *characters)
{
	return *value != '\0' && strspn(value, characters) == strlen(value);
}

static bool read_number(const char *value, uint32_t low, uint32_t high, uint32_t *number)
{
	uint32_t result = 0;

	if (!all_of(value, "0123456789") || strlen(value) > 5 || (value[0] == '0' && value[1]))
		return false;
	for (; *value; value++)
		result = result * 10 + (uint32_t)(*value - '0');
	*number = result;
	return result >= low && result <= high;
}

static bool read_port(const char *value, uint16_t *port)
{
	uint32_t number;

	if (!read_number(value, 1, 65535, &number))
		return false;
	*port = (uint16_t)number;
	return true;
}

/* The value of one of the digits that read_hex lets through. */
static unsigned int hex_digit(char digit)
{
	return (unsigned int)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

static bool read_hex(const char *value, uint8_t *bytes, size_t size)
{
	if (!all_of(value, "0123456789abcdef") || strlen(value) != 2 * size)
		return false;
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(hex_digit(value[2 * i]) << 4 | hex_digit(value[2 * i + 1]));
	return true;
}

/* A NIC's own MAC, aa:bb:cc:dd:ee:ff: neither a group's nor zero. */
static bool read_mac(const char *value, uint8_t mac[6])
{
	char digits[13];

	if (strlen(value) != 17)
		return false;
	for (size_t i = 0; i < 6; i++) {
		digits[2 * i] = value[3 * i];
		digits[2 * i + 1] = value[3 * i + 1];
		if (i < 5 && value[3 * i + 2] != ':')
			return false;
	}
	digits[12] = '\0';
	return read_hex(digits, mac, 6) && !(mac[0] & 1) && memcmp(mac, "\0\0\0\0\0\0", 6) != 0;
}

/* Within fe80::/64: what RFC 4291 calls link-local has zeros there. */
static bool read_address(const char *value, struct in6_addr *address)
{
	static const uint8_t prefix[8] = {0xfe, 0x80};

	return all_of(value, "0123456789abcdef:") && inet_pton(AF_INET6, value, address) == 1 &&
	       memcmp(address, prefix, sizeof(prefix)) == 0 &&
	       memcmp(address->s6_addr + 8, "\0\0\0\0\0\0\0\0", 8) != 0;
}

static bool read_export(const char *value, char export[EXPORT_NAME_MAX + 1])
{
	if (!all_of(value, "abcdefghijklmnopqrstuvwxyz0123456789-") ||
	    strlen(value) > EXPORT_NAME_MAX)
		return false;
	strcpy(export, value);
	return true;
}

static bool read_sector(const char *value, uint32_t *sector)
{
	return read_number(value, 512, 4096, sector) && (*sector & (*sector - 1)) == 0;
}

static bool read_encryption(const char *value, bool *encrypted)
{
	*encrypted = strcmp(value, "wireguard") == 0;
	return *encrypted || strcmp(value, "none") == 0;
}

enum field {
	MAC, ADDRESS, SERVER, PORT, EXPORT, SECTOR, CONNECTIONS, ENCRYPTION, END, ENDED, END_PORT,
	PRIVATE, PEER, PRESHARED, WG_PORT, INNER_ADDRESS, INNER_SERVER, FIELDS
};

/* From here on, the fields of a session with WireGuard. */
#define FIRST_OF_TUNNEL PRIVATE

static const char *const names[FIELDS] = {
	"mac", "address", "server", "port", "export", "sector", "connections", "encryption", "end",
	"ended", "end-port", "private", "peer", "preshared", "wg-port", "inner-address",
	"inner-server",
};

static bool read_field(struct session *s, enum field field, const char *value)
{
	switch (field) {
	case MAC: return read_mac(value, s->mac);
	case ADDRESS: return read_address(value, &s->address);
	case SERVER: return read_address(value, &s->server);
	case PORT: return read_port(value, &s->port);
	case EXPORT: return read_export(value, s->export);
	case SECTOR: return read_sector(value, &s->sector);
	case CONNECTIONS: return read_number(value, 1, CONNECTIONS_MAX, &s->connections);
	case ENCRYPTION: return read_encryption(value, &s->encrypted);
	case END: return read_hex(value, s->end, SECRET_BYTES);
	case ENDED: return read_hex(value, s->ended, SECRET_BYTES);
	case END_PORT: return read_port(value, &s->end_port);
	case PRIVATE: return read_hex(value, s->private_key, SECRET_BYTES);
	case PEER: return read_hex(value, s->peer_key, SECRET_BYTES);
	case PRESHARED: return read_hex(value, s->preshared_key, SECRET_BYTES);
	case WG_PORT: return read_port(value, &s->wg_port);
	case INNER_ADDRESS: return read_address(value, &s->inner_address);
	case INNER_SERVER: return read_address(value, &s->inner_server);
	case FIELDS: break;
	}
	return false;
}

static enum field field_of(const char *name, size_t length)
{
	int field = 0;

	while (field < FIELDS &&
	       (strlen(names[field]) != length || memcmp(names[field], name, length) != 0))
		field++;
	return (enum field)field;
}

/* Read one line, without its end. Lines of names that are not known are left alone. */
static int read_line(struct session *session, bool seen[FIELDS], const char *line, size_t length)
{
	char value[VALUE_MAX + 1] = "";
	const char *equals = memchr(line, '=', length);
	size_t name_length = equals ? (size_t)(equals - line) : 0;
	size_t value_length = equals ? length - name_length - 1 : 0;
	enum field field = field_of(line, name_length);
	bool good;

	if (name_length == 0)
		return fail("the session file has a line that is not name=value");
	for (size_t i = 0; i < length; i++)
		if (line[i] < ' ' || line[i] > '~')
			return fail("the session file has a character that is not printable ASCII");
	if (field == FIELDS)
		return 0;
	if (seen[field])
		return fail("the session file has '%s' twice", names[field]);
	seen[field] = true;
	if (value_length <= VALUE_MAX)
		memcpy(value, equals + 1, value_length);
	good = value_length <= VALUE_MAX && read_field(session, field, value);
	explicit_bzero(value, sizeof(value));
	return good ? 0 : fail("the session file has a wrong value for '%s'", names[field]);
}

/* Whether all fields are there that must be, none that must not, and no two that contradict. */
static int check_whole(const struct session *session, const bool seen[FIELDS])
{
	for (int field = 0; field < FIELDS; field++) {
		bool wanted = field < FIRST_OF_TUNNEL || session->encrypted;

		if (wanted && !seen[field])
			return fail("the session file lacks '%s'", names[field]);
		if (!wanted && seen[field])
			return fail("the session file has '%s', but no encryption", names[field]);
	}
	if (IN6_ARE_ADDR_EQUAL(&session->address, &session->server) ||
	    (session->encrypted &&
	     IN6_ARE_ADDR_EQUAL(&session->inner_address, &session->inner_server)))
		return fail("the session file has the same address for both sides");
	return 0;
}

int session_parse(struct session *session, const char *text, size_t length)
{
	bool seen[FIELDS] = {false};
	size_t start = 0;

	memset(session, 0, sizeof(*session));
	if (length > SESSION_FILE_MAX)
		return fail("the session file is longer than %d bytes", SESSION_FILE_MAX);
	while (start < length) {
		const char *end = memchr(text + start, '\n', length - start);

		if (!end)
			return fail("the session file ends in the middle of a line");
		if (read_line(session, seen, text + start, (size_t)(end - text) - start) < 0)
			return -1;
		start = (size_t)(end - text) + 1;
	}
	return check_whole(session, seen);
}

/* Read a file into `text`, up to one byte more than a session may have. Returns the length. */
static ssize_t read_whole(int file, char text[SESSION_FILE_MAX + 1])
{
	size_t length = 0;

	while (length <= SESSION_FILE_MAX) {
		ssize_t got = read(file, text + length, SESSION_FILE_MAX + 1 - length);

		if (got < 0)
			return -1;
		if (got == 0)
			break;
		length += (size_t)got;
	}
	return (ssize_t)length;
}

int session_take(struct session *session, int folder)
{
	char text[SESSION_FILE_MAX + 1];
	struct stat about;
	ssize_t length = -1;
	int result;
	/* Not blocking: a FIFO would keep us. */
	int file = openat(folder, "session", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (file < 0)
		return fail("cannot open the file 'session': %s; the client in the ramdisk makes it",
			    strerror(errno));
	if (fstat(file, &about) == 0 && S_ISREG(about.st_mode))
		length = read_whole(file, text);
	close(file);
	if (length < 0)
		return fail("cannot read the file 'session': it must be a regular file");
	result = session_parse(session, text, (size_t)length);
	explicit_bzero(text, sizeof(text));
	if (unlinkat(folder, "session", 0) < 0)
		return fail("cannot remove the file 'session', which holds keys: %s",
			    strerror(errno));
	return result;
}
