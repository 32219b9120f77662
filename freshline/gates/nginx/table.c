#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pattern.h"
#include "siphash.h"

#define CELL		32	/* bytes */
#define SIZES		256	/* a pattern takes less cells than this */
#define PATTERN_LENGTH	4096
#define MOST		100000	/* patterns of one host, and more than there are */
#define CHAIN		4096	/* no bucket has as many */
#define HOST		'h'	/* beside the letters of verbs: f p d t */

/* Found by its key: a host, or the position of a rule. Only a keyed hash of its name is kept. */
struct entry {
	uint64_t key;
	uint32_t next, order;
	uint64_t position, unused;
};

_Static_assert(sizeof(struct entry) == CELL && sizeof(struct host) == 2 * CELL, "cells");
_Static_assert(sizeof(struct pattern) + PATTERN_LENGTH <= (SIZES - 1) * CELL, "patterns");

struct table {
	uint64_t name;		/* state->rules, if it is the memory that the state speaks of */
	uint64_t removals;
	uint64_t clock;		/* gives versions and numbers */
	uint64_t held;		/* rules; a few more or less where processes were killed */
	uint64_t clearing;
	uint32_t mask;		/* buckets, less one */
	uint32_t cells, used;	/* the first is nobody's: 0 is none */
	uint32_t room;		/* cells that were let go of */
	uint32_t free[SIZES];
};

static struct table *table;
static uint32_t *buckets;
static char *cells;

/* The hosts of a batch, and up to where a refresh of all of it covers their patterns. */
static struct touched {
	uint32_t at;
	uint64_t newest, cleared;
} *touched;
static size_t n_touched, room_touched;

static void *
cell(uint32_t at)
{

	return (cells + (size_t)at * CELL);
}

void
table_open(void *memory, size_t size, int fresh)
{
	size_t left = size - sizeof *table, n = 1;

	table = memory;
	if (fresh) {
		while (n * 2 * (CELL + sizeof *buckets) <= left)
			n *= 2;
		table->mask = (uint32_t)(n - 1);
		left -= n * sizeof *buckets;
		table->cells = left / CELL < UINT32_MAX ? (uint32_t)(left / CELL) - 1 : UINT32_MAX;
		table->used = 1;
	}
	buckets = (uint32_t *)(table + 1);
	cells = (char *)(buckets + table->mask + 1);
	cells += (CELL - (uintptr_t)cells % CELL) % CELL;
}

int
table_fits(void)
{

	return (LOAD(&state->rules) == table->name);
}

/* ---- reading ---- */

uint64_t
table_removals(void)
{

	return (LOAD(&table->removals));
}

int
table_same(uint64_t removals)
{

	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return (LOAD(&table->removals) == removals);
}

static uint64_t
key_of(int kind, uint64_t host_key, const char *what, size_t size)
{
	struct siphash h;
	unsigned char letter = (unsigned char)kind;

	siphash_begin(&h, state->seed);
	siphash_bytes(&h, &host_key, sizeof host_key);
	siphash_bytes(&h, what, size);
	siphash_bytes(&h, &letter, sizeof letter);
	return (siphash_end(&h));
}

static uint32_t
find(uint64_t key)
{
	uint32_t at = LOAD(&buckets[key & table->mask]), steps;
	const struct entry *e;

	/* A cell that is something else by now leads anywhere: the bounds are for that, and table_same() tells. */
	for (steps = 0; at != 0 && at < table->cells && steps < CHAIN; steps++) {
		e = cell(at);
		if (LOAD(&e->key) == key)
			return (at);
		at = LOAD(&e->next);
	}
	return (0);
}

uint64_t
table_host_key(struct slice host)
{

	return (key_of(HOST, 0, host.at, host.size));
}

const struct host *
table_host(uint64_t host_key)
{
	uint32_t at = find(host_key);

	return (at == 0 ? NULL : cell(at));
}

static uint64_t
position_of(uint64_t key)
{
	uint32_t at = find(key);

	return (at == 0 ? 0 : LOAD(&((const struct entry *)cell(at))->position));
}

uint64_t
table_position(uint64_t host_key, int verb, const char *what, size_t size)
{

	return (position_of(key_of(verb, host_key, what, size)));
}

uint64_t
table_tag_key(uint64_t host_key, const char *tag, size_t size)
{

	return (key_of('t', host_key, tag, size));
}

uint64_t
table_tag(uint64_t tag_key)
{

	return (position_of(tag_key));
}

const struct pattern *
table_pattern(uint32_t at)
{

	return (at == 0 || at >= table->cells ? NULL : cell(at));
}

int
table_whole(uint32_t at, uint32_t size)
{

	return (size <= PATTERN_LENGTH && at + (sizeof(struct pattern) + size) / CELL < table->cells);
}

/* ---- cells ---- */

static uint32_t
take(uint32_t n)
{
	uint32_t at, size, rest;

	if ((at = table->free[n]) != 0) {
		table->free[n] = *(uint32_t *)cell(at);
		table->room -= n;
		return (at);
	}
	if (table->cells - table->used >= n) {
		at = table->used;
		table->used += n;
		return (at);
	}
	for (size = n + 1; size < SIZES; size++)
		if ((at = table->free[size]) != 0) {
			table->free[size] = *(uint32_t *)cell(at);
			table->room -= n;
			rest = at + n;
			*(uint32_t *)cell(rest) = table->free[size - n];
			table->free[size - n] = rest;
			return (at);
		}
	return (0);
}

/* What nobody finds any more, but may have found before. */
static void
give(uint32_t at, uint32_t n)
{

	(void)__atomic_add_fetch(&table->removals, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_RELEASE);	/* what is written into the cell next is not seen before that */
	STORE((uint32_t *)cell(at), table->free[n]);
	table->free[n] = at;
	table->room += n;
}

static uint32_t
size_of(const struct pattern *p)
{

	return ((uint32_t)((sizeof *p + p->size + CELL - 1) / CELL));
}

static uint32_t
make(uint64_t key, uint32_t n)
{
	uint32_t at = take(n);
	struct entry *e;

	if (at == 0)
		return (0);
	e = cell(at);
	memset(e, 0, (size_t)n * CELL);
	e->next = buckets[key & table->mask];
	STORE(&e->key, key);
	return (at);
}

static void
link_in(uint32_t at)
{
	const struct entry *e = cell(at);

	STORE(&buckets[e->key & table->mask], at);
}

/* ---- writing ---- */

void
freshline_begin(void)
{

	if (table->clearing)		/* who began it was killed */
		freshline_clear();
	n_touched = 0;
}

static struct touched *
touch(struct slice host, uint64_t position)
{
	uint64_t key = table_host_key(host);
	uint32_t at = find(key);
	struct touched *more;
	size_t i;

	if (at != 0 && (i = ((struct host *)cell(at))->order) < n_touched && touched[i].at == at) {
		if (touched[i].newest < position)
			touched[i].newest = position;
		return (&touched[i]);
	}
	if (n_touched == room_touched) {
		if ((more = realloc(touched, (2 * room_touched + 16) * sizeof *more)) == NULL)
			return (NULL);
		touched = more;
		room_touched = 2 * room_touched + 16;
	}
	if (at == 0) {
		if ((at = make(key, 2)) == 0)
			return (NULL);
		link_in(at);
	}
	((struct host *)cell(at))->order = (uint32_t)n_touched;
	touched[n_touched] = (struct touched){at, position, 0};
	return (&touched[n_touched++]);
}

static uint32_t
find_pattern(const struct host *h, struct slice text)
{
	const struct pattern *p;
	uint32_t at, steps = 0;

	for (at = LOAD(&h->first); (p = table_pattern(at)) != NULL && steps++ < MOST; at = LOAD(&p->older))
		if (p->size == text.size && table_whole(at, (uint32_t)text.size) && memcmp(p->text, text.at, text.size) == 0)
			return (at);
	return (0);
}

static void
moved(struct host *h)
{

	STORE(&h->list, ++table->clock);
}

static void
unlink_pattern(struct host *h, uint32_t at)
{
	struct pattern *p = cell(at);
	uint32_t *link = &h->first;

	while (*link != at)
		link = &((struct pattern *)cell(*link))->older;
	STORE(link, p->older);
	table->held -= table->held > 0;
	moved(h);
	give(at, size_of(p));
}

static int
put_pattern(struct host *h, uint64_t position, struct slice text)
{
	uint32_t same = find_pattern(h, text), at, n;
	const struct pattern *old = table_pattern(same);
	struct pattern *p;

	if (old != NULL && old->position >= position) {
		moved(h);	/* or nobody would look, if who put it there was killed before he said so */
		return (1);
	}
	n = (uint32_t)((sizeof *p + text.size + CELL - 1) / CELL);
	if (n >= SIZES || (at = take(n)) == 0)
		return (0);
	p = cell(at);
	p->older = h->first;
	p->size = (uint32_t)text.size;
	p->position = position;
	p->number = old != NULL ? old->number : ++table->clock;
	memcpy(p->text, text.at, text.size);
	STORE(&h->first, at);
	table->held++;
	moved(h);
	if (same != 0)
		unlink_pattern(h, same);
	return (1);
}

/*
 * A directory that ends within a name is a pattern; one too long for that, the directory before. What was allocated for it
 * is left in *made. 0: no memory.
 */
static int
normal(int *verb, struct slice *what, char **made)
{
	size_t i, n = 0;
	char *text;

	*made = NULL;
	if (*verb != 'd' || (what->size > 0 && what->at[what->size - 1] == '/'))
		return (1);
	if (what->size * 4 > PATTERN_LENGTH) {
		while (what->size > 1 && what->at[what->size - 1] != '/')
			what->size--;
		return (1);
	}
	if ((text = malloc(what->size * 4 + 1)) == NULL)
		return (0);
	for (i = 0; i < what->size; i++) {
		char c = what->at[i];

		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
			text[n++] = c;
		else
			n += (size_t)sprintf(text + n, "\\x%02x", (unsigned char)c);
	}
	*verb = 'r';
	*what = (struct slice){text, n};
	*made = text;
	return (1);
}

static int
put(uint64_t position, int verb, struct slice host, struct slice what)
{
	struct touched *t = touch(host, position);
	struct host *h;
	struct entry *e;
	uint32_t at, depth = 0;
	uint64_t key;
	size_t i;
	char *made;
	int done;

	if (t == NULL || !normal(&verb, &what, &made))
		return (0);
	h = cell(t->at);
	if (verb == 'r') {
		done = put_pattern(h, position, what);
		free(made);
		return (done);
	}
	key = key_of(verb, h->key, what.at, what.size);
	if ((at = find(key)) != 0) {
		e = cell(at);
		if (e->position < position)
			STORE(&e->position, position);
	} else {
		if ((at = make(key, 1)) == 0)
			return (0);
		((struct entry *)cell(at))->position = position;
		link_in(at);
		table->held++;
	}
	if (verb == 't') {
		if (h->tag < position)
			STORE(&h->tag, position);
	} else if (verb == 'd') {
		for (i = 0; i < what.size; i++)
			depth += what.at[i] == '/';
		if (h->depth < depth)
			STORE(&h->depth, depth);
		if (what.size == 1)		/* positions rise: it covers every pattern so far */
			t->cleared = position;
	}
	return (1);
}

int
freshline_put(double position, int verb, const char *host, size_t host_size, const char *what, size_t what_size)
{

	return (put((uint64_t)position, verb, (struct slice){host, host_size}, (struct slice){what, what_size}));
}

void
freshline_publish(void)
{
	const struct pattern *p;
	struct host *h;
	uint32_t at, older;
	size_t i;

	for (i = 0; i < n_touched; i++) {
		h = cell(touched[i].at);
		if (h->newest < touched[i].newest)
			STORE(&h->newest, touched[i].newest);
		STORE(&h->version, ++table->clock);
	}
	freshline_changed(0);
	for (i = 0; i < n_touched; i++) {
		h = cell(touched[i].at);
		for (at = touched[i].cleared ? h->first : 0; (p = table_pattern(at)) != NULL; at = older) {
			older = p->older;
			if (p->position <= touched[i].cleared)
				unlink_pattern(h, at);
		}
	}
	n_touched = 0;
}

int
freshline_load(const char *text, size_t size)
{
	const char *end = text + size, *stop, *field[4];
	char *name = NULL, *more;
	size_t length[4], room = 0, n;
	uint64_t position;
	int lines = 0, i;

	for (; text < end; text = stop + 1, lines++) {
		if ((stop = memchr(text, '\n', (size_t)(end - text))) == NULL)
			goto none;
		for (i = 0; i < 4; i++) {
			const char *to = i == 3 ? stop : memchr(text, ' ', (size_t)(stop - text));

			if (to == NULL)
				goto none;
			field[i] = text;
			length[i] = (size_t)(to - text);
			text = to + 1;
		}
		for (position = 0, n = 0; n < length[0] && field[0][n] >= '0' && field[0][n] <= '9'; n++)
			position = position * 10 + (uint64_t)(field[0][n] - '0');
		if (n == 0 || n > 15 || n != length[0] || length[1] == 0)
			goto none;
		if (length[3] > room) {
			if ((more = realloc(name, 2 * length[3])) == NULL)
				goto full;
			name = more;
			room = 2 * length[3];
		}
		n = percent_decode(name, field[3], length[3]);
		if (!put(position, *field[1], (struct slice){field[2], length[2]}, (struct slice){name, n}))
			goto full;
	}
	free(name);
	return (lines);
none:
	free(name);
	return (-1);
full:
	free(name);
	return (-2);
}

/* Where this very rule is, of a pattern its own cell; 0 unless it still says something. */
static uint32_t
place(uint64_t position, int verb, struct host *h, struct slice what, int *pattern)
{
	uint32_t at;
	char *made;

	if (!normal(&verb, &what, &made))
		return (0);
	if ((*pattern = verb == 'r')) {
		at = find_pattern(h, what);
		free(made);
		return (at != 0 && table_pattern(at)->position == position ? at : 0);
	}
	at = find(key_of(verb, h->key, what.at, what.size));
	return (at != 0 && ((struct entry *)cell(at))->position == position ? at : 0);
}

int
freshline_live(double position, int verb, const char *host, size_t host_size, const char *what, size_t what_size)
{
	uint64_t removals;
	uint32_t at;
	int pattern, live;

	do {	/* not under the lock: what is there must not be missed */
		removals = table_removals();
		at = find(table_host_key((struct slice){host, host_size}));
		live = at != 0 && place((uint64_t)position, verb, cell(at), (struct slice){what, what_size}, &pattern) != 0;
	} while (!live && !table_same(removals));
	return (live);
}

void
freshline_drop(double position, int verb, const char *host, size_t host_size, const char *what, size_t what_size)
{
	uint32_t at = find(table_host_key((struct slice){host, host_size})), *link;
	struct entry *e;
	struct host *h;
	int pattern;

	if (at == 0)
		return;
	h = cell(at);
	if ((at = place((uint64_t)position, verb, h, (struct slice){what, what_size}, &pattern)) == 0)
		return;
	if (pattern) {
		unlink_pattern(h, at);
		return;
	}
	e = cell(at);
	link = &buckets[e->key & table->mask];
	while (*link != at)
		link = &((struct entry *)cell(*link))->next;
	STORE(link, e->next);
	table->held -= table->held > 0;
	give(at, 1);
}

void
freshline_clear(void)
{

	STORE(&table->clearing, 1);
	memset(buckets, 0, ((size_t)table->mask + 1) * sizeof *buckets);
	(void)__atomic_add_fetch(&table->removals, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memset(table->free, 0, sizeof table->free);
	table->room = 0;
	table->held = 0;
	table->used = 1;
	STORE(&table->clearing, 0);
	n_touched = 0;
}

void
freshline_rename(void)
{

	STORE(&state->rules, state_random());
}

void
freshline_renew(void)
{
	uint64_t name = LOAD(&state->rules);

	freshline_clear();
	STORE(&table->name, name);
	freshline_changed(0);
}

int
freshline_fits(void)
{

	return (table_fits());
}

int
freshline_patterns(const char *host, size_t size)
{
	const struct host *h = table_host(table_host_key((struct slice){host, size}));

	const struct pattern *p;
	int n = 0;

	for (p = h == NULL ? NULL : table_pattern(h->first); p != NULL; p = table_pattern(p->older))
		n++;
	return (n);
}

double
freshline_rules(void)
{

	return ((double)LOAD(&table->held));
}

double
freshline_room(void)
{

	return ((double)(LOAD(&table->cells) - LOAD(&table->used) + LOAD(&table->room)) * CELL);
}

const char *
freshline_refuses(const char *text, size_t size)
{
	static char why[160];
	char *pattern;
	void *compiled;

	if (size > PATTERN_LENGTH) {
		snprintf(why, sizeof why, "the pattern is longer than %d", PATTERN_LENGTH);
		return (why);
	}
	if (memchr(text, '\0', size) != NULL)
		return ("a NUL in the pattern");
	if ((pattern = strndup(text, size)) == NULL)
		return ("no memory");
	compiled = pcre2_patterns.compile(pattern, why, sizeof why);
	free(pattern);
	if (compiled == NULL)
		return (why);
	pcre2_patterns.release(compiled);
	return (NULL);
}
