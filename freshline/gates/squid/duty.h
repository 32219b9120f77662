/*
 * One helper on duty at a time. Squid starts another one on `squid -k reconfigure` and `-k rotate`, while the old one
 * may still have questions to answer; a second worker, or a second Squid by mistake, has one of its own.
 *
 * 1. Who holds the lock on `<journal>.state` is on duty: it alone takes batches, and gives keys. All others answer that
 *    they have none, and then nothing is taken from the cache or stored in it.
 * 2. A newcomer of the same Squid asks the old one to go; one that is older than who is on duty waits. What is left of
 *    the old one's questions was asked before the newcomer took any batch, so no refresh that was answered can be
 *    missing from the answers.
 * 3. A newcomer of another Squid waits.
 *
 * The file holds what has to outlive a helper, as long as its Squid lives.
 */

#ifndef FRESHLINE_DUTY_H
#define FRESHLINE_DUTY_H

#include <stdint.h>

#include "epoch.h"

struct shared {
	char magic[24];
	char kernel[40];		/* this run of the machine, the Squid's process id, and when it was started */
	int64_t squid;
	uint64_t started;
	uint64_t hash_key[2];		/* of names in <journal>.tags */
	uint64_t tags;			/* what that file has to begin with */
	uint32_t synced;
	char boot[32];			/* the clock's name, and until when there is a lease */
	uint64_t lease_until;
};

/*
 * Waits until this process is on duty, and returns what the one before it left: of an earlier Squid, or of none, it is
 * all zero. Asks the one on duty to go if it is of the same Squid. NULL: not while this process lives; it was said why.
 */
struct shared *duty_take(const char *path);

int duty_held(void);

/* Calls `leave` when another one asks for the duty, and gives it up after that. To be called in every thread's parent. */
void duty_start(void (*leave)(void));

/* Calls `leave` and gives it up. */
void duty_resign(void);

#endif
