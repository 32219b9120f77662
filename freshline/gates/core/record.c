#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POSITION_LIMIT	(UINT64_C(1) << 53)

static uint64_t replay_now, pass;
static int unread;

struct lines {
	char *at;
	size_t size;
};

static void
write_escaped(struct lines *to, struct slice what)
{
	static const char digits[] = "0123456789ABCDEF";
	unsigned char ch;
	size_t i;

	for (i = 0; i < what.size; i++) {
		ch = (unsigned char)what.at[i];
		if (ch > ' ' && ch <= '~' && ch != '%')
			to->at[to->size++] = (char)ch;
		else {
			to->at[to->size++] = '%';
			to->at[to->size++] = digits[ch >> 4];
			to->at[to->size++] = digits[ch & 15];
		}
	}
}

/* The lines of a batch that are new, as they are applied. */
static int
write_lines(struct lines *lines, const struct command *commands, size_t n, uint64_t after)
{
	static const char *const words[VERBS] = {"file", "path", "dir", "tag", "regex"};
	const struct command *c;
	size_t room = 1;

	for (c = commands; c < commands + n; c++)
		room += 40 + c->host.size + 3 * c->what.size;
	if ((lines->at = malloc(room)) == NULL)
		return (0);
	for (c = commands; c < commands + n; c++) {
		if (c->refused != NULL || c->position <= after)
			continue;
		lines->size += (size_t)sprintf(lines->at + lines->size, "%" PRIu64 " %d %s %.*s ", c->position, c->force,
		    words[c->verb], (int)c->host.size, c->host.at);
		write_escaped(lines, c->what);
		lines->at[lines->size++] = '\n';
	}
	return (1);
}

/* A line of the journal, which was a command once. `room` is the caller's to free. */
static int
recall(struct slice line, struct command *c, char **room)
{

	memset(c, 0, sizeof *c);
	if ((*room = malloc(line.size + 1)) == NULL)
		return (0);
	memcpy(*room, line.at, line.size);
	line.at = *room;
	return (gate_read_command(line, c, 0, POSITION_LIMIT) == NULL);
}

static enum keep
keep_line(struct slice line, char *instead)
{
	struct command c;
	enum keep keep = STAYS;
	uint64_t floor;
	char *room;

	if (recall(line, &c, &room)) {
		keep = rules_needed(c.verb, c.force, c.host, c.what, c.position, pass, &floor);
		if (keep == REPLACED)
			snprintf(instead, LINE_ROOM, "%" PRIu64 " 1 dir %.*s /\n", floor, (int)c.host.size, c.host.at);
	}
	free(room);
	return (keep);
}

int
record_tend(const struct stance *stance)
{
	enum journal_state state = journal_state();
	const char *why = NULL;

	if (state == JOURNAL_GROWN || state == JOURNAL_HARMED) {
		pass++;
		why = journal_compact(stance, keep_line);
	}
	return (state != JOURNAL_GONE && (state != JOURNAL_HARMED || why == NULL));
}

const char *
record_batch(struct stance *stance, const struct command *commands, size_t n, uint64_t after, uint64_t upto,
    struct slice mark)
{
	struct lines lines = {NULL, 0};
	char new_mark[TOKEN_SIZE + 1];
	const char *why;

	if (!write_lines(&lines, commands, n, after))
		return ("no memory");
	snprintf(new_mark, sizeof new_mark, "%.*s", (int)mark.size, mark.at);
	why = journal_append((struct slice){lines.at, lines.size}, upto, new_mark);
	free(lines.at);
	if (why == NULL) {
		stance->position = upto;
		memcpy(stance->mark, new_mark, sizeof stance->mark);
	}
	return (why);
}

static void
replay(struct slice line)
{
	struct command c;
	char *room;

	if (recall(line, &c, &room)) {
		gate_prepare(&c);
		if (c.refused != NULL) {	/* it could be done once: whatever it covered, all of the host is that */
			c.verb = VERB_DIR;
			c.force = 1;
			c.what = (struct slice){"/", 1};
		}
		rules_open();
		rules_add(c.verb, c.force, c.host, c.what, c.compiled, c.position, replay_now);
		rules_close();
	} else
		unread = 1;
	free(c.text);
	free(room);
}

const char *
record_read(struct stance *found, uint64_t now)
{
	const char *why;

	replay_now = now;
	unread = 0;
	if ((why = journal_read(found, replay)) != NULL || found->log[0] == '\0')
		return (why);
	if (unread) {		/* a rule less would be a stale object more: as good as no journal */
		found->log[0] = '\0';
		return (NULL);
	}
	rules_open();
	rules_complete(found->position);
	rules_close();
	return (NULL);
}
