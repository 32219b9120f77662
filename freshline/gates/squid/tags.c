#include "tags.h"

#include <stdlib.h>
#include <string.h>

#include "rules.h"

#define NONE	UINT32_MAX

struct record {
	uint64_t name, since;
	uint64_t *tags;
	uint32_t chained;
	uint16_t n;		/* more than TAGS_EACH: any */
	uint8_t used, touched;
};

static struct record *records;
static uint32_t *buckets, cap, filled, hand;
static uint64_t mask, from;	/* epochs below `from` are not learned about */

static uint64_t
max(uint64_t a, uint64_t b)
{

	return (a > b ? a : b);
}

void
tags_start(size_t names)
{
	size_t size = 1024;

	while (size < names && size < (1u << 30))
		size *= 2;
	cap = (uint32_t)(names < size ? names : size);
	mask = size - 1;
	records = calloc(cap, sizeof *records);
	buckets = malloc(size * sizeof *buckets);
	if (records == NULL || buckets == NULL)
		abort();
	memset(buckets, 0xff, size * sizeof *buckets);
}

void
tags_clear(void)
{
	uint32_t i;

	for (i = 0; i < filled; i++)
		free(records[i].tags);
	memset(records, 0, filled * sizeof *records);
	memset(buckets, 0xff, (mask + 1) * sizeof *buckets);
	filled = hand = 0;
	from = 0;
}

void
tags_forget(uint64_t epoch)
{

	tags_clear();
	from = epoch + 1;
}

static struct record *
find(uint64_t name)
{
	uint32_t at = buckets[name & mask];

	while (at != NONE && records[at].name != name)
		at = records[at].chained;
	return (at == NONE ? NULL : &records[at]);
}

static void
forget(uint32_t at)
{
	uint32_t *link = &buckets[records[at].name & mask];

	while (*link != at)
		link = &records[*link].chained;
	*link = records[at].chained;
	free(records[at].tags);
	memset(&records[at], 0, sizeof records[at]);
}

/* A place for one more; whoever was not asked for since the hand came by last makes room. */
static uint32_t
room(uint64_t reach)
{

	if (filled < cap)
		return (filled++);
	from = max(from, reach + 1);
	for (;; hand = (hand + 1) % cap) {
		if (!records[hand].used)
			return (hand);
		if (records[hand].touched)
			records[hand].touched = 0;
		else {
			forget(hand);
			return (hand);
		}
	}
}

static void
become_any(struct record *r)
{

	free(r->tags);
	r->tags = NULL;
	r->n = TAGS_EACH + 1;
}

static void
add(struct record *r, const uint64_t *tags, size_t n)
{
	uint64_t *more;
	size_t i, k;

	if (r->n > TAGS_EACH)
		return;
	if (n > TAGS_EACH) {
		become_any(r);
		return;
	}
	for (i = 0; i < n; i++) {
		for (k = 0; k < r->n && r->tags[k] != tags[i]; k++)
			;
		if (k < r->n)
			continue;
		if (r->n == TAGS_EACH || (more = realloc(r->tags, (r->n + 1u) * sizeof *more)) == NULL) {
			become_any(r);
			return;
		}
		r->tags = more;
		r->tags[r->n++] = tags[i];
	}
}

static struct record *
make(uint64_t name, uint64_t since, uint64_t reach)
{
	uint32_t at = room(reach);
	struct record *r = &records[at];

	*r = (struct record){.name = name, .since = since, .chained = buckets[name & mask], .used = 1, .touched = 1};
	buckets[name & mask] = at;
	return (r);
}

void
tags_learn(uint64_t name, uint64_t epoch, const uint64_t *tags, size_t n, uint64_t reach)
{
	struct record *r = find(name);

	if (r == NULL) {
		if (epoch < from)
			return;
		r = make(name, epoch, reach);
	} else if (epoch < r->since)
		return;		/* fetched before a refresh that the name has seen: nobody will look there */
	else if (epoch > r->since) {
		free(r->tags);
		r->tags = NULL;
		r->n = 0;
		r->since = epoch;
	}
	add(r, tags, n);
}

uint64_t
tags_newest(uint64_t name, uint64_t newest)
{
	struct record *r = find(name);
	uint64_t found;
	size_t i;

	if (r == NULL)
		return (newest);
	r->touched = 1;
	if (r->n > TAGS_EACH)
		return (max(r->since, newest));
	found = r->since;
	for (i = 0; i < r->n && found < newest; i++)
		found = max(found, rules_tag_newest(r->tags[i]));
	return (found);
}

int
tags_write(FILE *to)
{
	uint32_t i;

	fwrite(&from, sizeof from, 1, to);
	for (i = 0; i < filled; i++)
		if (records[i].used) {
			fwrite(&records[i], sizeof records[i], 1, to);
			if (records[i].tags != NULL)
				fwrite(records[i].tags, sizeof *records[i].tags, records[i].n, to);
		}
	return (ferror(to) ? -1 : 0);
}

int
tags_read(FILE *file)
{
	uint64_t tags[TAGS_EACH], learnable;
	struct record one;

	tags_clear();
	if (fread(&learnable, sizeof learnable, 1, file) != 1)
		return (-1);
	while (fread(&one, sizeof one, 1, file) == 1) {
		if (one.n <= TAGS_EACH && fread(tags, sizeof *tags, one.n, file) != one.n)
			return (-1);
		add(make(one.name, one.since, learnable), tags, one.n);
	}
	from = max(from, learnable);
	return (ferror(file) ? -1 : 0);
}
