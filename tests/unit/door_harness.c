/*
 * The gates' own listener without a cache server: `<address> <secret> <fetches>`. What it is asked for says how it goes:
 *
 *	/now			answered before run() returns
 *	/in/<ms>[/...]		by a thread of its own
 *	/breaks			with 500
 *	/long/<ms>		with as many bytes as a line may have
 *	/hold			when something comes on standard input
 *
 * Ends when standard input does.
 */

#define _GNU_SOURCE

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "door.h"

#define LONG	1200

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct errand *held;

static int
is(const struct errand *errand, const char *target)
{

	return (errand->target.size == strlen(target) && memcmp(errand->target.at, target, strlen(target)) == 0);
}

static void *
answer(void *priv)
{
	struct errand *errand = priv;
	char target[100], text[LONG + 40];
	const char *digit;

	snprintf(target, sizeof target, "%.*s", (int)errand->target.size, errand->target.at);
	if ((digit = strpbrk(target, "0123456789")) != NULL)
		usleep((useconds_t)atoi(digit) * 1000);
	if (strcmp(target, "/breaks") == 0)
		door_answer(errand, 500, "failed it broke\n");
	else {
		snprintf(text, sizeof text, "fetched stored 200 7 %.*s %0*d\n", 60, target,
		    strncmp(target, "/long/", 6) == 0 ? LONG - 100 : 1, 0);
		door_answer(errand, 200, text);
	}
	return (NULL);
}

static void
run(struct errand *all)
{
	struct errand *errand;
	pthread_attr_t detached;
	pthread_t thread;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&detached, 256 * 1024);
	while ((errand = all) != NULL) {
		all = errand->next;
		if (is(errand, "/now"))
			(void)answer(errand);
		else if (is(errand, "/hold")) {
			pthread_mutex_lock(&lock);
			errand->next = held;
			held = errand;
			pthread_mutex_unlock(&lock);
		} else if (pthread_create(&thread, &detached, answer, errand) != 0)
			door_answer(errand, 500, "failed no thread\n");
	}
	pthread_attr_destroy(&detached);
}

int
main(int argc, char **argv)
{
	struct door door = {argv[1], argv[2], run, argc > 3 ? (unsigned)atoi(argv[3]) : 0};
	const char *why;
	struct errand *errand;
	pthread_t thread;
	char byte;

	gate_start("harness", NULL, NULL);
	if ((why = door_open(&door)) != NULL) {
		fprintf(stderr, "%s\n", why);
		return (1);
	}
	if (pthread_create(&thread, NULL, door_attend, NULL) != 0)
		return (1);
	puts("open");
	fflush(stdout);
	while (read(0, &byte, 1) > 0) {
		pthread_mutex_lock(&lock);
		while ((errand = held) != NULL) {
			held = errand->next;
			(void)answer(errand);
		}
		pthread_mutex_unlock(&lock);
	}
	return (0);
}
