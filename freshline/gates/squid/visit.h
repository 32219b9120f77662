/*
 * Is an object there, and: bring it there. Asked of Squid as a visitor would ask it, at ports that are for us alone.
 */

#ifndef FRESHLINE_VISIT_H
#define FRESHLINE_VISIT_H

#include "exchange.h"
#include "gate.h"

#define VISITS		64	/* fetches in one request, at most */

/* Who hears the answers to several fetches, whole lines of them; the last piece comes once. 0: nobody hears any more. */
struct hearer {
	int (*say)(void *whom, const char *lines, size_t size, int last);
	void *whom;
};

/*
 * Bodies as in docs/gates.md, "Probe and fetch". The caller's connections to Squid are kept in `doors`.
 * A status of 0: the hearer was told everything.
 */
struct answer visit_probe(char *body, size_t size, struct doors *doors);
struct answer visit_fetch(char *body, size_t size, struct doors *doors, const struct hearer *hearer);

#endif
