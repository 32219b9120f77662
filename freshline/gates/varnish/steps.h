/*
 * A request of our own on its way through Varnish: its steps are Varnish's, but what is not there is fetched in the
 * request's own thread. No varnishd's headers in here.
 */

#ifndef FRESHLINE_STEPS_H
#define FRESHLINE_STEPS_H

struct busyobj;
struct req;
struct worker;

/* From each fetch that Varnish begins: how it does that. */
void steps_learn(const struct busyobj *bo);

/* Goes on with a request that has been embarked. Returns 0 if it waits for somebody else's fetch. */
int steps_take(struct worker *wrk, struct req *req, unsigned *decided);

/* Breaks off what is on its way although it may not be stored. To be called now and then while there are requests. */
void steps_break_off(void);

#endif
