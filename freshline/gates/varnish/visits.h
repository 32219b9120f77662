/*
 * Fetches of several objects asked for in one request. No varnishd's headers in here.
 */

#ifndef FRESHLINE_VISITS_H
#define FRESHLINE_VISITS_H

#include "gate.h"

#define VISITS		64		/* in one request, at most */
#define VISITS_BYTES	(1u << 20)	/* the longest such request */

struct req;
struct party;		/* those of one request */

/* From now on the gate's status says that it can, if this varnishd is one whose requests are known. */
void visits_offer(void);

/*
 * Begins them all, on behalf of that request. NULL when there is nothing more to come: then the answer is whole, that of
 * a single fetch or why there is none.
 */
struct party *party_begin(struct req *asker, struct slice body, struct answer *answer);

/* Waits for lines to tell. NULL when all have been told. What it returns is good until it is called again. */
const char *party_lines(struct party *party, size_t *size);

/* Waits for all of them, and is gone. */
void party_end(struct party *party);

#endif
