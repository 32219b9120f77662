/*
 * What nginx's gate keeps in shared memory, without an nginx, led by lines on standard input:
 *
 *	begin -, publish -, clear -		-> ok
 *	put <position> <letter of the verb> <hosthex> <whathex>	-> 1, or 0: no room
 *	live, drop: the same			-> 0 | 1, ok
 *	rules -					-> <how many>
 *	look <hosthex> <urlhex>			-> <position>
 *	learn <position> <hosthex> <urlhex> <tag in hex>...	-> ok
 *	load <hex>				-> <lines>
 *	kill <rounds> <seed>			-> ok: processes write, read and learn, and are killed while they do
 *
 * An empty field is written -. Arguments: the size of the memory for rules, and of that for tags.
 */

#define _GNU_SOURCE

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "epoch.h"
#include "pattern.h"
#include "table.h"
#include "tags.h"

#define OBJECTS		40
#define READERS		3
#define ALL		1000

static void *
shared(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		abort();
	return (at);
}

static uint64_t
newest_tag(uint64_t host_key)
{
	const struct host *host = table_host(host_key);

	return (host == NULL ? 0 : LOAD(&host->tag));
}

static int
overtaken(const struct record *answer, void *host_key)
{
	unsigned i;

	if (answer->any && newest_tag(*(uint64_t *)host_key) > answer->position)
		return (1);
	for (i = 0; i < answer->n; i++)
		if (table_tag(answer->tags[i]) > answer->position)
			return (1);
	return (0);
}

static void
learn(uint64_t generation, uint64_t position, struct slice host, struct slice url, char **tags, size_t n)
{
	static struct record answer;
	uint64_t host_key = table_host_key(host);

	memset(&answer, 0, sizeof answer);
	answer.position = position;
	for (; n > 0; n--, tags++)
		answer.tags[answer.n++] = table_tag_key(host_key, *tags, strlen(*tags));
	tags_learn(generation, tags_url(host_key, url.at, url.size), &answer, UINT64_MAX, overtaken, &host_key);
}

/* ---- processes that are killed ---- */

static struct score {
	uint64_t position;		/* answered */
	uint64_t collapses;		/* odd while all of it is put out of use */
	uint64_t least[OBJECTS];	/* the position that covers it at least, of what was answered */
	uint64_t stale, reads, batches, learnt;
} *score;

static const struct slice host = {"h.test", 6};

static int
put(uint64_t position, int verb, const char *what)
{

	return (freshline_put((double)position, verb, host.at, host.size, what, strlen(what)));
}

/* The row of a position is the same whenever it is told. Which object it covers; -1: none of them, ALL: all of them. */
static int
row(uint64_t position, int *done)
{
	unsigned dice = (unsigned)(position * UINT64_C(0x9e3779b97f4a7c15) >> 33);
	int object = (int)(dice / 16 % OBJECTS);
	char what[64];

	if (dice % 997 == 0) {
		*done = put(position, 'd', "/");
		return (ALL);
	}
	switch (dice % 8) {
	case 0:
		snprintf(what, sizeof what, "/o/%d/f?x=1", object);
		*done = put(position, 'f', what);
		break;
	case 1:
		snprintf(what, sizeof what, "/o/%d/f", object);
		*done = put(position, 'p', what);
		break;
	case 2:
		snprintf(what, sizeof what, "/o/%d/", object);
		*done = put(position, 'd', what);
		break;
	case 3:
		snprintf(what, sizeof what, "/o/%d", object);	/* within a name: /o/1 is /o/11 as well */
		*done = put(position, 'd', what);
		break;
	case 4:
		snprintf(what, sizeof what, "/o/%d/.%s", object, dice / 1024 % 2 ? "" : "*");
		*done = put(position, 'r', what);
		break;
	case 5:
		snprintf(what, sizeof what, "t%d", object);
		*done = put(position, 't', what);
		break;
	default:
		snprintf(what, sizeof what, "/filling/%u", dice);
		*done = put(position, 'f', what);
		return (-1);
	}
	return (object);
}

static void
collapse(void)
{
	uint64_t generation = freshline_random();

	STORE(&score->collapses, score->collapses | 1);
	STORE(&state->generation, generation);
	freshline_serve(freshline_random());
	freshline_clear();
	STORE(&state->unlearnt, 0);
	memset(score->least, 0, sizeof score->least);
	freshline_serve(generation);
	STORE(&score->collapses, score->collapses + 1);
}

static void
write_batches(void)
{
	uint64_t position, token, after;
	int objects[128], n, i, k, room;

	for (;;) {
		if ((token = freshline_lock(0)) == 0)
			continue;
		freshline_begin();
		if (score->collapses % 2 == 1)
			collapse();
		after = position = score->position;
		n = 1 + rand() % 128;
		room = 1;
		for (i = 0; i < n && room; i++)
			objects[i] = row(++position, &room);
		STORE(&state->reach, after + (uint64_t)n);
		if (room) {
			freshline_publish();
			for (i = 0; i < n; i++)
				for (k = 0; k < OBJECTS; k++)
					if (objects[i] == k || objects[i] == ALL)
						STORE(&score->least[k], after + 1 + (uint64_t)i);
		} else
			collapse();
		freshline_stand("log", (double)(after + (uint64_t)n), "m");
		STORE(&score->position, after + (uint64_t)n);
		score->batches++;
		freshline_unlock(0, token);
	}
}

static void
read_on(void)
{
	uint64_t least, collapses;
	struct epoch epoch;
	char url[64], tag[16], other[16], *tags[] = {tag, other};
	int object;

	for (;;) {
		object = rand() % OBJECTS;
		snprintf(url, sizeof url, "/o/%d/f?x=1", object);
		collapses = LOAD(&score->collapses);
		least = LOAD(&score->least[object]);
		epoch = epoch_of(host, (struct slice){url, strlen(url)});
		if (collapses % 2 == 1 || LOAD(&score->collapses) != collapses || epoch.torn)
			continue;
		if (epoch.generation == LOAD(&state->generation) && epoch.position < least) {
			(void)__atomic_add_fetch(&score->stale, 1, __ATOMIC_RELAXED);
			fprintf(stderr, "%s at %" PRIu64 ", not %" PRIu64 "\n", url, epoch.position, least);
		}
		score->reads++;
		if (rand() % 3 == 0) {
			snprintf(tag, sizeof tag, "t%d", object);
			snprintf(other, sizeof other, "u%d", rand() % 3);
			learn(epoch.generation, epoch.position, host, (struct slice){url, strlen(url)}, tags, 2);
			score->learnt++;
		}
	}
}

static pid_t
begin(int role, unsigned seed)
{
	pid_t pid = fork();

	if (pid != 0)
		return (pid);
	srand(seed);
	if (role == 0)
		write_batches();
	read_on();
	_exit(1);
}

static void
kill_them(int rounds, unsigned seed)
{
	pid_t pids[1 + READERS];
	int i, role, status;

	score = shared(sizeof *score);
	state->generation = freshline_random();
	freshline_serve(state->generation);
	srand(seed);
	for (i = 0; i <= READERS; i++)
		pids[i] = begin(i, seed + (unsigned)i);
	for (i = 0; i < rounds; i++) {
		usleep((useconds_t)(rand() % 4000));
		role = rand() % 3 == 0 ? 1 + rand() % READERS : 0;
		kill(pids[role], SIGKILL);
		waitpid(pids[role], &status, 0);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			printf("one ended with %d, ", status);
		pids[role] = begin(role, (unsigned)rand());
	}
	for (i = 0; i <= READERS; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], &status, 0);
	}
	printf("%" PRIu64 " stale of %" PRIu64 ", %" PRIu64 " batches, %" PRIu64 " learnt, %" PRIu64 " evicted\n", score->stale,
	    score->reads, score->batches, score->learnt, state->evictions);
}

/* ---- lines ---- */

static size_t
unhex(char *text)
{
	size_t n = 0;
	unsigned value;

	if (strcmp(text, "-") == 0)
		return (0);
	for (; sscanf(text + 2 * n, "%2x", &value) == 1; n++)
		text[n] = (char)value;
	text[n] = '\0';
	return (n);
}

int
main(int argc, char **argv)
{
	size_t rules = argc > 1 ? strtoul(argv[1], NULL, 10) : 1 << 20, tags = argc > 2 ? strtoul(argv[2], NULL, 10) : 1 << 16;
	size_t size = 0, n, host_size, what_size;
	char *line = NULL, *word[64];

	state_open(shared(sizeof *state));
	table_open(shared(rules), rules, 1);
	tags_open(shared(tags), tags, 1);
	tags_take_up();
	freshline_rename();
	freshline_renew();
	state->generation = state->serving;
	state->unlearnt = 0;
	while (getline(&line, &size, stdin) > 0) {
		for (n = 0, word[n] = strtok(line, " \n"); word[n] != NULL && n < 63; word[++n] = strtok(NULL, " \n"))
			;
		if (strcmp(word[0], "begin") == 0) {
			freshline_begin();
			puts("ok");
		} else if (strcmp(word[0], "publish") == 0) {
			freshline_publish();
			puts("ok");
		} else if (strcmp(word[0], "clear") == 0) {
			freshline_clear();
			freshline_changed(1);
			puts("ok");
		} else if (strcmp(word[0], "rules") == 0)
			printf("%.0f\n", freshline_rules());
		else if (strcmp(word[0], "load") == 0) {
			what_size = unhex(word[1]);
			printf("%d\n", freshline_load(word[1], what_size));
		} else if (strcmp(word[0], "kill") == 0)
			kill_them(atoi(word[1]), (unsigned)atoi(word[2]));
		else if (strcmp(word[0], "look") == 0) {
			host_size = unhex(word[1]);
			what_size = unhex(word[2]);
			printf("%" PRIu64 "\n", epoch_of((struct slice){word[1], host_size},
			    (struct slice){word[2], what_size}).position);
		} else if (strcmp(word[0], "learn") == 0) {
			host_size = unhex(word[2]);
			what_size = unhex(word[3]);
			for (size_t i = 4; i < n; i++)
				(void)unhex(word[i]);
			learn(state->generation, strtoull(word[1], NULL, 10), (struct slice){word[2], host_size},
			    (struct slice){word[3], what_size}, word + 4, n - 4);
			puts("ok");
		} else {
			double position = strtod(word[1], NULL);

			host_size = unhex(word[3]);
			what_size = unhex(word[4]);
			if (strcmp(word[0], "put") == 0)
				printf("%d\n", freshline_put(position, *word[2], word[3], host_size, word[4], what_size));
			else if (strcmp(word[0], "live") == 0)
				printf("%d\n", freshline_live(position, *word[2], word[3], host_size, word[4], what_size));
			else {
				freshline_drop(position, *word[2], word[3], host_size, word[4], what_size);
				freshline_changed(1);
				puts("ok");
			}
		}
		fflush(stdout);
	}
	free(line);
	return (0);
}
