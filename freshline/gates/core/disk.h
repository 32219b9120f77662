/*
 * The keeper of a gate whose server has its cache on disk: it remembers in a journal what the gate is told, and the life
 * that the cached objects were stamped with. What was cached before a start is out of use until the gate has caught up.
 */

#ifndef FRESHLINE_DISK_H
#define FRESHLINE_DISK_H

#include "gate.h"

/* For gate_start(). */
extern const struct keeper disk_keeper;

/* After gate_start() and rules_bounds(), once. NULL, or why the gate cannot work. `now` as for gate_batch(). */
const char *disk_open(const char *journal, uint64_t now);

#endif
