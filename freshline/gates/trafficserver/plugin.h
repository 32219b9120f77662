/*
 * What the two halves of the plugin know of each other: visits (plugin.c) and errands (trips.c).
 */

#ifndef FRESHLINE_PLUGIN_H
#define FRESHLINE_PLUGIN_H

#include <stdbool.h>
#include <stdint.h>
#include <ts/ts.h>

#include "errand.h"

#define TAG	"freshline"		/* of the transactions that are ours */
#define ROUND	"freshline-round"	/* their header that says for which round of which trip they are */

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

/* Takes the errand on, and answers it some time. */
void trip_begin(struct errand *errand);

/*
 * From the hooks of a transaction of ours. The first says whether it should go on: a probe never does, and a fetch of
 * what is there neither.
 */
bool trip_looked(int64_t id, const struct found *found, struct stamp begun);
void trip_heard(int64_t id, int status, bool cacheable, const char *location);	/* the origin's headers */
void trip_answered(int64_t id, int status, TSServerState state);

#endif
