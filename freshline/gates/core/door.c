#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "door.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lease.h"

#define GUESTS		96		/* connections at a time, */
#define SPARE		8		/* of which so many are not for prefetches: a slow origin holds no refresh up */
#define HEAD_SIZE	16384		/* bytes of a request before its body */
#define ERRAND_BYTES	(1u << 20)	/* the longest probe or fetch */
#define READ_SECONDS	30		/* between two pieces of a request, or of its answer */
#define IDLE_SECONDS	120		/* between two requests */
#define PARTING_SECONDS	2		/* for what is still on its way when we hang up */
#define TOGETHER_MS	1		/* answers that follow one another so closely leave as one piece */
#define ERRANDS		4096		/* on their way at a time, also for those who have hung up */
#define BACKLOG		128

enum state { IDLE, READING, WAITING, WRITING, PARTING };

struct text {
	char *at;
	size_t size, room;
};

struct guest {
	int fd;				/* -1: nobody */
	enum state state;
	uint64_t visit;			/* whose errand it is that comes back */
	uint64_t until;			/* seconds */
	char *in;
	size_t in_room, in_size;
	struct text out;
	size_t out_at;
	struct text lines;		/* of several errands, to leave together */
	uint64_t lines_due;		/* ms */
	unsigned errands;		/* that are still to come back */
	int several;			/* each answered in a line of its own */
	int told;			/* the head of their answer has left */
	int chunked;			/* they can be told apart from what follows */
	int last;			/* hang up once this is answered */
	int known;			/* the request that is being read brought the secret */
};

/* A request, pointing into the guest's `in`. */
struct request {
	struct slice method, target, key, lease;
	size_t head_size, body_size;
	int has_length, bad, keep, old, expects;
};

static struct guest guests[GUESTS];
static struct door door;
static const char *_Atomic secret;
static int listener = -1, bell = -1;
static uint64_t visits;
static unsigned errands;		/* on their way */

/* The errands of one request, each with its ticket; it goes with the last of them. */
struct asked {
	struct guest *guest;
	uint64_t visit;
	unsigned under_way;		/* with `back_lock` */
	struct back {
		struct back *next;
		struct asked *asked;
		unsigned number;
		bool last;
		struct answer answer;
	} tickets[];
};

/*
 * Errands that were run, on their way back into the door's thread. It is woken for the first of them and for the last of
 * a request, and in between it looks by itself: to be woken for each costs as much as the answer.
 */
static pthread_mutex_t back_lock = PTHREAD_MUTEX_INITIALIZER;
static struct back *back, **back_end = &back;
static bool rung;			/* the bell is to be heard */
static bool dozing;			/* it looks within a millisecond */

uint64_t
door_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return ((uint64_t)now.tv_sec);
}

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

/* 0: no memory. */
static int
add(struct text *to, const char *from, size_t size)
{
	size_t room = to->room;
	char *more;

	if (size > room - to->size) {
		room = room * 2 + size;
		if ((more = realloc(to->at, room)) == NULL)
			return (0);
		to->at = more;
		to->room = room;
	}
	memcpy(to->at + to->size, from, size);
	to->size += size;
	return (1);
}

static void
leave(struct guest *g)
{

	close(g->fd);
	free(g->in);
	free(g->out.at);
	free(g->lines.at);
	memset(g, 0, sizeof *g);
	g->fd = -1;
	g->visit = ++visits;
}

/* ---- answering ---- */

static void
send_more(struct guest *g)
{
	ssize_t n;

	while (g->out_at < g->out.size) {
		n = send(g->fd, g->out.at + g->out_at, g->out.size - g->out_at, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n <= 0) {
			leave(g);
			return;
		}
		g->out_at += (size_t)n;
		g->until = door_now() + READ_SECONDS;
	}
	free(g->out.at);
	g->out = (struct text){NULL, 0, 0};
	g->out_at = 0;
	if (g->state == WAITING)	/* there is more to come */
		return;
	g->state = IDLE;
	g->until = door_now() + IDLE_SECONDS;
	if (g->last) {
		/* What it still sends is read: hanging up on it could take our answer back. */
		shutdown(g->fd, SHUT_WR);
		g->state = PARTING;
		g->until = door_now() + PARTING_SECONDS;
	}
}

static const char *
reason(int status)
{

	switch (status) {
	case 200:
		return ("OK");
	case 400:
		return ("Bad Request");
	case 403:
		return ("Forbidden");
	case 404:
		return ("Not Found");
	case 409:
		return ("Conflict");
	case 411:
		return ("Length Required");
	case 413:
		return ("Content Too Large");
	case 503:
		return ("Service Unavailable");
	default:
		return ("Internal Server Error");
	}
}

static void
reply(struct guest *g, int status, struct slice body, const char *more, int head_only)
{
	static const char trouble[] =
	    "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
	char *out;
	int n;

	n = asprintf(&out, "HTTP/1.1 %d %s\r\n%scontent-length: %zu\r\n%sconnection: %s\r\n\r\n", status, reason(status),
	    body.size > 0 ? "content-type: text/plain\r\n" : "", body.size, more, g->last ? "close" : "keep-alive");
	g->out = n < 0 ? (struct text){NULL, 0, 0} : (struct text){out, (size_t)n, (size_t)n + 1};
	if (n < 0 || (!head_only && body.size > 0 && !add(&g->out, body.at, body.size))) {
		(void)!send(g->fd, trouble, sizeof trouble - 1, MSG_NOSIGNAL);
		leave(g);
		return;
	}
	g->out_at = 0;
	g->state = WRITING;
	g->until = door_now() + READ_SECONDS;
	send_more(g);
}

static void
say(struct guest *g, int status, const char *text)
{

	reply(g, status, (struct slice){text, strlen(text)}, "", 0);
}

/* As say(), and whatever else it sends is not looked at. */
static void
turn_away(struct guest *g, int status, const char *text)
{

	g->last = 1;
	say(g, status, text);
}

/* ---- reading ---- */

static int
is(struct slice part, const char *word)
{

	return (part.size == strlen(word) && memcmp(part.at, word, part.size) == 0);
}

static int
same_name(struct slice part, const char *name)
{

	return (part.size == strlen(name) && strncasecmp(part.at, name, part.size) == 0);
}

/* How long it takes does not tell where they differ. */
static int
knows_secret(struct slice given)
{
	const char *known = secret;
	size_t size = strlen(known), i;
	unsigned char differs = given.size != size;

	for (i = 0; i < size; i++)
		differs |= (unsigned char)(known[i] ^ (i < given.size ? given.at[i] : 0));
	return (differs == 0 && size > 0);
}

static void
read_header(struct request *r, struct slice name, struct slice value)
{
	size_t i;

	if (same_name(name, "content-length")) {
		if (r->has_length || value.size == 0 || value.size > 12)
			r->bad = 1;
		for (r->body_size = 0, i = 0; i < value.size && !r->bad; i++) {
			if (value.at[i] < '0' || value.at[i] > '9')
				r->bad = 1;
			r->body_size = r->body_size * 10 + (size_t)(value.at[i] - '0');
		}
		r->has_length = 1;
	} else if (same_name(name, "transfer-encoding"))
		r->bad = 1;
	else if (same_name(name, "connection"))
		r->keep = same_name(value, "close") ? 0 : r->keep;
	else if (same_name(name, "expect"))
		r->expects = same_name(value, "100-continue");
	else if (same_name(name, "freshline-key"))
		r->key = value;
	else if (same_name(name, "freshline-lease"))
		r->lease = value;
}

/* 0: not all there yet. */
static int
read_head(const struct guest *g, struct request *r)
{
	const char *end, *line, *eol, *colon, *space;
	struct slice value;

	memset(r, 0, sizeof *r);
	if (g->in_size == 0 || (end = memmem(g->in, g->in_size, "\r\n\r\n", 4)) == NULL)
		return (0);
	r->head_size = (size_t)(end + 4 - g->in);
	eol = memmem(g->in, r->head_size, "\r\n", 2);
	space = memchr(g->in, ' ', (size_t)(eol - g->in));
	if (space == NULL || eol - g->in < 9 || memcmp(eol - 9, " HTTP/1.", 8) != 0 || space >= eol - 9) {
		r->bad = 1;
		return (1);
	}
	r->method = (struct slice){g->in, (size_t)(space - g->in)};
	r->target = (struct slice){space + 1, (size_t)(eol - 9 - space - 1)};
	r->keep = eol[-1] == '1';
	r->old = eol[-1] == '0';
	for (line = eol + 2; line < end; line = eol + 2) {
		eol = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
		colon = memchr(line, ':', (size_t)(eol - line));
		if (colon == NULL || colon == line || colon[-1] == ' ' || colon[-1] == '\t') {
			r->bad = 1;
			return (1);
		}
		value = (struct slice){colon + 1, (size_t)(eol - colon - 1)};
		while (value.size > 0 && (*value.at == ' ' || *value.at == '\t'))
			value = (struct slice){value.at + 1, value.size - 1};
		while (value.size > 0 && (value.at[value.size - 1] == ' ' || value.at[value.size - 1] == '\t'))
			value.size--;
		read_header(r, (struct slice){line, (size_t)(colon - line)}, value);
	}
	return (1);
}

/* ---- what is asked ---- */

static struct answer
status(char *body, size_t size, uint64_t now)
{

	(void)body;
	(void)size;
	(void)now;
	return (gate_status());
}

static struct answer
flush(char *body, size_t size, uint64_t now)
{

	(void)now;
	return (gate_flush(body, size));
}

static void
command(struct guest *g, const struct request *r, struct answer (*what)(char *body, size_t size, uint64_t now))
{
	char lease[128], clock[LEASE_CLOCK_SIZE], more[LEASE_CLOCK_SIZE + 32] = "";
	struct answer answer;

	/* The body is overwritten, and what it stands in is not. */
	snprintf(lease, sizeof lease, "%.*s", (int)r->lease.size, r->lease.size > 0 ? r->lease.at : "");
	answer = what(g->in + r->head_size, r->body_size, door_now());
	if (answer.status == 200) {
		if (r->lease.size > 0 && r->lease.size < sizeof lease)
			gate_renew(lease);
		lease_clock(clock);
		snprintf(more, sizeof more, "freshline-clock: %s\r\n", clock);
	}
	reply(g, answer.status, (struct slice){answer.text, answer.text == NULL ? 0 : answer.size}, more, 0);
	free(answer.text);
}

static void
let_go(struct errand *all)
{
	struct errand *errand;

	if (all->asker != NULL)
		free(((struct back *)all->asker)->asked);
	while ((errand = all) != NULL) {
		all = errand->next;
		errand_free(errand);
	}
}

/* How many they are; 0 if there is no memory for them to find back. */
static unsigned
give_tickets(struct errand *all, struct guest *g)
{
	struct errand *errand;
	struct asked *asked;
	struct back *ticket;
	unsigned n = 0;

	for (errand = all; errand != NULL; errand = errand->next)
		n++;
	if ((asked = calloc(1, sizeof *asked + n * sizeof *ticket)) == NULL)
		return (0);
	asked->guest = g;
	asked->visit = g->visit;
	asked->under_way = n;
	for (errand = all, ticket = asked->tickets; errand != NULL; errand = errand->next, ticket++) {
		ticket->asked = asked;
		ticket->number = errand->number;
		errand->asker = ticket;
	}
	return (n);
}

/* Those with a header that may not go out are answered here. */
static struct errand *
sift(struct errand *all)
{
	struct errand *good = NULL, **link = &good, *errand;
	char text[160];

	while ((errand = all) != NULL) {
		all = errand->next;
		errand->next = NULL;
		if (errand->refused[0] == '\0') {
			*link = errand;
			link = &errand->next;
		} else {
			snprintf(text, sizeof text, "fetched other 0 0 %s\n", errand->refused);
			door_answer(errand, 200, text);
		}
	}
	return (good);
}

static unsigned
waiting(void)
{
	const struct guest *g;
	unsigned n = 0;

	for (g = guests; g < guests + GUESTS; g++)
		n += g->fd >= 0 && g->state == WAITING;
	return (n);
}

static void
begin_errands(struct guest *g, const struct request *r, enum errand_kind kind)
{
	struct slice body = {g->in + r->head_size, r->body_size};
	unsigned most = kind == FETCH && door.fetches > 1 ? door.fetches : 1, n;
	char why[ERRAND_WHY], text[ERRAND_WHY + 8];
	struct errand *all = errand_read(kind, body, most, why);

	if (all == NULL) {
		snprintf(text, sizeof text, "bad %s\n", why);
		say(g, 400, text);
		return;
	}
	if (kind == FETCH && !gate_caught_up()) {
		let_go(all);
		say(g, 500, "failed it has not caught up\n");
		return;
	}
	if ((n = give_tickets(all, g)) == 0 || n > ERRANDS - errands ||
	    (kind == FETCH && waiting() >= GUESTS - SPARE)) {
		let_go(all);
		say(g, 500, n == 0 ? "failed no memory\n" : "failed too much is under way\n");
		return;
	}
	errands += n;
	g->errands = n;
	g->several = n > 1;
	g->told = 0;
	g->chunked = !r->old;
	g->state = WAITING;
	if ((all = sift(all)) != NULL)
		door.run(all);
}

static void
route(struct guest *g, const struct request *r)
{
	int get = is(r->method, "GET"), post = is(r->method, "POST");

	if (get && is(r->target, "/freshline/status"))
		command(g, r, status);
	else if (post && is(r->target, "/freshline/batch"))
		command(g, r, gate_batch);
	else if (post && is(r->target, "/freshline/flush"))
		command(g, r, flush);
	else if (post && is(r->target, "/freshline/probe"))
		begin_errands(g, r, PROBE);
	else if (post && is(r->target, "/freshline/fetch"))
		begin_errands(g, r, FETCH);
	else
		say(g, 404, "");
}

static void
tell_fresh(struct guest *g, int head_only)
{
	struct answer answer = gate_fresh();

	reply(g, answer.status, (struct slice){answer.text, answer.text == NULL ? 0 : answer.size}, "", head_only);
	free(answer.text);
}

/* The longest body a request may bring; more of it is not read. */
static size_t
body_limit(const struct request *r)
{

	return (is(r->target, "/freshline/batch") || is(r->target, "/freshline/flush") ? BATCH_BYTES : ERRAND_BYTES);
}

/* Whatever can be done with what has come so far. */
static void
look_at(struct guest *g)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct request r;
	char text[60];
	int get;

	while (g->fd >= 0 && (g->state == IDLE || g->state == READING)) {
		if (g->in_size == 0)
			return;
		if (g->state == IDLE) {
			g->state = READING;
			g->known = 0;
			g->until = door_now() + READ_SECONDS;
		}
		if (!read_head(g, &r)) {
			if (g->in_size >= HEAD_SIZE)
				turn_away(g, 400, "bad longer than a request may be\n");
			return;
		}
		g->last = !r.keep;
		get = is(r.method, "GET") || is(r.method, "HEAD");
		if (!r.bad && get && is(r.target, "/freshline/fresh") && r.body_size == 0)
			tell_fresh(g, is(r.method, "HEAD"));
		else if (!(g->known = knows_secret(r.key))) {
			turn_away(g, 403, "");
			return;
		} else if (r.bad) {
			turn_away(g, 400, "bad request\n");
			return;
		} else if (is(r.method, "POST") && !r.has_length) {
			turn_away(g, 411, "bad no content-length\n");
			return;
		} else if (r.body_size > body_limit(&r)) {
			snprintf(text, sizeof text, "bad longer than %zu\n", body_limit(&r));
			turn_away(g, 413, text);
			return;
		} else if (g->in_size < r.head_size + r.body_size) {
			if (r.expects && g->in_size == r.head_size)
				(void)!send(g->fd, go_on, sizeof go_on - 1, MSG_NOSIGNAL);
			return;
		} else
			route(g, &r);
		if (g->fd < 0)
			return;
		g->in_size -= r.head_size + r.body_size;
		memmove(g->in, g->in + r.head_size + r.body_size, g->in_size);
		if (g->in_size == 0) {
			free(g->in);
			g->in = NULL;
			g->in_room = 0;
		}
	}
}

static void
read_more(struct guest *g)
{
	char aside[4096], *more;
	ssize_t n;

	if (g->state == WAITING) {	/* polled for nothing but that it hung up */
		leave(g);
		return;
	}
	if (g->state == PARTING) {
		n = recv(g->fd, aside, sizeof aside, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
			leave(g);
		return;
	}
	if (g->in_size == g->in_room) {
		if ((more = realloc(g->in, g->in_room * 2 + HEAD_SIZE)) == NULL) {
			leave(g);
			return;
		}
		g->in = more;
		g->in_room = g->in_room * 2 + HEAD_SIZE;
	}
	n = recv(g->fd, g->in + g->in_size, g->in_room - g->in_size, 0);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n <= 0) {
		leave(g);
		return;
	}
	g->in_size += (size_t)n;
	if (g->known)		/* others have so long for the whole of it */
		g->until = door_now() + READ_SECONDS;
	look_at(g);
}

/* ---- the door's thread ---- */

/* One of whom nothing is known, or who is doing nothing, has to go when somebody else comes. */
static int
can_go(const struct guest *g)
{

	return (g->state == IDLE || g->state == PARTING || (g->state == READING && !g->known));
}

static void
let_in(void)
{
	struct guest *g, *place = NULL;
	int fd, one = 1;

	for (g = guests; g < guests + GUESTS; g++)
		if (g->fd < 0)
			place = g;
	if (place == NULL)
		for (g = guests; g < guests + GUESTS; g++)
			if (can_go(g) && (place == NULL || g->until < place->until))
				place = g;
	if (place == NULL)
		return;
	if ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0)
		return;
	if (place->fd >= 0)
		leave(place);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	place->fd = fd;
	place->visit = ++visits;
	place->state = IDLE;
	place->known = 0;
	place->until = door_now() + READ_SECONDS;
}

/* What has come of several errands leaves; with it the end of the answer, if that was all. */
static void
tell_lines(struct guest *g)
{
	char text[160];
	int n, done = 1;

	if (g->out.size == 0)
		g->until = door_now() + READ_SECONDS;
	if (!g->told) {
		n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n%sconnection: %s\r\n\r\n",
		    g->chunked ? "transfer-encoding: chunked\r\n" : "", g->last ? "close" : "keep-alive");
		done = add(&g->out, text, (size_t)n);
		g->told = 1;
	}
	n = snprintf(text, sizeof text, "%zx\r\n", g->lines.size);
	done = done && (!g->chunked || add(&g->out, text, (size_t)n)) && add(&g->out, g->lines.at, g->lines.size) &&
	    (!g->chunked || add(&g->out, "\r\n0\r\n\r\n", g->errands == 0 ? 7 : 2));
	free(g->lines.at);
	g->lines = (struct text){NULL, 0, 0};
	if (!done) {
		leave(g);
		return;
	}
	if (g->errands == 0)
		g->state = WRITING;
	send_more(g);
}

static void
take_line(struct guest *g, const struct back *b)
{
	static const char failed[] = "failed no memory\n";
	char number[16];
	int n = snprintf(number, sizeof number, "%u ", b->number);

	if (g->lines.size == 0)
		g->lines_due = now_ms() + TOGETHER_MS;
	if (!add(&g->lines, number, (size_t)n) || !add(&g->lines, b->answer.text == NULL ? failed : b->answer.text,
	    b->answer.text == NULL ? sizeof failed - 1 : b->answer.size)) {
		leave(g);
		return;
	}
	if (g->errands == 0) {
		tell_lines(g);
		if (g->fd >= 0)
			look_at(g);
	}
}

static void
take_back(bool heard)
{
	struct back *all, *b;
	struct guest *g;
	uint64_t strokes;

	if (heard)
		(void)!read(bell, &strokes, sizeof strokes);
	pthread_mutex_lock(&back_lock);
	all = back;
	back = NULL;
	back_end = &back;
	rung = rung && !heard;
	dozing = false;
	pthread_mutex_unlock(&back_lock);
	while ((b = all) != NULL) {
		all = b->next;
		g = b->asked->guest;
		errands--;
		if (g->fd >= 0 && g->visit == b->asked->visit && g->state == WAITING) {
			g->errands--;
			if (g->several)
				take_line(g, b);
			else {
				reply(g, b->answer.status, (struct slice){b->answer.text, b->answer.size}, "", 0);
				look_at(g);
			}
		}
		free(b->answer.text);
		if (b->last)
			free(b->asked);
	}
}

void
door_answer(struct errand *errand, int answer_status, const char *text)
{
	struct back *b = errand->asker;
	uint64_t one = 1;
	bool ring;

	errand_free(errand);
	b->next = NULL;
	b->answer = (struct answer){answer_status, strdup(text), strlen(text)};
	if (b->answer.text == NULL)
		b->answer = (struct answer){500, NULL, 0};
	pthread_mutex_lock(&back_lock);
	b->last = --b->asked->under_way == 0;
	ring = !rung && (b->last || !dozing);
	rung = rung || ring;
	*back_end = b;
	back_end = &b->next;
	pthread_mutex_unlock(&back_lock);
	if (ring)
		(void)!write(bell, &one, sizeof one);
}

void *
door_attend(void *unused)
{
	struct pollfd polled[GUESTS + 2];
	struct guest *who[GUESTS];
	struct guest *g;
	uint64_t now, soon;
	nfds_t n, i;
	int room, ms;

	(void)unused;
	for (;;) {
		n = 0;
		room = 0;
		ms = 1000;
		soon = now_ms();
		for (g = guests; g < guests + GUESTS; g++) {
			room |= g->fd < 0 || can_go(g);
			if (g->fd < 0)
				continue;
			who[n] = g;
			polled[n].fd = g->fd;
			/* One who has sent ahead is not heard until it is answered, but for its leaving. */
			polled[n].events = g->state == WRITING ? POLLOUT : g->state != WAITING ? POLLIN :
			    g->out.size > 0 ? POLLRDHUP | POLLOUT : POLLRDHUP;
			polled[n++].revents = 0;
			if (g->lines.size > 0 && g->lines_due < soon + (uint64_t)ms)
				ms = g->lines_due > soon ? (int)(g->lines_due - soon) : 0;
		}
		polled[n] = (struct pollfd){bell, POLLIN, 0};
		polled[n + 1] = (struct pollfd){listener, room ? POLLIN : 0, 0};
		pthread_mutex_lock(&back_lock);
		dozing = ms <= TOGETHER_MS;
		pthread_mutex_unlock(&back_lock);
		if (poll(polled, n + 2, ms) < 0)
			continue;
		for (i = 0; i < n; i++) {
			g = who[i];
			if (polled[i].revents == 0 || g->fd != polled[i].fd)
				continue;
			if (g->state == WRITING || (g->state == WAITING && polled[i].revents == POLLOUT))
				send_more(g);
			else
				read_more(g);
			if (g->fd >= 0 && g->state == IDLE)
				look_at(g);
		}
		take_back(polled[n].revents != 0);
		now = door_now();
		soon = now_ms();
		for (g = guests; g < guests + GUESTS; g++) {
			if (g->fd >= 0 && (g->state != WAITING || g->out.size > 0) && g->until < now)
				leave(g);
			if (g->fd >= 0 && g->lines.size > 0 && g->lines_due <= soon)
				tell_lines(g);
		}
		if (polled[n + 1].revents & POLLIN)
			let_in();
	}
	return (NULL);
}

static const char *
listen_at(const char *address)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
	char host[256];
	const char *colon = strrchr(address, ':'), *why = NULL;
	size_t size;
	int one = 1;

	if (colon == NULL || (size = (size_t)(colon - address)) == 0 || size >= sizeof host)
		return ("not host:port");
	memcpy(host, address, size);
	host[size] = '\0';
	if (host[0] == '[' && host[size - 1] == ']') {
		host[size - 1] = '\0';
		memmove(host, host + 1, size - 1);
	}
	if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
		return ("no such address");
	listener = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
	    bind(listener, found->ai_addr, found->ai_addrlen) < 0 || listen(listener, BACKLOG) < 0)
		why = strerror(errno);
	freeaddrinfo(found);
	return (why);
}

void
door_set_secret(const char *use)
{

	secret = use;
}

const char *
door_open(const struct door *use)
{
	const char *why;
	struct guest *g;

	door = *use;
	secret = door.secret;
	for (g = guests; g < guests + GUESTS; g++)
		g->fd = -1;
	if ((why = listen_at(door.address)) != NULL)
		return (why);
	if ((bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0)
		return (strerror(errno));
	gate_takes_fetches(door.fetches);
	return (NULL);
}
