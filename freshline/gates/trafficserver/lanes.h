/*
 * Lanes: connections to the server's front door from inside, without a socket. Each belongs to one of the server's
 * threads and carries one request after another, so that none pays for a connection.
 *
 * A rider is whoever has errands there. It stays with the thread it was given to, and on it, one at a time with the
 * others there, it is called back: rider_begins(), then rider_due() after each wait, rider_arrived() after each round.
 */

#ifndef FRESHLINE_LANES_H
#define FRESHLINE_LANES_H

#include "plugin.h"

struct hand;
struct lane;

struct rider {
	struct rider *next, *before;	/* of its hand's */
	struct hand *hand;
	struct lane *lane;		/* NULL: it has had no round yet */
	uint64_t due;			/* milliseconds; 0: it does not wait */
};

/* What the hooks told of a round. */
struct told {
	int began, closed;
	int looked, ended;		/* it was not let on from its lookup */
	struct found found;
	int heard, origin_status;	/* the origin's headers came */
	int cacheable;
	char location[LOCATION];	/* where they say that it is to be found */
	int status;			/* 0: it was not answered */
	TSServerState state;
	int64_t stored;			/* bytes that are known to be there; below zero: it is not known */
};

void lanes_start(void);

/*
 * Gives riders, a list by `next`, to the threads, from any thread. False: there are none yet, and they are still the
 * caller's.
 */
bool riders_come(struct rider *riders);

/* A round: is it begun (false: there is no connecting), what it asks for, and off it goes. */
bool lane_enter(struct rider *rider, bool asking);
int64_t lane_number(const struct rider *rider);	/* 0: its connection has been told */
void lane_write(struct rider *rider, const char *from, size_t size);
void lane_send(struct rider *rider);

void rider_wait(struct rider *rider, unsigned ms);

/* It is the caller's again. A round that is under way is broken off. */
void rider_leave(struct rider *rider);

void rider_begins(struct rider *rider);
void rider_due(struct rider *rider);
void rider_arrived(struct rider *rider, const struct told *told);
void rider_lost(struct rider *rider);	/* the round never began, and can be sent again */
/* Nothing came for so many seconds. */
void rider_hears_nothing(struct rider *rider, uint64_t seconds, const struct told *told);

#endif
