#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "visit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "epoch.h"
#include "listen.h"
#include "settings.h"

#define CONNECT_SECONDS	3
#define PROBE_SECONDS	10
#define ROUNDS		5		/* how often a fetch that a refresh overtook is begun again */
#define HEAD_SIZE	(128u << 10)	/* bytes of an answer's head */
#define REQUEST_SIZE	(64u << 10)	/* bytes of a request */
#define HOST_SIZE	255		/* bytes of a host */
#define PIECE		65536

/* What the controller wants brought, or to know of. Its fields point into the body. */
struct object {
	int https;
	const char *host, *target;
	char *headers;		/* as they go out, or NULL */
	size_t headers_size;
	const char *refused;
	char why[300];
};

struct reply {
	int status;		/* 0: there was none */
	const char *why;	/* what went wrong, or NULL: it is whole */
	uint64_t bytes;
	char error[64], epoch[100];	/* which error page of Squid's it may be, and what it was asked under */
	int learned;		/* it is an answer of the origin's, of now */
	char location[1000];	/* where it redirects to; empty where it does not say, or that does not fit a line */
	int ends;		/* nothing more comes on this connection */
};

/* ---- lines ---- */

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

static int
is_printable(const char *text)
{

	for (; *text != '\0'; text++)
		if (*text < '!' || *text > '~')
			return (0);
	return (1);
}

static int
is_host(const char *text)
{

	size_t size = strlen(text);

	return (size > 0 && size <= HOST_SIZE && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-") == size);
}

/* Decodes in place; 0 if a % begins no escape. Returns with the size, as the value may hold a NUL. */
static int
unescape(char *text, size_t *size)
{
	size_t n = strlen(text), escapes = 0, i;

	for (i = 0; i < n; i++)
		escapes += text[i] == '%';
	*size = percent_decode(text, text, n);
	text[*size] = '\0';
	return (*size == n - 2 * escapes);
}

/* A header of the caller's that would make another request of it, or half a one, is not sent. */
static const char *
refusal(const char *name, const char *value, size_t size)
{
	static const char *const not_sent[] = {"cache-control", "connection", "content-length", "expect", "freshline-fetch",
	    "freshline-key", "host", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since",
	    "keep-alive", "pragma", "proxy-authenticate", "proxy-authorization", "proxy-connection", "range", "te", "trailer",
	    "transfer-encoding", "upgrade"};
	size_t i;

	if (*name == '\0' || strspn(name, "!#$%&'*+.^_`|~-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") !=
	    strlen(name))
		return ("a header name that is none");
	for (i = 0; i < sizeof not_sent / sizeof *not_sent; i++)
		if (strcasecmp(name, not_sent[i]) == 0)
			return ("a header that may not be set");
	for (i = 0; i < size; i++)
		if (((unsigned char)value[i] < ' ' && value[i] != '\t') || value[i] == 127)
			return ("a control character in a header");
	return (NULL);
}

static int
add_header(struct object *o, char *line)
{
	char *name = line + strlen("header "), *value = strchr(name, ' '), *more;
	const char *why;
	size_t size, n;

	if (value == NULL)
		return (0);
	*value++ = '\0';
	if (!is_printable(name) || !is_printable(value) || strchr(value, ' ') != NULL || !unescape(name, &n) || strlen(name) != n ||
	    !unescape(value, &size))
		return (0);
	if ((why = refusal(name, value, size)) != NULL) {
		o->refused = why;
		return (1);
	}
	n = strlen(name);
	if (o->headers_size + n + size + 4 > REQUEST_SIZE / 2) {
		o->refused = "headers that are too long";
		return (1);
	}
	if ((more = realloc(o->headers, o->headers_size + n + size + 4)) == NULL)
		return (0);
	o->headers = more;
	o->headers_size += (size_t)sprintf(more + o->headers_size, "%s: ", name);
	memcpy(more + o->headers_size, value, size);
	o->headers_size += size;
	memcpy(more + o->headers_size, "\r\n", 2);
	o->headers_size += 2;
	return (1);
}

/* "<verb> <scheme> <host> <target>" and "header <name> <value>" lines; NULL, or why it is not that. */
static const char *
read_object(char *body, size_t size, const char *verb, struct object *o)
{
	char *line, *rest, *scheme, *host, *target;

	memset(o, 0, sizeof *o);
	if (size < 5 || memcmp(body + size - 5, "\nend\n", 5) != 0)
		return ("cut off: no end");
	body[size - 5] = '\0';
	if (strlen(body) != size - 5)
		return ("a NUL in it");
	rest = body;
	line = strsep(&rest, "\n");
	if (strncmp(line, verb, strlen(verb)) != 0 || line[strlen(verb)] != ' ')
		return ("the first line is another");
	scheme = line + strlen(verb) + 1;
	if ((host = strchr(scheme, ' ')) == NULL || (target = strchr(host + 1, ' ')) == NULL)
		return ("the first line lacks a field");
	*host++ = *target++ = '\0';
	o->https = strcmp(scheme, "https") == 0;
	o->host = host;
	o->target = target;
	if ((!o->https && strcmp(scheme, "http") != 0) || !is_host(host) || *target != '/' || !is_printable(target) ||
	    strlen(target) > REQUEST_SIZE / 4)
		return ("no scheme, host and target");
	while ((line = strsep(&rest, "\n")) != NULL)
		if (strncmp(line, "header ", 7) != 0 || !add_header(o, line))
			return ("a line that is no header");
	return (NULL);
}

/* ---- asking ---- */

struct stream {
	int fd;
	char *at;
	size_t size, used, room;
	int timed_out, heard;
};

static int
fill(struct stream *s)
{
	ssize_t n;

	if (s->used > 0) {
		memmove(s->at, s->at + s->used, s->size - s->used);
		s->size -= s->used;
		s->used = 0;
	}
	if (s->size == s->room)
		return (0);
	do
		n = recv(s->fd, s->at + s->size, s->room - s->size, 0);
	while (n < 0 && errno == EINTR);
	s->timed_out = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
	if (n <= 0)
		return (0);
	s->size += (size_t)n;
	s->heard = 1;
	return (1);
}

/* The next line, its end cut off; NULL if there is none. */
static char *
read_line(struct stream *s)
{
	char *end;

	while ((end = memmem(s->at + s->used, s->size - s->used, "\r\n", 2)) == NULL)
		if (!fill(s))
			return (NULL);
	*end = '\0';
	end = s->at + s->used;
	s->used += strlen(end) + 2;
	return (end);
}

static int
skip(struct stream *s, uint64_t n)
{
	size_t some;

	while (n > 0) {
		if (s->used == s->size && !fill(s))
			return (0);
		some = s->size - s->used < n ? s->size - s->used : n;
		s->used += some;
		n -= some;
	}
	return (1);
}

static const char *
drain_chunks(struct stream *s, uint64_t *bytes)
{
	unsigned long long size;
	char *line, *end;

	do {
		if ((line = read_line(s)) == NULL)
			return ("cut off");
		size = strtoull(line, &end, 16);
		if (end == line || size > INT64_MAX)
			return ("cut off: not a chunk");
		*bytes += size;
		if (!skip(s, size) || (size > 0 && !skip(s, 2)))
			return ("cut off");
	} while (size > 0);
	while ((line = read_line(s)) != NULL && *line != '\0')
		;
	return (line == NULL ? "cut off" : NULL);
}

/* "<learned> <epoch>", and a hyphen for what the request lacked. */
static void
read_epoch(struct reply *r, const char *value)
{
	const char *space = strchr(value, ' ');

	if (space == NULL)
		return;
	r->learned = *value != '-';
	snprintf(r->epoch, sizeof r->epoch, "%s", space + 1);
}

static void
read_answer(struct stream *s, int has_body, struct reply *r)
{
	int chunked = 0, measured = 0, status;
	uint64_t length = 0;
	char *line = read_line(s), *value;

	if (line == NULL || sscanf(line, "HTTP/1.%*1[01] %3d", &status) != 1) {
		r->why = s->timed_out ? "the site said nothing in time" : "the site hung up";
		return;
	}
	while ((line = read_line(s)) != NULL && *line != '\0') {
		if ((value = strchr(line, ':')) == NULL)
			continue;
		*value++ = '\0';
		value += strspn(value, " \t");
		if (strcasecmp(line, "content-length") == 0) {
			length = strtoull(value, NULL, 10);
			measured = 1;
		} else if (strcasecmp(line, "transfer-encoding") == 0)
			chunked = strcasecmp(value, "chunked") == 0;
		else if (strcasecmp(line, "connection") == 0)
			r->ends = strcasecmp(value, "close") == 0;
		else if (strcasecmp(line, "x-squid-error") == 0)
			snprintf(r->error, sizeof r->error, "%.*s", (int)strcspn(value, " "), value);
		else if (strcasecmp(line, "location") == 0 && is_printable(value) && strlen(value) < sizeof r->location)
			snprintf(r->location, sizeof r->location, "%s", value);
		else if (strcasecmp(line, "freshline-epoch") == 0)
			read_epoch(r, value);
	}
	r->status = status;
	if (line == NULL) {
		r->why = "cut off";
		return;
	}
	if (!has_body || status == 204 || status == 304) {
		r->bytes = measured ? length : 0;
		return;
	}
	if (chunked)
		r->why = drain_chunks(s, &r->bytes);
	else if (measured) {
		r->bytes = length;
		if (!r->learned && length > PIECE)
			r->ends = 1;	/* it is there already: no need to read it */
		else if (!skip(s, length))
			r->why = "cut off";
	} else
		r->why = "an answer without a length";
}

static int
send_all(int fd, const char *from, size_t size)
{
	ssize_t n;

	for (; size > 0; from += n, size -= (size_t)n)
		if ((n = send(fd, from, size, MSG_NOSIGNAL)) <= 0)
			return (0);
	return (1);
}

static void
hang_up(int *door)
{

	if (*door >= 0)
		close(*door);
	*door = -1;
}

/* A connection that was kept may have been closed meanwhile; then the request is made anew. */
static struct reply
converse(int *door, char *at, const char *request, size_t size, unsigned seconds, int has_body)
{
	struct timeval patience = {.tv_sec = (time_t)seconds};
	struct stream s;
	struct reply r;
	int kept;

	do {
		s = (struct stream){.at = at, .room = HEAD_SIZE};
		r = (struct reply){0};
		kept = *door >= 0;
		if (!kept)
			*door = connect_to(settings.door, CONNECT_SECONDS);
		if (*door < 0) {
			r.why = "the site does not answer";
			return (r);
		}
		s.fd = *door;
		setsockopt(s.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
		setsockopt(s.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
		if (send_all(s.fd, request, size))
			read_answer(&s, has_body, &r);
		else
			r.why = "the site hung up";
		if (r.status == 0 || r.why != NULL || r.ends || s.used != s.size)
			hang_up(door);
	} while (kept && !s.heard && !s.timed_out);
	return (r);
}

static struct reply
ask(const struct object *o, const char *method, const char *more, unsigned seconds, int *door)
{
	struct reply r = {0};
	size_t size;
	char *request = malloc(REQUEST_SIZE), *answer = malloc(HEAD_SIZE + 1);

	if (request == NULL || answer == NULL) {
		r.why = "no memory";
		goto out;
	}
	size = (size_t)snprintf(request, REQUEST_SIZE / 2, "%s http%s://%s%s HTTP/1.1\r\nHost: %s\r\n"
	    "freshline-fetch: %s\r\n%s", method, o->https ? "s" : "", o->host, o->target, o->host,
	    settings.token, more);
	if (o->headers_size > 0)
		memcpy(request + size, o->headers, o->headers_size);
	size += o->headers_size;
	memcpy(request + size, "\r\n", 2);
	size += 2;
	r = converse(door, answer, request, size, seconds, strcmp(method, "HEAD") != 0);
	if (r.status != 0 && *r.epoch == '\0')
		r.why = "the site's answer did not pass through the gate";
out:
	free(answer);
	free(request);
	return (r);
}

/* Squid answers from its cache or not at all: 504 where it is not there, or has expired. */
static struct reply
look(const struct object *o, int *door)
{

	return (ask(o, "HEAD", "Cache-Control: only-if-cached\r\n", PROBE_SECONDS, door));
}

static int
is_stored(const struct reply *r)
{

	return (r->status != 0 && r->status != 504 && r->why == NULL);
}

/* The position in "<generation>.<position>.<name>.<host>" */
static uint64_t
position_of(const struct reply *r)
{
	const char *dot = strchr(r->epoch, '.');

	return (dot == NULL ? 0 : strtoull(dot + 1, NULL, 10));
}

struct answer
visit_probe(char *body, size_t size, int *door)
{
	struct answer answer;
	struct object o;
	struct reply r;
	const char *why;

	if ((why = read_object(body, size, "probe", &o)) != NULL)
		answer = say(400, "bad %s\n", why);
	else {
		r = look(&o, door);
		if (r.why != NULL)
			answer = say(500, "failed %s\n", r.why);
		else if (is_stored(&r))
			answer = say(200, "stored %" PRIu64 "\n", position_of(&r));
		else
			answer = say(200, "absent\n");
	}
	free(o.headers);
	return (answer);
}

/* Whether it was refreshed since it was asked for. */
static int
overtaken(const struct object *o, const struct reply *r)
{
	struct name name = {{o->host, strlen(o->host)}, {o->target, strlen(o->target)}};
	struct epoch epoch = epoch_of(&name);
	char now[100];

	snprintf(now, sizeof now, "%s.%" PRIu64 ".", epoch.generation, epoch.position);
	return (strncmp(r->epoch, now, strlen(now)) != 0);
}

static struct answer
outcome(const char *word, int status, uint64_t bytes, const char *said)
{

	return (say(200, "fetched %s %d %" PRIu64 " %s\n", word, status, bytes, said));
}

static struct answer
once(const struct object *o, int *again, int *door)
{
	struct reply there, r = ask(o, "GET", "", (unsigned)settings.fetch_seconds, door);
	char text[sizeof r.location + 20];

	*again = 0;
	if (r.status == 0)
		return (outcome(strstr(r.why, "in time") != NULL ? "origin-timeout" : "other", 0, 0, r.why));
	if (*r.epoch == '\0')
		return (outcome("other", r.status, 0, r.why));
	if (!r.learned && strcmp(r.error, "ERR_READ_TIMEOUT") == 0)
		return (outcome("origin-timeout", 0, 0, "no headers from the origin in time"));
	if (!r.learned && *r.error != '\0') {
		snprintf(text, sizeof text, "no answer from the origin: %s", r.error);
		return (outcome("other", 0, 0, text));
	}
	if (r.status >= 500)
		return (outcome("origin-status", r.status, 0, "the origin answered that"));
	if (r.why != NULL)
		return (outcome("other", r.status, 0, r.why));
	if (r.status >= 300 && r.status <= 399 && *r.location != '\0') {
		snprintf(text, sizeof text, "redirects to %s", r.location);
		return (outcome("other", r.status, 0, text));
	}
	if (r.status < 200 || r.status > 299)
		return (outcome("other", r.status, 0, "no success"));
	if (overtaken(o, &r)) {
		*again = 1;
		return (outcome("other", r.status, r.bytes, "refreshed meanwhile"));
	}
	there = look(o, door);
	if (!is_stored(&there) || there.status != r.status)
		return (outcome("other", r.status, r.bytes, "not stored"));
	return (outcome("stored", r.status, r.bytes, r.learned ? "fetched" : "already"));
}

struct answer
visit_fetch(char *body, size_t size, int *door)
{
	struct answer answer;
	struct object o;
	const char *why;
	int round, again;

	if ((why = read_object(body, size, "fetch", &o)) != NULL)
		answer = say(400, "bad %s\n", why);
	else if (o.refused != NULL)
		answer = outcome("other", 0, 0, o.refused);
	else
		for (answer = once(&o, &again, door), round = 1; again && round < ROUNDS; round++) {
			free(answer.text);
			answer = once(&o, &again, door);
		}
	free(o.headers);
	return (answer);
}
