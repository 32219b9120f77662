/* One request to Squid at our door, and its answer, without ever waiting. */

#ifndef FRESHLINE_EXCHANGE_H
#define FRESHLINE_EXCHANGE_H

#include <stddef.h>
#include <stdint.h>

#include "hear.h"
#include "object.h"

#define DOORS	64

/* One caller's connections to Squid that are kept for its next requests, and where it asks by datagrams (peek.h). */
struct doors {
	int kept[DOORS];
	size_t n;
	int peek;		/* -1: not open */
	uint32_t peeks;		/* so many were sent */
};

struct exchange {
	int fd;			/* -1: it is over, or has not begun */
	int kept, connected;
	char *request;
	size_t size, sent;
	struct hearing hearing;
	uint64_t number;	/* among all there were */
	uint64_t until, patience_ms;
};

uint64_t now_ms(void);

/* Each of these returns whether it is over: then hearing.reply says what came, and the connection has been given back. */
int exchange_begin(struct exchange *x, struct doors *doors, const struct object *o, const char *method, const char *more,
    uint64_t seconds);
int exchange_go_on(struct exchange *x, struct doors *doors, char *scratch, size_t size);
int exchange_is_late(struct exchange *x, uint64_t now);

/* What to poll for. */
short exchange_events(const struct exchange *x);

/* Hangs up, and frees what it holds. */
void exchange_drop(struct exchange *x);

/* How many have begun, and whether one that began after so many has been answered. */
uint64_t exchanges_begun(void);
int exchanges_answered_since(uint64_t begun);

void doors_open(struct doors *doors);
void doors_close(struct doors *doors);

#endif
