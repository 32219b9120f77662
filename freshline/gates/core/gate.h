/*
 * The gate protocol (docs/gates.md): bodies in, answers out. Where the gate stands is kept here, what it must refuse to
 * serve is kept in rules.c.
 */

#ifndef FRESHLINE_GATE_H
#define FRESHLINE_GATE_H

#include <stdbool.h>
#include <stddef.h>

#include "rules.h"

#define BATCH_BYTES	(64u << 20)	/* the longest batch it reads */
#define BATCH_ROWS	(1u << 20)	/* and the most commands in one */

struct answer {
	int status;
	char *text;	/* the caller frees it; NULL when there was no memory for it */
	size_t size;
};

struct command {
	uint64_t position;
	struct slice host, what;
	void *compiled;
	enum verb verb;
	int force;
	const char *refused;
	char *text;	/* what `what` or `refused` point to, where it is not the body or a constant */
};

/*
 * A memory that outlives the process, for a cache that does. Called one at a time. What could not be kept does not
 * happen: they return NULL, or why not, and then the gate answers that it failed.
 */
struct keeper {
	/* Before anything of it counts. Commands that are refused are not kept. */
	const char *(*batch)(const struct command *commands, size_t n, uint64_t after, uint64_t upto, struct slice mark);
	/* Everything of it counts. `live`: it is the head of the log. NULL as well for a repeat. */
	const char *(*applied)(uint64_t upto, int live);
	/* All that was fetched before now is out of use; called before the rules are dropped. */
	const char *(*flush)(struct slice log, uint64_t position, struct slice mark);
	int (*synced)(void);
};

/* `kind` is what its status calls it. Without a keeper it remembers nothing, and is in sync from the start. */
void gate_start(const char *kind, const struct patterns *patterns, const struct keeper *keeper);

/* Where it stood, as the keeper knows; before the first batch. */
void gate_stand(struct slice log, uint64_t position, struct slice mark);

/*
 * A command that a journal holds, `<position> <force> <verb> <host> <what>`, its position between the two; or why it is
 * none. The line is overwritten.
 */
const char *gate_read_command(struct slice line, struct command *command, uint64_t after, uint64_t upto);
/* Compiles its pattern, or says in it what is refused. */
void gate_prepare(struct command *command);

struct answer gate_status(void);

/* From now on its status says that one request may ask for so many fetches. */
void gate_takes_fetches(unsigned most);

/* The body is overwritten. `now` counts seconds and never goes back. */
struct answer gate_batch(char *body, size_t size, uint64_t now);
struct answer gate_flush(char *body, size_t size);

/*
 * The freshline-lease that came with a request for status, batch or flush, once that was answered with 200. What clock
 * to answer with says lease.h.
 */
void gate_renew(const char *header);

/*
 * Whether what is fetched from now on is there for visitors later. False: the gate has just started, and goes on with
 * another cache once it has been told where it stands, or that it is flushed.
 */
bool gate_caught_up(void);

/* GET /freshline/fresh, which wants no secret: 200 or 503. */
struct answer gate_fresh(void);

#endif
