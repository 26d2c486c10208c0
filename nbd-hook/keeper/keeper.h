/* What the keeper knows at any time; shared by the modules that are its parts: keep.c (the loop),
 * revive.c (connections), report.c (what it tells). */
#ifndef KEEPER_H
#define KEEPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "control.h"
#include "dial.h"
#include "farewell.h"
#include "link.h"
#include "session.h"

enum phase {
	SEARCHING,  /* for the NIC */
	CONNECTING, /* the first connections */
	SCANNING,   /* the disk for partitions */
	KEEPING,    /* the disk is there, and kept there */
	ENDED,      /* the server knows that the session is over */
};

struct keeper {
	struct session session;
	struct link link;
	struct dial dial;
	struct farewell farewell;
	struct export export;     /* what every connection has to show */
	enum phase phase;
	int64_t deadline;         /* of the phases up to SCANNING; all times are those of now_ms() */
	int64_t look_at;          /* when to look at the interfaces; INT64_MAX: after an event */
	int64_t look_again;       /* and then not before that */
	int64_t dial_at;          /* not before that */
	int sockets[CONNECTIONS_MAX]; /* the connections; -1: dead, or not there yet */
	unsigned int wanted;      /* how many there shall be */
	unsigned int revived;     /* how many have been replaced */
	int64_t stored_at;        /* when the last one was made */
	uint32_t path;            /* the interface that they go through, or went */
	pid_t scan;               /* the process that looks for partitions, 0 if there is none */
	int scan_ends;            /* readable when that has ended; -1 if there is none */
	int starter;              /* a pipe to whoever waits for the disk; -1 after SCANNING */
	int control;
	struct asker who_ends;    /* who waits for the farewell */
	int64_t waiting_since;    /* no request gets through since then; 0: they do */
	int64_t announced_at;     /* when people were told so last */
	bool announced;           /* they were told of this time */
	bool warned;              /* and that it may be for ever */
	char trouble[256];        /* why the last attempt failed; empty if it did not */
};

/* --- revive.c --- */

/* How many connections there are. */
unsigned int alive(const struct keeper *keeper);

/* End a connection, and forget it. */
void drop(struct keeper *keeper, unsigned int number);

/* The same for one that has died by itself, which is told. */
void bury(struct keeper *keeper, unsigned int number);

/* Start an attempt, if a connection is missing, and it is time. */
void revive(struct keeper *keeper);

/* Go on with it; `ready`: its socket is. Returns 0, or -1 with fail() if there can be no disk. */
int revive_step(struct keeper *keeper, bool ready);

/* Look at the interfaces, and give up connections through one that is gone. */
void look(struct keeper *keeper);

/* --- report.c --- */

/* Tell people when the disk waits for the laptop, and when it goes on. */
void report_waiting(struct keeper *keeper);

/* What goes on, for a person or as JSON; into `text` of CONTROL_TEXT_MAX bytes. */
void report_status(const struct keeper *keeper, bool json, char *text);

/* --- keep.c --- */

/* Bring the disk up, tell whoever started the keeper (start.h), and keep it for ever. Returns the
 * exit status. */
int keep(const char *folder);

#endif
