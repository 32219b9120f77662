#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "tags.h"

#include <sched.h>
#include <string.h>

#include "siphash.h"

#define PAGE		4096
#define WORDS		(PAGE / 8 - 8)
#define HEAD		3	/* words of a record before its tags: URL, position, count and marks */
#define LATE		(UINT64_C(1) << 32)
#define ANY		(UINT64_C(1) << 33)
#define COUNT		UINT64_C(0xffff)
#define SPINS		1000
#define WAIT_MS		2000	/* longer than a process that lives holds a page */
#define LATE_MS		3600000	/* longer than anybody waits for another's fetch */

_Static_assert(TAGS_MOST + HEAD <= WORDS, "a page holds the longest record");

struct page {
	uint64_t owner;		/* who writes it; 0: nobody */
	uint64_t turns;		/* odd while it is written */
	uint64_t generation;	/* of all that is in it */
	uint64_t unlearnt;	/* as in the state, of this page */
	uint64_t distrusted;	/* of what is remembered for a position below it, tags are missing */
	uint64_t stuck;		/* the owner who was waited for in vain */
	uint64_t asked;		/* one bit for some of its URLs: asked for since something was forgotten */
	uint64_t used;		/* words */
	uint64_t words[WORDS];
};

_Static_assert(sizeof(struct page) == PAGE, "pages");

static uint64_t *number;	/* of this memory: its first page has nothing else */
static struct page *pages;
static size_t n_pages;

void
tags_open(void *memory, size_t size, int fresh)
{

	number = memory;
	pages = (struct page *)memory + 1;
	n_pages = size / PAGE - 1;
	if (fresh)
		*number = ++state->tags_made;
}

void
tags_take_up(void)
{

	if (LOAD(&state->tags_settled) >= *number)
		return;
	state_raise(&state->tags, *number);
	freshline_changed(0);
	/* Whoever took a key by the memory before has taken one that is not beyond that. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	state_raise(&state->unlearnt, LOAD(&state->reach) + 1);
	state_raise(&state->tags_settled, *number);
}

int
tags_fit(void)
{

	return (LOAD(&state->tags) == *number);
}

uint64_t
tags_url(uint64_t host_key, const char *target, size_t size)
{
	struct siphash h;

	siphash_begin(&h, state->seed);
	siphash_bytes(&h, &host_key, sizeof host_key);
	siphash_bytes(&h, target, size);
	siphash_bytes(&h, "u", 1);
	return (siphash_end(&h));
}

static struct page *
page_of(uint64_t url)
{

	return (&pages[(url >> 32) % n_pages]);
}

static uint64_t
bit_of(uint64_t url)
{

	return (UINT64_C(1) << (url & 63));
}

static size_t
size_at(const struct page *page, size_t at)
{

	return (HEAD + (size_t)(page->words[at + 2] & COUNT));
}

/* Where the URL's record is; `used` where there is none. */
static size_t
find(const struct page *page, uint64_t url, size_t used)
{
	size_t at = 0;

	while (at + HEAD <= used && page->words[at] != url)
		at += size_at(page, at);
	return (at + HEAD <= used ? at : used);
}

static void
copy(const struct page *page, size_t at, struct record *to)
{
	uint64_t marks = page->words[at + 2];

	to->position = page->words[at + 1];
	to->late = (marks & LATE) != 0;
	to->any = (marks & ANY) != 0;
	to->n = marks & COUNT;
	if (to->n > TAGS_MOST || at + HEAD + to->n > WORDS)	/* torn */
		to->n = 0;
	memcpy(to->tags, page->words + at + HEAD, to->n * sizeof *to->tags);
}

enum recalled
tags_recall(uint64_t generation, uint64_t url, struct record *to)
{
	struct page *page = page_of(url);
	enum recalled found;
	uint64_t before, used;
	size_t at;
	int spins;

	for (spins = 0; spins < SPINS; spins++) {
		before = LOAD(&page->turns);
		if (before % 2 == 1)
			continue;
		found = UNKNOWN;
		used = LOAD(&page->used);
		if (page->generation == generation && used <= WORDS && (at = find(page, url, used)) < used) {
			copy(page, at, to);
			found = KNOWN;
		}
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (LOAD(&page->turns) != before)
			continue;
		if (found == KNOWN && (to->any || to->position < LOAD(&page->distrusted)))
			found = UNKNOWN;
		if (found == KNOWN && (LOAD(&page->asked) & bit_of(url)) == 0)
			(void)__atomic_or_fetch(&page->asked, bit_of(url), __ATOMIC_RELAXED);
		return (found);
	}
	return (BUSY);
}

static void
empty(struct page *page, uint64_t unlearnt)
{

	state_raise(&page->unlearnt, unlearnt);
	STORE(&page->used, 0);
	page->asked = page->stuck = 0;
}

/* Who reads it from here on has read nothing. */
static void
busy(struct page *page)
{

	STORE(&page->turns, page->turns | 1);
	__atomic_thread_fence(__ATOMIC_RELEASE);	/* or what is written next might be seen before that */
}

/* 0: it is not to be had, and what it holds of all up to now is out of use. */
static int
take(struct page *page)
{
	uint64_t me = state_me(0), owner = 0, until = 0, reach;

	while (!__atomic_compare_exchange_n(&page->owner, &owner, me, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		if (state_gone(owner, until != 0 && state_boot_ms() > until)) {
			if (!__atomic_compare_exchange_n(&page->owner, &owner, me, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
				owner = 0;
				continue;
			}
			busy(page);
			empty(page, LOAD(&state->reach) + 1);
			return (1);
		}
		if (until == 0)
			until = state_boot_ms() + WAIT_MS;
		if (LOAD(&page->stuck) == owner || state_boot_ms() > until) {
			STORE(&page->stuck, owner);
			reach = LOAD(&state->reach);
			state_raise(&page->unlearnt, reach + 1);
			state_raise(&page->distrusted, reach + 1);
			freshline_changed(1);
			return (0);
		}
		sched_yield();
		owner = 0;
	}
	busy(page);
	return (1);
}

static void
release(struct page *page)
{

	if (LOAD(&page->stuck) == state_me(0)) {	/* others went on without it; what it wrote meanwhile says too little */
		state_raise(&page->unlearnt, LOAD(&state->reach) + 1);
		state_raise(&page->distrusted, LOAD(&state->reach) + 1);
		page->stuck = 0;
		freshline_changed(1);
	}
	STORE(&page->turns, page->turns + 1);
	STORE(&page->owner, 0);
}

static void
cut(struct page *page, size_t at)
{
	size_t size = size_at(page, at);

	memmove(page->words + at, page->words + at + size, (page->used - at - size) * sizeof *page->words);
	page->used -= size;
}

/* Forgets what was not asked for longest. */
static void
make_room(struct page *page, size_t size)
{
	uint64_t first[WORDS];
	size_t n;

	while (page->used + size > WORDS) {
		n = size_at(page, 0);
		if (page->asked & bit_of(page->words[0])) {
			(void)__atomic_and_fetch(&page->asked, ~bit_of(page->words[0]), __ATOMIC_RELAXED);
			memcpy(first, page->words, n * sizeof *first);
			cut(page, 0);
			memcpy(page->words + page->used, first, n * sizeof *first);
			page->used += n;
			continue;
		}
		state_raise(&page->unlearnt, LOAD(&state->reach) + 1);
		(void)__atomic_add_fetch(&state->evictions, 1, __ATOMIC_RELAXED);
		cut(page, 0);
	}
}

static void
append(struct page *page, uint64_t url, const struct record *r)
{
	uint64_t *to;

	make_room(page, HEAD + r->n);
	to = page->words + page->used;
	to[0] = url;
	to[1] = r->position;
	to[2] = r->n | (r->late ? LATE : 0) | (r->any ? ANY : 0);
	memcpy(to + HEAD, r->tags, r->n * sizeof *r->tags);
	page->used += HEAD + r->n;
}

/* True if `to` says more than it did. */
static int
join(struct record *to, const struct record *more)
{
	int grown = (more->late && !to->late) || (more->any && !to->any);
	unsigned i, k;

	to->late |= more->late;
	to->any |= more->any;
	for (i = 0; i < more->n && !to->any; i++) {
		for (k = 0; k < to->n && to->tags[k] != more->tags[i]; k++)
			;
		if (k < to->n)
			continue;
		grown = 1;
		if (to->n < TAGS_MOST)
			to->tags[to->n++] = more->tags[i];
		else
			to->any = 1;
	}
	if (to->any)
		to->n = 0;
	return (grown);
}

static void
remember(struct page *page, uint64_t url, const struct record *answer, uint64_t now)
{
	static struct record mine;
	size_t at = find(page, url, page->used);
	uint64_t unlearnt;

	if (at < page->used) {
		copy(page, at, &mine);
		/* Fetched before a refresh that the URL has seen: unreachable; but not if that is past its time. */
		if (answer->position < mine.position && answer->position < now)
			return;
		if (answer->position == mine.position) {
			if (!join(&mine, answer))
				return;
		} else
			mine = *answer;
		cut(page, at);
		append(page, url, &mine);
		return;
	}
	unlearnt = LOAD(&page->unlearnt);
	if (answer->position < unlearnt || answer->position < LOAD(&state->unlearnt))
		return;
	append(page, url, answer);
}

void
tags_learn(uint64_t generation, uint64_t url, const struct record *answer, uint64_t now,
    int (*overtaken)(const struct record *answer, void *of), void *of)
{
	static struct record late;
	struct page *page = page_of(url);

	if (!take(page))
		return;
	if (LOAD(&state->generation) != generation) {	/* what it was fetched under is out of use, and what is here is not */
		if (page->generation == generation) {	/* but it may come back: the journal is being read */
			state_raise(&page->unlearnt, LOAD(&state->reach) + 1);
			state_raise(&page->distrusted, LOAD(&state->reach) + 1);
		}
		release(page);
		return;
	}
	if (page->generation != generation) {
		page->generation = generation;
		page->unlearnt = page->distrusted = 0;
		empty(page, 0);
	}
	remember(page, url, answer, now);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (overtaken(answer, of)) {		/* looked at last: a refresh from here on finds the tags */
		late = *answer;
		late.late = 1;
		remember(page, url, &late, now);
		state_raise(&state->late, state_boot_ms() + LATE_MS);
		release(page);
		freshline_changed(1);		/* other workers' answers about this URL are out of date */
		return;
	}
	release(page);
}
