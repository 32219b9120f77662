#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "lanes.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "door.h"

#define HANDS		64		/* threads of the server's that take part, at most */
#define TICK_MS		1000		/* between two looks who hears nothing */
#define IDLE_LANES	64		/* kept by each thread, */
#define IDLE_SECONDS	10		/* and so long */
#define EARLY_MS	2		/* the server's clock and ours may differ by so much without another call */
#define BUCKETS		1024

struct lane {
	struct lane *next;		/* of those that are idle */
	struct lane *same;		/* in a bucket */
	int64_t id;			/* of its connection; 0: there is none */
	struct hand *hand;
	struct rider *rider;		/* NULL: it is idle */
	unsigned calls;			/* to it that are on their way */
	bool over;			/* it goes with the last of them */
	bool under_way;			/* a round is */
	bool asking;			/* which may go to the origin */
	bool used;			/* its connection has carried one before */
	bool stirred;			/* something came since the last tick */
	uint64_t heard_at;		/* seconds */
	struct told told;
	TSCont cont;
	TSVConn connection;
	TSIOBuffer out, in;
	TSIOBufferReader out_reader, in_reader;
};

/* One of the server's threads. But for those who come, all of it belongs to whoever holds `mutex`. */
struct hand {
	TSEventThread thread;
	TSMutex mutex;
	TSCont cont, waker;
	struct rider *riders;
	_Atomic unsigned n_riders;	/* with those who have come */
	struct lane *idle;
	unsigned n_idle;
	uint64_t ticks_at;		/* milliseconds; 0: it does not */
	TSAction wake;			/* the one call to `cont` that is on its way, */
	uint64_t wakes_at;		/* and when it should come */
	pthread_mutex_t lock;		/* for those who have come */
	struct rider *came, **came_end;
	_Atomic bool has_come;
	int bell;			/* rung for them; -1: there is none, and the waker is scheduled */
	TSVConn rung;			/* where it is heard */
	TSIOBuffer strokes;
	TSIOBufferReader stroke;
};

static struct hand hands[HANDS];
static _Atomic unsigned n_hands;
static bool keeps_connections;	/* the server does, of those that come from inside */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;	/* for the lanes' ids, and what the hooks tell */
static struct lane *buckets[BUCKETS];
static int64_t last_id;

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

/* ---- what the hooks tell ---- */

/* Under the lock. A connection that was given up is no lane's any more. */
static struct lane *
find(int64_t id)
{
	struct lane *lane;

	for (lane = buckets[id & (BUCKETS - 1)]; lane != NULL && lane->id != id; lane = lane->same)
		;
	return (lane);
}

bool
round_began(int64_t id)
{
	struct lane *lane;

	pthread_mutex_lock(&lock);
	if ((lane = find(id)) != NULL)
		lane->told.began = 1;
	pthread_mutex_unlock(&lock);
	return (lane != NULL);
}

bool
round_looked(int64_t id, const struct found *found)
{
	struct lane *lane;
	bool go_on = false;

	pthread_mutex_lock(&lock);
	if ((lane = find(id)) != NULL) {
		lane->told.looked = 1;
		lane->told.found = *found;
		go_on = lane->asking && found->what != USABLE;
		lane->told.ended = !go_on;
	}
	pthread_mutex_unlock(&lock);
	return (go_on);
}

void
round_heard(int64_t id, int status, bool cacheable, const char *location)
{
	struct lane *lane;

	pthread_mutex_lock(&lock);
	if ((lane = find(id)) != NULL) {
		lane->told.heard = 1;
		lane->told.origin_status = status;
		lane->told.cacheable = cacheable;
		strcpy(lane->told.location, location);	/* it has as much room */
	}
	pthread_mutex_unlock(&lock);
}

void
round_closed(int64_t id, int status, TSServerState state, int64_t stored)
{
	struct lane *lane;

	pthread_mutex_lock(&lock);
	if ((lane = find(id)) != NULL) {
		lane->told.closed = 1;
		lane->told.status = status;
		lane->told.state = state;
		lane->told.stored = stored;
		/*
		 * Nearly always this is its own thread. Where it is not, nobody may wait for the mutex who holds one of the
		 * transaction's: then the next tick sees it.
		 */
		if (TSMutexLockTry(lane->hand->mutex) == TS_SUCCESS) {
			lane->calls++;
			(void)TSContScheduleOnThread(lane->cont, 0, lane->hand->thread);
			TSMutexUnlock(lane->hand->mutex);
		}
	}
	pthread_mutex_unlock(&lock);
}

/* ---- lanes ---- */

static void
forget(struct lane *lane)
{
	struct lane **link;

	pthread_mutex_lock(&lock);
	for (link = &buckets[lane->id & (BUCKETS - 1)]; *link != NULL && *link != lane; link = &(*link)->same)
		;
	if (*link != NULL)
		*link = lane->same;
	lane->id = 0;
	pthread_mutex_unlock(&lock);
}

static void
hang_up(struct lane *lane)
{

	if (lane->connection == NULL)
		return;
	TSVConnAbort(lane->connection, TS_VC_CLOSE_ABORT);
	lane->connection = NULL;
	TSIOBufferDestroy(lane->in);
	TSIOBufferDestroy(lane->out);
}

/* A continuation may not go before what was scheduled for it. */
static void
end(struct lane *lane)
{
	bool called;

	hang_up(lane);
	forget(lane);
	pthread_mutex_lock(&lock);
	lane->over = called = lane->calls > 0;
	pthread_mutex_unlock(&lock);
	if (called)
		return;
	TSContDestroy(lane->cont);
	free(lane);
}

static bool
connect_lane(struct lane *lane)
{
	static const struct sockaddr_in loopback = {
		.sin_family = AF_INET,
		.sin_port = 0x5000,	/* never connected to, and none is refused */
		.sin_addr = {0x0100007f},
	};

	forget(lane);
	pthread_mutex_lock(&lock);
	lane->id = ++last_id;
	lane->same = buckets[lane->id & (BUCKETS - 1)];
	buckets[lane->id & (BUCKETS - 1)] = lane;
	pthread_mutex_unlock(&lock);
	lane->connection = TSHttpConnectWithPluginId((const struct sockaddr *)&loopback, TAG, lane->id);
	if (lane->connection == NULL)
		return (false);
	lane->used = false;
	lane->out = TSIOBufferCreate();
	lane->in = TSIOBufferCreate();
	lane->out_reader = TSIOBufferReaderAlloc(lane->out);
	lane->in_reader = TSIOBufferReaderAlloc(lane->in);
	(void)TSVConnRead(lane->connection, lane->cont, lane->in, INT64_MAX);
	return (true);
}

static int on_lane(TSCont cont, TSEvent event, void *data);
static void take_in(struct hand *hand);

static struct lane *
take_lane(struct hand *hand)
{
	struct lane *lane = hand->idle;

	if (lane != NULL) {
		hand->idle = lane->next;
		hand->n_idle--;
	} else if ((lane = calloc(1, sizeof *lane)) != NULL) {
		lane->hand = hand;
		lane->cont = TSContCreate(on_lane, hand->mutex);
		TSContDataSet(lane->cont, lane);
	}
	return (lane);
}

static void
let_go(struct lane *lane)
{
	struct hand *hand = lane->hand;

	lane->rider = NULL;
	if (lane->under_way || hand->n_idle == IDLE_LANES) {
		end(lane);
		return;
	}
	lane->heard_at = door_now();
	lane->next = hand->idle;
	hand->idle = lane;
	hand->n_idle++;
}

bool
lane_enter(struct rider *r, bool asking)
{
	struct lane *lane = r->lane;

	if (lane == NULL && (lane = r->lane = take_lane(r->hand)) == NULL)
		return (false);
	lane->rider = r;
	if (lane->connection == NULL && !connect_lane(lane))
		return (false);
	lane->asking = asking;
	lane->stirred = false;
	lane->heard_at = door_now();
	pthread_mutex_lock(&lock);
	/* What was found has its say with `looked`, and where it leads with `heard`: those two are a thousand bytes each. */
	lane->told.began = lane->told.closed = lane->told.looked = lane->told.ended = lane->told.heard = 0;
	lane->told.origin_status = lane->told.cacheable = lane->told.status = 0;
	lane->told.state = TS_SRVSTATE_STATE_UNDEFINED;
	lane->told.stored = -1;
	lane->told.location[0] = '\0';
	lane->told.found.what = NOTHING;
	pthread_mutex_unlock(&lock);
	return (true);
}

int64_t
lane_number(const struct rider *r)
{

	return (r->lane->used ? 0 : r->lane->id);
}

void
lane_write(struct rider *r, const char *from, size_t size)
{

	TSIOBufferWrite(r->lane->out, from, (int64_t)size);
}

void
lane_send(struct rider *r)
{
	struct lane *lane = r->lane;

	lane->under_way = true;
	TSVConnWrite(lane->connection, lane->cont, lane->out_reader, TSIOBufferReaderAvail(lane->out_reader));
}

static void
arrive(struct lane *lane)
{

	lane->under_way = false;
	lane->used = true;
	if (!keeps_connections)
		hang_up(lane);
	rider_arrived(lane->rider, &lane->told);	/* no hook writes to it before the next round */
}

static bool
has_closed(struct lane *lane)
{
	bool closed;

	pthread_mutex_lock(&lock);
	closed = lane->told.closed;
	pthread_mutex_unlock(&lock);
	return (closed);
}

static void
called(struct lane *lane)
{
	bool closed;

	pthread_mutex_lock(&lock);
	lane->calls--;
	closed = lane->told.closed;
	pthread_mutex_unlock(&lock);
	if (lane->over)
		end(lane);
	else if (lane->under_way && closed)
		arrive(lane);
}

static void
hung_up_on(struct lane *lane)
{
	struct lane **link;
	bool began;

	hang_up(lane);
	if (lane->rider == NULL) {
		for (link = &lane->hand->idle; *link != lane; link = &(*link)->next)
			;
		*link = lane->next;
		lane->hand->n_idle--;
		end(lane);
		return;
	}
	if (!lane->under_way)
		return;
	pthread_mutex_lock(&lock);
	began = lane->told.began;
	pthread_mutex_unlock(&lock);
	if (began && !has_closed(lane))
		return;		/* what came is still being written */
	if (!began && lane->used) {
		lane->under_way = false;
		rider_lost(lane->rider);
	} else
		arrive(lane);
}

static int
on_lane(TSCont cont, TSEvent event, void *data)
{
	struct lane *lane = TSContDataGet(cont);
	struct hand *hand = lane->hand;

	(void)data;
	switch (event) {
	case TS_EVENT_IMMEDIATE:
	case TS_EVENT_TIMEOUT:
		called(lane);
		break;
	case TS_EVENT_VCONN_READ_READY:
		if (lane->connection != NULL) {
			TSIOBufferReaderConsume(lane->in_reader, TSIOBufferReaderAvail(lane->in_reader));
			lane->stirred = true;
		}
		break;
	case TS_EVENT_VCONN_WRITE_READY:
	case TS_EVENT_VCONN_WRITE_COMPLETE:
		break;
	default:	/* the end of it, one way or another */
		if (lane->connection != NULL)
			hung_up_on(lane);
		break;
	}
	take_in(hand);
	return (0);
}

/* ---- hands ---- */

/*
 * The server goes by the time of day, and by what that was when its thread last looked: a call may come early, and is
 * asked for again then; and late where that clock is set back, so one that has not come in time is no excuse.
 */
static void
wake_by(struct hand *hand, uint64_t at)
{
	uint64_t now = now_ms();

	if (hand->wake != NULL) {
		if (hand->wakes_at <= at && now <= hand->wakes_at + TICK_MS)
			return;
		TSActionCancel(hand->wake);
	}
	hand->wakes_at = at;
	hand->wake = TSContScheduleOnThread(hand->cont, at > now ? at - now : 1, hand->thread);
}

void
rider_wait(struct rider *r, unsigned ms)
{

	r->due = now_ms() + ms;
	wake_by(r->hand, r->due);
}

void
rider_leave(struct rider *r)
{

	r->hand->n_riders--;
	if (r->lane != NULL)
		let_go(r->lane);
	if (r->before != NULL)
		r->before->next = r->next;
	else
		r->hand->riders = r->next;
	if (r->next != NULL)
		r->next->before = r->before;
}

static void
look_after(struct rider *r)
{
	struct lane *lane = r->lane;
	struct told told;
	uint64_t now = door_now();

	if (lane == NULL || !lane->under_way)
		return;
	pthread_mutex_lock(&lock);
	told = lane->told;
	pthread_mutex_unlock(&lock);
	if (told.closed)
		arrive(lane);
	else if (lane->stirred) {
		lane->stirred = false;
		lane->heard_at = now;
	} else if (now > lane->heard_at)
		rider_hears_nothing(r, now - lane->heard_at, &told);
}

static void
tick_later(struct hand *hand)
{

	hand->ticks_at = now_ms() + TICK_MS;
	wake_by(hand, hand->ticks_at);
}

static void
tick(struct hand *hand)
{
	struct rider *r, *next;
	struct lane **link = &hand->idle, *lane;
	uint64_t now = door_now();

	for (r = hand->riders; r != NULL; r = next) {
		next = r->next;
		look_after(r);
	}
	while ((lane = *link) != NULL)
		if (now - lane->heard_at <= IDLE_SECONDS)
			link = &lane->next;
		else {
			*link = lane->next;
			hand->n_idle--;
			end(lane);
		}
	hand->ticks_at = 0;
	if (hand->riders != NULL || hand->idle != NULL)
		tick_later(hand);
}

/* Somebody has waited; or it is time for all. */
static int
on_hand(TSCont cont, TSEvent event, void *data)
{
	struct hand *hand = TSContDataGet(cont);
	uint64_t now = now_ms(), first;
	struct rider *r, *next;

	(void)event;
	(void)data;
	hand->wake = NULL;
	for (r = hand->riders; r != NULL; r = next) {
		next = r->next;
		if (r->due != 0 && r->due <= now + EARLY_MS) {
			r->due = 0;
			rider_due(r);
		}
	}
	if (hand->ticks_at != 0 && hand->ticks_at <= now + EARLY_MS)
		tick(hand);
	first = hand->ticks_at;
	for (r = hand->riders; r != NULL; r = r->next)
		if (r->due != 0 && (first == 0 || r->due < first))
			first = r->due;
	if (first != 0)
		wake_by(hand, first);
	return (0);
}

/* Those who have come begin. It is looked for them whenever a round is over as well. */
static void
take_in(struct hand *hand)
{
	struct rider *r, *came;

	if (!hand->has_come)
		return;
	pthread_mutex_lock(&hand->lock);
	came = hand->came;
	hand->came = NULL;
	hand->came_end = &hand->came;
	hand->has_come = false;
	pthread_mutex_unlock(&hand->lock);
	if (hand->ticks_at == 0)
		tick_later(hand);
	else
		wake_by(hand, hand->ticks_at);
	while ((r = came) != NULL) {
		came = r->next;
		r->before = NULL;
		if ((r->next = hand->riders) != NULL)
			r->next->before = r;
		hand->riders = r;
		rider_begins(r);
	}
}

/*
 * A socket, since who schedules something for another thread holds its mutex until that has been woken, and a thread that
 * is quick enough to find it held comes again 10 ms later.
 */
static void
hang_bell(struct hand *hand)
{
	int ends[2] = {-1, -1};

	hand->rung = NULL;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0 &&
	    (hand->rung = TSVConnFdCreate(ends[0])) == NULL) {
		close(ends[0]);
		close(ends[1]);
		ends[1] = -1;
	}
	if (hand->rung != NULL) {
		hand->strokes = TSIOBufferSizedCreate(TS_IOBUFFER_SIZE_INDEX_128);
		hand->stroke = TSIOBufferReaderAlloc(hand->strokes);
		(void)TSVConnRead(hand->rung, hand->waker, hand->strokes, INT64_MAX);
	}
	pthread_mutex_lock(&hand->lock);
	hand->bell = ends[1];
	pthread_mutex_unlock(&hand->lock);
}

static void
take_bell_down(struct hand *hand)
{

	pthread_mutex_lock(&hand->lock);
	close(hand->bell);
	hand->bell = -1;
	pthread_mutex_unlock(&hand->lock);
	TSVConnClose(hand->rung);
	TSIOBufferDestroy(hand->strokes);
}

static int
on_waker(TSCont cont, TSEvent event, void *data)
{
	struct hand *hand = TSContDataGet(cont);

	(void)data;
	if (event == TS_EVENT_VCONN_READ_READY)
		TSIOBufferReaderConsume(hand->stroke, TSIOBufferReaderAvail(hand->stroke));
	else if (event != TS_EVENT_IMMEDIATE && event != TS_EVENT_TIMEOUT && hand->rung != NULL) {
		take_bell_down(hand);	/* the server lets no connection be silent for ever */
		hang_bell(hand);
	}
	TSMutexLock(hand->mutex);
	take_in(hand);
	TSMutexUnlock(hand->mutex);
	return (0);
}

static void
wake(struct hand *hand)
{
	ssize_t n;

	pthread_mutex_lock(&hand->lock);
	n = hand->bell < 0 ? -1 : send(hand->bell, "", 1, MSG_NOSIGNAL);
	pthread_mutex_unlock(&hand->lock);
	if (n != 1)
		(void)TSContScheduleOnThread(hand->waker, 0, hand->thread);
}

/*
 * Half of the threads, those with the fewest. There are two requests by turns: where each has threads of its own, one half
 * works while the other half's answers are read and the next are asked for; spread over all, both would end together.
 */
static unsigned
choose(unsigned n, unsigned chosen[HANDS])
{
	static unsigned first;		/* of those that have as many; the door has one thread */
	unsigned i, j, at, load[HANDS];

	first++;
	for (i = 0; i < n; i++) {
		at = (first + i) % n;
		load[at] = hands[at].n_riders;
		for (j = i; j > 0 && load[chosen[j - 1]] > load[at]; j--)
			chosen[j] = chosen[j - 1];
		chosen[j] = at;
	}
	return ((n + 1) / 2);
}

bool
riders_come(struct rider *riders)
{
	unsigned n = n_hands, turn = 0, n_chosen, chosen[HANDS], i;
	bool was_empty[HANDS], took[HANDS] = {false};
	struct rider *r;
	struct hand *hand;

	if (n == 0)
		return (false);
	n_chosen = choose(n, chosen);
	while ((r = riders) != NULL) {
		riders = r->next;
		i = chosen[turn++ % n_chosen];
		hand = r->hand = &hands[i];
		hand->n_riders++;
		r->next = NULL;
		pthread_mutex_lock(&hand->lock);
		if (!took[i])
			was_empty[i] = hand->came == NULL;
		took[i] = true;
		*hand->came_end = r;
		hand->came_end = &r->next;
		hand->has_come = true;
		pthread_mutex_unlock(&hand->lock);
	}
	for (i = 0; i < n; i++)
		if (took[i] && was_empty[i])	/* else it is awake already, and takes them too */
			wake(&hands[i]);
	return (true);
}

/* ---- starting ---- */

/* Each of the server's threads comes by once at least: they take turns. */
static int
on_muster(TSCont cont, TSEvent event, void *data)
{
	TSEventThread self = TSEventThreadSelf();
	struct hand *hand;
	unsigned i;

	(void)cont;
	(void)event;
	(void)data;
	for (i = 0; i < n_hands && hands[i].thread != self; i++)
		;
	if (i < n_hands || i == HANDS)
		return (0);
	hand = &hands[i];
	hand->thread = self;
	hand->mutex = TSMutexCreate();
	hand->came_end = &hand->came;
	pthread_mutex_init(&hand->lock, NULL);
	hand->cont = TSContCreate(on_hand, hand->mutex);
	TSContDataSet(hand->cont, hand);
	hand->waker = TSContCreate(on_waker, TSMutexCreate());
	TSContDataSet(hand->waker, hand);
	hang_bell(hand);
	n_hands = i + 1;
	return (0);
}

void
lanes_start(void)
{
	TSCont muster = TSContCreate(on_muster, TSMutexCreate());
	TSMgmtInt keeps = 0;
	unsigned i;

	keeps_connections = TSMgmtIntGet("proxy.config.http.keepalive_internal_vc", &keeps) == TS_SUCCESS && keeps != 0;
	for (i = 0; i < 2 * HANDS; i++) {
		TSContThreadAffinityClear(muster);
		(void)TSContScheduleOnPool(muster, 0, TS_THREAD_POOL_NET);
	}
}
