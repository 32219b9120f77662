/*
 * The gate's own listener, for servers that lend it none: a small HTTP/1.1 server for a thread of its own, which
 * answers only who knows the secret (docs/gates.md).
 */

#ifndef FRESHLINE_DOOR_H
#define FRESHLINE_DOOR_H

#include "errand.h"

struct door {
	const char *address;		/* host:port */
	const char *secret;
	/*
	 * Begins them all: those of one request, by `next`. In the door's thread, so not for long; door_answer() comes
	 * later, or at once, for each by itself and in any order.
	 */
	void (*run)(struct errand *errands);
	unsigned fetches;		/* in one request, at most; below 2 run() is given one at a time */
};

/* Listens, from when it returns NULL. Else why it cannot. What it was given must stay as long as the process. */
const char *door_open(const struct door *door);

/* From now on another secret is the right one. What it was given must stay as long as the process. */
void door_set_secret(const char *secret);

/* Answers whoever comes, for ever. The thread is the caller's to make. */
void *door_attend(void *unused);

/* From any thread, once for each errand, which is freed. The text is one line. */
void door_answer(struct errand *errand, int status, const char *text);

/* Seconds that never go back. */
uint64_t door_now(void);

#endif
