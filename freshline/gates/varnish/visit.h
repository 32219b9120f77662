/*
 * A fetch of one object that was asked for among several: a request of this Varnish's own, without a socket, which runs
 * through the operator's VCL as the controller's HEAD for it would. Varnishd's headers come before this one.
 */

#ifndef FRESHLINE_VISIT_H
#define FRESHLINE_VISIT_H

struct errand;

struct visit {
	struct pool_task task;
	struct sess *session;			/* of the request that asked for it */
	struct errand *errand;
	char *said;				/* the line that it is answered with; NULL: nothing came of it */
	void (*arrive)(struct visit *);		/* it has ended, and may be gone afterwards */
	unsigned decided;			/* what VCL wants instead of a fetch, while it is asked again */
	struct party *party;			/* whose it is */
};

/* Is this varnishd one whose requests are known? If not, nothing may be visited. */
int visits_are_possible(void);

/* Is this request one? */
int visit_is(const struct req *req);

/* What VCL has wanted of its miss already; 0: nothing yet, or no visit. */
unsigned visit_decided(const struct req *req);

/* In a thread of Varnish's; 0 if there is none. */
int visit_begin(struct visit *v);

#endif
