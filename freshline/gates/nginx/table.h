/*
 * The rules, in memory that nginx's processes share. One process at a time writes, under the gate's lock; all read, and
 * take none.
 *
 * 1. A rule is found by hashing, one probe for each way a URL can be named. Patterns hang on their host, newest first.
 * 2. What is added counts by one store; so does a new position. A cell that is let go of is not used for anything else
 *    before `removals` has moved, and who reads looks at that before and after.
 * 3. So a process may be killed anywhere in here: what it leaves is the table as it was or as it would have been, and at
 *    worst a cell that is nobody's.
 */

#ifndef FRESHLINE_TABLE_H
#define FRESHLINE_TABLE_H

#include "canonical.h"
#include "state.h"

struct table;

struct host {			/* what of it is looked at here */
	uint64_t key;
	uint32_t next, order;
	uint64_t version;	/* another one when rules of it came, once all of them are there */
	uint64_t newest;	/* all patterns up to that position are there */
	uint64_t tag;		/* the position of its newest tag refresh */
	uint64_t list;		/* another one when its patterns have moved */
	uint32_t depth;		/* slashes in its deepest directory */
	uint32_t first;		/* the newest pattern */
	uint64_t unused;
};

struct pattern {
	uint32_t older, size;
	uint64_t position;
	uint64_t number;	/* the same for the same text, for as long as it is there */
	char text[];
};

/* In this process. Memory that is all zero, or holds what it held; `fresh` says which. */
void table_open(void *memory, size_t size, int fresh);

int table_fits(void);

/* Reading. */
uint64_t table_removals(void);
int table_same(uint64_t removals);	/* nothing was let go of since */
uint64_t table_host_key(struct slice host);
const struct host *table_host(uint64_t host_key);
uint64_t table_position(uint64_t host_key, int verb, const char *what, size_t size);	/* 0: none */
uint64_t table_tag_key(uint64_t host_key, const char *tag, size_t size);
uint64_t table_tag(uint64_t tag_key);
const struct pattern *table_pattern(uint32_t at);	/* NULL: none */
int table_whole(uint32_t at, uint32_t size);		/* a text of that size lies within the memory */

#endif
