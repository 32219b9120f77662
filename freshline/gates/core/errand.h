/*
 * What a gate is asked about one object, in lines: is it there, and bring it there (docs/gates.md, probe and fetch).
 */

#ifndef FRESHLINE_ERRAND_H
#define FRESHLINE_ERRAND_H

#include "gate.h"

#define ERRAND_HEADERS	64

struct errand {
	enum errand_kind { PROBE, FETCH } kind;
	char *body;			/* what the rest points into */
	struct slice scheme, host, target;
	struct {
		struct slice name, value;
	} headers[ERRAND_HEADERS];
	unsigned n_headers;
	char refused[120];		/* why a header may not go out; empty when they all may */
	void *asker;			/* the door's */
};

/*
 * Takes over `body`, which came with malloc. NULL when it is no such errand: then `why` says so, and body is still the
 * caller's.
 */
struct errand *errand_read(enum errand_kind kind, char *body, size_t size, const char **why);
void errand_free(struct errand *errand);

#endif
