/*
 * What a gate was told, on disk, for a server whose cache outlives it.
 *
 *	freshline journal 1 <life> <log> <sum>
 *	<position> <force> <verb> <host> <what>			any number; <what> as in a batch
 *	commit <position> <mark> <sum>				the gate stands here; sum of all since the last sum
 *
 * Reading stops at the first thing that is not so. What lies behind it was never acknowledged, or is lost and will be
 * sent again, because the position is then an earlier one.
 *
 * One caller at a time; gate.c sees to that.
 */

#ifndef FRESHLINE_JOURNAL_H
#define FRESHLINE_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "rules.h"

#define TOKEN_SIZE	128	/* a log's name, a mark */

struct stance {
	uint64_t life;
	char log[TOKEN_SIZE + 1], mark[TOKEN_SIZE + 1];
	uint64_t position;
};

/* Every function says NULL, or why it could not. */

/* Takes the journal at that path for this process, for good. Waits some seconds for another one to end. */
const char *journal_open(const char *path);
/* The same for who sees to it by other means that no other process has it. */
const char *journal_at(const char *path);

/* Gives every committed line to `line`. `found->log` is empty where there is no journal, or none that can be read. */
const char *journal_read(struct stance *found, void (*line)(struct slice line));

/* Throws away what there is. */
const char *journal_begin(const struct stance *stance);

/* On disk when it returns, where there are lines; a mere position may be lost. Nothing of it counts if it fails. */
const char *journal_append(struct slice lines, uint64_t position, const char *mark);

/* Has it grown, or been harmed, so much that it should be written anew? In the second case it must be. */
enum journal_state { JOURNAL_FINE, JOURNAL_GROWN, JOURNAL_HARMED, JOURNAL_GONE };
enum journal_state journal_state(void);

/* Writes it anew, with the lines that `keep` wants; `instead` has room for one. */
#define LINE_ROOM	512
const char *journal_compact(const struct stance *stance, enum keep (*keep)(struct slice line, char *instead));

uint64_t journal_bytes(void);

#endif
