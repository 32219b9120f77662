#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "keep.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "duty.h"
#include "epoch.h"
#include "lease.h"
#include "listen.h"
#include "pattern.h"
#include "record.h"
#include "settings.h"
#include "visit.h"

#define FOR_EVER	(UINT64_MAX / 2)
#define NAME_SIZE	4200

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int ready;
static _Atomic int left;
static struct shared *shared;
static struct stance at;	/* its life is the generation of keys, in hexadecimal */
static uint64_t life;		/* of the rules that it goes with */
static int flushing;

static void
path_of(char to[NAME_SIZE], const char *what)
{

	snprintf(to, NAME_SIZE, "%s.%s", settings.journal, what);
}

static void
throw_away(void)
{
	char word[GENERATION_SIZE + 1];

	epoch_random(word);
	epoch_serve(word);
}

static void
serve(void)
{
	char word[GENERATION_SIZE + 1];

	snprintf(word, sizeof word, "%016" PRIx64, at.life);
	epoch_serve(word);
}

/* Everything fetched before now goes out of use. */
static const char *
collapse(const char *because)
{
	const char *why;

	fprintf(stderr, "freshline: WARNING: %s: the whole cache is out of use\n", because);
	throw_away();
	rules_renew(at.position);
	epoch_forget_all();
	at.life = rules_other_life();
	if ((why = journal_begin(&at)) != NULL)
		return (why);
	life = rules_life();
	lease_end();
	if (shared->synced)
		serve();
	else
		throw_away();
	return (NULL);
}

static const char *
batch(const struct command *commands, size_t n, uint64_t after, uint64_t upto, struct slice mark)
{
	const char *why = record_tend(&at) ? NULL : collapse("the journal is gone, or cannot be read back");

	return (why != NULL ? why : record_batch(&at, commands, n, after, upto, mark));
}

static const char *
applied(uint64_t upto, int live)
{
	const char *why;

	if (flushing) {		/* nothing that anybody could find is stored; what was learned while it went is of no use */
		epoch_forget_all();
		life = rules_life();
		flushing = 0;
		shared->synced = 1;
		serve();
	}
	if (life != rules_life() && (why = collapse("no room for more hosts")) != NULL)
		return (why);
	if (rules_count().rules > settings.rules) {
		rules_open();
		rules_keep(settings.rules / 2);
		rules_close();
	}
	if (live && !shared->synced) {
		/* A journal that had lost its end is behind what is stored; by now nothing is. */
		epoch_forget(upto);
		shared->synced = 1;
		serve();
	}
	return (NULL);
}

static const char *
flush(struct slice log, uint64_t position, struct slice mark)
{
	struct stance new = {.life = rules_other_life()};
	const char *why;

	snprintf(new.log, sizeof new.log, "%.*s", (int)log.size, log.at);
	snprintf(new.mark, sizeof new.mark, "%.*s", (int)mark.size, mark.at);
	new.position = position;
	if ((why = journal_begin(&new)) != NULL)
		return (why);
	throw_away();	/* what is fetched while the rules go is of no use either */
	epoch_forget_all();
	at = new;
	flushing = 1;
	shared->synced = 0;
	return (NULL);
}

static int
synced(void)
{

	return (shared != NULL && shared->synced != 0);
}

static const struct keeper keeper = {.batch = batch, .applied = applied, .flush = flush, .synced = synced};

/* Another helper takes over: what was learned is left for it. */
static void
leave(void)
{
	char path[NAME_SIZE];
	uint64_t mark;
	int recalled;

	pthread_mutex_lock(&turn);
	left = 1;
	recalled = atomic_exchange(&ready, 0);
	epoch_stop();
	listen_end();
	pthread_mutex_unlock(&turn);
	if (!recalled)
		return;
	path_of(path, "tags");
	mark = rules_life();
	shared->tags = shared->synced && epoch_write(path, mark) == 0 ? mark : 0;
}

void
keep_start(void)
{

	duty_start(leave);
	gate_start("squid", &pcre2_patterns, &keeper);
	gate_takes_fetches(VISITS);
	lease_set_lapse(settings.lapse);
	rules_bounds(RULES_CAP_LIMIT, FOR_EVER);
	epoch_start(settings.tags);
}

static void
recall(void)
{
	char path[NAME_SIZE];
	const char *why;

	if (shared->hash_key[0] != 0)
		rules_seed(shared->hash_key, 1);
	else
		rules_seed(shared->hash_key, 0);
	rules_renew(0);
	if ((why = journal_at(settings.journal)) == NULL && (why = record_read(&at, 0)) == NULL && at.log[0] == '\0')
		why = "it is not there, or nothing in it was committed";
	if (why == NULL)
		gate_stand((struct slice){at.log, strlen(at.log)}, at.position, (struct slice){at.mark, strlen(at.mark)});
	else {
		fprintf(stderr, "freshline: WARNING: %s: %s: bound to no log, with no use for an old cache\n", settings.journal,
		    why);
		rules_renew(0);
		memset(&at, 0, sizeof at);
		shared->synced = 0;
	}
	life = rules_life();
	path_of(path, "tags");
	if (!shared->synced || shared->tags == 0 || epoch_read(path, shared->tags) != 0)
		epoch_forget(at.position);
	shared->tags = 0;
	unlink(path);
	if (shared->synced)
		serve();
	else
		throw_away();
}

void
keep_take(void)
{
	char path[NAME_SIZE];

	path_of(path, "state");
	shared = duty_take(path);
	pthread_mutex_lock(&turn);
	if (!left) {
		lease_share(shared->boot, &shared->lease_until);
		recall();
		atomic_store(&ready, 1);
	}
	pthread_mutex_unlock(&turn);
}

int
keep_ready(void)
{

	return (atomic_load_explicit(&ready, memory_order_acquire));
}

int
keep_left(void)
{

	return (atomic_load(&left));
}

/* ---- what the controller asks ---- */

static struct answer
not_on_duty(void)
{

	char *text = strdup("not fresh\n");

	return ((struct answer){503, text, text == NULL ? 0 : strlen(text)});
}

static struct answer
renewed(struct answer answer, const char *lease)
{

	if (answer.status == 200 && lease != NULL)
		gate_renew(lease);
	return (answer);
}

struct answer
keep_batch(char *body, size_t size, const char *lease)
{
	struct answer answer = not_on_duty();

	pthread_mutex_lock(&turn);
	if (keep_ready())
		answer = renewed(gate_batch(body, size, 0), lease);
	pthread_mutex_unlock(&turn);
	return (answer);
}

struct answer
keep_flush(char *body, size_t size, const char *lease)
{
	struct answer answer = not_on_duty();

	pthread_mutex_lock(&turn);
	if (keep_ready())
		answer = renewed(gate_flush(body, size), lease);
	pthread_mutex_unlock(&turn);
	return (answer);
}

struct answer
keep_status(const char *lease)
{

	return (keep_ready() ? renewed(gate_status(), lease) : not_on_duty());
}

struct answer
keep_fresh(void)
{

	return (keep_ready() ? gate_fresh() : not_on_duty());
}
