#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "errand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The server's own, ours, or what would make another request of it. */
static const char *const not_sent[] = {"connection", "keep-alive", "proxy-connection", "proxy-authenticate",
    "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length", "expect", "range",
    "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"};
/* By these a visitor has some servers pass over what they have. */
static const char *const not_heeded[] = {"cache-control", "pragma"};
static const char ours[] = "freshline-";

static int
next(struct slice *rest, char until, struct slice *part)
{
	const char *end = memchr(rest->at, until, rest->size);

	if (end == NULL)
		return (0);
	part->at = rest->at;
	part->size = (size_t)(end - rest->at);
	rest->at = end + 1;
	rest->size -= part->size + 1;
	return (1);
}

static int
is(struct slice part, const char *word)
{

	return (part.size == strlen(word) && memcmp(part.at, word, part.size) == 0);
}

static int
made_of(struct slice part, const char *more)
{
	size_t i;

	for (i = 0; i < part.size; i++)
		if (!(part.at[i] >= 'a' && part.at[i] <= 'z') && !(part.at[i] >= 'A' && part.at[i] <= 'Z') &&
		    !(part.at[i] >= '0' && part.at[i] <= '9') && (part.at[i] == '\0' || strchr(more, part.at[i]) == NULL))
			return (0);
	return (part.size > 0);
}

static int
printable(struct slice part)
{
	size_t i;

	for (i = 0; i < part.size; i++)
		if (part.at[i] < '!' || part.at[i] > '~')
			return (0);
	return (part.size > 0);
}

/* Every % must begin an escape. */
static int
unescape(struct slice *part)
{
	char *at = (char *)(uintptr_t)part->at;
	size_t i, escapes = 0, size;

	for (i = 0; i < part->size; i++)
		escapes += part->at[i] == '%';
	size = percent_decode(at, at, part->size);
	if (size != part->size - 2 * escapes)
		return (0);
	part->size = size;
	return (1);
}

static int
is_among(struct slice name, const char *const *names, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (name.size == strlen(names[i]) && strncasecmp(name.at, names[i], name.size) == 0)
			return (1);
	return (0);
}

static void
judge_header(struct errand *errand, struct slice name, struct slice value)
{
	const char *why = NULL;
	size_t i;

	if (!made_of(name, "!#$&'*+.^_`|~-"))
		why = "a header name that is none";
	else if (name.size >= sizeof ours - 1 && strncasecmp(name.at, ours, sizeof ours - 1) == 0)
		why = "a header that is ours";
	else if (is_among(name, not_sent, sizeof not_sent / sizeof *not_sent) ||
	    (errand->kind != VISIT && is_among(name, not_heeded, sizeof not_heeded / sizeof *not_heeded)))
		why = "a header that may not be set";
	for (i = 0; why == NULL && i < value.size; i++)
		if (((unsigned char)value.at[i] < ' ' && value.at[i] != '\t') || value.at[i] == 127)
			why = "a control character in a header";
	if (why != NULL && errand->refused[0] == '\0')
		snprintf(errand->refused, sizeof errand->refused, "%s", why);
}

static int
begins_with(struct slice rest, struct slice word)
{

	return (rest.size > word.size && memcmp(rest.at, word.at, word.size) == 0);
}

/* How much of it is one errand: up to the next line that begins another. `word` is what such lines begin with. */
static size_t
size_of_first(struct slice rest, struct slice word)
{
	struct slice line, from = rest;

	while (next(&rest, '\n', &line) && !begins_with(rest, word))
		;
	return (from.size - rest.size);
}

static const char *
read_lines(struct errand *errand, struct slice word, struct slice rest)
{
	struct slice line, first, name, value;

	(void)next(&rest, '\n', &line);
	if (!begins_with(line, word))
		return (errand->kind == PROBE ? "no probe" : "no fetch");
	line = (struct slice){line.at + word.size, line.size - word.size};
	if (!next(&line, ' ', &errand->scheme) || !(is(errand->scheme, "http") || is(errand->scheme, "https")))
		return ("neither http nor https");
	if (!next(&line, ' ', &errand->host) || !made_of(errand->host, "._-") || errand->host.size > 255)
		return ("no host");
	errand->target = line;
	if (!printable(line) || line.at[0] != '/')
		return ("no path");
	while (next(&rest, '\n', &line)) {
		if (!next(&line, ' ', &first) || !is(first, "header") || !next(&line, ' ', &name) || !printable(name))
			return ("no header line");
		value = line;
		if ((value.size > 0 && !printable(value)) || !unescape(&name) || !unescape(&value))
			return ("a header that is not percent-encoded");
		if (errand->n_headers == ERRAND_HEADERS)
			return ("too many headers");
		judge_header(errand, name, value);
		errand->headers[errand->n_headers].name = name;
		errand->headers[errand->n_headers++].value = value;
	}
	return (NULL);
}

static struct errand *
read_one(enum errand_kind kind, struct slice word, struct slice text, const char **why)
{
	struct errand *errand = calloc(1, sizeof *errand + text.size);

	*why = "no memory";
	if (errand == NULL)
		return (NULL);
	errand->kind = kind;
	memcpy(errand->text, text.at, text.size);
	if ((*why = read_lines(errand, word, (struct slice){errand->text, text.size})) == NULL)
		return (errand);
	free(errand);
	return (NULL);
}

struct errand *
errand_read(enum errand_kind kind, struct slice body, unsigned most, char why[ERRAND_WHY])
{
	struct errand *first = NULL, **link = &first, *gone;
	struct slice word = kind == PROBE ? (struct slice){"probe ", 6} : (struct slice){"fetch ", 6};
	const char *wrong = NULL;
	unsigned n = 0;
	size_t size;

	why[0] = '\0';
	if (body.size < 5 || memcmp(body.at + body.size - 5, "\nend\n", 5) != 0)
		wrong = "cut off: no end";
	else
		body.size -= 4;
	while (wrong == NULL && body.size > 0) {
		if (n == most) {
			snprintf(why, ERRAND_WHY, "more than %u", most);
			break;
		}
		size = size_of_first(body, word);
		if ((*link = read_one(kind, word, (struct slice){body.at, size}, &wrong)) == NULL)
			break;
		(*link)->number = ++n;
		link = &(*link)->next;
		body = (struct slice){body.at + size, body.size - size};
	}
	if (wrong != NULL)
		snprintf(why, ERRAND_WHY, "%s", wrong);
	while (why[0] != '\0' && (gone = first) != NULL) {
		first = gone->next;
		free(gone);
	}
	return (first);
}

void
errand_free(struct errand *errand)
{

	free(errand);
}
