/*
 * What nginx's processes share. Whoever writes may be killed at any moment: what takes several stores is written where
 * nobody reads yet, and one store makes it count.
 */

#ifndef FRESHLINE_STATE_H
#define FRESHLINE_STATE_H

#include <stddef.h>
#include <stdint.h>

#define FRESHLINE_EXPORT __attribute__((visibility("default")))

#pragma GCC visibility push(default)
#include "shared.h"
#pragma GCC visibility pop

#define LOAD(from)	__atomic_load_n((from), __ATOMIC_ACQUIRE)
#define STORE(to, value) __atomic_store_n((to), (value), __ATOMIC_RELEASE)

/* Of this process. */
extern struct freshline_state *state;

/* The memory is all zero, or holds what it held before a reload. */
void state_open(struct freshline_state *memory);

uint64_t state_random(void);
uint64_t state_boot_ms(void);

/* Raises a number to at least that. */
void state_raise(uint64_t *to, uint64_t value);

/*
 * Who this process is, and never another, with 10 bits of `nonce`; and whether one of those is there no more. Nothing is
 * ever taken from a process that lives, however long it stands still: it may go on at any moment. `closely`: its number
 * may be somebody else's by now.
 */
uint64_t state_me(unsigned nonce);
int state_gone(uint64_t who, int closely);

#endif
