#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "epoch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tags.h"

#define MEMO_SLOTS	65536
#define LAYOUT		2	/* of what is handed over: a helper of another version learns anew */

/* What covered a name while the rules were complete up to `at`. */
static struct memo {
	uint64_t name, at, newest, life;
} memo[MEMO_SLOTS];

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char serving[GENERATION_SIZE + 1];
static uint64_t life;		/* of the rules that the generation goes with */
static uint64_t reach;		/* no epoch was newer */
static int stopped;

void
epoch_start(size_t tags)
{

	tags_start(tags);
	epoch_random(serving);
	life = rules_life();
}

void
epoch_random(char to[GENERATION_SIZE + 1])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char dice[GENERATION_SIZE / 2];
	size_t i;

	while (getrandom(dice, sizeof dice, 0) != (ssize_t)sizeof dice)
		;
	for (i = 0; i < sizeof dice; i++) {
		to[2 * i] = digits[dice[i] >> 4];
		to[2 * i + 1] = digits[dice[i] & 15];
	}
	to[GENERATION_SIZE] = '\0';
}

void
epoch_serve(const char *generation)
{

	pthread_mutex_lock(&turn);
	memcpy(serving, generation, sizeof serving);
	life = rules_life();
	pthread_mutex_unlock(&turn);
}

void
epoch_serving(char to[GENERATION_SIZE + 1])
{

	pthread_mutex_lock(&turn);
	memcpy(to, serving, sizeof serving);
	pthread_mutex_unlock(&turn);
}

/* In turn. 0: the rules are of another life than the generation. */
static int
newest(const struct name *name, uint64_t key, uint64_t *position)
{
	struct memo *m = &memo[key & (MEMO_SLOTS - 1)];
	struct stamp stamp = rules_stamp();
	uint64_t covered, tag, known = 0, at = 0;

	if (m->name == key && m->life == stamp.life) {
		known = m->newest;
		at = m->at;
	}
	covered = rules_newest(name, known, at, &tag);
	if (stamp.life != life || rules_life() != life)
		return (0);
	*m = (struct memo){key, stamp.position, covered, stamp.life};
	*position = tags_newest(key, tag);
	if (*position < covered)
		*position = covered;
	if (*position > reach)
		reach = *position;
	return (1);
}

struct epoch
epoch_of(const struct name *name)
{
	struct epoch epoch = {.name = rules_key(name), .host = rules_host(name->host)};

	pthread_mutex_lock(&turn);
	if (newest(name, epoch.name, &epoch.position))
		memcpy(epoch.generation, serving, sizeof serving);
	else
		epoch_random(epoch.generation);		/* a flush is about to come: to be thrown away */
	pthread_mutex_unlock(&turn);
	return (epoch);
}

int
epoch_learn(const struct epoch *epoch, const struct slice *tags, size_t n)
{
	uint64_t numbers[TAGS_EACH];
	size_t i;
	int fits = 1, current;

	for (i = 0; i < n && n <= TAGS_EACH; i++)
		numbers[i] = rules_tag(epoch->host, tags[i]);
	pthread_mutex_lock(&turn);
	current = !stopped && strcmp(epoch->generation, serving) == 0 && life == rules_life();
	if (current) {
		tags_learn(epoch->name, epoch->position, numbers, n, reach);
		for (i = 0; i < n && n <= TAGS_EACH; i++)
			fits = fits && rules_tag_newest(numbers[i]) <= epoch->position;
	}
	pthread_mutex_unlock(&turn);
	return (current && fits);
}

void
epoch_stop(void)
{

	pthread_mutex_lock(&turn);
	stopped = 1;
	pthread_mutex_unlock(&turn);
}

void
epoch_forget_all(void)
{

	pthread_mutex_lock(&turn);
	tags_clear();
	reach = 0;
	pthread_mutex_unlock(&turn);
}

void
epoch_forget(uint64_t position)
{

	pthread_mutex_lock(&turn);
	tags_forget(position);
	reach = position;
	pthread_mutex_unlock(&turn);
}

int
epoch_write(const char *path, uint64_t mark)
{
	FILE *file = fopen(path, "we");
	uint64_t written = mark ^ LAYOUT;
	int done;

	if (file == NULL)
		return (-1);
	pthread_mutex_lock(&turn);
	fwrite(&written, sizeof written, 1, file);
	fwrite(&reach, sizeof reach, 1, file);
	done = tags_write(file);
	pthread_mutex_unlock(&turn);
	return (fclose(file) == 0 ? done : -1);
}

int
epoch_read(const char *path, uint64_t mark)
{
	FILE *file = fopen(path, "re");
	uint64_t written;
	int done = -1;

	if (file == NULL)
		return (-1);
	pthread_mutex_lock(&turn);
	if (fread(&written, sizeof written, 1, file) == 1 && written == (mark ^ LAYOUT) &&
	    fread(&reach, sizeof reach, 1, file) == 1)
		done = tags_read(file);
	pthread_mutex_unlock(&turn);
	fclose(file);
	return (done);
}
