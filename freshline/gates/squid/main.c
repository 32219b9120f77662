/*
 * The freshline gate for Squid (docs/gates.md): its StoreID helper. Squid asks it on stdin under which key an object is,
 * one line for each request of a visitor, and stores and looks up what it answers:
 *
 *     <channel> <url> [<port>]                                 the port where visitors may lack a lease
 *     <channel> OK store-id="<url>#<generation>.<position>" freshline=<generation>.<position>.<name>.<host>
 *     <channel> ERR                                            no key: nothing is taken from the cache, or stored
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "door.h"
#include "duty.h"
#include "epoch.h"
#include "keep.h"
#include "lease.h"
#include "learn.h"
#include "settings.h"

#define LINE_SIZE	65536		/* of the longest question; Squid's are shorter */
#define ANSWER_SIZE	(2 * LINE_SIZE + 256)
#define PATIENCE_MS	5000		/* that questions wait for a helper which is starting */

static char in[4 * LINE_SIZE], out[4 * ANSWER_SIZE];
static size_t out_size;
static struct timespec begun;
static size_t door_size;
static const char *door;		/* the port at which Squid listens for us */

static void
flush_out(void)
{
	size_t at;
	ssize_t n;

	for (at = 0; at < out_size; at += (size_t)n)
		if ((n = write(STDOUT_FILENO, out + at, out_size - at)) < 0) {
			if (errno != EINTR)
				_exit(0);	/* Squid has gone */
			n = 0;
		}
	out_size = 0;
}

static void
put(const char *at, size_t size)
{

	memcpy(out + out_size, at, size);
	out_size += size;
}

static void
put_number(uint64_t n)
{
	char digits[20];
	size_t at = sizeof digits;

	do
		digits[--at] = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	put(digits + at, sizeof digits - at);
}

static void
put_hex(uint64_t n)
{
	static const char digits[] = "0123456789abcdef";
	int shift;

	for (shift = 60; shift >= 0; shift -= 4)
		out[out_size++] = digits[n >> shift & 15];
}

/* Squid decodes %XX in what is not quoted, and would take two URLs for one. */
static void
put_quoted(struct slice text)
{
	size_t i;

	if (memchr(text.at, '"', text.size) == NULL && memchr(text.at, '\\', text.size) == NULL) {
		put(text.at, text.size);
		return;
	}
	for (i = 0; i < text.size; i++) {
		if (text.at[i] == '"' || text.at[i] == '\\')
			out[out_size++] = '\\';
		out[out_size++] = text.at[i];
	}
}

/* "scheme://host/path?query", as Squid writes the URL of a request. */
static int
read_name(struct slice url, struct name *name)
{
	const char *host = memmem(url.at, url.size, "://", 3), *end = url.at + url.size, *path, *hash;

	if (host == NULL)
		return (0);
	host += 3;
	for (path = host; path < end && *path != '/' && *path != '?' && *path != '#'; path++)
		;
	/* A fragment is none of the name, though Squid may leave it there. */
	if ((hash = memchr(path, '#', (size_t)(end - path))) != NULL)
		end = hash;
	name->host = (struct slice){host, (size_t)(path - host)};
	name->url = (struct slice){path, (size_t)(end - path)};
	return (name->host.size > 0);
}

static int
is_ours(struct slice port)
{

	return (port.size == door_size && memcmp(port.at, door, port.size) == 0);
}

/* While it starts, questions wait; a helper that is not on duty gives no keys. */
static int
can_answer(void)
{
	const struct timespec pause = {0, 1000000};
	struct timespec now;

	while (!keep_ready()) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (keep_left() || (now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000 > PATIENCE_MS)
			return (0);
		flush_out();
		nanosleep(&pause, NULL);
	}
	return (1);
}

static void
answer(struct slice line)
{
	const char *space = memchr(line.at, ' ', line.size), *port = memrchr(line.at, ' ', line.size);
	struct slice url, from = {NULL, 0};
	struct epoch epoch;
	struct name name;

	if (space == NULL)
		return;		/* no question */
	if (port == space)
		port = line.at + line.size;
	else
		from = (struct slice){port + 1, (size_t)(line.at + line.size - port - 1)};
	url = (struct slice){space + 1, (size_t)(port - space - 1)};
	put(line.at, (size_t)(space - line.at));
	if (!can_answer() || !read_name(url, &name) || (lease_lapsed() && !is_ours(from))) {
		put(" ERR\n", 5);
		return;
	}
	epoch = epoch_of(&name);
	put(" OK store-id=\"", 14);
	put_quoted(url);
	put("#", 1);
	put(epoch.generation, GENERATION_SIZE);
	put(".", 1);
	put_number(epoch.position);
	put("\" freshline=", 12);
	put(epoch.generation, GENERATION_SIZE);
	put(".", 1);
	put_number(epoch.position);
	put(".", 1);
	put_hex(epoch.name);
	put(".", 1);
	put_hex(epoch.host);
	put("\n", 1);
}

static void
answer_all(void)
{
	size_t held = 0;
	const char *at, *end;
	ssize_t n;

	for (;;) {
		n = read(STDIN_FILENO, in + held, sizeof in - held);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		held += (size_t)n;
		for (at = in; (end = memchr(at, '\n', held - (size_t)(at - in))) != NULL; at = end + 1) {
			if (end - at > LINE_SIZE)
				continue;
			if (sizeof out - out_size < ANSWER_SIZE)
				flush_out();
			answer((struct slice){at, (size_t)(end - at)});
		}
		held -= (size_t)(at - in);
		memmove(in, at, held);
		if (held == sizeof in)
			held = 0;	/* no line of Squid's */
		flush_out();
	}
}

/*
 * A busy Squid writes the first question while it still reads the requests of others. Who wakes at once answers that one
 * alone, and each such round costs both sides more than all the answers in it; so no processor is taken from who has it.
 */
static void
be_woken_late(void)
{
	const struct sched_param none = {0};

	(void)sched_setscheduler(0, SCHED_BATCH, &none);
}

static void *
take_over(void *unused)
{

	(void)unused;
	keep_take();
	learn_start();
	door_start();
	return (NULL);
}

int
main(int argc, char **argv)
{
	pthread_t thread;

	clock_gettime(CLOCK_MONOTONIC, &begun);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* a journal that may not grow is said to the controller */
	umask(077);
	if (argc == 3 && strcmp(argv[2], "learn") == 0 && settings_read(argv[1]) == 0) {
		learn_relay();
		_exit(0);
	}
	if (argc == 2 && settings_read(argv[1]) == 0) {
		door = strrchr(settings.door, ':');
		door = door == NULL ? settings.door : door + 1;
		door_size = strlen(door);
		keep_start();
		if (pthread_create(&thread, NULL, take_over, NULL) != 0)
			abort();
	} else	/* Squid would end if it went on failing; so it goes on without a cache */
		fprintf(stderr, "freshline: ERROR: nothing is cached here: %s SETTINGS\n", argv[0]);
	be_woken_late();
	answer_all();
	duty_resign();
	_exit(0);
}
