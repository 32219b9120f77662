#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lease.h"
#include "siphash.h"

#define HOLD_TRIES	300	/* of 10 ms */
#define STEPS		16	/* so many moments are kept for one ttl; a rule outlives its time by one of them at most */

struct freshline_state *state;

_Static_assert(FRESHLINE_NAME >= LEASE_BOOT_SIZE, "no room for the clock's name");

uint64_t
state_random(void)
{
	uint64_t number;

	do
		while (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
			;
	while (number == 0);
	return (number);
}

static uint64_t
clock_ms(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

uint64_t
state_boot_ms(void)
{

	return (clock_ms(CLOCK_BOOTTIME));
}

void
state_raise(uint64_t *to, uint64_t value)
{
	uint64_t before = LOAD(to);

	while (before < value && !__atomic_compare_exchange_n(to, &before, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
}

/* When a process began, in ticks; 0: that cannot be told. */
static uint32_t
began(int pid)
{
	char path[32], text[512], *at;
	unsigned long long ticks = 0;
	ssize_t size;
	int file, field;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	if ((file = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return (0);
	size = read(file, text, sizeof text - 1);
	close(file);
	text[size > 0 ? size : 0] = '\0';
	/* proc(5): the name may hold anything; the 20th field behind it. */
	for (at = strrchr(text, ')'), field = 0; at != NULL && field < 20; field++)
		at = strchr(at + 1, ' ');
	if (at != NULL)
		ticks = strtoull(at, NULL, 10);
	return ((uint32_t)ticks);
}

uint64_t
state_me(unsigned nonce)
{
	static pid_t me;
	static uint32_t since;

	if (me != getpid()) {
		me = getpid();
		since = began(me);
	}
	return ((uint64_t)me << 42 | (uint64_t)(nonce & 1023) << 32 | since);
}

int
state_gone(uint64_t who, int closely)
{
	uint32_t since;

	if (kill((pid_t)(who >> 42), 0) != 0 && errno == ESRCH)
		return (1);
	return (closely && (since = began((int)(who >> 42))) != 0 && (uint32_t)who != 0 && since != (uint32_t)who);
}

void
state_open(struct freshline_state *memory)
{

	state = memory;
	if (state->layout != FRESHLINE_LAYOUT) {
		state->seed[0] = state_random();
		state->seed[1] = state_random();
		state->serving = state_random();
		snprintf(state->token, sizeof state->token, "%016" PRIx64 "%016" PRIx64, state_random(), state_random());
		lease_start();
		STORE(&state->layout, FRESHLINE_LAYOUT);
	}
	lease_share(state->boot, &state->lease);
}

int
freshline_layout(void)
{

	return (FRESHLINE_LAYOUT);
}

struct freshline_state *
freshline_state(void)
{

	return (state);
}

/* ---- one nginx at a time ---- */

/* A configuration before this one took it, by a module that may have been another file. */
static int
is_held(const struct stat *what)
{
	DIR *files = opendir("/proc/self/fd");
	struct dirent *each;
	struct stat found;
	int held = 0;

	if (files == NULL)
		return (0);
	while (!held && (each = readdir(files)) != NULL)
		held = fstat(atoi(each->d_name), &found) == 0 && found.st_dev == what->st_dev &&
		    found.st_ino == what->st_ino;
	closedir(files);
	return (held);
}

int
freshline_hold(const char *path)
{
	const struct timespec pause = {0, 10000000};
	struct stat found;
	int file, tries;

	if (stat(path, &found) == 0 && is_held(&found))
		return (1);
	/* Where it cannot be made no journal can be written either, which says so itself. */
	if ((file = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)) < 0)
		return (1);
	for (tries = HOLD_TRIES; flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; tries--) {
		if (tries == 0) {
			close(file);
			return (0);
		}
		nanosleep(&pause, NULL);	/* one that is ending */
	}
	return (1);
}

/* ---- where it stands ---- */

const struct freshline_standing *
freshline_standing(void)
{
	static struct freshline_standing mine;
	uint64_t before;

	do {
		before = LOAD(&state->turns);
		memcpy(&mine, &state->standing[before % 2], sizeof mine);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (LOAD(&state->turns) != before);
	return (&mine);
}

static struct freshline_standing *
next_standing(void)
{
	struct freshline_standing *next = &state->standing[(state->turns + 1) % 2];

	__atomic_thread_fence(__ATOMIC_RELEASE);	/* who reads the one before has seen that it is over */
	memcpy(next, &state->standing[state->turns % 2], sizeof *next);
	return (next);
}

static void
turn(void)
{

	STORE(&state->turns, state->turns + 1);
}

void
freshline_stand(const char *log, double position, const char *mark)
{
	struct freshline_standing *next = next_standing();

	snprintf(next->log, sizeof next->log, "%s", log);
	snprintf(next->mark, sizeof next->mark, "%s", mark);
	next->position = (uint64_t)position;
	next->known = 1;
	turn();
}

/*
 * Rules come in the order of their positions, so it is enough to know of some when they were reached. What was put
 * before such a moment is past its time when the ttl has gone by since on both clocks: on the machine's, so that setting
 * the date forward ends no rule early; and on the wall's, by which nginx goes, so that what it keeps longer because the
 * date was set back does not outlive its rules. After a restart it begins anew, as it does for what is stored.
 */
double
freshline_reached(double position, double ttl_ms)
{
	uint64_t boot = state_boot_ms(), wall = clock_ms(CLOCK_REALTIME), ttl = (uint64_t)ttl_ms, i, n = 0;
	struct freshline_standing *next = next_standing();

	for (i = 0; i < next->n_ages && i < FRESHLINE_AGES; i++) {
		struct freshline_age age = next->ages[i];

		if (boot >= age.boot_ms + ttl && wall >= age.wall_ms + ttl) {
			if (age.position > next->expired)
				next->expired = age.position;
		} else
			next->ages[n++] = age;
	}
	if (n == 0 || boot >= next->ages[n - 1].boot_ms + ttl / STEPS) {
		if (n == FRESHLINE_AGES)	/* the date was set back far, or again and again */
			n--;
		next->ages[n++] = (struct freshline_age){(uint64_t)position, boot, wall};
	}
	next->n_ages = n;
	turn();
	return ((double)next->expired);
}

void
freshline_age_anew(void)
{
	struct freshline_standing *next = next_standing();

	next->n_ages = next->expired = 0;
	turn();
	state->swept = 0;
}

void
freshline_unknown(void)
{
	struct freshline_standing *next = next_standing();

	next->known = 0;
	turn();
}

/* ---- locks ---- */

uint64_t
freshline_lock(int which)
{
	static unsigned taken;
	uint64_t owner = LOAD(&state->locks[which]), mine = state_me(++taken);

	if (owner != 0 && !state_gone(owner, 1))
		return (0);
	return (__atomic_compare_exchange_n(&state->locks[which], &owner, mine, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ?
	    mine : 0);
}

void
freshline_unlock(int which, uint64_t token)
{

	(void)__atomic_compare_exchange_n(&state->locks[which], &token, 0, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* ---- what is in use ---- */

uint64_t
freshline_random(void)
{

	return (state_random());
}

void
freshline_generation(uint64_t generation, char word[FRESHLINE_NAME])
{

	snprintf(word, FRESHLINE_NAME, "%016" PRIx64, generation);
}

void
freshline_changed(int bump)
{

	if (bump)
		(void)__atomic_add_fetch(&state->bump, 1, __ATOMIC_SEQ_CST);
	(void)__atomic_add_fetch(&state->version, 1, __ATOMIC_SEQ_CST);
}

void
freshline_serve(uint64_t generation)
{

	STORE(&state->serving, generation);
	freshline_changed(0);
}

double
freshline_now(int wall)
{

	return ((double)clock_ms(wall ? CLOCK_REALTIME : CLOCK_BOOTTIME));
}

/* ---- the lease ---- */

void
freshline_lease_clock(char to[64])
{

	lease_clock(to);
}

void
freshline_lease_take(const char *header)
{
	const struct freshline_standing *at = freshline_standing();

	if (at->known && strcmp(at->log, "-") != 0 && LOAD(&state->serving) == LOAD(&state->generation))
		lease_take(header, at->position);
}

void
freshline_lease_end(void)
{

	lease_end();
}

double
freshline_lease_left(void)
{

	return ((double)lease_left_ms());
}

/* ---- slices ---- */

static uint64_t
slice_of(const char *host, size_t size)
{
	struct siphash h;

	siphash_begin(&h, state->seed);
	siphash_field(&h, host, size);
	return (siphash_end(&h));
}

double
freshline_slice(const char *host, size_t size)
{
	uint64_t key = slice_of(host, size), i = key % FRESHLINE_SLICES, slice = LOAD(&state->slices[i].size);

	return ((LOAD(&state->slices[i].host) ^ slice) == key ? (double)slice : 0);
}

void
freshline_set_slice(const char *host, size_t size, double slice)
{
	uint64_t key = slice_of(host, size), i = key % FRESHLINE_SLICES;

	STORE(&state->slices[i].size, (uint64_t)slice);
	STORE(&state->slices[i].host, key ^ (uint64_t)slice);
}
