/*
 * Until when the gate may rely on being told (docs/gates.md, "Clock and lease"): the service says so again and again, in
 * terms of a clock that no one can set. What holds without a lease is the server's setting.
 */

#ifndef FRESHLINE_LEASE_H
#define FRESHLINE_LEASE_H

#include <stddef.h>
#include <stdint.h>

#define LEASE_LIMIT_MS	86400000	/* a request for more is none */
#define LEASE_CLOCK_SIZE	64	/* room for what lease_clock writes */

enum lapse {
	LAPSE_SERVE,	/* without a lease all is as with one */
	LAPSE_BYPASS,	/* nothing stored is served */
	LAPSE_REFUSE,	/* visitors get 503 */
	LAPSES,
};

/* Before anything else, once: a clock of another name than any before. */
void lease_start(void);

void lease_set_lapse(enum lapse lapse);
enum lapse lease_lapse(void);
const char *lease_lapse_word(void);

/*
 * Keeps clock and lease where they outlive the process, or several have them, and takes up what is there. `boot` has room for LEASE_BOOT_SIZE
 * bytes, all zero at first; a server that was not started anew goes on with the clock it had.
 */
void lease_share(char *boot, uint64_t *until);
#define LEASE_BOOT_SIZE	25

/* The gate flushed itself. */
void lease_end(void);

/* "<boot> <milliseconds>" */
void lease_clock(char to[LEASE_CLOCK_SIZE]);

/* "<boot> <milliseconds> <length> <position>", of a gate that stands at `position`. Not taken: nothing happens. */
void lease_take(const char *header, uint64_t position);

int lease_held(void);
uint64_t lease_left_ms(void);

/* Is what is stored out of use just now? For a hit: a load and a comparison under LAPSE_SERVE, a clock's reading else. */
int lease_lapsed(void);

#endif
