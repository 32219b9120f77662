#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "settings.h"
#include "siphash.h"

#define WORTH_BYTES	1048576		/* a smaller journal is not compacted */
#define GROWTH		4		/* compacted when it is so many times its size after the last compaction */
#define PART_BYTES	65536		/* of one part of a compacted journal */

static int file = -1;
static uint64_t size, base;
static int ragged;	/* something follows the last commit that is none of ours */

struct text {
	char *at;
	size_t size, room, start;	/* the current block starts there */
	int failed;
};

static uint64_t
sum(const char *at, size_t n)
{
	static const uint64_t key[2] = {0, 0};
	struct siphash h;

	siphash_begin(&h, key);
	siphash_bytes(&h, at, n);
	return (siphash_end(&h));
}

static void
put(struct text *t, const char *at, size_t n)
{
	char *more;
	size_t room;

	if (t->failed)
		return;
	if (t->size + n > t->room) {
		room = (t->size + n) * 2;
		if ((more = realloc(t->at, room)) == NULL) {
			t->failed = 1;
			return;
		}
		t->at = more;
		t->room = room;
	}
	memcpy(t->at + t->size, at, n);
	t->size += n;
}

static void
put_text(struct text *t, const char *text)
{

	put(t, text, strlen(text));
}

static void
put_sum(struct text *t)
{
	char line[32];

	if (t->failed)
		return;
	snprintf(line, sizeof line, " %016" PRIx64 "\n", sum(t->at + t->start, t->size - t->start));
	put_text(t, line);
	t->start = t->size;
}

static void
put_command(struct text *t, enum verb verb, struct slice host, struct slice what, uint64_t position)
{
	static const char *const words[VERBS] = {
		[VERB_FILE] = "file",
		[VERB_PATH] = "path",
		[VERB_DIR] = "dir",
		[VERB_TAG] = "tag",
		[VERB_REGEX] = "regex",
	};
	static const char digits[] = "0123456789ABCDEF";
	char number[48], escape[3] = "%";
	unsigned char c;
	size_t i, plain;

	snprintf(number, sizeof number, "%" PRIu64 " 1 %s ", position, words[verb]);
	put_text(t, number);
	put(t, host.at, host.size);
	put(t, " ", 1);
	for (i = plain = 0; i < what.size; i++) {
		c = (unsigned char)what.at[i];
		if (c > ' ' && c < 127 && c != '%')
			continue;
		put(t, what.at + plain, i - plain);
		escape[1] = digits[c >> 4];
		escape[2] = digits[c & 15];
		put(t, escape, 3);
		plain = i + 1;
	}
	put(t, what.at + plain, what.size - plain);
	put(t, "\n", 1);
}

static void
put_head(struct text *t, const struct standing *s)
{

	put_text(t, "freshline squid 1 ");
	put_text(t, s->generation);
	put_text(t, " ");
	put_text(t, s->log);
	put_sum(t);
}

static void
put_commit(struct text *t, uint64_t position, struct slice mark)
{
	char number[32];

	snprintf(number, sizeof number, "commit %" PRIu64 " ", position);
	put_text(t, number);
	put(t, mark.at, mark.size);
	put_sum(t);
}

static int
write_all(int fd, const char *at, size_t n)
{
	ssize_t done;

	for (; n > 0; at += done, n -= (size_t)done)
		if ((done = write(fd, at, n)) < 0) {
			if (errno != EINTR)
				return (-1);
			done = 0;
		}
	return (0);
}

/* ---- reading ---- */

static int
next_line(struct slice *rest, struct slice *line)
{
	const char *end = memchr(rest->at, '\n', rest->size);

	if (end == NULL)
		return (0);
	*line = (struct slice){rest->at, (size_t)(end - rest->at)};
	rest->at = end + 1;
	rest->size -= line->size + 1;
	return (1);
}

/* Whether the line ends in the sum of what is before that, from `start` on; then it is cut off there. */
static int
sealed(struct slice *line, const char *start)
{
	char said[20];

	if (line->size < 18 || line->at[line->size - 17] != ' ')
		return (0);
	line->size -= 17;
	snprintf(said, sizeof said, "%016" PRIx64, sum(start, (size_t)(line->at + line->size - start)));
	return (memcmp(said, line->at + line->size + 1, 16) == 0);
}

static int
starts(struct slice line, const char *word)
{

	return (line.size >= strlen(word) && memcmp(line.at, word, strlen(word)) == 0);
}

/* Every line of a block, as commands. They are decoded where they stand. */
static void
each(struct slice block, void (*take)(struct command *, void *), void *with)
{
	struct command command;
	struct slice line;

	while (next_line(&block, &line))
		if (gate_read_command(line, &command, 0, UINT64_MAX) == NULL)
			take(&command, with);
}

/* Gives the commands of every committed block to `take`. The bytes up to the last commit; 0 if there is none. */
static size_t
read_text(char *at, size_t n, struct standing *s, void (*take)(struct command *, void *), void *with)
{
	struct slice rest = {at, n}, line, block = {NULL, 0};
	char text[300];
	const char *start;
	size_t good = 0;

	if (!next_line(&rest, &line) || !sealed(&line, line.at) || line.size >= sizeof text)
		return (0);
	memcpy(text, line.at, line.size);
	text[line.size] = '\0';
	if (sscanf(text, "freshline squid 1 %24s %129s", s->generation, s->log) != 2 ||
	    strlen(s->generation) != GENERATION_SIZE)
		return (0);
	for (start = rest.at; next_line(&rest, &line);) {
		if (!starts(line, "commit ") && !starts(line, "part "))
			continue;
		if (!sealed(&line, start) || line.size >= sizeof text)
			break;
		block = (struct slice){start, (size_t)(line.at - start)};
		start = rest.at;
		memcpy(text, line.at, line.size);
		text[line.size] = '\0';
		each(block, take, with);
		if (sscanf(text, "commit %" SCNu64 " %129s", &s->position, s->mark) == 2)
			good = (size_t)(rest.at - at);
	}
	return (good);
}

static void
into_rules(struct command *c, void *with)
{

	(void)with;
	gate_prepare(c);
	if (c->refused == NULL) {
		rules_open();
		rules_add(c->verb, 1, c->host, c->what, c->compiled, c->position, 0);
		rules_close();
	}
	free(c->text);
}

static char *
map(int fd, size_t *n)
{
	struct stat st;
	char *at;

	if (fstat(fd, &st) != 0 || st.st_size == 0)
		return (NULL);
	*n = (size_t)st.st_size;
	at = mmap(NULL, *n, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	return (at == MAP_FAILED ? NULL : at);
}

const char *
journal_recall(struct standing *s)
{
	size_t n, good;
	char *at;

	memset(s, 0, sizeof *s);
	if (file >= 0)
		close(file);
	if ((file = open(settings.journal, O_RDWR | O_APPEND | O_CLOEXEC)) < 0)
		return (strerror(errno));
	if ((at = map(file, &n)) == NULL)
		return ("it is empty");
	good = read_text(at, n, s, into_rules, NULL);
	munmap(at, n);
	if (good == 0)
		return ("nothing in it was committed");
	size = base = good;
	ragged = ftruncate(file, (off_t)good) != 0;
	rules_open();
	rules_complete(s->position);
	rules_close();
	return (NULL);
}

/* ---- writing ---- */

const char *
journal_append(const struct command *commands, size_t n, uint64_t after, uint64_t upto, struct slice mark)
{
	struct text t = {0};
	const char *why = NULL;
	size_t i;

	if (file < 0 || ragged)
		return ("journal: what it has on disk cannot be added to");
	for (i = 0; i < n; i++)
		if (commands[i].refused == NULL && commands[i].position > after)
			put_command(&t, commands[i].verb, commands[i].host, commands[i].what, commands[i].position);
	put_commit(&t, upto, mark);
	if (t.failed)
		why = "journal: no memory";
	else if (write_all(file, t.at, t.size) != 0) {
		why = strerror(errno);
		ragged = ftruncate(file, (off_t)size) != 0;
	} else
		size += t.size;
	free(t.at);
	return (why);
}

struct fresh {
	int fd;
	struct text t;
	uint64_t *floors;	/* hosts whose floor was written: open addressing, 0 is free */
	size_t held, room, bytes;
	int failed;
};

static void
hand_over(struct fresh *f)
{

	if (f->t.failed || write_all(f->fd, f->t.at, f->t.size) != 0)
		f->failed = 1;
	f->bytes += f->t.size;
	f->t.size = f->t.start = 0;
}

/* Whether the host is met for the first time. */
static int
first_of(struct fresh *f, uint64_t host)
{
	uint64_t *old = f->floors, *more;
	size_t i, n = f->room;

	if (f->held * 2 >= f->room) {
		if ((more = calloc(n == 0 ? 256 : n * 2, sizeof *more)) == NULL) {
			f->failed = 1;
			return (0);
		}
		f->floors = more;
		f->room = n == 0 ? 256 : n * 2;
		f->held = 0;
		for (i = 0; i < n; i++)
			if (old[i] != 0)
				(void)first_of(f, old[i]);
		free(old);
	}
	for (i = host & (f->room - 1); f->floors[i] != 0; i = (i + 1) & (f->room - 1))
		if (f->floors[i] == host)
			return (0);
	f->floors[i] = host;
	f->held++;
	return (1);
}

/* A rule that still says something; of a host's others, its floor. */
static void
into_fresh(struct command *c, void *with)
{
	struct fresh *f = with;
	uint64_t floor;

	if (rules_hold(c->verb, c->host, c->what, c->position))
		put_command(&f->t, c->verb, c->host, c->what, c->position);
	else if ((floor = rules_floor(c->host)) >= c->position && first_of(f, rules_host(c->host) | 1))
		put_command(&f->t, VERB_DIR, c->host, (struct slice){"/", 1}, floor);
	if (f->t.size > PART_BYTES) {
		put_text(&f->t, "part - -");
		put_sum(&f->t);
		hand_over(f);
	}
}

static const char *
replace(const struct standing *s, int with_rules)
{
	struct fresh f = {.fd = -1};
	struct standing old;
	const char *why = NULL;
	char path[4200], *at;
	size_t n;

	snprintf(path, sizeof path, "%s.new", settings.journal);
	if ((f.fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
		return (strerror(errno));
	put_head(&f.t, s);
	if (with_rules) {
		if ((at = map(file, &n)) == NULL)
			why = "journal: it cannot be read";
		else {
			if (read_text(at, n, &old, into_fresh, &f) == 0 || old.position < s->position ||
			    strcmp(old.generation, s->generation) != 0)
				why = "journal: it is not what was written";
			munmap(at, n);
		}
	}
	put_commit(&f.t, s->position, (struct slice){s->mark, strlen(s->mark)});
	hand_over(&f);
	if (why == NULL && (f.failed || rename(path, settings.journal) != 0))
		why = errno != 0 ? strerror(errno) : "journal: no memory";
	free(f.t.at);
	free(f.floors);
	if (why != NULL) {
		close(f.fd);
		unlink(path);
		return (why);
	}
	if (file >= 0)
		close(file);
	file = f.fd;
	size = base = f.bytes;
	ragged = 0;
	return (NULL);
}

const char *
journal_begin(const struct standing *s)
{

	return (replace(s, 0));
}

const char *
journal_compact(const struct standing *s)
{

	if (file < 0 || (!ragged && (size < WORTH_BYTES || size < GROWTH * base)))
		return (NULL);
	return (replace(s, 1));
}

uint64_t
journal_bytes(void)
{

	return (size);
}
