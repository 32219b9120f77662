#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "lease.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define BOOT_SIZE	24
#define DIGITS		15	/* of a number in a header: a double counts that far */

static const char *const words[LAPSES] = {"serve", "bypass", "refuse"};

static char boot[BOOT_SIZE + 1];
static uint64_t own_until_ms, *until_ms = &own_until_ms;	/* where it is shared, several processes move it */
static _Atomic int without = LAPSE_SERVE;

/* Goes on while the machine sleeps, and is nobody's to set. */
static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

void
lease_start(void)
{
	static const char letters[] = "0123456789abcdefghijklmnopqrstuv";
	unsigned char dice[BOOT_SIZE];
	struct timespec wall;
	size_t i;

	if (getrandom(dice, sizeof dice, 0) != (ssize_t)sizeof dice) {
		/* No system that runs a cache. What differs from one start to the next is the time. */
		clock_gettime(CLOCK_REALTIME, &wall);
		memset(dice, 0, sizeof dice);
		memcpy(dice, &wall, sizeof wall);
	}
	for (i = 0; i < BOOT_SIZE; i++)
		boot[i] = letters[dice[i] % 32];
	boot[BOOT_SIZE] = '\0';
	__atomic_store_n(until_ms, 0, __ATOMIC_SEQ_CST);
}

void
lease_set_lapse(enum lapse lapse)
{

	atomic_store(&without, (int)lapse);
}

enum lapse
lease_lapse(void)
{

	return ((enum lapse)atomic_load_explicit(&without, memory_order_relaxed));
}

const char *
lease_lapse_word(void)
{

	return (words[lease_lapse()]);
}

void
lease_clock(char to[LEASE_CLOCK_SIZE])
{

	snprintf(to, LEASE_CLOCK_SIZE, "%s %" PRIu64, boot, now_ms());
}

static int
number(const char **from, char end, uint64_t *to)
{
	const char *p = *from;

	for (*to = 0; *p >= '0' && *p <= '9' && p - *from < DIGITS; p++)
		*to = *to * 10 + (uint64_t)(*p - '0');
	if (p == *from || *p != end)
		return (0);
	*from = p + 1;
	return (1);
}

void
lease_take(const char *header, uint64_t position)
{
	uint64_t at, length, least, until, before;

	if (strncmp(header, boot, BOOT_SIZE) != 0 || header[BOOT_SIZE] != ' ')
		return;
	header += BOOT_SIZE + 1;
	if (!number(&header, ' ', &at) || !number(&header, ' ', &length) || !number(&header, '\0', &least))
		return;
	if (length > LEASE_LIMIT_MS || at > now_ms() || position < least)
		return;
	until = at + length;
	before = __atomic_load_n(until_ms, __ATOMIC_SEQ_CST);
	while (before < until &&
	    !__atomic_compare_exchange_n(until_ms, &before, until, 1, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

void
lease_share(char *shared_boot, uint64_t *until)
{

	if (*shared_boot == '\0')
		memcpy(shared_boot, boot, BOOT_SIZE);
	else
		memcpy(boot, shared_boot, BOOT_SIZE);
	until_ms = until;
}

void
lease_end(void)
{

	__atomic_store_n(until_ms, 0, __ATOMIC_SEQ_CST);
}

uint64_t
lease_left_ms(void)
{
	uint64_t until = __atomic_load_n(until_ms, __ATOMIC_RELAXED), now = now_ms();

	return (until > now ? until - now : 0);
}

int
lease_held(void)
{

	return (lease_left_ms() > 0);
}

int
lease_lapsed(void)
{

	return (lease_lapse() != LAPSE_SERVE && !lease_held());
}
