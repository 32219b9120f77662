/*
 * Under which key an object is: its URL, a generation, and the position of the newest refresh that covers it (its
 * epoch), as things are when a visitor's request comes. A refresh puts every variant out of reach at once, and what a
 * fetch begun before it still brings is stored where nobody will look.
 *
 * The generation is a random word, another one after each flush. While the gate does not trust its old cache, one that
 * is thrown away stands in its place.
 */

#ifndef FRESHLINE_EPOCH_H
#define FRESHLINE_EPOCH_H

#include <stddef.h>
#include <stdint.h>

#include "rules.h"

#define GENERATION_SIZE	16

struct epoch {
	char generation[GENERATION_SIZE + 1];
	uint64_t position;
	uint64_t name, host;	/* numbers, as rules.c gives them */
};

void epoch_start(size_t tags);

/* A random word for a generation. */
void epoch_random(char to[GENERATION_SIZE + 1]);

/* From now on keys are of this generation. */
void epoch_serve(const char *generation);
void epoch_serving(char to[GENERATION_SIZE + 1]);

struct epoch epoch_of(const struct name *name);

/*
 * An answer that the origin gave to a request of this epoch carries these tags; n over TAGS_EACH: it may carry any.
 * Whether it is still to be found by who asks now.
 */
int epoch_learn(const struct epoch *epoch, const struct slice *tags, size_t n);

/* From now on nothing is learned. */
void epoch_stop(void);

/* Nothing was stored yet; or: nothing is known of what was stored up to the position. */
void epoch_forget_all(void);
void epoch_forget(uint64_t position);

/* Handing over what was learned. */
int epoch_write(const char *path, uint64_t mark);
int epoch_read(const char *path, uint64_t mark);

#endif
