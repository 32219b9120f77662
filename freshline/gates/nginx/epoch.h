/*
 * Under which key a URL is looked up: the generation in use, and the position of the newest refresh that covers the URL.
 * Each process remembers what it worked out, and that holds while nothing has changed. nginx takes nearly anything for a
 * host, and an origin may well understand "www.test?x": what no site is called is covered by every refresh.
 */

#ifndef FRESHLINE_EPOCH_H
#define FRESHLINE_EPOCH_H

#include "canonical.h"
#include "state.h"

struct epoch {
	uint64_t generation, position;
	int torn;	/* the rules moved all the while: the generation is nobody's */
};

struct epoch epoch_of(struct slice host, struct slice target);

/* "<generation>.<position>"; its length. */
size_t epoch_word(const struct epoch *epoch, char to[FRESHLINE_NAME]);

#endif
