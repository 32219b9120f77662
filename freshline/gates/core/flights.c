#include "flights.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#define STRIPES		256
#define CLAIM_MS	1000	/* within which a request that was told to go ahead has started its fetch */

static struct stripe {
	pthread_mutex_t lock;
	struct flight *flights;
	struct {
		uint64_t key, until_ms;
		struct stamp stamp;
	} claim;		/* the last one to go ahead */
} stripes[STRIPES];

static _Atomic unsigned under_way;

void
flights_start(void)
{
	unsigned i;

	for (i = 0; i < STRIPES; i++)
		pthread_mutex_init(&stripes[i].lock, NULL);
}

void
flight_begin(struct flight *flight, const struct name *name)
{
	struct stripe *stripe;

	flight_end(flight);
	flight->aloft = 1;
	flight->key = rules_key(name);
	stripe = &stripes[flight->key % STRIPES];
	pthread_mutex_lock(&stripe->lock);
	flight->stamp = rules_stamp();
	flight->next = stripe->flights;
	flight->link = &stripe->flights;
	if (flight->next != NULL)
		flight->next->link = &flight->next;
	stripe->flights = flight;
	pthread_mutex_unlock(&stripe->lock);
	atomic_fetch_add(&under_way, 1);
}

void
flight_end(struct flight *flight)
{
	struct stripe *stripe = &stripes[flight->key % STRIPES];

	if (!flight->aloft)
		return;
	flight->aloft = 0;
	pthread_mutex_lock(&stripe->lock);
	*flight->link = flight->next;
	if (flight->next != NULL)
		flight->next->link = flight->link;
	pthread_mutex_unlock(&stripe->lock);
	atomic_fetch_sub(&under_way, 1);
}

/* Nobody knows yet which tags the origin's answer will carry. */
static int
worthless(struct stamp stamp, const struct name *names, unsigned n)
{

	return (rules_judge(0, stamp, names, n, NULL) != FRESH);
}

int
flights_under_way(void)
{

	return (atomic_load_explicit(&under_way, memory_order_relaxed) != 0);
}

int
flight_overtake(const struct name *names, unsigned n, uint64_t now_ms)
{
	const struct flight *f;
	struct stripe *stripe;
	int late = 0, good = 0;
	uint64_t key;

	key = rules_key(&names[0]);
	stripe = &stripes[key % STRIPES];
	pthread_mutex_lock(&stripe->lock);
	for (f = stripe->flights; f != NULL && !good; f = f->next)
		if (f->key == key) {
			if (worthless(f->stamp, names, n))
				late = 1;
			else
				good = 1;
		}
	if (late && !good) {
		good = stripe->claim.key == key && now_ms < stripe->claim.until_ms &&
		    !worthless(stripe->claim.stamp, names, n);
		if (!good) {
			stripe->claim.key = key;
			stripe->claim.until_ms = now_ms + CLAIM_MS;
			stripe->claim.stamp = rules_stamp();
		}
	}
	pthread_mutex_unlock(&stripe->lock);
	return (late && !good);
}
