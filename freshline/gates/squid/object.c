#include "object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "canonical.h"

#define HOST_SIZE	255		/* bytes of a host */

int
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
	if (o->headers_size + n + size + 4 > OBJECT_REQUEST_SIZE / 2) {
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

/* "<scheme> <host> <target>" */
static const char *
begin_object(struct object *o, char *scheme)
{
	char *host, *target;

	memset(o, 0, sizeof *o);
	if ((host = strchr(scheme, ' ')) == NULL || (target = strchr(host + 1, ' ')) == NULL)
		return ("a line that lacks a field");
	*host++ = *target++ = '\0';
	o->https = strcmp(scheme, "https") == 0;
	o->host = host;
	o->target = target;
	if ((!o->https && strcmp(scheme, "http") != 0) || !is_host(host) || *target != '/' || !is_printable(target) ||
	    strlen(target) > OBJECT_REQUEST_SIZE / 4)
		return ("no scheme, host and target");
	return (NULL);
}

const char *
objects_read(char *body, size_t size, const char *verb, size_t most, struct objects *found)
{
	size_t verb_size = strlen(verb);
	const char *why;
	char *line, *rest;

	*found = (struct objects){.all = calloc(most, sizeof *found->all)};
	if (found->all == NULL)
		return ("no memory");
	if (size < 5 || memcmp(body + size - 5, "\nend\n", 5) != 0)
		return ("cut off: no end");
	body[size - 5] = '\0';
	if (strlen(body) != size - 5)
		return ("a NUL in it");
	for (rest = body; (line = strsep(&rest, "\n")) != NULL;)
		if (strncmp(line, verb, verb_size) == 0 && line[verb_size] == ' ') {
			if (found->n == most) {
				snprintf(found->why, sizeof found->why, "more than %zu", most);
				return (found->why);
			}
			if ((why = begin_object(&found->all[found->n++], line + verb_size + 1)) != NULL)
				return (why);
		} else if (found->n == 0) {
			snprintf(found->why, sizeof found->why, "no %s in the first line", verb);
			return (found->why);
		} else if (strncmp(line, "header ", 7) != 0 || !add_header(&found->all[found->n - 1], line))
			return ("a line that is no header");
	return (NULL);
}

void
objects_free(struct objects *found)
{

	for (; found->n > 0; found->n--)
		free(found->all[found->n - 1].headers);
	free(found->all);
	found->all = NULL;
}
