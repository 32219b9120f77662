/*
 * Origin fetches that are under way, so that nobody waits for one that a refresh has made worthless.
 *
 * Varnish lets all who want an object wait for the fetch that is bringing it. If a refresh came meanwhile, what it
 * brings will be of no use, and it may yet take a minute. So the first request after the refresh does not wait: it
 * starts a fetch of its own, and those after it wait for that.
 */

#ifndef FRESHLINE_FLIGHTS_H
#define FRESHLINE_FLIGHTS_H

#include "rules.h"

struct flight {
	int aloft;	/* its own thread's to know: the links are also moved by others */
	struct flight *next, **link;
	uint64_t key;
	struct stamp stamp;
};

void flights_start(void);

/* Stamps the fetch. A fetch that is begun again gets a new stamp. */
void flight_begin(struct flight *flight, const struct name *name);
void flight_end(struct flight *flight);

/* Is there any? Without one nobody need be overtaken. */
int flights_under_way(void);

/* Should a request for this object, the first of its names being the one it is looked up with, wait for no fetch? */
int flight_overtake(const struct name *names, unsigned n, uint64_t now_ms);

#endif
