/*
 * Is an object there, and: bring it there. Asked of Squid as a visitor would ask it, at ports that are for us alone.
 */

#ifndef FRESHLINE_VISIT_H
#define FRESHLINE_VISIT_H

#include "gate.h"

/*
 * Bodies as in docs/gates.md, "Probe and fetch". The connection to Squid is kept for the caller's next one; -1: there is none.
 */
struct answer visit_probe(char *body, size_t size, int *door);
struct answer visit_fetch(char *body, size_t size, int *door);

#endif
