#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "rules.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "siphash.h"

#define NONE		UINT32_MAX
#define HOST_SIZE	256		/* bytes of a name; a longer one is cut and shares its rules */
#define EXPIRED_AT_ONCE	1024		/* rules dropped, and hosts looked at, while lookups wait */
#define MEMO_SLOTS	262144		/* remembered verdicts, 16 bytes each */
#define HOST_VERSIONS	4096		/* hosts share them: what comes for one makes all of them be looked at again */
#define ONSTACK		4096		/* bytes of a URL that need no allocation */

/*
 * Only a keyed hash of host, verb and name is kept. Two names with one hash would share their positions and be
 * refreshed together: one fetch too many, once in 2^64.
 */
struct entry {
	uint64_t key;
	uint64_t hard, soft;		/* newest position with force 1, with force 0 */
	uint32_t chained;
	uint32_t older, newer;		/* in order of their newest position */
	uint32_t host;
	uint32_t seen;			/* seconds */
};

struct regex {
	struct regex *older, *newer;
	char *pattern;
	void *compiled;
	uint64_t hard, soft;
	uint64_t seen;
	size_t size;
};

struct host {
	uint64_t key;
	uint64_t floor;			/* objects stamped below it are gone */
	uint64_t newest, newest_by[VERBS];
	struct regex *newest_regex, *oldest_regex;
	uint32_t regexes;
	uint32_t chained;
	uint64_t floor_pass;		/* the last one that was told the floor */
};

static pthread_rwlock_t lock;
static const struct patterns *patterns;
static uint64_t hash_key[2];

static _Atomic uint64_t life;
static _Atomic uint64_t newest;		/* of all rules: objects stamped at it or above need no lock to be found fresh */
static _Atomic uint64_t complete;

static struct entry *entries;
/*
 * The table grows by a bucket with each entry (Litwin's linear hashing, 1980): lookups never wait while all of it is
 * hashed anew. entry_mask + 1 is the power of two that buckets_used is on its way to.
 */
static uint32_t *entry_buckets, entry_mask, buckets_used;
static uint32_t entries_used, entries_size, free_entry = NONE, oldest_entry = NONE, newest_entry = NONE;

static struct host *hosts;
static uint32_t host_buckets[HOSTS_CAP], hosts_used, hosts_size;

static uint64_t cap = RULES_CAP, age = RULES_AGE, held, held_regexes, dropped;

/* The newest position of a rule of these hosts, for who holds no lock. */
static _Atomic uint64_t host_versions[HOST_VERSIONS];

/*
 * Verdicts once reached: an object that was found fresh need not be held against the same rules again. The key covers
 * everything the verdict was drawn from, the life too. check is key ^ position, so a slot torn between two writers fits
 * no key.
 */
static struct memo {
	_Atomic uint64_t check, position;
} memo[MEMO_SLOTS];

static uint64_t
max(uint64_t a, uint64_t b)
{

	return (a > b ? a : b);
}

static void
random_bytes(void *to, size_t size)
{

	/* At most 256 bytes are never cut short (getrandom(2)). */
	while (getrandom(to, size, 0) != (ssize_t)size)
		;
}

void
rules_start(const struct patterns *use)
{
	pthread_rwlockattr_t attributes;

	/* Lookups come without a pause: with glibc's default a batch might never get in. */
	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&lock, &attributes);
	pthread_rwlockattr_destroy(&attributes);
	patterns = use;
	random_bytes(hash_key, sizeof hash_key);
	rules_renew(0);
}

void
rules_seed(uint64_t key[2], int set)
{

	memcpy(set ? hash_key : key, set ? key : hash_key, sizeof hash_key);
}

/* ---- finding ---- */

static uint64_t
key_of(enum verb verb, uint64_t host_key, const char *what, size_t size)
{
	struct siphash h;
	unsigned char kind = (unsigned char)verb;

	siphash_begin(&h, hash_key);
	siphash_bytes(&h, &kind, sizeof kind);
	siphash_bytes(&h, &host_key, sizeof host_key);
	siphash_bytes(&h, what, size);
	return (siphash_end(&h));
}

static uint64_t
host_key_of(struct slice host)
{
	char canonical[HOST_SIZE];
	struct siphash h;

	if (host.size > HOST_SIZE)
		host.size = HOST_SIZE;
	siphash_begin(&h, hash_key);
	siphash_bytes(&h, canonical, canonical_host(canonical, host.at, host.size));
	return (siphash_end(&h));
}

static uint32_t
find_host(uint64_t key)
{
	uint32_t at = host_buckets[key & (HOSTS_CAP - 1)];

	while (at != NONE && hosts[at].key != key)
		at = hosts[at].chained;
	return (at);
}

static uint32_t
bucket_of(uint64_t key)
{
	uint32_t at = (uint32_t)key & entry_mask;

	return (at < buckets_used ? at : at & (entry_mask >> 1));
}

static uint32_t
find_entry(uint64_t key)
{
	uint32_t at;

	if (buckets_used == 0)
		return (NONE);
	at = entry_buckets[bucket_of(key)];
	while (at != NONE && entries[at].key != key)
		at = entries[at].chained;
	return (at);
}

/* ---- judging ---- */

struct newest_of {
	uint64_t hard, soft;
};

static void
probe(struct newest_of *found, enum verb verb, uint64_t host_key, const char *what, size_t size)
{
	uint32_t at = find_entry(key_of(verb, host_key, what, size));

	if (at != NONE) {
		found->hard = max(found->hard, entries[at].hard);
		found->soft = max(found->soft, entries[at].soft);
	}
}

static void
probe_tags(struct newest_of *found, uint64_t host_key, const struct slice *tags)
{
	const char *p = tags->at, *end = tags->at + tags->size, *start;

	while (p < end) {
		while (p < end && (*p == ' ' || *p == ',' || *p == '\t'))
			p++;
		start = p;
		while (p < end && *p != ' ' && *p != ',' && *p != '\t')
			p++;
		if (p > start)
			probe(found, VERB_TAG, host_key, start, (size_t)(p - start));
	}
}

static void
probe_regexes(struct newest_of *found, const struct host *host, const char *url, size_t path_size, size_t size,
    uint64_t since)
{
	const struct regex *r;
	uint64_t position;

	for (r = host->newest_regex; r != NULL; r = r->older) {
		position = max(r->hard, r->soft);
		if (position <= since)
			break;
		if (r->hard <= found->hard && r->soft <= found->soft)
			continue;
		if (patterns->match(r->compiled, url, path_size) ||
		    (size > path_size && patterns->match(r->compiled, url, size))) {
			found->hard = max(found->hard, r->hard);
			found->soft = max(found->soft, r->soft);
		}
	}
}

uint64_t
rules_key(const struct name *name)
{
	struct siphash h;

	siphash_begin(&h, hash_key);
	siphash_field(&h, name->host.at, name->host.size);
	siphash_field(&h, name->url.at, name->url.size);
	return (siphash_end(&h));
}

uint64_t
rules_sight(const void *what, size_t size, const struct name *names, unsigned n)
{
	struct siphash h;
	unsigned i;

	siphash_begin(&h, hash_key);
	siphash_field(&h, what, size);
	for (i = 0; i < n; i++) {
		siphash_field(&h, names[i].host.at, names[i].host.size);
		siphash_field(&h, names[i].url.at, names[i].url.size);
	}
	return (siphash_end(&h) | 1);
}

static int
recall(uint64_t key, uint64_t *position)
{
	struct memo *m = &memo[key & (MEMO_SLOTS - 1)];
	uint64_t check = atomic_load_explicit(&m->check, memory_order_relaxed);

	*position = atomic_load_explicit(&m->position, memory_order_relaxed);
	return ((check ^ *position) == key);
}

static void
remember(uint64_t key, uint64_t position)
{
	struct memo *m = &memo[key & (MEMO_SLOTS - 1)];

	atomic_store_explicit(&m->position, position, memory_order_relaxed);
	atomic_store_explicit(&m->check, key ^ position, memory_order_relaxed);
}

/* Under the lock. */
static enum verdict
judge_name(struct stamp stamp, uint64_t since, const struct name *name, const struct slice *tags)
{
	struct newest_of found = {0, 0};
	char room[ONSTACK], *url = room;
	uint64_t host_key;
	const struct host *host;
	size_t i, path_size, size;
	uint32_t at;

	if (name->host.size == 0)
		return (GONE);	/* nobody can name it, and something is newer: fetch it */
	host_key = host_key_of(name->host);
	at = find_host(host_key);
	if (at == NONE || hosts[at].newest <= stamp.position)
		return (FRESH);
	host = &hosts[at];
	if (stamp.position < host->floor)
		return (GONE);
	if (host->newest <= since)
		return (FRESH);

	if (name->url.size + 2 > sizeof room && (url = malloc(name->url.size + 2)) == NULL)
		return (GONE);
	size = canonical_url(url, name->url.at, name->url.size, &path_size);
	if (host->newest_by[VERB_FILE] > since)
		probe(&found, VERB_FILE, host_key, url, size);
	if (host->newest_by[VERB_PATH] > since)
		probe(&found, VERB_PATH, host_key, url, path_size);
	if (host->newest_by[VERB_DIR] > since)
		for (i = 0; i < path_size; i++)
			if (url[i] == '/')
				probe(&found, VERB_DIR, host_key, url, i + 1);
	if (host->newest_by[VERB_TAG] > since) {
		if (tags != NULL)
			probe_tags(&found, host_key, tags);
		else
			found.soft = max(found.soft, host->newest_by[VERB_TAG]);
	}
	if (host->newest_by[VERB_REGEX] > since)
		probe_regexes(&found, host, url, path_size, size, since);
	if (url != room)
		free(url);

	if (found.hard > since)
		return (GONE);
	if (found.soft > since)
		return (REVALIDATE);
	return (FRESH);
}

int
rules_none_newer(struct stamp stamp)
{
	/* In this order: a new life is there before the rules of the old one go. */
	uint64_t before = atomic_load(&newest);

	return (stamp.life == atomic_load(&life) && before <= stamp.position);
}

int
rules_seen_fresh(uint64_t sight, const struct name *names, unsigned n)
{
	/* Before the life: where the rules of one are gone, there is another one already. */
	uint64_t before = atomic_load(&newest), host, version, position;
	unsigned i;

	if (!recall(sight ^ atomic_load(&life), &position))
		return (0);
	if (before <= position)
		return (1);
	for (i = 0; i < n; i++) {
		if (names[i].host.size == 0)
			return (0);
		host = host_key_of(names[i].host);
		version = atomic_load(&host_versions[host & (HOST_VERSIONS - 1)]);
		if (version > position)
			return (0);
	}
	/* Once more: a flush since would have put the versions back. */
	return (recall(sight ^ atomic_load(&life), &position));
}

enum verdict
rules_judge(uint64_t sight, struct stamp stamp, const struct name *names, unsigned n, const struct slice *tags)
{
	enum verdict verdict = FRESH, one;
	uint64_t key = sight ^ stamp.life, since;
	unsigned i;

	if (rules_none_newer(stamp)) {
		if (sight != 0)
			remember(key, stamp.position);
		return (FRESH);
	}
	if (stamp.life != atomic_load(&life))
		return (GONE);
	if (sight == 0 || !recall(key, &since) || since < stamp.position)
		since = stamp.position;
	pthread_rwlock_rdlock(&lock);
	if (stamp.life != atomic_load(&life))
		verdict = GONE;
	for (i = 0; i < n && verdict != GONE; i++) {
		one = judge_name(stamp, since, &names[i], tags);
		if (one > verdict)
			verdict = one;
	}
	if (verdict == FRESH && sight != 0)
		remember(key, max(since, atomic_load(&complete)));
	pthread_rwlock_unlock(&lock);
	return (verdict);
}

struct stamp
rules_stamp(void)
{
	struct stamp stamp;

	/* Without the lock, as some take one for each hit. A new life's position is there before it is. */
	do {
		stamp.life = atomic_load(&life);
		stamp.position = atomic_load(&complete);
	} while (stamp.life != atomic_load(&life));
	return (stamp);
}

/* ---- positions ---- */

static uint64_t
newest_of(struct newest_of found)
{

	return (max(found.hard, found.soft));
}

uint64_t
rules_newest(const struct name *name, uint64_t known, uint64_t at, uint64_t *tag)
{
	struct newest_of found = {known, 0};
	char room[ONSTACK], *url = room;
	const struct host *host;
	uint64_t host_key, answer;
	size_t i, path_size, size;
	uint32_t where;

	*tag = 0;
	host_key = host_key_of(name->host);
	pthread_rwlock_rdlock(&lock);
	where = find_host(host_key);
	if (where == NONE) {
		pthread_rwlock_unlock(&lock);
		return (0);
	}
	host = &hosts[where];
	*tag = host->newest_by[VERB_TAG];
	found.hard = max(found.hard, host->floor);
	if (host->newest > at) {
		if (name->url.size + 2 > sizeof room && (url = malloc(name->url.size + 2)) == NULL) {
			answer = host->newest;
			pthread_rwlock_unlock(&lock);
			return (answer);
		}
		size = canonical_url(url, name->url.at, name->url.size, &path_size);
		if (host->newest_by[VERB_FILE] > at)
			probe(&found, VERB_FILE, host_key, url, size);
		if (host->newest_by[VERB_PATH] > at)
			probe(&found, VERB_PATH, host_key, url, path_size);
		if (host->newest_by[VERB_DIR] > at)
			for (i = 0; i < path_size; i++)
				if (url[i] == '/')
					probe(&found, VERB_DIR, host_key, url, i + 1);
		if (host->newest_by[VERB_REGEX] > at) {
			found.hard = found.soft = newest_of(found);	/* older patterns say nothing more */
			probe_regexes(&found, host, url, path_size, size, max(at, found.hard));
		}
		if (url != room)
			free(url);
	}
	answer = newest_of(found);
	pthread_rwlock_unlock(&lock);
	return (answer);
}

uint64_t
rules_life(void)
{

	return (atomic_load(&life));
}

uint64_t
rules_host(struct slice host)
{

	return (host_key_of(host));
}

uint64_t
rules_tag(uint64_t host, struct slice tag)
{

	return (key_of(VERB_TAG, host, tag.at, tag.size));
}

uint64_t
rules_tag_newest(uint64_t tag)
{
	struct newest_of found = {0, 0};
	uint32_t at;

	pthread_rwlock_rdlock(&lock);
	if ((at = find_entry(tag)) != NONE)
		found = (struct newest_of){entries[at].hard, entries[at].soft};
	pthread_rwlock_unlock(&lock);
	return (newest_of(found));
}

/* ---- forgetting ---- */

static void
forget_regex(struct host *host, struct regex *r)
{

	if (r->newer != NULL)
		r->newer->older = r->older;
	else
		host->newest_regex = r->older;
	if (r->older != NULL)
		r->older->newer = r->newer;
	else
		host->oldest_regex = r->newer;
	host->regexes--;
	held_regexes--;
	patterns->release(r->compiled);
	free(r->pattern);
	free(r);
}

static void
drop_oldest_regex(struct host *host)
{
	struct regex *r = host->oldest_regex;

	host->floor = max(host->floor, max(r->hard, r->soft));
	dropped++;
	forget_regex(host, r);
}

static void
unlink_entry(uint32_t at)
{
	struct entry *e = &entries[at];

	if (e->older != NONE)
		entries[e->older].newer = e->newer;
	else
		oldest_entry = e->newer;
	if (e->newer != NONE)
		entries[e->newer].older = e->older;
	else
		newest_entry = e->older;
}

static void
drop_oldest_entry(void)
{
	uint32_t at = oldest_entry, *link;
	struct entry *e = &entries[at];
	struct host *host = &hosts[e->host];

	host->floor = max(host->floor, max(e->hard, e->soft));
	unlink_entry(at);
	for (link = &entry_buckets[bucket_of(e->key)]; *link != at; link = &entries[*link].chained)
		;
	*link = e->chained;
	e->chained = free_entry;
	free_entry = at;
	held--;
	dropped++;
}

/* Every object there is counts as covered from here on. */
static void
forget_all(void)
{
	uint32_t i;

	for (i = 0; i < hosts_used; i++)
		while (hosts[i].newest_regex != NULL)
			forget_regex(&hosts[i], hosts[i].newest_regex);
	hosts_used = 0;
	for (i = 0; i < HOSTS_CAP; i++)
		host_buckets[i] = NONE;
	free(entries);
	free(entry_buckets);
	entries = NULL;
	entry_buckets = NULL;
	entries_used = entries_size = entry_mask = buckets_used = 0;
	free_entry = oldest_entry = newest_entry = NONE;
	held = 0;
	atomic_store(&newest, 0);
	for (i = 0; i < HOST_VERSIONS; i++)
		atomic_store(&host_versions[i], 0);
}

uint64_t
rules_other_life(void)
{
	uint64_t other;

	do
		random_bytes(&other, sizeof other);
	while (other == 0 || other == atomic_load(&life));
	return (other);
}

void
rules_renew(uint64_t position)
{
	uint64_t other = rules_other_life();

	pthread_rwlock_wrlock(&lock);
	atomic_store(&complete, position);
	atomic_store(&life, other);
	forget_all();
	pthread_rwlock_unlock(&lock);
}

void
rules_resume(uint64_t other)
{

	pthread_rwlock_wrlock(&lock);
	atomic_store(&life, other);
	pthread_rwlock_unlock(&lock);
}

int
rules_expire(uint64_t now)
{
	uint32_t i, dropping = EXPIRED_AT_ONCE;
	static uint32_t at;
	struct host *host;

	while (held > 0 && (held > cap || entries[oldest_entry].seen + age < now)) {
		if (dropping-- == 0)
			return (1);
		drop_oldest_entry();
	}
	if (held_regexes > 0)
		for (i = 0; i < hosts_used && i < EXPIRED_AT_ONCE; i++) {
			host = &hosts[at++ % hosts_used];
			while (host->oldest_regex != NULL && host->oldest_regex->seen + age < now)
				drop_oldest_regex(host);
		}
	return (0);
}

void
rules_keep(uint64_t rules)
{

	while (held > rules)
		drop_oldest_entry();
}

void
rules_bounds(uint64_t new_cap, uint64_t age_seconds)
{

	pthread_rwlock_wrlock(&lock);
	cap = new_cap < 1 ? 1 : new_cap > RULES_CAP_LIMIT ? RULES_CAP_LIMIT : new_cap;
	age = age_seconds;	/* what is too much now goes with the next batch */
	pthread_rwlock_unlock(&lock);
}

/* ---- adding ---- */

static int
room_for_entry(void)
{
	uint32_t size, *buckets;
	struct entry *more;

	if (free_entry != NONE || entries_used < entries_size)
		return (1);
	size = entries_size == 0 ? 1024 : entries_size * 2;
	if ((more = realloc(entries, size * sizeof *entries)) == NULL)
		return (0);
	entries = more;
	if ((buckets = realloc(entry_buckets, size * sizeof *buckets)) == NULL)
		return (0);
	entry_buckets = buckets;
	entries_size = size;
	return (1);
}

/* One bucket more: half of what lies in one of the others moves there. */
static void
add_bucket(void)
{
	uint32_t new = buckets_used, *link, at;

	if (new > entry_mask)
		entry_mask = entry_mask * 2 + 1;
	entry_buckets[new] = NONE;
	if (new > 0)
		for (link = &entry_buckets[new & (entry_mask >> 1)]; (at = *link) != NONE;) {
			if (((uint32_t)entries[at].key & entry_mask) != new) {
				link = &entries[at].chained;
				continue;
			}
			*link = entries[at].chained;
			entries[at].chained = entry_buckets[new];
			entry_buckets[new] = at;
		}
	buckets_used++;
}

static uint32_t
make_entry(uint64_t key, uint32_t host)
{
	struct entry *e;
	uint32_t at, bucket;

	if (held >= cap)
		drop_oldest_entry();
	if (!room_for_entry())
		return (NONE);
	if (free_entry != NONE) {
		at = free_entry;
		free_entry = entries[at].chained;
	} else {
		at = entries_used++;
		add_bucket();
	}
	e = &entries[at];
	e->key = key;
	e->hard = e->soft = 0;
	e->host = host;
	bucket = bucket_of(key);
	e->chained = entry_buckets[bucket];
	entry_buckets[bucket] = at;
	held++;
	return (at);
}

static uint32_t
make_host(uint64_t key)
{
	struct host *more, *host;
	uint32_t size;

	if (hosts_used == HOSTS_CAP)
		return (NONE);
	if (hosts_used == hosts_size) {
		size = hosts_size == 0 ? 16 : hosts_size * 2;
		if ((more = realloc(hosts, size * sizeof *hosts)) == NULL)
			return (NONE);
		hosts = more;
		hosts_size = size;
	}
	host = &hosts[hosts_used];
	memset(host, 0, sizeof *host);
	host->key = key;
	host->chained = host_buckets[key & (HOSTS_CAP - 1)];
	host_buckets[key & (HOSTS_CAP - 1)] = hosts_used;
	return (hosts_used++);
}

static int
add_entry(uint32_t host, uint64_t key, int force, uint64_t position, uint64_t now)
{
	uint32_t at = find_entry(key);
	struct entry *e;

	if (at != NONE)
		unlink_entry(at);
	else if ((at = make_entry(key, host)) == NONE)
		return (0);
	e = &entries[at];
	if (force)
		e->hard = max(e->hard, position);
	else
		e->soft = max(e->soft, position);
	e->seen = (uint32_t)now;
	e->newer = NONE;
	e->older = newest_entry;
	if (newest_entry != NONE)
		entries[newest_entry].newer = at;
	else
		oldest_entry = at;
	newest_entry = at;
	return (1);
}

static int
add_regex(struct host *host, int force, struct slice pattern, void *compiled, uint64_t position, uint64_t now)
{
	struct regex *r = calloc(1, sizeof *r), *same;

	if (r == NULL || (r->pattern = malloc(pattern.size + 1)) == NULL) {
		free(r);
		patterns->release(compiled);
		return (0);
	}
	memcpy(r->pattern, pattern.at, pattern.size);
	r->size = pattern.size;
	r->compiled = compiled;
	r->seen = now;
	if (force)
		r->hard = position;
	else
		r->soft = position;
	for (same = host->newest_regex; same != NULL; same = same->older)
		if (same->size == r->size && memcmp(same->pattern, r->pattern, r->size) == 0)
			break;
	if (same != NULL) {
		r->hard = max(r->hard, same->hard);
		r->soft = max(r->soft, same->soft);
		forget_regex(host, same);
	}
	r->older = host->newest_regex;
	if (r->older != NULL)
		r->older->newer = r;
	else
		host->oldest_regex = r;
	host->newest_regex = r;
	host->regexes++;
	held_regexes++;
	if (host->regexes > REGEX_CAP)		/* many at once: each time the floor rises, what lies below it is fetched anew */
		while (host->regexes > REGEX_CAP / 2)
			drop_oldest_regex(host);
	return (1);
}

void
rules_open(void)
{

	pthread_rwlock_wrlock(&lock);
}

void
rules_close(void)
{

	pthread_rwlock_unlock(&lock);
}

/* A prefix that ends within a name: its directory, which is more. */
static struct slice
whole_names(enum verb verb, struct slice what)
{

	if (verb == VERB_DIR)
		while (what.size > 1 && what.at[what.size - 1] != '/')
			what.size--;
	return (what);
}

void
rules_add(enum verb verb, int force, struct slice host_name, struct slice what, void *compiled, uint64_t position,
    uint64_t now)
{
	uint64_t host_key = host_key_of(host_name);
	uint32_t at = find_host(host_key);
	struct host *host;
	int done;

	if (at == NONE && (at = make_host(host_key)) == NONE) {
		/* No room for another host: start over. */
		if (compiled != NULL)
			patterns->release(compiled);
		atomic_store(&life, rules_other_life());
		forget_all();
		return;
	}
	host = &hosts[at];
	host->newest = max(host->newest, position);
	host->newest_by[verb] = max(host->newest_by[verb], position);
	if (position > atomic_load(&host_versions[host_key & (HOST_VERSIONS - 1)]))
		atomic_store(&host_versions[host_key & (HOST_VERSIONS - 1)], position);
	if (position > atomic_load(&newest))
		atomic_store(&newest, position);

	what = whole_names(verb, what);
	if (verb == VERB_DIR && force && what.size == 1) {
		host->floor = max(host->floor, position);	/* the whole host: all its rules in one number */
		return;
	}
	if (verb == VERB_REGEX)
		done = add_regex(host, force, what, compiled, position, now);
	else
		done = add_entry(at, key_of(verb, host_key, what.at, what.size), force, position, now);
	if (!done)
		host->floor = max(host->floor, position);	/* no memory */
}

enum keep
rules_needed(enum verb verb, int force, struct slice host_name, struct slice what, uint64_t position, uint64_t pass,
    uint64_t *floor)
{
	uint64_t host_key = host_key_of(host_name), newest_same = position;
	enum keep keep = STAYS;
	const struct regex *r;
	struct host *host;
	uint32_t at;

	pthread_rwlock_rdlock(&lock);
	if ((at = find_host(host_key)) == NONE) {
		pthread_rwlock_unlock(&lock);
		return (STAYS);		/* everything was forgotten, and what is stored was not told so yet */
	}
	host = &hosts[at];
	if (position <= host->floor) {
		keep = host->floor_pass == pass ? GOES : REPLACED;
		host->floor_pass = pass;	/* nobody but who asks reads it, and one asks at a time */
		*floor = host->floor;
	} else if (verb == VERB_REGEX) {
		for (r = host->newest_regex; r != NULL; r = r->older)
			if (r->size == what.size && memcmp(r->pattern, what.at, what.size) == 0)
				newest_same = force ? r->hard : r->soft;
	} else {
		what = whole_names(verb, what);
		if ((at = find_entry(key_of(verb, host_key, what.at, what.size))) != NONE)
			newest_same = force ? entries[at].hard : entries[at].soft;
	}
	pthread_rwlock_unlock(&lock);
	return (newest_same > position ? GOES : keep);
}

void
rules_complete(uint64_t position)
{

	atomic_store(&complete, position);
}

struct rules_size
rules_count(void)
{
	struct rules_size size;

	pthread_rwlock_rdlock(&lock);
	size.rules = held;
	size.regexes = held_regexes;
	size.hosts = hosts_used;
	size.dropped = dropped;
	pthread_rwlock_unlock(&lock);
	return (size);
}
