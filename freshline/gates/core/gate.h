/*
 * The gate protocol (docs/gates.md): bodies in, answers out. Where the gate stands is kept here, what it must refuse to
 * serve is kept in rules.c.
 */

#ifndef FRESHLINE_GATE_H
#define FRESHLINE_GATE_H

#include <stddef.h>

#include "rules.h"

#define BATCH_BYTES	(64u << 20)	/* the longest batch it reads */

struct answer {
	int status;
	char *text;	/* the caller frees it; NULL when there was no memory for it */
	size_t size;
};

/* `kind` is what its status calls it. */
void gate_start(const char *kind, const struct patterns *patterns);

struct answer gate_status(void);

/* The body is overwritten. `now` counts seconds and never goes back. */
struct answer gate_batch(char *body, size_t size, uint64_t now);
struct answer gate_flush(char *body, size_t size);

/*
 * The freshline-lease that came with a request for status, batch or flush, once that was answered with 200. What clock
 * to answer with says lease.h.
 */
void gate_renew(const char *header);

/* GET /freshline/fresh, which wants no secret: 200 or 503. */
struct answer gate_fresh(void);

#endif
