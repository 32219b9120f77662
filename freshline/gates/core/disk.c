#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "disk.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal.h"
#include "lease.h"

#define POSITION_LIMIT	(UINT64_C(1) << 53)

/* What the journal says: the gate's standing, and the life of what is cached. */
static struct stance at;
static uint64_t life_now;	/* the table's; until it has caught up another one than the journal's */
static _Atomic int in_sync = 1;
static int flushed;
static uint64_t replay_now, pass;

static struct slice
text(const char *from)
{

	return ((struct slice){from, strlen(from)});
}

static struct stance
stance_of(struct slice log, uint64_t position, struct slice mark)
{
	struct stance stance = {.life = rules_other_life(), .position = position};

	snprintf(stance.log, sizeof stance.log, "%.*s", (int)log.size, log.at);
	snprintf(stance.mark, sizeof stance.mark, "%.*s", (int)mark.size, mark.at);
	return (stance);
}

/* A new life for the cache: nothing that was stamped before is of use, neither now nor after a restart. */
static const char *
begin(struct slice log, uint64_t position, struct slice mark)
{
	struct stance stance = stance_of(log, position, mark);
	const char *why = journal_begin(&stance);

	if (why == NULL)
		at = stance;
	return (why);
}

static void
live(void)
{

	rules_resume(at.life);
	life_now = at.life;
	in_sync = 1;
}

/* Of the gate's own accord. Nobody has said yet that it is fresh as it is then. */
static const char *
collapse(void)
{
	const char *why = begin(text(at.log), at.position, text(at.mark));

	if (why != NULL)
		return (why);
	lease_end();
	rules_renew(at.position);
	live();
	return (NULL);
}

/* ---- writing down ---- */

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

/* Before anything is added to the journal: is it all there, and not too long? */
static const char *
tend(void)
{
	enum journal_state state = journal_state();
	const char *why = NULL;

	if (state == JOURNAL_GROWN || state == JOURNAL_HARMED) {
		pass++;
		why = journal_compact(&at, keep_line);
	}
	if (state == JOURNAL_GONE || (state == JOURNAL_HARMED && why != NULL))
		return (collapse());
	return (NULL);
}

/* ---- the keeper ---- */

static const char *
keep_batch(const struct command *commands, size_t n, uint64_t after, uint64_t upto, struct slice mark)
{
	struct lines lines = {NULL, 0};
	char new_mark[TOKEN_SIZE + 1];
	const char *why = tend();

	if (why != NULL)
		return (why);
	if (!write_lines(&lines, commands, n, after))
		return ("no memory");
	snprintf(new_mark, sizeof new_mark, "%.*s", (int)mark.size, mark.at);
	why = journal_append((struct slice){lines.at, lines.size}, upto, new_mark);
	free(lines.at);
	if (why == NULL) {
		at.position = upto;
		memcpy(at.mark, new_mark, sizeof at.mark);
	}
	return (why);
}

static const char *
keep_applied(uint64_t upto, int is_live)
{

	(void)upto;
	if (flushed) {
		flushed = 0;
		live();
	}
	if (rules_stamp().life != life_now)	/* no room for another host: everything was forgotten */
		return (collapse());
	if (is_live && !in_sync)
		live();
	return (NULL);
}

static const char *
keep_flush(struct slice log, uint64_t position, struct slice mark)
{
	const char *why = begin(log, position, mark);

	flushed = why == NULL;
	return (why);
}

static int
keep_synced(void)
{

	return (in_sync);
}

const struct keeper disk_keeper = {keep_batch, keep_applied, keep_flush, keep_synced};

/* ---- starting ---- */

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
	}
	free(c.text);
	free(room);
}

const char *
disk_open(const char *journal, uint64_t now)
{
	const char *why;

	if ((why = journal_open(journal)) != NULL)
		return (why);
	life_now = rules_stamp().life;
	replay_now = now;
	if ((why = journal_read(&at, replay)) != NULL)
		return (why);
	if (at.log[0] == '\0') {
		rules_renew(0);
		life_now = rules_stamp().life;
		return (NULL);
	}
	rules_open();
	rules_complete(at.position);
	rules_close();
	gate_stand(text(at.log), at.position, text(at.mark));
	if (rules_stamp().life != life_now)	/* more hosts than there is room for */
		return (collapse());
	in_sync = 0;
	return (NULL);
}
