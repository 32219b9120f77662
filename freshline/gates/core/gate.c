#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "gate.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lease.h"

#define POSITION_LIMIT	(UINT64_C(1) << 53)	/* freshline/drivers/lines.py */
#define TOKEN_SIZE	128			/* a log's name, a mark */
#define HOST_SIZE	255
#define WHY_SIZE	200
#define UNBOUND		"-"
#define AT_ONCE		1024			/* commands applied while lookups wait */

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;	/* batches and flushes, one by one */
static pthread_mutex_t standing = PTHREAD_MUTEX_INITIALIZER;	/* what follows */
static char log_name[TOKEN_SIZE + 1] = UNBOUND, mark[TOKEN_SIZE + 1] = "-";
static uint64_t position;
static unsigned fetches;	/* that one request may ask for */

static const char *kind;
static const struct keeper *keeper;
static const struct patterns *patterns;
static const char NO_MEMORY[] = "no memory";

/* ---- answers ---- */

static void __attribute__((format(printf, 2, 3)))
say(struct answer *answer, const char *format, ...)
{
	char *more;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0 || (more = realloc(answer->text, answer->size + (size_t)n + 1)) == NULL)
		return;
	answer->text = more;
	va_start(args, format);
	vsnprintf(more + answer->size, (size_t)n + 1, format, args);
	va_end(args);
	answer->size += (size_t)n;
}

static struct answer
bad(const char *why, size_t line)
{
	struct answer answer = {400, NULL, 0};

	if (line > 0)
		say(&answer, "bad line %zu: %s\n", line, why);
	else
		say(&answer, "bad %s\n", why);
	return (answer);
}

static struct answer
failed(const char *why)
{
	struct answer answer = {500, NULL, 0};

	say(&answer, "failed %s\n", why);
	return (answer);
}

static struct answer
stand(int status, const char *word)
{
	struct answer answer = {status, NULL, 0};

	say(&answer, "%s %" PRIu64 " %s\n", word, position, mark);
	return (answer);
}

/* ---- reading ---- */

/* The next field of a line, and what follows it. */
static struct slice
field(struct slice *line)
{
	struct slice f = *line;
	const char *space = memchr(line->at, ' ', line->size);

	if (space == NULL) {
		line->at += line->size;
		line->size = 0;
		return (f);
	}
	f.size = (size_t)(space - line->at);
	line->at += f.size + 1;
	line->size -= f.size + 1;
	/* A space at the very end opens a field that is empty, and so is bad. */
	if (line->size == 0)
		f.size = 0;
	return (f);
}

static int
is(struct slice f, const char *word)
{

	return (f.size == strlen(word) && memcmp(f.at, word, f.size) == 0);
}

static int
number(struct slice f, uint64_t *to)
{
	size_t i;

	if (f.size == 0 || f.size > 16)
		return (0);
	for (*to = 0, i = 0; i < f.size; i++) {
		if (f.at[i] < '0' || f.at[i] > '9')
			return (0);
		*to = *to * 10 + (uint64_t)(f.at[i] - '0');
	}
	return (*to <= POSITION_LIMIT);
}

static int
flag(struct slice f, int *to)
{

	*to = is(f, "1");
	return (*to || is(f, "0"));
}

static int
token(struct slice f, size_t limit)
{
	size_t i;

	for (i = 0; i < f.size; i++)
		if (f.at[i] < '!' || f.at[i] > '~')
			return (0);
	return (f.size > 0 && f.size <= limit);
}

/* As the controller writes it: lower case, no port. */
static int
host_name(struct slice f)
{
	size_t i;

	for (i = 0; i < f.size; i++)
		if (!(f.at[i] >= 'a' && f.at[i] <= 'z') && !(f.at[i] >= '0' && f.at[i] <= '9') &&
		    strchr("._-", f.at[i]) == NULL)
			return (0);
	return (token(f, HOST_SIZE));
}

/* Decodes a last field in place. Every % must begin an escape here, other than in a URL. */
static int
unescape(struct slice *f)
{
	char *at = (char *)(uintptr_t)f->at;
	size_t i, escapes = 0, size;

	if (!token(*f, SIZE_MAX))
		return (0);
	for (i = 0; i < f->size; i++)
		escapes += f->at[i] == '%';
	size = percent_decode(at, at, f->size);
	if (size != f->size - 2 * escapes)
		return (0);
	f->size = size;
	return (1);
}

static int
read_verb(struct slice f, enum verb *verb)
{
	static const char *const words[VERBS] = {
		[VERB_FILE] = "file",
		[VERB_PATH] = "path",
		[VERB_DIR] = "dir",
		[VERB_TAG] = "tag",
		[VERB_REGEX] = "regex",
	};
	int i;

	for (i = 0; i < VERBS; i++)
		if (is(f, words[i])) {
			*verb = (enum verb)i;
			return (1);
		}
	return (0);
}

/* Force, verb and host. NULL, or why they are none. */
static const char *
read_kind(struct slice *line, struct command *c)
{

	if (!flag(field(line), &c->force))
		return ("force is neither 0 nor 1");
	if (!read_verb(field(line), &c->verb))
		return ("no such command");
	c->host = field(line);
	if (!host_name(c->host))
		return ("no host");
	return (NULL);
}

static const char *
read_what(struct slice line, struct command *c)
{

	c->what = line;
	return (unescape(&c->what) ? NULL : "what is not percent-encoded");
}

const char *
gate_read_command(struct slice line, struct command *c, uint64_t after, uint64_t upto)
{
	const char *why;

	memset(c, 0, sizeof *c);
	if (!number(field(&line), &c->position))
		return ("no position");
	if (c->position <= after || c->position > upto)
		return ("position does not rise within the batch");
	if ((why = read_kind(&line, c)) != NULL)
		return (why);
	return (read_what(line, c));
}

/* A directory that does not end in a slash is a prefix of names. There is no hash for that, so it becomes a pattern. */
static void
quote_prefix(struct command *c)
{
	size_t i, size = 0;
	char ch;

	if ((c->text = malloc(2 * c->what.size + 1)) == NULL)
		return;		/* rules.c takes the directory it lies in */
	for (i = 0; i < c->what.size; i++) {
		ch = c->what.at[i];
		if (ch > ' ' && ch != '/' && !(ch >= '0' && ch <= '9') && !(ch >= 'A' && ch <= 'Z') &&
		    !(ch >= 'a' && ch <= 'z'))
			c->text[size++] = '\\';
		c->text[size++] = ch;
	}
	c->what = (struct slice){c->text, size};
	c->verb = VERB_REGEX;
}

/* What the gate will never do it refuses row by row: the rest of the batch is none the worse for it. */
void
gate_prepare(struct command *c)
{
	char *pattern, why[WHY_SIZE];

	if (c->verb != VERB_REGEX && c->verb != VERB_TAG && c->what.at[0] != '/') {
		c->refused = "a path starts with a slash";
		return;
	}
	if (c->verb == VERB_DIR && c->what.at[c->what.size - 1] != '/' &&
	    memchr(c->what.at, '\0', c->what.size) == NULL)
		quote_prefix(c);
	if (c->verb != VERB_REGEX)
		return;
	if (memchr(c->what.at, '\0', c->what.size) != NULL) {
		c->refused = "a pattern holds no NUL";
		return;
	}
	if ((pattern = strndup(c->what.at, c->what.size)) == NULL) {
		c->refused = NO_MEMORY;
		return;
	}
	c->compiled = patterns->compile(pattern, why, WHY_SIZE);
	free(pattern);
	if (c->compiled == NULL) {
		free(c->text);
		c->text = strdup(why);
		c->refused = c->text != NULL ? c->text : "no pattern";
	}
}

/* ---- batches ---- */

struct batch {
	uint64_t after, upto;
	struct slice log, mark;
	struct command *commands;
	size_t n;
	int live;
};

static int
next_line(struct slice *body, struct slice *line)
{
	const char *end = memchr(body->at, '\n', body->size);

	if (end == NULL)
		return (0);
	line->at = body->at;
	line->size = (size_t)(end - body->at);
	body->at = end + 1;
	body->size -= line->size + 1;
	return (1);
}

static const char *
read_head(struct slice line, struct batch *b)
{

	if (!is(field(&line), "batch"))
		return ("not a batch");
	b->log = field(&line);
	if (!token(b->log, TOKEN_SIZE))
		return ("no log");
	if (!number(field(&line), &b->after) || !number(field(&line), &b->upto) || b->upto < b->after)
		return ("no positions");
	b->mark = field(&line);
	if (!token(b->mark, TOKEN_SIZE))
		return ("no mark");
	if (!flag(line, &b->live))
		return ("live is neither 0 nor 1");
	return (NULL);
}

/* What its rows have in common, in the first of them. NULL, or why it opens no run. */
static const char *
read_run(struct slice line, struct command *first, uint64_t *rows, uint64_t after, uint64_t upto)
{
	const char *why;

	memset(first, 0, sizeof *first);
	if (!is(field(&line), "run"))
		return ("no run");
	if (!number(field(&line), &first->position) || !number(field(&line), rows) || *rows == 0)
		return ("no position, or no rows");
	if (first->position <= after || first->position > upto || *rows - 1 > upto - first->position)
		return ("positions do not rise within the batch");
	if ((why = read_kind(&line, first)) == NULL && line.size > 0)
		why = "more than a host";
	return (why);
}

/* NULL, or why it is no batch. */
static const char *
read_batch(struct slice body, struct batch *b, size_t *at)
{
	const char *why, *p;
	struct command run;
	struct slice line;
	size_t lines = 0;
	uint64_t reached, rows;

	*at = 0;
	if (body.size < 5 || memcmp(body.at + body.size - 5, "\nend\n", 5) != 0)
		return ("cut off: no end");
	body.size -= 4;
	for (p = body.at; (p = memchr(p, '\n', (size_t)(body.at + body.size - p))) != NULL; p++)
		lines++;
	if ((b->commands = malloc((lines < BATCH_ROWS ? lines : BATCH_ROWS) * sizeof *b->commands)) == NULL)
		return (NO_MEMORY);
	*at = 1;
	(void)next_line(&body, &line);
	if ((why = read_head(line, b)) != NULL)
		return (why);
	for (reached = b->after; next_line(&body, &line); reached = run.position - 1) {
		++*at;
		if ((why = read_run(line, &run, &rows, reached, b->upto)) != NULL)
			return (why);
		if (rows > BATCH_ROWS - b->n)
			return ("more rows than a batch may have");
		for (; rows > 0; rows--, run.position++) {
			++*at;
			if (!next_line(&body, &line))
				return ("fewer rows than the run has");
			if ((why = read_what(line, &run)) != NULL)
				return (why);
			b->commands[b->n++] = run;
		}
	}
	return (NULL);
}

static void
apply(const struct batch *b, uint64_t now)
{
	const struct command *c;
	size_t i, chunk;
	int more;

	for (i = 0; i < b->n;) {
		rules_open();
		for (chunk = 0; chunk < AT_ONCE && i < b->n; i++, chunk++) {
			c = &b->commands[i];
			if (c->refused == NULL && c->position > position)
				rules_add(c->verb, c->force, c->host, c->what, c->compiled, c->position, now);
			else if (c->compiled != NULL)
				patterns->release(c->compiled);
		}
		rules_close();
	}
	do {
		rules_open();
		if (!(more = rules_expire(now)))
			rules_complete(b->upto);
		rules_close();
	} while (more);
}

static void
stand_at(struct slice log, uint64_t at, struct slice new_mark)
{

	pthread_mutex_lock(&standing);
	snprintf(log_name, sizeof log_name, "%.*s", (int)log.size, log.at);
	snprintf(mark, sizeof mark, "%.*s", (int)new_mark.size, new_mark.at);
	position = at;
	pthread_mutex_unlock(&standing);
}

static struct answer
take(struct batch *b, uint64_t now)
{
	struct answer answer;
	const char *why = NULL;
	size_t i;

	if (!is(b->log, log_name) || is(b->log, UNBOUND)) {
		answer = (struct answer){409, NULL, 0};
		say(&answer, "other %s\n", log_name);
		return (answer);
	}
	if (b->after > position)
		return (stand(409, "behind"));
	for (i = 0; i < b->n; i++)
		gate_prepare(&b->commands[i]);
	if (b->upto > position && keeper != NULL)
		why = keeper->batch(b->commands, b->n, position, b->upto, b->mark);
	if (b->upto > position && why == NULL) {
		apply(b, now);
		stand_at(b->log, b->upto, b->mark);
	} else	/* a repeat: what was refused is said again, as the first answer may be lost */
		for (i = 0; i < b->n; i++)
			if (b->commands[i].compiled != NULL)
				patterns->release(b->commands[i].compiled);
	if (why == NULL && keeper != NULL)
		why = keeper->applied(position, b->live && b->upto == position && is(b->mark, mark));
	if (why != NULL)
		return (failed(why));
	answer = stand(200, "ok");
	for (i = 0; i < b->n; i++)
		if (b->commands[i].refused != NULL)
			say(&answer, "refused %" PRIu64 " %s\n", b->commands[i].position, b->commands[i].refused);
	return (answer);
}

struct answer
gate_batch(char *body, size_t size, uint64_t now)
{
	struct batch b = {0};
	struct answer answer;
	const char *why;
	size_t i, at;

	why = read_batch((struct slice){body, size}, &b, &at);
	if (why == NO_MEMORY)
		answer = failed(why);
	else if (why != NULL)
		answer = bad(why, at);
	else {
		pthread_mutex_lock(&turn);
		answer = take(&b, now);
		pthread_mutex_unlock(&turn);
	}
	for (i = 0; i < b.n; i++)
		free(b.commands[i].text);
	free(b.commands);
	return (answer);
}

struct answer
gate_flush(char *body, size_t size)
{
	struct slice rest = {body, size}, line, end, log, new_mark;
	const char *why = NULL;
	struct answer answer;
	uint64_t at;

	if (!next_line(&rest, &line) || !next_line(&rest, &end) || rest.size > 0 || !is(end, "end"))
		return (bad("no flush, or cut off", 0));
	if (!is(field(&line), "flush") || !token(log = field(&line), TOKEN_SIZE) || is(log, UNBOUND) ||
	    !number(field(&line), &at) || !token(new_mark = line, TOKEN_SIZE))
		return (bad("no flush", 1));
	pthread_mutex_lock(&turn);
	if (keeper != NULL && (why = keeper->flush(log, at, new_mark)) != NULL)
		answer = failed(why);
	else {
		rules_renew(at);
		stand_at(log, at, new_mark);
		if (keeper != NULL)
			(void)keeper->applied(at, 1);
		answer = stand(200, "ok");
	}
	pthread_mutex_unlock(&turn);
	return (answer);
}

void
gate_takes_fetches(unsigned most)
{

	fetches = most;
}

struct answer
gate_status(void)
{
	struct answer answer = {200, NULL, 0};
	struct rules_size size = rules_count();

	pthread_mutex_lock(&standing);
	say(&answer, "gate %s 1\nlog %s\nposition %" PRIu64 "\nmark %s\nsynced %d\n", kind, log_name, position, mark,
	    keeper == NULL || keeper->synced());
	pthread_mutex_unlock(&standing);
	say(&answer, "lapse %s\nlease %" PRIu64 "\n", lease_lapse_word(), lease_left_ms());
	if (fetches > 1)
		say(&answer, "fetches %u\n", fetches);
	say(&answer, "rules %" PRIu64 "\nregexes %" PRIu64 "\nhosts %" PRIu64 "\ndropped %" PRIu64 "\nlife %016" PRIx64 "\n",
	    size.rules, size.regexes, size.hosts, size.dropped, rules_stamp().life);
	return (answer);
}

void
gate_renew(const char *header)
{

	pthread_mutex_lock(&standing);
	if (strcmp(log_name, UNBOUND) != 0 && (keeper == NULL || keeper->synced()))
		lease_take(header, position);
	pthread_mutex_unlock(&standing);
}

bool
gate_caught_up(void)
{
	bool bound;

	pthread_mutex_lock(&standing);
	bound = strcmp(log_name, UNBOUND) != 0;
	pthread_mutex_unlock(&standing);
	return (bound && (keeper == NULL || keeper->synced()));
}

struct answer
gate_fresh(void)
{
	struct answer answer = {200, NULL, 0};

	if (!gate_caught_up() || !lease_held())
		answer.status = 503;
	say(&answer, answer.status == 200 ? "fresh\n" : "not fresh\n");
	return (answer);
}

void
gate_stand(struct slice log, uint64_t at, struct slice new_mark)
{

	stand_at(log, at, new_mark);
}

void
gate_start(const char *is_kind, const struct patterns *use, const struct keeper *kept_by)
{

	kind = is_kind;
	keeper = kept_by;
	patterns = use;
	lease_start();
	rules_start(use);
}
