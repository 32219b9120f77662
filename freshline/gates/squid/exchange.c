#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "exchange.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "listen.h"
#include "settings.h"

#define CONNECT_MS	3000
#define READS		4	/* of one, before the others have their turn */

static _Atomic uint64_t begun, answered;

uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

uint64_t
exchanges_begun(void)
{

	return (atomic_load(&begun));
}

int
exchanges_answered_since(uint64_t number)
{

	return (atomic_load(&answered) > number);
}

static void
note_answer(uint64_t number)
{
	uint64_t newest = atomic_load(&answered);

	while (newest < number && !atomic_compare_exchange_weak(&answered, &newest, number))
		;
}

void
doors_open(struct doors *doors)
{

	*doors = (struct doors){.peek = -1};
}

void
doors_close(struct doors *doors)
{

	while (doors->n > 0)
		close(doors->kept[--doors->n]);
	if (doors->peek >= 0)
		close(doors->peek);
	doors->peek = -1;
}

/* The answer is whole, or there will be none. */
static int
over(struct exchange *x, struct doors *doors)
{
	const struct reply *r = &x->hearing.reply;

	if (r->status != 0)
		note_answer(x->number);
	if (r->status != 0 && r->why == NULL && !r->ends && doors->n < DOORS)
		doors->kept[doors->n++] = x->fd;
	else if (x->fd >= 0)
		close(x->fd);
	x->fd = -1;
	return (1);
}

static int
failed(struct exchange *x, const char *why)
{

	hear_end(&x->hearing, why);
	if (x->fd >= 0)
		close(x->fd);
	x->fd = -1;
	return (1);
}

/* Sends what is left of the request. 0: the connection is of no use. */
static int
send_some(struct exchange *x)
{
	ssize_t n;

	while (x->sent < x->size) {
		n = send(x->fd, x->request + x->sent, x->size - x->sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return (errno == EAGAIN || errno == EWOULDBLOCK);
		x->connected = 1;
		x->sent += (size_t)n;
		x->until = now_ms() + x->patience_ms;
	}
	return (1);
}

/* A connection that was kept may have been closed meanwhile; then the request is made anew, on one of its own. */
static int
send_to(struct exchange *x, struct doors *doors, int anew)
{
	int head_only = x->hearing.head_only;

	hear_end(&x->hearing, NULL);
	hear_begin(&x->hearing, head_only);
	x->kept = !anew && doors->n > 0;
	x->fd = x->kept ? doors->kept[--doors->n] : connect_begin(settings.door);
	x->connected = x->kept;
	x->sent = 0;
	x->until = now_ms() + (x->kept ? x->patience_ms : CONNECT_MS);
	x->number = atomic_fetch_add(&begun, 1) + 1;
	if (x->fd >= 0 && send_some(x))
		return (0);
	if (!x->kept)
		return (failed(x, "the site does not answer"));
	close(x->fd);
	return (send_to(x, doors, 1));
}

int
exchange_begin(struct exchange *x, struct doors *doors, const struct object *o, const char *method, const char *more,
    uint64_t seconds)
{
	static const char form[] = "%s http%s://%s%s HTTP/1.1\r\nHost: %s\r\nfreshline-fetch: %s\r\n%s";
	const char *s = o->https ? "s" : "";
	size_t room = sizeof form + strlen(method) + 2 * strlen(o->host) + strlen(o->target) + strlen(settings.token) +
	    strlen(more) + o->headers_size + sizeof "s\r\n";
	char *request = realloc(x->request, room);

	x->fd = -1;
	hear_begin(&x->hearing, strcmp(method, "HEAD") == 0);
	x->patience_ms = seconds * 1000;
	if (request == NULL)
		return (failed(x, "no memory"));
	x->request = request;
	x->size = (size_t)snprintf(request, room, form, method, s, o->host, o->target, o->host, settings.token, more);
	if (o->headers_size > 0)
		memcpy(request + x->size, o->headers, o->headers_size);
	x->size += o->headers_size;
	memcpy(request + x->size, "\r\n", 2);
	x->size += 2;
	return (send_to(x, doors, 0));
}

short
exchange_events(const struct exchange *x)
{

	return (x->sent < x->size ? POLLIN | POLLOUT : POLLIN);
}

int
exchange_go_on(struct exchange *x, struct doors *doors, char *scratch, size_t size)
{
	ssize_t n = 0;
	int i;

	if (x->sent < x->size && !send_some(x))
		return (x->kept ? (close(x->fd), send_to(x, doors, 1)) :
		    failed(x, x->connected ? "the site hung up" : "the site does not answer"));
	for (i = 0; i < READS; i++) {
		n = recv(x->fd, scratch, size, 0);
		if (n <= 0)
			break;
		x->until = now_ms() + x->patience_ms;
		if (hear(&x->hearing, scratch, (size_t)n))
			return (over(x, doors));
		if ((size_t)n < size)
			return (0);
	}
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)))
		return (0);
	if (x->kept && !x->hearing.heard) {
		close(x->fd);
		return (send_to(x, doors, 1));
	}
	return (failed(x, x->connected ? "the site hung up" : "the site does not answer"));
}

int
exchange_is_late(struct exchange *x, uint64_t now)
{

	if (now < x->until)
		return (0);
	return (failed(x, x->connected ? "the site said nothing in time" : "the site does not answer"));
}

void
exchange_drop(struct exchange *x)
{

	if (x->fd >= 0)
		close(x->fd);
	x->fd = -1;
	hear_end(&x->hearing, NULL);
	free(x->request);
	x->request = NULL;
}
