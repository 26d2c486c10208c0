/* The session file: what the client in the ramdisk tells the keeper about this one boot. */
#ifndef SESSION_H
#define SESSION_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SESSION_FILE_MAX 4096
#define SECRET_BYTES 32
#define EXPORT_NAME_MAX 64
#define CONNECTIONS_MAX 16

struct session {
	uint8_t mac[6];           /* of our NIC */
	struct in6_addr address;  /* ours on it, link-local */
	struct in6_addr server;   /* the laptop's */
	uint16_t port;            /* NBD, TCP */
	char export[EXPORT_NAME_MAX + 1];
	uint32_t sector;          /* the disk's logical sector size, in bytes */
	unsigned int connections;
	bool encrypted;           /* by WireGuard; what follows is set only then */
	uint8_t private_key[SECRET_BYTES];
	uint8_t peer_key[SECRET_BYTES];
	uint8_t preshared_key[SECRET_BYTES];
	uint16_t wg_port;         /* UDP, on both sides */
	struct in6_addr inner_address;
	struct in6_addr inner_server;
	uint8_t end[SECRET_BYTES];   /* what ends the session */
	uint8_t ended[SECRET_BYTES]; /* the server's acknowledgement */
	uint16_t end_port;        /* UDP, on the server */
};

/* Read a session from a file's contents. Returns 0, or -1 with fail(), which names the line's name
 * and never shows a value: some are secret. */
int session_parse(struct session *session, const char *text, size_t length);

/* Read FOLDER/session, given the folder's descriptor, and remove it. Returns as above. */
int session_take(struct session *session, int folder);

#endif
