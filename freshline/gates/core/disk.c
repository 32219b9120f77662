#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "disk.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "lease.h"
#include "record.h"

/* What the journal says: the gate's standing, and the life of what is cached. */
static struct stance at;
static uint64_t life_now;	/* the table's; until it has caught up another one than the journal's */
static _Atomic int in_sync = 1;
static int flushed;

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

/* ---- the keeper ---- */

static const char *
keep_batch(const struct command *commands, size_t n, uint64_t after, uint64_t upto, struct slice mark)
{
	const char *why = record_tend(&at) ? NULL : collapse();

	return (why != NULL ? why : record_batch(&at, commands, n, after, upto, mark));
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

const char *
disk_open(const char *journal, uint64_t now)
{
	const char *why;

	if ((why = journal_open(journal)) != NULL)
		return (why);
	life_now = rules_stamp().life;
	if ((why = record_read(&at, now)) != NULL)
		return (why);
	if (at.log[0] == '\0') {
		rules_renew(0);
		life_now = rules_stamp().life;
		return (NULL);
	}
	gate_stand(text(at.log), at.position, text(at.mark));
	if (rules_stamp().life != life_now)	/* more hosts than there is room for */
		return (collapse());
	in_sync = 0;
	return (NULL);
}
