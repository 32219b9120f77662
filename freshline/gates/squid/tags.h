/*
 * Which tags the stored answers of a name carry, as far as anybody remembers: the epoch they were fetched under, and
 * the tags. Variants of one name may differ, so while the epoch stays the tags only become more.
 *
 * 1. A name that is not remembered counts as tagged with everything.
 * 2. Once something was forgotten, an answer alone cannot tell whether another variant of its name is stored with other
 *    tags. So nothing is learned about an epoch that such a variant could be of.
 *
 * Names and tags are the numbers that rules.c gives them. Called one at a time.
 */

#ifndef FRESHLINE_TAGS_H
#define FRESHLINE_TAGS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TAGS_EACH	128	/* tags of a name; more count as all */

/* How many names are remembered. */
void tags_start(size_t names);

/* Nothing is stored that could carry a tag. */
void tags_clear(void);

/* Nothing is known of what is stored under `epoch` or an older one. */
void tags_forget(uint64_t epoch);

/* An answer of that name, fetched under that epoch. More than TAGS_EACH: it may carry any. `reach`: the newest epoch. */
void tags_learn(uint64_t name, uint64_t epoch, const uint64_t *tags, size_t n, uint64_t reach);

/* The newest position that covers the name by one of its tags; `newest` where it may carry any. */
uint64_t tags_newest(uint64_t name, uint64_t newest);

/* Handing over to another process that hashes with the same key; 0 or -1. */
int tags_write(FILE *to);
int tags_read(FILE *from);

#endif
