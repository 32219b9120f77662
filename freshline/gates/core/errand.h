/*
 * What a gate is asked about one object, in lines: is it there, and bring it there (docs/gates.md, probe and fetch).
 */

#ifndef FRESHLINE_ERRAND_H
#define FRESHLINE_ERRAND_H

#include "gate.h"

#define ERRAND_HEADERS	64
#define ERRAND_WHY	80

struct errand {
	enum errand_kind { PROBE, FETCH, VISIT } kind;	/* a visit: a fetch that may say how old is too old */
	struct errand *next;		/* of those that came in the same request */
	unsigned number;		/* in it, from 1 */
	struct slice scheme, host, target;
	struct {
		struct slice name, value;
	} headers[ERRAND_HEADERS];
	unsigned n_headers;
	char refused[120];		/* why a header may not go out; empty when they all may */
	void *asker;			/* the door's */
	char text[];			/* what the slices point into */
};

/*
 * Up to `most` of them in one body, each to be freed by itself. NULL when that is not what it is: then `why` says so.
 */
struct errand *errand_read(enum errand_kind kind, struct slice body, unsigned most, char why[ERRAND_WHY]);
void errand_free(struct errand *errand);

#endif
