/*
 * Probes and fetches: requests of our own through the server's front door, without a socket.
 *
 * A trip is an errand on its way, in rounds of one transaction each. A probe is one round that ends at the lookup. A
 * fetch asks, reads whatever comes, and then looks whether a visitor would find the object now: only that counts as
 * stored. It asks again where a refresh overtook it, or where somebody else was writing the object.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "plugin.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "door.h"

#define TICK_MS		1000
#define LOOK_MS		64	/* at most, between two looks for an object that is being written; the first come faster */
#define FIRST_LOOKS	7	/* until it should be there, once it has been written: 200 ms. Now and then a write is lost */
#define LOOKS		22	/* after it was asked for again: a second. Somebody else may be writing it */
#define AGAIN_MS	200	/* before it is asked for once more */
#define ASKS		6

/* What the hooks tell of a round. */
struct told {
	int looked, ended;
	struct found found;
	struct stamp begun;
	int heard, origin_status;	/* the origin's headers came */
	char location[LOCATION];	/* and say where it is to be found */
	int cacheable;
	int answered, status;
	TSServerState state;
};

struct trip {
	struct trip *next;
	int64_t id;			/* of this round */
	struct errand *errand;
	struct told told;
	int asking;			/* this round may go to the origin */
	int asks, looks, waits;
	int status;			/* of the last time it was asked for */
	TSCont cont;
	TSVConn connection;
	TSIOBuffer out, in;
	TSIOBufferReader out_reader, in_reader;
	TSVIO read;
	TSAction timer;
	uint64_t heard_at;		/* seconds */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;	/* for the list, and what the hooks tell */
static struct trip *trips;
static int64_t last_id;
static _Atomic unsigned patience;

void
trips_start(unsigned fetch_seconds)
{

	patience = fetch_seconds;
}

void
trips_set_seconds(unsigned fetch_seconds)
{

	patience = fetch_seconds;
}

/* ---- what the hooks tell ---- */

/* Under the lock. A round that was given up has no trip any more. */
static struct trip *
find(int64_t id)
{
	struct trip *t;

	for (t = trips; t != NULL && t->id != id; t = t->next)
		;
	return (t);
}

bool
trip_looked(int64_t id, const struct found *found, struct stamp begun)
{
	struct trip *t;
	bool go_on = false;

	pthread_mutex_lock(&lock);
	if ((t = find(id)) != NULL) {
		t->told.looked = 1;
		t->told.found = *found;
		t->told.begun = begun;
		go_on = t->asking && found->what != USABLE;
		t->told.ended = !go_on;
	}
	pthread_mutex_unlock(&lock);
	return (go_on);
}

void
trip_heard(int64_t id, int status, bool cacheable, const char *location)
{
	struct trip *t;

	pthread_mutex_lock(&lock);
	if ((t = find(id)) != NULL) {
		t->told.heard = 1;
		t->told.origin_status = status;
		t->told.cacheable = cacheable;
		snprintf(t->told.location, sizeof t->told.location, "%s", location);
	}
	pthread_mutex_unlock(&lock);
}

void
trip_answered(int64_t id, int status, TSServerState state)
{
	struct trip *t;

	pthread_mutex_lock(&lock);
	if ((t = find(id)) != NULL) {
		t->told.answered = 1;
		t->told.status = status;
		t->told.state = state;
	}
	pthread_mutex_unlock(&lock);
}

/* ---- a round ---- */

static void
hang_up(struct trip *t)
{

	if (t->connection != NULL)
		TSVConnAbort(t->connection, TS_VC_CLOSE_ABORT);
	t->connection = NULL;
	if (t->in != NULL)
		TSIOBufferDestroy(t->in);
	if (t->out != NULL)
		TSIOBufferDestroy(t->out);
	t->in = t->out = NULL;
}

static void
write_part(struct trip *t, const char *from, size_t size)
{

	TSIOBufferWrite(t->out, from, (int64_t)size);
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
	int agent = 0, accept = 0;
	char round[80];
	unsigned i;

	write_text(t, "GET ");
	if (e->scheme.size == 5) {	/* nobody speaks TLS here: this is how it is asked for what a visitor would get so */
		write_text(t, "https://");
		write_part(t, e->host.at, e->host.size);
	}
	write_part(t, e->target.at, e->target.size);
	write_text(t, " HTTP/1.1\r\nHost: ");
	write_part(t, e->host.at, e->host.size);
	snprintf(round, sizeof round, "\r\n" ROUND ": %" PRId64 "\r\nConnection: close\r\n", t->id);
	write_text(t, round);
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

/* Returns 0 if there is no connecting. */
static int
begin_round(struct trip *t, int asking)
{
	static const struct sockaddr_in loopback = {
		.sin_family = AF_INET,
		.sin_port = 0x5000,	/* never connected to, and none is refused */
		.sin_addr = {0x0100007f},
	};

	pthread_mutex_lock(&lock);
	t->id = ++last_id;
	t->asking = asking;
	memset(&t->told, 0, sizeof t->told);
	pthread_mutex_unlock(&lock);
	t->heard_at = door_now();
	t->connection = TSHttpConnectWithPluginId((const struct sockaddr *)&loopback, TAG, 0);
	if (t->connection == NULL)
		return (0);
	t->out = TSIOBufferCreate();
	t->in = TSIOBufferCreate();
	t->out_reader = TSIOBufferReaderAlloc(t->out);
	t->in_reader = TSIOBufferReaderAlloc(t->in);
	write_request(t);
	t->read = TSVConnRead(t->connection, t->cont, t->in, INT64_MAX);
	TSVConnWrite(t->connection, t->cont, t->out_reader, TSIOBufferReaderAvail(t->out_reader));
	return (1);
}

static void
wake_in(struct trip *t, unsigned ms)
{

	if (t->timer != NULL)
		TSActionCancel(t->timer);
	t->timer = TSContScheduleOnPool(t->cont, ms, TS_THREAD_POOL_NET);
}

/* The trip ends, and is gone. */
static void
answer(struct trip *t, const char *text)
{
	struct trip **link;

	hang_up(t);
	if (t->timer != NULL)
		TSActionCancel(t->timer);
	pthread_mutex_lock(&lock);
	for (link = &trips; *link != t; link = &(*link)->next)
		;
	*link = t->next;
	pthread_mutex_unlock(&lock);
	door_answer(t->errand, 200, text);
	TSContDestroy(t->cont);
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

static int
success(int status)
{

	return (status >= 200 && status <= 299);
}

static void
go(struct trip *t, int asking)
{

	if (!begin_round(t, asking))
		fetched(t, "other", 0, 0, "the server takes no connection");
	else
		wake_in(t, TICK_MS);
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
	if (!told->found.whole)
		wake_in(t, until_next_look(++t->waits));	/* somebody is writing it; then it is looked for again */
	else if (success(told->found.status))
		fetched(t, "stored", told->found.status, told->found.length, t->status != 0 ? "fetched" : "already");
	else if (told->found.status >= 500)
		fetched(t, "origin-status", told->found.status, 0, "that is in the cache");
	else
		other(t, told->found.status, told->found.location, "that is in the cache");
}

static int
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
		    !told->looked && told->answered ? told->status : 0, 0,
		    timed_out(told->state) ? "no headers from the origin in time" : "no answer from the origin");
	else if (told->origin_status >= 500)
		fetched(t, "origin-status", told->origin_status, 0, "the origin answered so");
	else if (!success(told->status))
		other(t, told->status, told->location, "the origin answered so");
	else if (!told->cacheable)
		fetched(t, "other", told->status, 0, "it may not be stored");
	else {
		t->status = told->status;
		t->looks = t->waits = 0;
		go(t, 0);	/* is it there? */
	}
}

/* A round that only looked has ended, and found nothing of use. */
static void
look_again(struct trip *t)
{

	if (t->looks++ < (t->asks == 1 ? FIRST_LOOKS : LOOKS))
		wake_in(t, until_next_look(t->looks));
	else if (t->asks < ASKS) {
		t->looks = -1;	/* ask next */
		wake_in(t, t->asks == 1 ? 1 : AGAIN_MS);
	} else
		fetched(t, "other", t->status, 0, "not stored: cut off, or others keep on writing it");
}

static void
end_round(struct trip *t)
{
	struct told told;

	pthread_mutex_lock(&lock);
	told = t->told;
	t->id = 0;
	pthread_mutex_unlock(&lock);
	hang_up(t);
	if (t->errand->kind == PROBE)
		probed(t, &told);
	else if (told.looked && told.ended && told.found.what == USABLE)
		take_found(t, &told);
	else if (t->asking)
		weigh(t, &told);
	else
		look_again(t);
}

static void
on_time(struct trip *t)
{
	struct told told;

	t->timer = NULL;
	if (t->connection == NULL) {
		if (t->asks == 0 || t->looks < 0) {
			t->asks++;
			t->looks = 0;
			go(t, t->errand->kind == FETCH);
		} else
			go(t, 0);
		return;
	}
	if (door_now() - t->heard_at <= patience) {
		wake_in(t, TICK_MS);
		return;
	}
	pthread_mutex_lock(&lock);
	told = t->told;
	pthread_mutex_unlock(&lock);
	if (t->errand->kind == PROBE)
		probed(t, &told);
	else if (!told.heard)
		fetched(t, "origin-timeout", 0, 0, "no headers from the origin in time");
	else
		fetched(t, "other", told.origin_status, 0, "its body stood still");
}

static int
on_event(TSCont cont, TSEvent event, void *data)
{
	struct trip *t = TSContDataGet(cont);
	int64_t there;

	(void)data;
	switch (event) {
	case TS_EVENT_IMMEDIATE:
	case TS_EVENT_TIMEOUT:
		on_time(t);
		break;
	case TS_EVENT_VCONN_READ_READY:
		there = TSIOBufferReaderAvail(t->in_reader);
		TSIOBufferReaderConsume(t->in_reader, there);
		TSVIONDoneSet(t->read, TSVIONDoneGet(t->read) + there);
		t->heard_at = door_now();
		TSVIOReenable(t->read);
		break;
	case TS_EVENT_VCONN_WRITE_READY:
	case TS_EVENT_VCONN_WRITE_COMPLETE:
		break;
	default:	/* the end of it, one way or another */
		if (t->connection != NULL)
			end_round(t);
		break;
	}
	return (0);
}

void
trip_begin(struct errand *errand)
{
	struct trip *t = calloc(1, sizeof *t);

	if (t == NULL) {
		door_answer(errand, 500, "failed no memory\n");
		return;
	}
	t->errand = errand;
	t->cont = TSContCreate(on_event, TSMutexCreate());
	TSContDataSet(t->cont, t);
	pthread_mutex_lock(&lock);
	t->next = trips;
	trips = t;
	pthread_mutex_unlock(&lock);
	(void)TSContScheduleOnPool(t->cont, 0, TS_THREAD_POOL_NET);	/* it may be over before this returns */
}
