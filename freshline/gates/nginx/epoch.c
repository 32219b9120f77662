#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "epoch.h"

#include <stdlib.h>
#include <string.h>

#include "pattern.h"
#include "siphash.h"
#include "table.h"
#include "tags.h"

#define TRIES		10
#define WAYS		4
#define SETS		8192	/* of four answers, 64 bytes each */
#define HOSTS		2048	/* whose patterns are kept compiled */
#define COMPILED	8192	/* patterns */
#define PATTERNS	100000	/* of one host; a list that is longer is being moved */
#define ONSTACK		4096	/* bytes of a URL that need no allocation */

/* An answer, and what it was drawn from. */
struct memo {
	uint64_t url;		/* 0: none */
	uint64_t version;	/* it was so at that version, */
	uint64_t generation, bump, host_version;	/* and is while these are the same */
	uint64_t position;
	uint64_t by_rules, seen;	/* without tags, by the rules up to there */
};

static struct memo (*memos)[WAYS];
static unsigned next_way;

struct compiled {
	uint64_t position, number;
	void *pattern;		/* NULL: it cannot be, so it matches */
};

/* A host's patterns, newest first. */
static struct known {
	uint64_t host, list;
	struct compiled *patterns;
	size_t n;
} *known;
static size_t n_compiled;

static uint64_t
max(uint64_t a, uint64_t b)
{

	return (a > b ? a : b);
}

/* ---- patterns ---- */

static void
release(struct compiled *patterns, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (patterns[i].pattern != NULL) {
			pcre2_patterns.release(patterns[i].pattern);
			n_compiled--;
		}
	free(patterns);
}

static void
forget(struct known *k)
{

	release(k->patterns, k->n);
	memset(k, 0, sizeof *k);
}

static int
newest_first(const void *a, const void *b)
{
	uint64_t x = ((const struct compiled *)a)->position, y = ((const struct compiled *)b)->position;

	return (x < y ? 1 : x > y ? -1 : 0);
}

/* The pattern's text, copied: NULL where it is torn, or there is no memory. */
static char *
text_of(uint32_t at, const struct pattern *p)
{
	uint32_t size = LOAD(&p->size);

	return (table_whole(at, size) ? strndup(p->text, size) : NULL);
}

static int
length(const struct host *h, size_t *n)
{
	const struct pattern *p;
	uint32_t at;

	*n = 0;
	for (at = LOAD(&h->first); (p = table_pattern(at)) != NULL; at = LOAD(&p->older))
		if (++*n > PATTERNS)
			return (0);
	return (1);
}

/* False where they moved meanwhile. */
static int
load(struct known *k, uint64_t host_key, const struct host *h)
{
	uint64_t list = LOAD(&h->list), removals = table_removals();
	struct compiled *patterns, *c;
	const struct pattern *p;
	size_t n, i = 0, old;
	uint32_t at;
	char *text = NULL;

	if (!length(h, &n) || (patterns = calloc(n + 1, sizeof *patterns)) == NULL)
		return (0);
	for (at = LOAD(&h->first); i < n && (p = table_pattern(at)) != NULL; at = LOAD(&p->older)) {
		c = &patterns[i++];
		c->position = LOAD(&p->position);
		c->number = LOAD(&p->number);
		for (old = 0; old < k->n && k->patterns[old].number != c->number; old++)
			;
		if (old < k->n && k->host == host_key) {
			c->pattern = k->patterns[old].pattern;
			k->patterns[old].pattern = NULL;
		} else if ((text = text_of(at, p)) != NULL && table_same(removals)) {
			c->pattern = pcre2_patterns.compile(text, NULL, 0);
			n_compiled += c->pattern != NULL;
			free(text);
		} else {
			c->number = 0;	/* nobody's, or the next to load it would take it for that pattern */
			free(text);
		}
	}
	release(k->patterns, k->n);
	k->host = host_key;
	k->list = list;
	k->patterns = patterns;
	k->n = i;
	qsort(patterns, i, sizeof *patterns, newest_first);
	if (table_same(removals) && LOAD(&h->list) == list)
		return (1);
	k->list = 0;		/* again, when next it is looked at */
	return (0);
}

static const struct known *
patterns_of(uint64_t host_key, const struct host *h)
{
	struct known *k;
	size_t i;

	if (known == NULL && (known = calloc(HOSTS, sizeof *known)) == NULL)
		return (NULL);
	k = &known[host_key % HOSTS];
	if (k->host == host_key && k->list != 0 && k->list == LOAD(&h->list))
		return (k);
	if (k->host != host_key)
		forget(k);
	if (n_compiled > COMPILED)
		for (i = 0; i < HOSTS; i++)
			if (&known[i] != k)
				forget(&known[i]);
	return (load(k, host_key, h) ? k : NULL);
}

/* ---- the answer ---- */

static uint64_t
by_patterns(const struct known *k, const char *url, size_t path_size, size_t size, uint64_t newest, uint64_t seen)
{
	const struct compiled *c;
	size_t i;

	for (i = 0; i < k->n; i++) {	/* only those newer than the answer, and than the last look */
		c = &k->patterns[i];
		if (c->position <= newest || c->position <= seen)
			break;
		if (c->pattern == NULL || pcre2_patterns.match(c->pattern, url, path_size) ||
		    (size > path_size && pcre2_patterns.match(c->pattern, url, size)))
			return (c->position);
	}
	return (newest);
}

/* False: not known for certain, though it can be no newer. */
static int
by_tags(uint64_t generation, uint64_t host_key, struct slice target, uint64_t newest_tag, uint64_t *position)
{
	static struct record record;
	enum recalled recalled;
	unsigned i;

	if (newest_tag == 0)
		return (1);
	recalled = tags_recall(generation, tags_url(host_key, target.at, target.size), &record);
	if (recalled != KNOWN) {	/* it may carry any tag */
		*position = max(*position, newest_tag);
		return (recalled == UNKNOWN);
	}
	*position = max(*position, record.position);
	for (i = 0; i < record.n; i++)
		*position = max(*position, table_tag(record.tags[i]));
	return (1);
}

/* What covers it; false where the rules moved under it. m->by_rules and m->seen are what was worked out before. */
static int
look_up(struct memo *m, uint64_t host_key, const struct host *h, struct slice target, int *certain)
{
	char room[ONSTACK], *url = room;
	const char *hash = memchr(target.at, '#', target.size);
	uint64_t newest, all_seen = LOAD(&h->newest);
	const struct known *k = NULL;
	size_t i, path_size, size = target.size;
	uint32_t depth = LOAD(&h->depth);

	if (hash != NULL)		/* nginx drops it from the path and keeps it in $request_uri */
		size = (size_t)(hash - target.at);
	if (LOAD(&h->first) != 0 && (k = patterns_of(host_key, h)) == NULL)
		return (0);
	if (size + 2 > sizeof room && (url = malloc(size + 2)) == NULL)
		return (0);
	size = canonical_url(url, target.at, size, &path_size);
	newest = max(table_position(host_key, 'f', url, size), table_position(host_key, 'p', url, path_size));
	for (i = 0; i < path_size && depth > 0; i++)
		if (url[i] == '/') {
			newest = max(newest, table_position(host_key, 'd', url, i + 1));
			depth--;
		}
	newest = max(newest, m->by_rules);
	if (k != NULL)
		newest = by_patterns(k, url, path_size, size, newest, m->seen);
	if (url != room)
		free(url);
	m->by_rules = m->position = newest;
	m->seen = max(m->seen, all_seen);
	*certain = by_tags(m->generation, host_key, target, LOAD(&h->tag), &m->position);
	return (1);
}

/* Are rules and tags those of now? A reload may have changed either. */
static int
fits(void)
{

	return (table_fits() && tags_fit());
}

static struct memo *
remembered(uint64_t url)
{
	struct memo *set;
	unsigned i;

	if (memos == NULL && (memos = calloc(SETS, sizeof *memos)) == NULL)
		return (NULL);
	set = memos[url % SETS];
	for (i = 0; i < WAYS; i++)
		if (set[i].url == url)
			return (&set[i]);
	for (i = 0; i < WAYS; i++)
		if (set[i].url == 0)
			return (&set[i]);
	return (&set[next_way++ % WAYS]);
}

static uint64_t
url_of(struct slice host, struct slice target)
{
	struct siphash h;
	uint64_t url;

	siphash_begin(&h, state->seed);
	siphash_field(&h, host.at, host.size);
	siphash_bytes(&h, target.at, target.size);
	url = siphash_end(&h);
	return (url != 0 ? url : 1);
}

struct epoch
epoch_of(struct slice host, struct slice target)
{
	uint64_t url = url_of(host, target), version, bump, removals, host_key = 0, host_version;
	struct memo *slot = remembered(url), m;
	const struct host *h;
	int tries, certain, named;

	for (tries = 0; tries < TRIES; tries++) {
		version = LOAD(&state->version);
		if (slot != NULL && slot->url == url && slot->version == version)
			return ((struct epoch){slot->generation, slot->position, 0});
		memset(&m, 0, sizeof m);
		if (slot != NULL && slot->url == url)
			m = *slot;
		if (!fits())
			break;
		bump = LOAD(&state->bump);
		if (m.bump != bump || m.generation != LOAD(&state->serving))
			m = (struct memo){0, 0, LOAD(&state->serving), bump, 0, 0, 0, 0};
		m.version = version;
		removals = table_removals();
		if (host_key == 0)
			host_key = table_host_key(host);
		named = is_site_name(host);
		h = named ? table_host(host_key) : NULL;
		host_version = h == NULL ? 0 : LOAD(&h->version);
		certain = 1;
		if (!named)		/* after the version: what came with that is not beyond it */
			m.position = LOAD(&state->reach);
		else if (h == NULL)
			m.position = m.by_rules = m.seen = 0;
		else if ((m.url == 0 || m.host_version != host_version) && !look_up(&m, host_key, h, target, &certain))
			continue;
		if (!table_same(removals) || LOAD(&state->serving) != m.generation || !fits())
			continue;
		if (slot != NULL && certain) {
			m.url = url;
			m.host_version = host_version;
			*slot = m;
		}
		return ((struct epoch){m.generation, m.position, 0});
	}
	return ((struct epoch){state_random(), 0, 1});
}

size_t
epoch_word(const struct epoch *epoch, char to[FRESHLINE_NAME])
{
	static const char digits[] = "0123456789abcdef";
	static uint64_t spelled;	/* mostly the same as before */
	static char spelling[16];
	char number[24];
	uint64_t left = epoch->position;
	size_t n = 0, size = 16;
	int shift;

	if (epoch->generation != spelled) {
		for (shift = 60; shift >= 0; shift -= 4)
			spelling[15 - shift / 4] = digits[epoch->generation >> shift & 15];
		spelled = epoch->generation;
	}
	memcpy(to, spelling, size);
	to[size++] = '.';
	do
		number[n++] = (char)('0' + left % 10);
	while ((left /= 10) > 0);
	while (n > 0)
		to[size++] = number[--n];
	to[size] = '\0';
	return (size);
}

void
freshline_look(const char *host, size_t host_size, const char *target, size_t target_size, struct freshline_answer *to)
{
	struct epoch epoch = epoch_of((struct slice){host, host_size}, (struct slice){target, target_size});

	to->position = epoch.position;
	(void)epoch_word(&epoch, to->word);
}
