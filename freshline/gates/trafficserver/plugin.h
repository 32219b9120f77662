/*
 * What the parts of the plugin know of each other: visits (plugin.c), rounds (lanes.c) and errands (trips.c).
 */

#ifndef FRESHLINE_PLUGIN_H
#define FRESHLINE_PLUGIN_H

#include <stdbool.h>
#include <stdint.h>
#include <ts/ts.h>

#include "errand.h"

#define TAG	"freshline"		/* of the transactions that are ours */
#define LANE	"freshline-lane"	/* header of the first of a connection: its lane's number */

#define LOCATION 1000			/* bytes of one, with the end; what is longer is as good as none */

/* What a lookup found, of those that are ours. */
struct found {
	enum { NOTHING, OLD, USABLE } what;	/* OLD: expired, or covered by a refresh */
	int whole;				/* nobody is still writing it */
	struct stamp stamp;
	int status;
	int64_t length;				/* -1: nobody says */
	char location[LOCATION];		/* where it redirects to, or empty */
};

void trips_start(unsigned fetch_seconds);
void trips_set_seconds(unsigned fetch_seconds);

/* Takes the errands on, those of a list, and answers each some time. */
void trips_begin(struct errand *errands);

/*
 * From the hooks of a transaction of ours. The first two say whether it should go on: a probe never does beyond its
 * lookup, and a fetch of what is there neither.
 */
bool round_began(int64_t id);
bool round_looked(int64_t id, const struct found *found);
void round_heard(int64_t id, int status, bool cacheable, const char *location);	/* the origin's headers */
/* What it brought is written by now, or lost. `stored`: it is known to be there, and so long; or -1. */
void round_closed(int64_t id, int status, TSServerState state, int64_t stored);

#endif
