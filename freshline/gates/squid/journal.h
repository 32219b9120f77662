/*
 * What the gate was told, on disk, so that the old cache is of use after a restart.
 *
 *   freshline squid 1 <generation> <log> <sum>
 *   <position> 1 <verb> <host> <what>                 any number
 *   commit <position> <mark> <sum>                    the gate stands here; sum of the lines since the last such line
 *   part - - <sum>                                    the same, and more of it follows
 *
 * Reading stops at the first thing that is not so. What lies behind it was never acknowledged, or is lost and will be
 * sent again, because the position is then an earlier one. Called one at a time.
 */

#ifndef FRESHLINE_JOURNAL_H
#define FRESHLINE_JOURNAL_H

#include "epoch.h"
#include "gate.h"

struct standing {
	char generation[GENERATION_SIZE + 1];
	char log[130], mark[130];
	uint64_t position;
};

/* Fills the rules with what it holds. NULL, or why there is nothing to begin with. */
const char *journal_recall(struct standing *standing);

/* A new one that knows no rules. NULL, or why not. */
const char *journal_begin(const struct standing *standing);

const char *journal_append(const struct command *commands, size_t n, uint64_t after, uint64_t upto, struct slice mark);

/* Writes it anew with the rules that still count, where that is due. */
const char *journal_compact(const struct standing *standing);

uint64_t journal_bytes(void);

#endif
