/*
 * What keepers have in common: commands as lines of the journal, and lines as rules.
 */

#ifndef FRESHLINE_RECORD_H
#define FRESHLINE_RECORD_H

#include "gate.h"
#include "journal.h"

/* Fills the rules with what the journal holds. NULL, or why it cannot be read; where there is none, `found->log` is empty. */
const char *record_read(struct stance *found, uint64_t now);

/* Before anything is added to it: is it all there, and not too long? 0: it is not, and has to begin anew. */
int record_tend(const struct stance *stance);

/* Adds a batch, and moves the stance. NULL, or why nothing happened. */
const char *record_batch(struct stance *stance, const struct command *commands, size_t n, uint64_t after, uint64_t upto,
    struct slice mark);

#endif
