#include "hear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "object.h"

#define LINES_SIZE	(128u << 10)	/* bytes of an answer's head, and of lines between its chunks that follow one another */
#define PIECE		65536		/* a body this long is read though nobody needs it, so that the connection can be kept */

void
hear_begin(struct hearing *h, int head_only)
{

	*h = (struct hearing){.head_only = head_only};
}

static void
over(struct hearing *h, const char *why)
{

	h->reply.why = why;
	h->at = HEAR_OVER;
	free(h->begun);
	h->begun = NULL;
	h->begun_size = 0;
}

void
hear_end(struct hearing *h, const char *why)
{

	if (h->at != HEAR_OVER)
		over(h, h->reply.status == 0 ? why : "cut off");
}

/* "<learned> <epoch> <varies>", and a hyphen for what the request lacked. What visitors see of Vary may be less. */
static void
read_epoch(struct reply *r, const char *value)
{
	const char *epoch = strchr(value, ' ');

	if (epoch == NULL)
		return;
	r->learned = *value != '-';
	snprintf(r->epoch, sizeof r->epoch, "%.*s", (int)strcspn(epoch + 1, " "), epoch + 1);
	r->varies |= !r->learned || strcmp(epoch + 1 + strlen(r->epoch), " -") != 0;
}

static void
read_header(struct hearing *h, char *line)
{
	struct reply *r = &h->reply;
	char *value = strchr(line, ':');

	if (value == NULL)
		return;
	*value++ = '\0';
	value += strspn(value, " \t");
	if (strcasecmp(line, "content-length") == 0) {
		r->bytes = strtoull(value, NULL, 10);
		h->measured = 1;
	} else if (strcasecmp(line, "transfer-encoding") == 0)
		h->chunked = strcasecmp(value, "chunked") == 0;
	else if (strcasecmp(line, "connection") == 0)
		r->ends = strcasecmp(value, "close") == 0;
	else if (strcasecmp(line, "x-squid-error") == 0)
		snprintf(r->error, sizeof r->error, "%.*s", (int)strcspn(value, " "), value);
	else if (strcasecmp(line, "location") == 0 && is_printable(value) && strlen(value) < sizeof r->location)
		snprintf(r->location, sizeof r->location, "%s", value);
	else if (strcasecmp(line, "vary") == 0)
		r->varies = 1;
	else if (strcasecmp(line, "freshline-epoch") == 0)
		read_epoch(r, value);
}

static void
begin_body(struct hearing *h)
{
	struct reply *r = &h->reply;

	if (h->head_only || r->status == 204 || r->status == 304)
		over(h, NULL);
	else if (h->chunked) {
		r->bytes = 0;
		h->at = HEAR_SIZE;
	} else if (!h->measured)
		over(h, "an answer without a length");
	else if (!r->learned && r->bytes > PIECE) {
		r->ends = 1;	/* it is there already: no need to read it */
		over(h, NULL);
	} else if (r->bytes == 0)
		over(h, NULL);
	else {
		h->left = r->bytes;
		h->at = HEAR_BODY;
	}
	h->lines = 0;
}

static void
read_size(struct hearing *h, const char *line)
{
	char *end;

	h->left = strtoull(line, &end, 16);
	if (end == line || h->left > INT64_MAX)
		over(h, "cut off: not a chunk");
	else {
		h->reply.bytes += h->left;
		h->at = h->left == 0 ? HEAR_TRAILER : HEAR_CHUNK;
	}
}

static void
take_line(struct hearing *h, char *line)
{

	switch (h->at) {
	case HEAR_HEAD:
		if (*line == '\0' && h->reply.status != 0)
			begin_body(h);
		else if (h->reply.status != 0)
			read_header(h, line);
		else if (sscanf(line, "HTTP/1.%*1[01] %3d", &h->reply.status) != 1 || h->reply.status < 100) {
			h->reply.status = 0;
			over(h, "the site hung up");
		}
		break;
	case HEAR_SIZE:
		read_size(h, line);
		break;
	case HEAR_CHUNK_END:
		if (*line == '\0')
			h->at = HEAR_SIZE;
		else
			over(h, "cut off: not a chunk");
		break;
	default:
		if (*line == '\0')
			over(h, NULL);
	}
}

/* The end of a line, whose bytes may have begun before. 0: no memory. */
static int
take_end(struct hearing *h, char *at, size_t size)
{
	char *line = at, *whole = NULL;

	if (h->begun_size > 0) {
		if ((whole = realloc(h->begun, h->begun_size + size + 1)) == NULL)
			return (0);
		memcpy(whole + h->begun_size, at, size);
		size += h->begun_size;
		h->begun = NULL;
		h->begun_size = 0;
		line = whole;
	}
	if (size > 0 && line[size - 1] == '\r')
		size--;
	line[size] = '\0';
	take_line(h, line);
	free(whole);
	return (1);
}

static int
keep(struct hearing *h, const char *at, size_t size)
{
	char *more = realloc(h->begun, h->begun_size + size);

	if (more == NULL)
		return (0);
	memcpy(more + h->begun_size, at, size);
	h->begun = more;
	h->begun_size += size;
	return (1);
}

int
hear(struct hearing *h, char *at, size_t size)
{
	char *end;
	size_t n;

	h->heard |= size > 0;
	while (size > 0 && h->at != HEAR_OVER) {
		if (h->at == HEAR_BODY || h->at == HEAR_CHUNK) {
			n = h->left < size ? (size_t)h->left : size;
			h->left -= n;
			h->lines = 0;
			if (h->left == 0 && h->at == HEAR_BODY)
				over(h, NULL);
			else if (h->left == 0)
				h->at = HEAR_CHUNK_END;
		} else {
			end = memchr(at, '\n', size);
			n = end == NULL ? size : (size_t)(end - at) + 1;
			if ((h->lines += n) > LINES_SIZE)
				over(h, "cut off: a head that is too long");
			else if (end == NULL ? !keep(h, at, n) : !take_end(h, at, n - 1))
				over(h, "no memory");
		}
		at += n;
		size -= n;
	}
	if (size > 0)
		h->reply.ends = 1;
	return (h->at == HEAR_OVER);
}
