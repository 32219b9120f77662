/*
 * Which refreshes cover an object.
 *
 * 1. An object carries the stamp its origin fetch began with: which life of this table it was, and up to which
 *    position the table's rules were complete. A rule covers an object when it names it and is newer than its stamp.
 * 2. A rule is found by hashing, one probe for each way an object can be named; only patterns are tried one by one,
 *    and only those newer than what the object was last checked against.
 * 3. Everything is bounded. What is dropped to stay within bounds leaves a floor behind, below which every object of
 *    that host counts as covered: forgetting costs origin fetches, never freshness.
 *
 * No server's header in here: tests build this file by itself.
 */

#ifndef FRESHLINE_RULES_H
#define FRESHLINE_RULES_H

#include <stdint.h>

#include "canonical.h"

enum keep { STAYS, GOES, REPLACED };

enum verb { VERB_FILE, VERB_PATH, VERB_DIR, VERB_TAG, VERB_REGEX, VERBS };

enum verdict {
	FRESH,
	REVALIDATE,	/* the newest of the rules that cover it asks the origin first */
	GONE,
};

struct stamp {
	uint64_t life;	/* 0: none */
	uint64_t position;
};

/* A host and a URL as a request had them. */
struct name {
	struct slice host;
	struct slice url;
};

/* Patterns are the server's own business. */
struct patterns {
	/* NULL when it cannot be compiled; then `why` says why. */
	void *(*compile)(const char *pattern, char *why, size_t why_size);
	/* Anchored at the start. What cannot be decided is a match. */
	int (*match)(const void *compiled, const char *subject, size_t size);
	void (*release)(void *compiled);
};

#define RULES_CAP	1000000		/* file, path, directory and tag rules; 48 bytes each */
#define RULES_CAP_LIMIT	100000000
#define RULES_AGE	2592000		/* seconds a rule is kept: 30 days */
#define HOSTS_CAP	65536		/* hosts with rules; past it everything counts as covered, once */
#define REGEX_CAP	1000		/* patterns of one host */

struct rules_size {
	uint64_t rules, regexes, hosts, dropped;
};

void rules_start(const struct patterns *patterns);
void rules_bounds(uint64_t cap, uint64_t age_seconds);

/* A number for a life that is nobody's yet. */
uint64_t rules_other_life(void);

/* A new life: what was stamped before is covered, rules are forgotten, the table is complete up to `position`. */
void rules_renew(uint64_t position);

/* Another life with the same rules: what was stamped in that one counts, and what was stamped in this one does not. */
void rules_resume(uint64_t life);

/* The stamp for a fetch that begins now. */
struct stamp rules_stamp(void);

/*
 * A number for an object as it is asked for by these names, under which it is remembered that it was found fresh. `what`
 * must tell it from all others that there are or will be: with another stamp or other tags it is another one.
 */
uint64_t rules_sight(const void *what, size_t size, const struct name *names, unsigned n);

/*
 * Was it found fresh, and has nothing come since for the hosts of these names? This is what a hit costs, as long as it
 * is so: neither a lock, nor a look at the object's headers. 0: find out.
 */
int rules_seen_fresh(uint64_t sight, const struct name *names, unsigned n);

/*
 * How an object that was stamped so and is known by these names must be treated. `tags` as the origin wrote them, or
 * NULL where nobody knows them yet: then it may carry any. A `sight` of 0: it is not remembered.
 */
enum verdict rules_judge(uint64_t sight, struct stamp stamp, const struct name *names, unsigned n,
    const struct slice *tags);

/* Is nothing newer than that stamp? Then it is fresh, whatever its names. */
int rules_none_newer(struct stamp stamp);

/* A number for a name, the same as long as the process lives. */
uint64_t rules_key(const struct name *name);

/*
 * Between rules_open and rules_close lookups wait, so a long batch opens the table more than once. What was added
 * counts at once; rules_complete then says that nothing up to that position is missing.
 */
void rules_open(void);
void rules_add(enum verb verb, int force, struct slice host, struct slice what, void *compiled, uint64_t position,
    uint64_t now);
int rules_expire(uint64_t now);	/* some of them; true if there is more to do */
void rules_complete(uint64_t position);
void rules_close(void);

/*
 * Is this rule, which was added some time ago, still needed to judge as before? Where it is not, because its host's
 * floor lies above it, that floor is left in `*floor` once in each pass.
 */
enum keep rules_needed(enum verb verb, int force, struct slice host, struct slice what, uint64_t position,
    uint64_t pass, uint64_t *floor);

struct rules_size rules_count(void);

/*
 * For gates that keep an object under the position of the newest rule that covers it, and so must never see a rule go
 * without its position staying behind: they let go of many at once, since each time a floor rises its host's objects
 * are fetched anew.
 */

/* What rules_key and the names of tags are hashed with, to be the same in the process that comes after this one. */
void rules_seed(uint64_t key[2], int set);

/*
 * The newest position of a file, path, directory or pattern rule that covers the name, or of its host's floor; 0 where
 * there is none. `known` is what the answer was while the table was complete up to `at`. Leaves in *tag the position of
 * the host's newest tag rule.
 */
uint64_t rules_newest(const struct name *name, uint64_t known, uint64_t at, uint64_t *tag);

/* Another one whenever everything was forgotten, floors too. An answer counts if this is the same after it as before. */
uint64_t rules_life(void);

/* Numbers for a host and for a tag of that host, and the newest position that the tag was refreshed at. */
uint64_t rules_host(struct slice host);
uint64_t rules_tag(uint64_t host, struct slice tag);
uint64_t rules_tag_newest(uint64_t tag);

/* Lets go of the oldest until so many are left. */
void rules_keep(uint64_t rules);

#endif
