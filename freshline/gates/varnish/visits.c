/*
 * A party is those who visit on behalf of one request, which waits for what they say and passes it on, several lines at
 * a time.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "cache/cache_varnishd.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "errand.h"
#include "steps.h"
#include "visit.h"
#include "visits.h"

#define TOGETHER_MS	1	/* lines that follow one another so closely leave as one piece */
#define LOOK_MS		20	/* so often it is looked whether what takes longer is worth it */

struct party {
	pthread_mutex_t lock;
	pthread_cond_t news;
	unsigned n, left;
	int waiting, several;
	struct text {
		char *at;
		size_t size, room;
	} lines, told;
	struct visit visits[];
};

/* ---- who arrives ---- */

static void
add(struct text *to, const char *text, size_t size)
{
	size_t room = to->room;

	if (size > room - to->size) {
		room = room * 2 + size;
		to->at = realloc(to->at, room);
		XXXAN(to->at);
		to->room = room;
	}
	memcpy(to->at + to->size, text, size);
	to->size += size;
}

/* Afterwards the party may be gone. */
static void
arrive(struct visit *v)
{
	static const char broke[] = "failed it broke\n";
	struct party *party = v->party;
	const char *said = v->said == NULL ? broke : v->said;
	char number[16];

	AZ(pthread_mutex_lock(&party->lock));
	if (party->several) {
		(void)snprintf(number, sizeof number, "%u ", v->errand->number);
		add(&party->lines, number, strlen(number));
	}
	add(&party->lines, said, strlen(said));
	free(v->said);
	errand_free(v->errand);
	party->left--;
	if (party->waiting || party->left == 0)
		AZ(pthread_cond_signal(&party->news));
	party->waiting = 0;
	AZ(pthread_mutex_unlock(&party->lock));
}

/* ---- who waits for them ---- */

void
visits_offer(void)
{

	if (visits_are_possible())
		gate_takes_fetches(VISITS);
}

static void
say(struct answer *answer, int status, const char *text)
{

	answer->status = status;
	answer->text = strdup(text);
	answer->size = strlen(text);
}

static struct party *
party_of(struct errand *all, struct sess *session)
{
	pthread_condattr_t steady;
	struct party *party;
	struct errand *errand;
	unsigned n = 0;

	for (errand = all; errand != NULL; errand = errand->next)
		n++;
	party = calloc(1, sizeof *party + n * sizeof *party->visits);
	XXXAN(party);
	AZ(pthread_mutex_init(&party->lock, NULL));
	AZ(pthread_condattr_init(&steady));
	AZ(pthread_condattr_setclock(&steady, CLOCK_MONOTONIC));
	AZ(pthread_cond_init(&party->news, &steady));
	AZ(pthread_condattr_destroy(&steady));
	party->several = n > 1;
	for (; all != NULL; all = all->next)
		party->visits[party->n++] =
		    (struct visit){.session = session, .errand = all, .arrive = arrive, .party = party};
	party->left = party->n;
	return (party);
}

static void
dispatch(struct visit *v)
{
	char *said;

	if (v->errand->refused[0] != '\0') {
		if (asprintf(&said, "fetched other 0 0 %s\n", v->errand->refused) >= 0)
			v->said = said;
		arrive(v);
	} else if (!visit_begin(v))
		arrive(v);
}

static struct timespec
in_ms(long ms)
{
	struct timespec when;

	(void)clock_gettime(CLOCK_MONOTONIC, &when);
	when.tv_nsec += ms * 1000000L;
	if (when.tv_nsec >= 1000000000L) {
		when.tv_nsec -= 1000000000L;
		when.tv_sec++;
	}
	return (when);
}

/* Under the lock, and for no longer than until the next look. */
static void
wait_for_news(struct party *party)
{
	struct timespec until = in_ms(LOOK_MS);
	int over = pthread_cond_timedwait(&party->news, &party->lock, &until);

	assert(over == 0 || over == ETIMEDOUT);
	if (over == ETIMEDOUT)
		steps_break_off();
}

struct party *
party_begin(struct req *asker, struct slice body, struct answer *answer)
{
	struct errand *all, *errand;
	struct party *party;
	char why[ERRAND_WHY], text[ERRAND_WHY + 8];
	unsigned i, n;

	if (!visits_are_possible()) {
		say(answer, 404, "");
		return (NULL);
	}
	if ((all = errand_read(VISIT, body, VISITS, why)) == NULL) {
		(void)snprintf(text, sizeof text, "bad %s\n", why);
		say(answer, 400, text);
		return (NULL);
	}
	if (!gate_caught_up()) {
		while ((errand = all) != NULL) {
			all = errand->next;
			errand_free(errand);
		}
		say(answer, 500, "failed it has not caught up\n");
		return (NULL);
	}
	party = party_of(all, asker->sp);
	for (i = 0, n = party->n; i < n; i++)
		dispatch(&party->visits[i]);
	answer->status = 200;
	if (n > 1)
		return (party);
	AZ(pthread_mutex_lock(&party->lock));
	while (party->left > 0)
		wait_for_news(party);
	add(&party->lines, "", 1);
	*answer = (struct answer){200, party->lines.at, party->lines.size - 1};
	party->lines = (struct text){NULL, 0, 0};
	AZ(pthread_mutex_unlock(&party->lock));
	party_end(party);
	return (NULL);
}

/* Under the lock. */
static void
wait_for_more(struct party *party)
{
	struct timespec until = in_ms(TOGETHER_MS);
	int over = 0;

	while (party->left > 0 && over == 0)	/* nobody rings before all have come */
		over = pthread_cond_timedwait(&party->news, &party->lock, &until);
	assert(over == 0 || over == ETIMEDOUT);
}

const char *
party_lines(struct party *party, size_t *size)
{
	struct text told = party->told;

	told.size = 0;
	AZ(pthread_mutex_lock(&party->lock));
	while (party->lines.size == 0 && party->left > 0) {
		party->waiting = 1;
		wait_for_news(party);
	}
	if (party->left > 0)
		wait_for_more(party);
	party->told = party->lines;
	party->lines = told;
	AZ(pthread_mutex_unlock(&party->lock));
	*size = party->told.size;
	return (*size > 0 ? party->told.at : NULL);
}

void
party_end(struct party *party)
{

	AZ(pthread_mutex_lock(&party->lock));
	party->waiting = 0;
	while (party->left > 0)
		wait_for_news(party);
	AZ(pthread_mutex_unlock(&party->lock));
	AZ(pthread_mutex_destroy(&party->lock));
	AZ(pthread_cond_destroy(&party->news));
	free(party->lines.at);
	free(party->told.at);
	free(party);
}
