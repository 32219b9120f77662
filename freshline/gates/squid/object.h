/* What the controller wants brought, or to know of: the lines of a fetch or probe (docs/gates.md). */

#ifndef FRESHLINE_OBJECT_H
#define FRESHLINE_OBJECT_H

#include <stddef.h>

#define OBJECT_REQUEST_SIZE	(64u << 10)	/* bytes of a request for one, at most */

/* Its texts lie in the body it was read from. */
struct object {
	int https;
	const char *host, *target;
	char *headers;		/* as they go out, or NULL */
	size_t headers_size;
	const char *refused;	/* why it is not asked for, or NULL */
};

struct objects {
	struct object *all;
	size_t n;
	char why[40];
};

/*
 * "<verb> <scheme> <host> <target>" lines, `most` of them at most, each with its "header <name> <value>" lines behind it.
 * NULL, or why it is not that. To be freed either way; the body is overwritten.
 */
const char *objects_read(char *body, size_t size, const char *verb, size_t most, struct objects *found);

void objects_free(struct objects *found);

/* Nothing but visible ASCII. */
int is_printable(const char *text);

#endif
