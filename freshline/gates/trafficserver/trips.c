/*
 * Probes and fetches: requests of our own through the server's front door.
 *
 * A trip is an errand on its way, in rounds of one transaction each. A probe is one round that ends at the lookup. A
 * fetch asks, reads whatever comes, and where it is not known by then (peek.h) looks whether a visitor would find the
 * object now: only that counts as stored. It asks again where a refresh overtook it, or where somebody else was writing
 * the object.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "door.h"
#include "lanes.h"

#define LOOK_MS		64	/* at most, between two looks for an object that is being written; the first come faster */
#define FIRST_LOOKS	7	/* until it should be there, once it has been written: 200 ms. Now and then a write is lost */
#define LOOKS		22	/* after it was asked for again: a second. Somebody else may be writing it */
#define AGAIN_MS	200	/* before it is asked for once more */
#define ASKS		6

struct trip {
	struct rider rider;		/* first */
	struct errand *errand;
	int asks, looks, waits;
	uint64_t waits_since;		/* seconds; while somebody else is writing what was found */
	bool asking;			/* this round may go to the origin */
	bool no_head;			/* a HEAD gets no lookup here */
	int status;			/* of the last time it was asked for */
};

static _Atomic unsigned patience;

void
trips_set_seconds(unsigned fetch_seconds)
{

	patience = fetch_seconds;
}

void
trips_start(unsigned fetch_seconds)
{

	trips_set_seconds(fetch_seconds);
	lanes_start();
}

/* ---- what is asked ---- */

static void
write_part(struct trip *t, const char *from, size_t size)
{

	lane_write(&t->rider, from, size);
}

static void
write_text(struct trip *t, const char *text)
{

	write_part(t, text, strlen(text));
}

static void
write_request(struct trip *t)
{
	const struct errand *e = t->errand;
	bool agent = false, accept = false;
	int64_t number = lane_number(&t->rider);
	char text[64];
	unsigned i;

	write_text(t, t->asking || t->no_head ? "GET " : "HEAD ");	/* the lane outlives a HEAD that is refused */
	if (e->scheme.size == 5) {	/* nobody speaks TLS here: this is how it is asked for what a visitor would get so */
		write_text(t, "https://");
		write_part(t, e->host.at, e->host.size);
	}
	write_part(t, e->target.at, e->target.size);
	write_text(t, " HTTP/1.1\r\nHost: ");
	write_part(t, e->host.at, e->host.size);
	write_text(t, "\r\n");
	if (number != 0) {
		snprintf(text, sizeof text, LANE ": %" PRId64 "\r\n", number);
		write_text(t, text);
	}
	for (i = 0; i < e->n_headers; i++) {
		write_part(t, e->headers[i].name.at, e->headers[i].name.size);
		write_text(t, ": ");
		write_part(t, e->headers[i].value.at, e->headers[i].value.size);
		write_text(t, "\r\n");
		agent |= e->headers[i].name.size == 10 && strncasecmp(e->headers[i].name.at, "user-agent", 10) == 0;
		accept |= e->headers[i].name.size == 6 && strncasecmp(e->headers[i].name.at, "accept", 6) == 0;
	}
	if (!agent)
		write_text(t, "User-Agent: freshline\r\n");
	if (!accept)
		write_text(t, "Accept: */*\r\n");
	if (!t->asking)		/* it ends at the lookup; should it ever come further, then not to the origin */
		write_text(t, "Cache-Control: only-if-cached\r\n");
	write_text(t, "\r\n");
}

/* ---- what came of it ---- */

static void
answer(struct trip *t, const char *text)
{

	rider_leave(&t->rider);
	door_answer(t->errand, 200, text);
	free(t);
}

static void
fetched(struct trip *t, const char *outcome, int status, int64_t bytes, const char *why)
{
	char text[LOCATION + 200];

	snprintf(text, sizeof text, "fetched %s %d %" PRId64 " %s\n", outcome, status, bytes < 0 ? 0 : bytes, why);
	answer(t, text);
}

static void
probed(struct trip *t, const struct told *told)
{
	char text[60];

	if (told->found.what == USABLE && told->found.whole)
		snprintf(text, sizeof text, "stored %" PRIu64 "\n", told->found.stamp.position);
	else
		snprintf(text, sizeof text, "absent\n");
	answer(t, text);
}

/* Neither stored nor the origin's error: where it leads to, if it does, else why not. */
static void
other(struct trip *t, int status, const char *location, const char *why)
{
	char text[LOCATION + 20];

	if (status >= 300 && status <= 399 && *location != '\0') {
		snprintf(text, sizeof text, "redirects to %s", location);
		why = text;
	}
	fetched(t, "other", status, 0, why);
}

static bool
success(int status)
{

	return (status >= 200 && status <= 299);
}

static void
go(struct trip *t, bool asking)
{

	t->asking = asking;
	if (lane_enter(&t->rider, asking)) {
		write_request(t);
		lane_send(&t->rider);
	} else
		fetched(t, "other", 0, 0, "the server takes no connection");
}

static unsigned
until_next_look(int looks)
{

	return (looks < 6 ? 1u << looks : LOOK_MS);
}

/* A usable object was found. */
static void
take_found(struct trip *t, const struct told *told)
{
	if (!told->found.whole) {
		if (t->waits++ == 0)
			t->waits_since = door_now();
		if (door_now() - t->waits_since > patience)
			fetched(t, "other", told->found.status, 0, "somebody else is still writing it");
		else
			rider_wait(&t->rider, until_next_look(t->waits));	/* then it is looked for again */
	} else if (success(told->found.status))
		fetched(t, "stored", told->found.status, told->found.length, t->status != 0 ? "fetched" : "already");
	else if (told->found.status >= 500)
		fetched(t, "origin-status", told->found.status, 0, "that is in the cache");
	else
		other(t, told->found.status, told->found.location, "that is in the cache");
}

static bool
timed_out(TSServerState state)
{

	return (state == TS_SRVSTATE_ACTIVE_TIMEOUT || state == TS_SRVSTATE_INACTIVE_TIMEOUT);
}

/* A round that went to the origin has ended. */
static void
weigh(struct trip *t, const struct told *told)
{

	if (!told->heard)
		fetched(t, timed_out(told->state) ? "origin-timeout" : "other",
		    !told->looked ? told->status : 0, 0,
		    timed_out(told->state) ? "no headers from the origin in time" : "no answer from the origin");
	else if (told->origin_status >= 500)
		fetched(t, "origin-status", told->origin_status, 0, "the origin answered so");
	else if (!success(told->status))
		other(t, told->status, told->location, "the origin answered so");
	else if (!told->cacheable)
		fetched(t, "other", told->status, 0, "it may not be stored");
	else if (told->stored >= 0)
		fetched(t, "stored", told->status, told->stored, "fetched");
	else {
		t->status = told->status;
		t->looks = t->waits = 0;
		go(t, false);	/* is it there? */
	}
}

/* A round that only looked has ended, and found nothing of use. */
static void
look_again(struct trip *t)
{

	if (t->looks++ < (t->asks == 1 ? FIRST_LOOKS : LOOKS))
		rider_wait(&t->rider, until_next_look(t->looks));
	else if (t->asks < ASKS) {
		t->looks = -1;	/* ask next */
		rider_wait(&t->rider, t->asks == 1 ? 1 : AGAIN_MS);
	} else
		fetched(t, "other", t->status, 0, "not stored: cut off, or others keep on writing it");
}

void
rider_arrived(struct rider *rider, const struct told *told)
{
	struct trip *t = (struct trip *)rider;

	if (!t->asking && !told->looked && !t->no_head) {
		t->no_head = true;
		go(t, false);
	} else if (t->errand->kind == PROBE)
		probed(t, told);
	else if (told->looked && told->ended && told->found.what == USABLE)
		take_found(t, told);
	else if (t->asking)
		weigh(t, told);
	else
		look_again(t);
}

void
rider_begins(struct rider *rider)
{
	struct trip *t = (struct trip *)rider;

	t->asks = 1;
	go(t, t->errand->kind == FETCH);
}

void
rider_due(struct rider *rider)
{
	struct trip *t = (struct trip *)rider;

	if (t->looks < 0) {
		t->asks++;
		t->looks = 0;
		go(t, true);
	} else
		go(t, false);
}

void
rider_lost(struct rider *rider)
{
	struct trip *t = (struct trip *)rider;

	go(t, t->asking);
}

void
rider_hears_nothing(struct rider *rider, uint64_t seconds, const struct told *told)
{
	struct trip *t = (struct trip *)rider;

	if (seconds <= patience)
		return;
	if (t->errand->kind == PROBE)
		probed(t, told);
	else if (!told->heard)
		fetched(t, "origin-timeout", 0, 0, "no headers from the origin in time");
	else
		fetched(t, "other", told->origin_status, 0, "its body stood still");
}

void
trips_begin(struct errand *errands)
{
	struct rider *riders = NULL, **link = &riders, *r;
	struct errand *errand;
	struct trip *t;

	while ((errand = errands) != NULL) {
		errands = errand->next;
		if ((t = calloc(1, sizeof *t)) == NULL) {
			door_answer(errand, 500, "failed no memory\n");
			continue;
		}
		t->errand = errand;
		*link = &t->rider;
		link = &t->rider.next;
	}
	if (riders == NULL || riders_come(riders))
		return;
	while ((r = riders) != NULL) {
		riders = r->next;
		door_answer(((struct trip *)r)->errand, 500, "failed the server is starting\n");
		free(r);
	}
}
