#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "learn.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "epoch.h"
#include "listen.h"
#include "settings.h"
#include "tags.h"

#define LINE_SIZE	(1u << 20)	/* of the longest line: four headers, percent-encoded */
#define EPOCH_SIZE	100
#define FIELDS		3
#define ROUND		65536		/* bytes handed over at once: the answers fit the socket while nobody reads them */

struct lines {
	int fd;
	char *at;
	size_t size, used;
};

static int
open_lines(struct lines *l, int fd)
{

	*l = (struct lines){.fd = fd, .at = malloc(2 * LINE_SIZE)};
	return (l->at != NULL);
}

static int
send_all(int fd, const char *at, size_t n)
{
	ssize_t done;

	for (; n > 0; at += done, n -= (size_t)done)
		if ((done = write(fd, at, n)) < 0) {
			if (errno != EINTR)
				return (0);
			done = 0;
		}
	return (1);
}

/* Reads until there is a whole line, and returns all the whole lines there are. An empty one: it ended. */
static struct slice
some_lines(struct lines *l)
{
	const char *end;
	struct slice found = {l->at, 0};
	ssize_t n;

	memmove(l->at, l->at + l->used, l->size - l->used);
	l->size -= l->used;
	l->used = 0;
	while ((end = memrchr(l->at, '\n', l->size)) == NULL) {
		if (l->size == 2 * LINE_SIZE)
			return (found);
		n = read(l->fd, l->at + l->size, 2 * LINE_SIZE - l->size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (found);
		l->size += (size_t)n;
	}
	l->used = found.size = (size_t)(end - l->at) + 1;
	return (found);
}

static struct slice
field(struct slice *rest)
{
	struct slice f = *rest;
	const char *space = memchr(f.at, ' ', f.size);

	if (space != NULL)
		f.size = (size_t)(space - f.at);
	rest->at += f.size + (space != NULL);
	rest->size -= f.size + (space != NULL);
	return (f);
}

/* ---- the helper on duty ---- */

/* As main.c wrote it into Squid's note: "<generation>.<position>.<name>.<host>". */
static int
read_epoch(struct slice value, struct epoch *epoch)
{
	char text[EPOCH_SIZE];

	if (value.size >= sizeof text)
		return (0);
	memcpy(text, value.at, value.size);
	text[value.size] = '\0';
	return (sscanf(text, "%16[0-9a-f].%" SCNu64 ".%" SCNx64 ".%" SCNx64, epoch->generation, &epoch->position,
	    &epoch->name, &epoch->host) == 4);
}

/* Adds the tags in a header's value, which is decoded where it stands. More than TAGS_EACH: they do not fit. */
static size_t
read_tags(struct slice value, struct slice tags[TAGS_EACH], size_t n)
{
	char *at = (char *)(uintptr_t)value.at;
	const char *p = at, *end = at + percent_decode(at, value.at, value.size), *start;

	while (p < end && n <= TAGS_EACH) {
		for (; p < end && memchr(" ,\t", *p, 3) != NULL; p++)
			;
		for (start = p; p < end && memchr(" ,\t", *p, 3) == NULL; p++)
			;
		if (p > start && n < TAGS_EACH)
			tags[n] = (struct slice){start, (size_t)(p - start)};
		n += p > start;
	}
	return (n);
}

/* No header is written as the tag `-` is, which then is one of every object: refreshed too often rather than too seldom. */
static const char *
learn(struct slice line)
{
	struct slice tags[TAGS_EACH];
	struct slice vary;
	struct epoch epoch;
	size_t n = 0;
	int i;

	if (!read_epoch(field(&line), &epoch))
		return (" ERR\n");
	for (i = 0; i < FIELDS; i++)
		n = read_tags(field(&line), tags, n);
	vary = field(&line);
	if (!epoch_learn(&epoch, tags, n))
		return (" ERR freshline_learned=no\n");
	if (vary.size != 1 || *vary.at != '-')
		return (" ERR freshline_learned=1 freshline_varies=1\n");
	return (" ERR freshline_learned=1\n");
}

static void *
serve(void *with)
{
	struct lines l;
	struct slice lines, line, channel;
	const char *end, *said;
	char *out = malloc(2 * LINE_SIZE);
	size_t size;

	if (out != NULL && open_lines(&l, (int)(intptr_t)with)) {
		while ((lines = some_lines(&l)).size > 0) {
			for (size = 0; lines.size > 0; lines.at = end + 1) {
				end = memchr(lines.at, '\n', lines.size);
				line = (struct slice){lines.at, (size_t)(end - lines.at)};
				lines.size -= line.size + 1;
				channel = field(&line);
				/* A line has a channel, an epoch and more: its answer is never longer by more than a few bytes. */
				if (size + channel.size + 64 > 2 * LINE_SIZE) {
					if (!send_all(l.fd, out, size))
						break;
					size = 0;
				}
				memcpy(out + size, channel.at, channel.size);
				size += channel.size;
				said = learn(line);
				memcpy(out + size, said, strlen(said));
				size += strlen(said);
			}
			if (!send_all(l.fd, out, size))
				break;
		}
		free(l.at);
	}
	free(out);
	close((int)(intptr_t)with);
	return (NULL);
}

static int
address(struct sockaddr_un *to)
{

	*to = (struct sockaddr_un){.sun_family = AF_UNIX};
	return (snprintf(to->sun_path, sizeof to->sun_path, "%s.learn", settings.journal) < (int)sizeof to->sun_path);
}

static void *
run(void *unused)
{
	struct sockaddr_un at;
	pthread_t thread;
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;

	(void)unused;
	if (listener < 0 || !address(&at) || (unlink(at.sun_path) != 0 && errno != ENOENT) ||
	    bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || chmod(at.sun_path, 0600) != 0 ||
	    listen(listener, 16) != 0 || !listen_keep(listener)) {
		fprintf(stderr, "freshline: ERROR: nothing is stored: %s: %s\n", at.sun_path, strerror(errno));
		return (NULL);
	}
	for (;;) {
		if ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
			if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0)
				pthread_detach(thread);
			else
				close(fd);
		} else if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK)
			return (NULL);
	}
}

void
learn_start(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, NULL) != 0)
		abort();
}

/* ---- the other process ---- */

static int
reach(void)
{
	struct sockaddr_un at;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && (!address(&at) || connect(fd, (struct sockaddr *)&at, sizeof at) != 0)) {
		close(fd);
		fd = -1;
	}
	return (fd);
}

static size_t
count(struct slice lines)
{
	size_t i, n = 0;

	for (i = 0; i < lines.size; i++)
		n += lines.at[i] == '\n';
	return (n);
}

/* Hands over all the lines; how many answers have gone to stdout. */
static size_t
hand_over(struct lines *duty, struct slice lines)
{
	struct slice answers;
	size_t wanted = count(lines), had = 0;

	if (!send_all(duty->fd, lines.at, lines.size))
		return (0);
	while (had < wanted && (answers = some_lines(duty)).size > 0) {
		had += count(answers);
		if (!send_all(STDOUT_FILENO, answers.at, answers.size))
			_exit(0);
	}
	return (had);
}

/* Without anybody on duty every line is answered at once: what it is about is not stored. */
static void
say_nobody(struct slice lines)
{
	struct slice channel;
	const char *end;

	for (; lines.size > 0; lines.size -= (size_t)(end + 1 - lines.at), lines.at = end + 1) {
		end = memchr(lines.at, '\n', lines.size);
		channel = (struct slice){lines.at, (size_t)(end - lines.at)};
		channel = field(&channel);
		if (!send_all(STDOUT_FILENO, channel.at, channel.size) || !send_all(STDOUT_FILENO, " ERR\n", 5))
			_exit(0);
	}
}

/* What is left of them after so many. */
static struct slice
after(struct slice lines, size_t n)
{
	const char *end;

	for (; n > 0 && lines.size > 0; n--) {
		end = memchr(lines.at, '\n', lines.size);
		lines.size -= (size_t)(end + 1 - lines.at);
		lines.at = end + 1;
	}
	return (lines);
}

/* No more than ROUND bytes of them, but one at least. */
static struct slice
first(struct slice lines)
{
	const char *end = lines.size <= ROUND ? NULL : memrchr(lines.at, '\n', ROUND);

	if (lines.size > ROUND && end == NULL)
		end = memchr(lines.at, '\n', lines.size);
	if (end != NULL)
		lines.size = (size_t)(end + 1 - lines.at);
	return (lines);
}

void
learn_relay(void)
{
	struct lines squid, duty;
	struct slice lines, some;
	int tries;

	if (!open_lines(&squid, STDIN_FILENO) || !open_lines(&duty, -1))
		return;
	while ((lines = some_lines(&squid)).size > 0)
		for (; lines.size > 0; lines = after(lines, count(some))) {
			some = first(lines);
			/* Twice: the one on duty may have gone since it was asked last. */
			for (tries = 0; some.size > 0 && tries < 2; tries++) {
				if (duty.fd < 0) {
					duty.fd = reach();
					duty.size = duty.used = 0;
				}
				if (duty.fd < 0)
					break;
				some = after(some, hand_over(&duty, some));
				if (some.size > 0) {
					close(duty.fd);
					duty.fd = -1;
				}
			}
			say_nobody(some);
			some = first(lines);
		}
}
