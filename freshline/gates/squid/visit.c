#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "visit.h"

#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "epoch.h"
#include "peek.h"
#include "settings.h"

#define PROBE_SECONDS	10
#define PEEK_MS		500	/* that a datagram's answer is waited for */
#define TOGETHER_MS	1	/* answers that follow one another so closely leave as one piece */
#define ROUNDS		5	/* how often a fetch that a refresh overtook is begun again */
#define PIECE		65536

/* One object, and how far it has come. */
struct visit {
	const struct object *object;
	enum { ASKS, SETTLES, PEEKS, LOOKS, ENDED } stage;
	int probe;
	struct exchange exchange;
	struct reply got;	/* what the origin's answer, or the cache's, was like */
	uint64_t got_at;	/* so many exchanges had begun when it was whole */
	uint64_t until;		/* that a datagram's answer is waited for */
	uint32_t peek;
	int round;
	struct answer answer;
};

/* Those of one request. */
struct party {
	struct visit *all;
	size_t n, left;
	size_t looking;		/* HEADs under way */
	struct doors *doors;
	const struct hearer *hearer;	/* NULL: the one answer is handed back */
	char *lines;		/* answers that have not been told yet, since when */
	size_t lines_size;
	uint64_t since;
	int deaf;		/* nobody hears them */
	char scratch[PIECE];
};

static struct answer __attribute__((format(printf, 2, 3)))
say(int status, const char *format, ...)
{
	struct answer answer = {status, NULL, 0};
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(&answer.text, format, args);
	va_end(args);
	if (n < 0)
		answer.text = NULL;
	else
		answer.size = (size_t)n;
	return (answer);
}

/* ---- where each has come to ---- */

/* Answers are told behind the number of their fetch, where there are several. */
static void
tell(struct party *p, const struct visit *v)
{
	char *lines;
	int n;

	if (v->answer.text == NULL)
		n = asprintf(&lines, "%.*s%zu failed no memory\n", (int)p->lines_size, p->lines, v - p->all + (size_t)1);
	else
		n = asprintf(&lines, "%.*s%zu %s", (int)p->lines_size, p->lines, v - p->all + (size_t)1, v->answer.text);
	if (n < 0)
		p->deaf = 1;
	else {
		if (p->lines_size == 0)
			p->since = now_ms();
		free(p->lines);
		p->lines = lines;
		p->lines_size = (size_t)n;
	}
}

static void
end(struct party *p, struct visit *v, struct answer answer)
{

	v->stage = ENDED;
	v->answer = answer;
	p->left--;
	if (p->hearer != NULL) {
		tell(p, v);
		free(v->answer.text);
		v->answer.text = NULL;
	}
}

static void
outcome(struct party *p, struct visit *v, const char *word, int status, uint64_t bytes, const char *said)
{

	end(p, v, say(200, "fetched %s %d %" PRIu64 " %s\n", word, status, bytes, said));
}

/* Whether it was refreshed since it was asked for. */
static int
overtaken(const struct visit *v)
{
	const struct object *o = v->object;
	struct name name = {{o->host, strlen(o->host)}, {o->target, strlen(o->target)}};
	struct epoch epoch = epoch_of(&name);
	char now[100];

	snprintf(now, sizeof now, "%s.%" PRIu64 ".", epoch.generation, epoch.position);
	return (strncmp(v->got.epoch, now, strlen(now)) != 0);
}

static void turn(struct party *p, struct visit *v);

static void
ask(struct party *p, struct visit *v)
{

	v->stage = ASKS;
	if (exchange_begin(&v->exchange, p->doors, v->object, "GET", "", settings.fetch_seconds))
		turn(p, v);
}

/* Squid answers from its cache or not at all: 504 where it is not there, or has expired. */
static void
look(struct party *p, struct visit *v)
{

	v->stage = LOOKS;
	p->looking++;
	if (exchange_begin(&v->exchange, p->doors, v->object, "HEAD", "Cache-Control: only-if-cached\r\n", PROBE_SECONDS))
		turn(p, v);
}

static void
ask_again(struct party *p, struct visit *v)
{

	if (++v->round < ROUNDS)
		ask(p, v);
	else
		outcome(p, v, "other", v->got.status, v->got.bytes, "refreshed meanwhile");
}

/* The key that Squid stored it under; "" where it is too long for a datagram. */
static void
key_of(const struct visit *v, char key[PEEK_KEY_SIZE])
{
	const struct object *o = v->object;
	size_t generation = strcspn(v->got.epoch, "."), position = strcspn(v->got.epoch + generation + 1, ".");
	int n = snprintf(key, PEEK_KEY_SIZE, "http%s://%s%s#%.*s", o->https ? "s" : "", o->host, o->target,
	    (int)(generation + 1 + position), v->got.epoch);

	if (n >= PEEK_KEY_SIZE)
		key[0] = '\0';
}

static int
peek(struct party *p, struct visit *v)
{
	char key[PEEK_KEY_SIZE];

	key_of(v, key);
	v->peek = ++p->doors->peeks;
	if (key[0] == '\0' || !peek_send(p->doors->peek, v->peek, key))
		return (0);
	v->stage = PEEKS;
	v->until = now_ms() + PEEK_MS;
	return (1);
}

/*
 * It is whole. Of its variants the key tells nothing. One HEAD at a time tells of itself, and that the others can be
 * peeked at (peek.h).
 */
static void
settle(struct party *p, struct visit *v)
{
	int can_peek = p->doors->peek >= 0 && !v->got.varies;

	if (can_peek && p->looking > 0 && !exchanges_answered_since(v->got_at))
		return;
	if (overtaken(v))
		ask_again(p, v);
	else if (!can_peek || !exchanges_answered_since(v->got_at) || !peek(p, v))
		look(p, v);
}

static void
stored(struct party *p, struct visit *v)
{

	outcome(p, v, "stored", v->got.status, v->got.bytes, v->got.learned ? "fetched" : "already");
}

static void
fetched(struct party *p, struct visit *v)
{
	const struct reply *r = &v->got;
	char text[sizeof r->location + 20];

	if (r->status == 0)
		outcome(p, v, strstr(r->why, "in time") != NULL ? "origin-timeout" : "other", 0, 0, r->why);
	else if (*r->epoch == '\0')
		outcome(p, v, "other", r->status, 0, "the site's answer did not pass through the gate");
	else if (!r->learned && strcmp(r->error, "ERR_READ_TIMEOUT") == 0)
		outcome(p, v, "origin-timeout", 0, 0, "no headers from the origin in time");
	else if (!r->learned && *r->error != '\0') {
		snprintf(text, sizeof text, "no answer from the origin: %s", r->error);
		outcome(p, v, "other", 0, 0, text);
	} else if (r->status >= 500)
		outcome(p, v, "origin-status", r->status, 0, "the origin answered that");
	else if (r->why != NULL)
		outcome(p, v, "other", r->status, 0, r->why);
	else if (r->status >= 300 && r->status <= 399 && *r->location != '\0') {
		snprintf(text, sizeof text, "redirects to %s", r->location);
		outcome(p, v, "other", r->status, 0, text);
	} else if (r->status < 200 || r->status > 299)
		outcome(p, v, "other", r->status, 0, "no success");
	else
		v->stage = SETTLES;
}

static int
is_there(const struct reply *r)
{

	return (r->status != 0 && r->status != 504 && r->why == NULL && *r->epoch != '\0');
}

static void
looked(struct party *p, struct visit *v)
{
	const struct reply *r = &v->exchange.hearing.reply;

	if (is_there(r) && r->status == v->got.status)
		stored(p, v);
	else if (*r->epoch != '\0' && strcmp(r->epoch, v->got.epoch) != 0)
		ask_again(p, v);
	else
		outcome(p, v, "other", v->got.status, v->got.bytes, "not stored");
}

/* The position in "<generation>.<position>.<name>.<host>" */
static uint64_t
position_of(const struct reply *r)
{
	const char *dot = strchr(r->epoch, '.');

	return (dot == NULL ? 0 : strtoull(dot + 1, NULL, 10));
}

static void
probed(struct party *p, struct visit *v)
{
	const struct reply *r = &v->exchange.hearing.reply;

	if (r->why != NULL)
		end(p, v, say(500, "failed %s\n", r->why));
	else if (*r->epoch == '\0')
		end(p, v, say(500, "failed the site's answer did not pass through the gate\n"));
	else if (is_there(r))
		end(p, v, say(200, "stored %" PRIu64 "\n", position_of(r)));
	else
		end(p, v, say(200, "absent\n"));
}

/* What it asked for is over. */
static void
turn(struct party *p, struct visit *v)
{

	if (v->stage == LOOKS) {
		p->looking--;
		if (v->probe)
			probed(p, v);
		else
			looked(p, v);
	} else {
		v->got = v->exchange.hearing.reply;
		v->got_at = exchanges_begun();
		fetched(p, v);
	}
}

/* ---- all of them ---- */

static void
stop_peeking(struct party *p)
{
	struct visit *v;

	close(p->doors->peek);
	p->doors->peek = -1;
	peek_give_up();
	for (v = p->all; v < p->all + p->n; v++)
		if (v->stage == PEEKS)
			look(p, v);
}

static void
hear_peeks(struct party *p)
{
	char said[PEEK_KEY_SIZE], key[PEEK_KEY_SIZE];
	struct visit *v;
	uint32_t number;
	int there;

	while (p->doors->peek >= 0 && peek_read(p->doors->peek, &number, said, &there)) {
		if (number == 0)
			stop_peeking(p);
		for (v = p->all; v < p->all + p->n; v++) {
			if (v->stage != PEEKS || v->peek != number)
				continue;
			key_of(v, key);
			if (strcmp(key, said) != 0)
				continue;
			if (there)
				stored(p, v);
			else
				look(p, v);
		}
	}
}

static void
flush(struct party *p)
{

	if (p->deaf || (p->left > 0 && (p->lines_size == 0 || now_ms() < p->since + TOGETHER_MS)))
		return;
	p->deaf = !p->hearer->say(p->hearer->whom, p->lines_size > 0 ? p->lines : "", p->lines_size, p->left == 0);
	free(p->lines);
	p->lines = NULL;
	p->lines_size = 0;
}

static uint64_t
deadline_of(const struct visit *v)
{

	return (v->stage == PEEKS ? v->until : v->stage == ASKS || v->stage == LOOKS ? v->exchange.until : UINT64_MAX);
}

/* Until anything of them can go on. */
static void
wait(struct party *p)
{
	struct pollfd polled[VISITS + 1];
	struct visit *who[VISITS], *v;
	uint64_t now = now_ms(), until = p->lines_size > 0 ? p->since + TOGETHER_MS : UINT64_MAX;
	nfds_t n = 0, i;

	for (v = p->all; v < p->all + p->n; v++) {
		if (deadline_of(v) < until)
			until = deadline_of(v);
		if (v->stage == ASKS || v->stage == LOOKS) {
			who[n] = v;
			polled[n++] = (struct pollfd){.fd = v->exchange.fd, .events = exchange_events(&v->exchange)};
		}
	}
	polled[n] = (struct pollfd){.fd = p->doors->peek, .events = POLLIN};
	if (poll(polled, n + 1, until <= now ? 0 : until - now > 60000 ? 60000 : (int)(until - now)) > 0) {
		for (i = 0; i < n; i++)
			if (polled[i].revents != 0 &&
			    exchange_go_on(&who[i]->exchange, p->doors, p->scratch, sizeof p->scratch))
				turn(p, who[i]);
		if (polled[n].revents != 0)
			hear_peeks(p);
	}
	for (now = now_ms(), v = p->all; v < p->all + p->n; v++)
		if (deadline_of(v) > now)
			continue;
		else if (v->stage == PEEKS)
			stop_peeking(p);
		else if (exchange_is_late(&v->exchange, now))
			turn(p, v);
}

static void
run(struct party *p)
{
	struct visit *v;

	if (p->n > 1 && p->doors->peek < 0)
		p->doors->peek = peek_open();
	for (v = p->all; v < p->all + p->n; v++)
		if (v->object->refused != NULL)
			outcome(p, v, "other", 0, 0, v->object->refused);
		else if (v->probe)
			look(p, v);
		else
			ask(p, v);
	for (;;) {
		for (v = p->all; v < p->all + p->n; v++)
			if (v->stage == SETTLES)
				settle(p, v);
		if (p->hearer != NULL)
			flush(p);
		if (p->left == 0 || p->deaf)
			break;
		wait(p);
	}
	for (v = p->all; v < p->all + p->n; v++)
		exchange_drop(&v->exchange);
	free(p->lines);
}

static struct answer
visit(struct objects *found, int probe, struct doors *doors, const struct hearer *hearer)
{
	struct party *p = calloc(1, sizeof *p);
	struct answer answer = {500, NULL, 0};
	size_t i;

	if (p == NULL || (p->all = calloc(found->n, sizeof *p->all)) == NULL) {
		free(p);
		return (answer);
	}
	p->n = p->left = found->n;
	p->doors = doors;
	p->hearer = found->n > 1 ? hearer : NULL;
	for (i = 0; i < found->n; i++) {
		p->all[i].object = &found->all[i];
		p->all[i].probe = probe;
		p->all[i].exchange.fd = -1;
	}
	run(p);
	answer = p->hearer != NULL ? (struct answer){0, NULL, 0} : p->all[0].answer;
	free(p->all);
	free(p);
	return (answer);
}

struct answer
visit_probe(char *body, size_t size, struct doors *doors)
{
	struct objects found;
	const char *why = objects_read(body, size, "probe", 1, &found);
	struct answer answer = why != NULL ? say(400, "bad %s\n", why) : visit(&found, 1, doors, NULL);

	objects_free(&found);
	return (answer);
}

struct answer
visit_fetch(char *body, size_t size, struct doors *doors, const struct hearer *hearer)
{
	struct objects found;
	const char *why = objects_read(body, size, "fetch", VISITS, &found);
	struct answer answer = why != NULL ? say(400, "bad %s\n", why) :
	    !gate_caught_up() ? say(500, "failed it has not caught up\n") : visit(&found, 0, doors, hearer);

	objects_free(&found);
	return (answer);
}
