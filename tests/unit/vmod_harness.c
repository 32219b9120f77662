/*
 * The rules, protocol and canonical forms that gates share, without a cache server, led by lines on standard input:
 *
 *	url <hex>				-> <size of the path> <hex>
 *	host <hex>				-> <hex>
 *	bounds <rules> <seconds>		-> ok
 *	remember <path in hex>			-> ok, or why not in hex; needs an argument, any
 *	append <position> <mark> <hex>		-> ok; a line of the journal, as it is
 *	now <seconds>				-> ok
 *	batch <hex>, flush <hex>, status -, fresh -	-> <status> <hex>
 *	fetch <hex>				-> <headers of the first> <what is refused of them, in hex>, or bad <why in hex>
 *	renew <hex>, lapse <n>			-> ok
 *	clock -					-> <boot> <milliseconds>
 *	lapsed -				-> 0 | 1
 *	stamp -					-> <life> <position>
 *	judge <life> <position> <hosthex> <urlhex> <tagshex>	-> fresh | revalidate | gone
 *	storm <seconds>				-> ok; lookups and batches at once, for a thread sanitizer
 *
 * An empty field is written -. Patterns are POSIX here: what a pattern matches is the server's business.
 */

#define _GNU_SOURCE

#include <inttypes.h>
#include <pthread.h>
#include <regex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk.h"
#include "errand.h"
#include "flights.h"
#include "gate.h"
#include "journal.h"
#include "lease.h"

#define FETCHES	3

static void *
compile(const char *pattern, char *why, size_t why_size)
{
	regex_t *re = malloc(sizeof *re);
	char *anchored;
	int error;

	if (asprintf(&anchored, "^(%s)", pattern) < 0)
		abort();
	error = regcomp(re, anchored, REG_EXTENDED | REG_NOSUB);
	free(anchored);
	if (error == 0)
		return (re);
	regerror(error, re, why, why_size);
	free(re);
	return (NULL);
}

static int
match(const void *compiled, const char *subject, size_t size)
{
	char *text = strndup(subject, size);
	int no = regexec(compiled, text, 0, NULL, 0);

	free(text);
	return (no == 0);
}

static void
release(void *compiled)
{

	regfree(compiled);
	free(compiled);
}

static const struct patterns posix = {compile, match, release};

/* Exactly as many bytes as there are, so that a sanitizer sees who reads beyond. */
static struct slice
unhex(const char *hex)
{
	size_t i, size = strcmp(hex, "-") == 0 ? 0 : strlen(hex) / 2;
	char *bytes = malloc(size);
	char digits[3] = "";

	for (i = 0; i < size; i++) {
		memcpy(digits, hex + 2 * i, 2);
		bytes[i] = (char)strtoul(digits, NULL, 16);
	}
	return ((struct slice){bytes, size});
}

static void
put_hex(const char *bytes, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		printf("%02x", (unsigned char)bytes[i]);
	printf(size == 0 ? "-\n" : "\n");
}

static void
put_answer(struct answer answer)
{

	printf("%d ", answer.status);
	put_hex(answer.text, answer.size);
	free(answer.text);
}

/* As a gate does it: what an object is known by says its stamp and its tags. */
static enum verdict
judge(struct stamp stamp, const struct name *name, const struct slice *tags)
{
	char what[256];
	size_t size = 0;
	uint64_t sight;

	memcpy(what, &stamp, sizeof stamp);
	size = sizeof stamp;
	if (tags->size > sizeof what - size)
		return (rules_judge(0, stamp, name, 1, tags));
	memcpy(what + size, tags->at, tags->size);
	sight = rules_sight(what, size + tags->size, name, 1);
	return (rules_seen_fresh(sight, name, 1) ? FRESH : rules_judge(sight, stamp, name, 1, tags));
}

static _Atomic int calm;

static void *
look(void *none)
{
	struct slice tags = {"red blue", 8};
	struct flight flight = {0};
	char url[32];
	int i;

	for (i = 0; !calm; i++) {
		struct name name = {{"h.test", 6}, {url, (size_t)snprintf(url, sizeof url, "/d/%d", i % 50)}};

		flight_begin(&flight, &name);
		(void)judge(rules_stamp(), &name, &tags);
		(void)judge((struct stamp){rules_stamp().life, 1}, &name, &tags);
		(void)flight_overtake(&name, 1, (uint64_t)i);
		(void)lease_lapsed();
		if (i % 3 == 0)
			flight_end(&flight);
	}
	flight_end(&flight);
	return (none);
}

static void
storm(int batches)
{
	char body[1024], clock[LEASE_CLOCK_SIZE];
	struct answer answer;
	pthread_t threads[3];
	int i, size;

	calm = 0;
	size = snprintf(body, sizeof body, "flush storm 0 m\nend\n");
	free(gate_flush(body, (size_t)size).text);
	for (i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, look, NULL);
	for (i = 0; i < batches; i++) {
		size = snprintf(body, sizeof body,
		    "batch storm %d %d m 1\nrun %d 1 1 file h.test\n/d/%d\nrun %d 1 0 dir h.test\n/d/\n"
		    "run %d 1 1 regex h.test\n/d/%d$\nrun %d 1 1 tag h.test\nred\nend\n", 4 * i, 4 * i + 4, 4 * i + 1, i % 50,
		    4 * i + 2, 4 * i + 3, i % 50, 4 * i + 4);
		answer = gate_batch(body, (size_t)size, (uint64_t)i);
		if (answer.status != 200)
			abort();
		free(answer.text);
		free(gate_status().text);
		lease_clock(clock);
		snprintf(body, sizeof body, "%s %d %d", clock, i, 4 * i);
		gate_renew(body);
	}
	calm = 1;
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

int
main(int argc, char **argv)
{
	static const char *const verdicts[] = {"fresh", "revalidate", "gone"};
	char *line = NULL, *to, *field[8], *rest;
	size_t room = 0, size, path_size;
	uint64_t now = 1;
	int n;

	(void)argv;
	gate_start("harness", &posix, argc > 1 ? &disk_keeper : NULL);
	flights_start();
	while (getline(&line, &room, stdin) > 0) {
		for (n = 0, rest = line; n < 8 && (field[n] = strsep(&rest, " \n")) != NULL && *field[n] != '\0'; n++)
			;
		if (n < 2)
			return (1);
		if (strcmp(field[0], "url") == 0) {
			struct slice url = unhex(field[1]);

			to = malloc(url.size + 2);
			size = canonical_url(to, url.at, url.size, &path_size);
			printf("%zu ", path_size);
			put_hex(to, size);
			free(to);
			free((char *)(uintptr_t)url.at);
		} else if (strcmp(field[0], "host") == 0) {
			struct slice host = unhex(field[1]);

			to = malloc(host.size);
			put_hex(to, canonical_host(to, host.at, host.size));
			free(to);
			free((char *)(uintptr_t)host.at);
		} else if (strcmp(field[0], "bounds") == 0) {
			rules_bounds(strtoull(field[1], NULL, 10), strtoull(field[2], NULL, 10));
			puts("ok");
		} else if (strcmp(field[0], "remember") == 0) {
			struct slice path = unhex(field[1]);
			const char *why;

			to = strndup(path.at, path.size);
			why = disk_open(to, now);
			if (why == NULL)
				puts("ok");
			else
				put_hex(why, strlen(why));
			free(to);
			free((char *)(uintptr_t)path.at);
		} else if (strcmp(field[0], "append") == 0) {
			struct slice line = unhex(field[3]);

			puts(journal_append(line, strtoull(field[1], NULL, 10), field[2]) == NULL ? "ok" : "no");
			free((char *)(uintptr_t)line.at);
		} else if (strcmp(field[0], "now") == 0) {
			now = strtoull(field[1], NULL, 10);
			puts("ok");
		} else if (strcmp(field[0], "batch") == 0 || strcmp(field[0], "flush") == 0) {
			struct slice body = unhex(field[1]);

			to = (char *)(uintptr_t)body.at;
			put_answer(*field[0] == 'b' ? gate_batch(to, body.size, now) : gate_flush(to, body.size));
			free(to);
		} else if (strcmp(field[0], "fetch") == 0) {
			struct slice body = unhex(field[1]);
			char why[ERRAND_WHY];
			struct errand *errand = errand_read(FETCH, body, FETCHES, why), *gone;

			if (errand == NULL) {
				printf("bad ");
				put_hex(why, strlen(why));
			} else {
				printf("%u ", errand->n_headers);
				put_hex(errand->refused, strlen(errand->refused));
			}
			while ((gone = errand) != NULL) {
				errand = gone->next;
				errand_free(gone);
			}
			free((char *)(uintptr_t)body.at);
		} else if (strcmp(field[0], "renew") == 0) {
			struct slice header = unhex(field[1]);

			to = strndup(header.at, header.size);
			gate_renew(to);
			free(to);
			free((char *)(uintptr_t)header.at);
			puts("ok");
		} else if (strcmp(field[0], "lapse") == 0) {
			lease_set_lapse((enum lapse)atoi(field[1]));
			puts("ok");
		} else if (strcmp(field[0], "lapsed") == 0)
			printf("%d\n", lease_lapsed());
		else if (strcmp(field[0], "clock") == 0) {
			char clock[LEASE_CLOCK_SIZE];

			lease_clock(clock);
			puts(clock);
		} else if (strcmp(field[0], "fresh") == 0)
			put_answer(gate_fresh());
		else if (strcmp(field[0], "status") == 0)
			put_answer(gate_status());
		else if (strcmp(field[0], "stamp") == 0) {
			struct stamp stamp = rules_stamp();

			printf("%" PRIx64 " %" PRIu64 "\n", stamp.life, stamp.position);
		} else if (strcmp(field[0], "judge") == 0) {
			struct stamp stamp = {strtoull(field[1], NULL, 16), strtoull(field[2], NULL, 10)};
			struct name name = {unhex(field[3]), unhex(field[4])};
			struct slice tags = unhex(field[5]);

			puts(verdicts[judge(stamp, &name, &tags)]);
			free((char *)(uintptr_t)name.host.at);
			free((char *)(uintptr_t)name.url.at);
			free((char *)(uintptr_t)tags.at);
		} else if (strcmp(field[0], "storm") == 0) {
			storm(atoi(field[1]));
			puts("ok");
		} else
			return (1);
		fflush(stdout);
	}
	free(line);
	return (0);
}
