/*
 * What the gate remembers, and from when on its old cache is of use: ties the journal, the keys and the duty together.
 */

#ifndef FRESHLINE_KEEP_H
#define FRESHLINE_KEEP_H

#include "gate.h"

/* Starts the gate. To be called before other threads are. */
void keep_start(void);

/* Waits until this helper is on duty, and recalls. */
void keep_take(void);

/* Whether keys can be given; and whether they will not be any more, as another helper is on duty. */
int keep_ready(void);
int keep_left(void);

/* Only while on duty; else the answer is 503. The body is overwritten. */
struct answer keep_batch(char *body, size_t size, const char *lease);
struct answer keep_flush(char *body, size_t size, const char *lease);
struct answer keep_status(const char *lease);
struct answer keep_fresh(void);

#endif
