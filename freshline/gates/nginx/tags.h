/*
 * Which tags a URL's stored answers carry, in memory that nginx's processes share: with the position they were fetched
 * under. Variants of one URL may differ, so while that stays the tags only become more.
 *
 * 1. A URL that is not remembered counts as tagged with everything. Once something was forgotten, an answer alone cannot
 *    tell whether another variant of its URL is stored with other tags, so nothing is learnt about a position that is
 *    not newer.
 * 2. The memory lies in pages, each with its own lock, which is held for microseconds. Who finds the lock of a process
 *    that died empties the page.
 */

#ifndef FRESHLINE_TAGS_H
#define FRESHLINE_TAGS_H

#include "state.h"

#define TAGS_MOST	400	/* of one URL; with more it counts as tagged with everything */

struct record {
	uint64_t position;
	int late;		/* tags came that had been refreshed when they came */
	int any;
	unsigned n;
	uint64_t tags[TAGS_MOST];
};

enum recalled { UNKNOWN, KNOWN, BUSY };	/* BUSY: unknown, and next time perhaps not */

/*
 * In this process. A reload may change the memory. It counts from when a process that serves takes it up, so one that is
 * opened by a reload that fails never does; from then on those who still have another give nobody's keys, and of what
 * was fetched under theirs nothing is learnt.
 */
void tags_open(void *memory, size_t size, int fresh);
void tags_take_up(void);
int tags_fit(void);

uint64_t tags_url(uint64_t host_key, const char *target, size_t size);
enum recalled tags_recall(uint64_t generation, uint64_t url, struct record *to);

/*
 * The answer that was fetched under `position` carries these. `now`: the position that its URL stands at, where that is
 * not beyond what is remembered of it; else anything as large. `overtaken` is asked once it is remembered: was one of
 * them refreshed since? Then that is remembered, too.
 */
void tags_learn(uint64_t generation, uint64_t url, const struct record *answer, uint64_t now,
    int (*overtaken)(const struct record *answer, void *of), void *of);

#endif
