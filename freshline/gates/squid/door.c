#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "door.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "keep.h"
#include "lease.h"
#include "listen.h"
#include "settings.h"
#include "visit.h"

#define CONNECTIONS	256
#define STACK_BYTES	(512u << 10)
#define HEAD_SIZE	16384
#define HEAD_MS		10000	/* for a whole head, from its first byte on */
#define STRANGER_MS	10000	/* for the first byte of who has not shown the secret yet */
#define IDLE_MS		300000	/* between two requests of who has */
#define BODY_MS		30000	/* without a byte of the body */
#define LINGER_MS	1000	/* for what a refused request still sends */
#define SEND_SECONDS	30	/* for who does not read its answer */

static _Atomic unsigned open_now;

struct caller {
	int fd;
	int known;		/* has shown the secret */
	struct doors doors;	/* to Squid, for what it asks */
	int told;		/* of an answer in pieces: 1: its head, 2: its end */
	char head[HEAD_SIZE + 1];
	size_t size;		/* bytes read, of the head and what follows it */
};

struct request {
	const char *method, *target, *lease, *length;
	int known, close, chunked;
};

/* Bytes read; 0 at the end, after an error, or when there is nothing for so long. */
static size_t
receive(int fd, char *to, size_t size, uint64_t ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	ssize_t n;

	if (poll(&poll_fd, 1, (int)ms) != 1)
		return (0);
	n = recv(fd, to, size, 0);
	return (n > 0 ? (size_t)n : 0);
}

static int
send_all(int fd, const char *at, size_t size)
{
	ssize_t n;

	for (; size > 0; at += n, size -= (size_t)n)
		if ((n = send(fd, at, size, MSG_NOSIGNAL)) < 0) {
			if (errno != EINTR)
				return (0);
			n = 0;
		}
	return (1);
}

/* ---- requests ---- */

/* The head's size, its lines ended by NUL; 0: none came. */
static size_t
read_head(struct caller *c)
{
	uint64_t deadline = 0, now;
	char *end;
	size_t n;

	for (;;) {
		c->head[c->size] = '\0';
		if ((end = memmem(c->head, c->size, "\r\n\r\n", 4)) != NULL)
			return ((size_t)(end - c->head) + 4);
		if (c->size == HEAD_SIZE)
			return (0);
		now = now_ms();
		if (c->size > 0 && deadline == 0)
			deadline = now + HEAD_MS;
		if (deadline != 0 && now >= deadline)
			return (0);
		n = receive(c->fd, c->head + c->size, HEAD_SIZE - c->size,
		    deadline != 0 ? deadline - now : c->known ? IDLE_MS : STRANGER_MS);
		if (n == 0)
			return (0);
		c->size += n;
	}
}

static int
read_request(char *head, size_t size, struct request *r)
{
	char *line = head, *end, *value;

	memset(r, 0, sizeof *r);
	if (memchr(head, '\0', size) != NULL)
		return (0);
	r->method = head;
	for (line = head; (end = strstr(line, "\r\n")) != NULL && end != line; line = end + 2) {
		*end = '\0';
		if (line == head) {
			if ((r->target = strchr(line, ' ')) == NULL)
				return (0);
			*(char *)(uintptr_t)r->target++ = '\0';
			if ((value = strchr(r->target, ' ')) == NULL || strncmp(value + 1, "HTTP/1.", 7) != 0)
				return (0);
			r->close = value[8] == '0';
			*value = '\0';
			continue;
		}
		if ((value = strchr(line, ':')) == NULL)
			return (0);
		*value++ = '\0';
		value += strspn(value, " \t");
		if (strcasecmp(line, "freshline-key") == 0)
			r->known |= same(value, strlen(value), settings.secret);
		else if (strcasecmp(line, "freshline-lease") == 0)
			r->lease = value;
		else if (strcasecmp(line, "content-length") == 0) {
			if (r->length != NULL)
				return (0);
			r->length = value;
		} else if (strcasecmp(line, "transfer-encoding") == 0)
			r->chunked = 1;
		else if (strcasecmp(line, "connection") == 0 && strcasecmp(value, "close") == 0)
			r->close = 1;
	}
	return (r->target != NULL);
}

/* ---- answers ---- */

static int
reply(const struct caller *c, const struct answer *answer, int close, int clock, int head_only)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {{200, "OK"}, {400, "Bad Request"}, {403, "Forbidden"}, {404, "Not Found"}, {409, "Conflict"},
	    {411, "Length Required"}, {413, "Content Too Large"}, {500, "Internal Server Error"}, {503, "Service Unavailable"}};
	char head[300], stamp[LEASE_CLOCK_SIZE];
	const char *reason = "";
	size_t i, size = answer->text == NULL ? 0 : answer->size;
	int n;

	for (i = 0; i < sizeof reasons / sizeof *reasons; i++)
		if (reasons[i].status == answer->status)
			reason = reasons[i].reason;
	n = snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\ncontent-length: %zu\r\n", answer->status, reason, size);
	if (close)
		n += snprintf(head + n, sizeof head - (size_t)n, "connection: close\r\n");
	if (size > 0)
		n += snprintf(head + n, sizeof head - (size_t)n, "content-type: text/plain\r\n");
	if (clock) {
		lease_clock(stamp);
		n += snprintf(head + n, sizeof head - (size_t)n, "freshline-clock: %s\r\n", stamp);
	}
	n += snprintf(head + n, sizeof head - (size_t)n, "\r\n");
	return (send_all(c->fd, head, (size_t)n) && (head_only || send_all(c->fd, answer->text, size)));
}

/* For visit_fetch(): some of the answers to several fetches, sent as one piece. */
static int
send_piece(void *whom, const char *lines, size_t size, int last)
{
	static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
	struct caller *c = whom;
	char *piece;
	int n, done;

	if (size == 0)
		n = asprintf(&piece, "%s0\r\n\r\n", c->told ? "" : head);
	else
		n = asprintf(&piece, "%s%zx\r\n%.*s\r\n%s", c->told ? "" : head, size, (int)size, lines,
		    last ? "0\r\n\r\n" : "");
	if (n < 0)
		return (0);
	done = send_all(c->fd, piece, (size_t)n);
	free(piece);
	c->told = done && last ? 2 : 1;
	return (done);
}

static struct answer
say(int status, const char *text)
{
	char *copy = *text == '\0' ? NULL : strdup(text);

	return ((struct answer){status, copy, copy == NULL ? 0 : strlen(copy)});
}

enum route { STATUS, BATCH, FLUSH, PROBE, FETCH, NOWHERE };

static enum route
route_of(const struct request *r)
{
	static const struct {
		const char *method, *path;
	} routes[NOWHERE] = {
		[STATUS] = {"GET", "/freshline/status"},
		[BATCH] = {"POST", "/freshline/batch"},
		[FLUSH] = {"POST", "/freshline/flush"},
		[PROBE] = {"POST", "/freshline/probe"},
		[FETCH] = {"POST", "/freshline/fetch"},
	};
	int i;

	for (i = 0; i < NOWHERE; i++)
		if (strcmp(r->method, routes[i].method) == 0 && strcmp(r->target, routes[i].path) == 0)
			break;
	return ((enum route)i);
}

static struct answer
carry_out(enum route route, const struct request *r, char *body, size_t size, struct caller *c)
{
	struct hearer hearer = {send_piece, c};

	switch (route) {
	case STATUS:
		return (keep_status(r->lease));
	case BATCH:
		return (keep_batch(body, size, r->lease));
	case FLUSH:
		return (keep_flush(body, size, r->lease));
	case PROBE:
		return (visit_probe(body, size, &c->doors));
	case FETCH:
		return (visit_fetch(body, size, &c->doors, &hearer));
	default:
		return (say(404, ""));
	}
}

/* The body, of which some may be in c->head already, behind the head. NULL: it broke off, or there is no room for it. */
static char *
read_body(struct caller *c, size_t head, size_t size)
{
	char *body = malloc(size + 1);
	size_t have = c->size - head < size ? c->size - head : size, n;

	if (body == NULL)
		return (NULL);
	memcpy(body, c->head + head, have);
	memmove(c->head, c->head + head + have, c->size - head - have);
	c->size -= head + have;
	for (; have < size; have += n)
		if ((n = receive(c->fd, body + have, size - have, BODY_MS)) == 0) {
			free(body);
			return (NULL);
		}
	return (body);
}

/* 0: hang up. */
static int
serve_one(struct caller *c)
{
	size_t head = read_head(c), size = 0;
	struct answer answer;
	struct request r;
	enum route route;
	char *body, *end, text[80];
	int done, fresh, consumed = 0;

	if (head == 0)
		return (0);
	if (!read_request(c->head, head, &r))
		return (0);
	fresh = strcmp(r.target, "/freshline/fresh") == 0 && (strcmp(r.method, "GET") == 0 || strcmp(r.method, "HEAD") == 0);
	c->known = r.known;
	if (r.length != NULL && !r.chunked) {
		errno = 0;
		size = *r.length >= '0' && *r.length <= '9' ? strtoul(r.length, &end, 10) : SIZE_MAX;
		if (size == SIZE_MAX || errno != 0 || *end != '\0')
			return (0);
	}
	route = route_of(&r);
	if (fresh)
		answer = keep_fresh();
	else if (!r.known)
		answer = say(403, "");
	else if (route != STATUS && route != NOWHERE && (r.length == NULL || r.chunked))
		answer = say(411, "bad no content-length\n");
	else if (size > BATCH_BYTES) {
		snprintf(text, sizeof text, "bad longer than %u\n", BATCH_BYTES);
		answer = say(413, text);
	} else {
		if ((body = read_body(c, head, size)) == NULL)
			return (0);
		consumed = 1;
		if (!keep_ready()) {	/* another helper is on duty: to be asked again, of that one */
			free(body);
			return (0);
		}
		c->told = 0;
		answer = carry_out(route, &r, body, size, c);
		free(body);
	}
	if (!consumed)
		r.close = 1;
	if (answer.status == 0)		/* it was told in pieces */
		done = c->told == 2;
	else
		done = reply(c, &answer, r.close, answer.status == 200 && route <= FLUSH, fresh && strcmp(r.method, "HEAD") == 0);
	free(answer.text);
	if (r.close && done) {
		(void)shutdown(c->fd, SHUT_WR);
		/* What it still sends would make the system take the answer back. */
		for (size = 0; size < (1u << 20); size += (size_t)done)
			if ((done = (int)receive(c->fd, c->head, HEAD_SIZE, LINGER_MS)) == 0)
				break;
	}
	return (done && !r.close);
}

static void *
serve(void *with)
{
	const struct sched_param none = {0};
	struct caller *c = with;

	/* As main.c: who wakes at once hears Squid's answers one by one. */
	(void)sched_setscheduler(0, SCHED_BATCH, &none);
	while (serve_one(c))
		;
	close(c->fd);
	doors_close(&c->doors);
	free(c);
	atomic_fetch_sub(&open_now, 1);
	return (NULL);
}

static void *
run(void *unused)
{
	const struct timeval patience = {.tv_sec = SEND_SECONDS};
	int listener = listen_on(settings.gate), fd, on = 1;
	pthread_attr_t attributes;
	struct caller *c;
	pthread_t thread;

	(void)unused;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	while (listener >= 0) {
		if ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0) {
			if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK)
				break;
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
				(void)poll(NULL, 0, 100);
			continue;
		}
		if (atomic_load(&open_now) >= CONNECTIONS || (c = calloc(1, sizeof *c)) == NULL) {
			close(fd);
			continue;
		}
		/* An answer is sent in two parts: without this the second waits until the first is acknowledged, 40 ms. */
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
		c->fd = fd;
		doors_open(&c->doors);
		atomic_fetch_add(&open_now, 1);
		if (pthread_create(&thread, &attributes, serve, c) != 0) {
			close(fd);
			free(c);
			atomic_fetch_sub(&open_now, 1);
		}
	}
	return (NULL);
}

void
door_start(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, NULL) != 0)
		abort();
}
