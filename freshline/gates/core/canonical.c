#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* memrchr */
#endif

#include "canonical.h"

#include <string.h>

#define HOST_LENGTH	255	/* bytes; no site's name is as long */

static int
hex(char c)
{

	if (c >= '0' && c <= '9')
		return (c - '0');
	if (c >= 'a' && c <= 'f')
		return (c - 'a' + 10);
	if (c >= 'A' && c <= 'F')
		return (c - 'A' + 10);
	return (-1);
}

size_t
percent_decode(char *to, const char *from, size_t size)
{
	size_t read, written = 0;

	for (read = 0; read < size; read++, written++) {
		if (from[read] == '%' && size - read > 2 && hex(from[read + 1]) >= 0 && hex(from[read + 2]) >= 0) {
			to[written] = (char)(hex(from[read + 1]) << 4 | hex(from[read + 2]));
			read += 2;
		} else
			to[written] = from[read];
	}
	return (written);
}

/*
 * Folds slashes and resolves dot segments, in place: the result is never longer than what it is made from, but for
 * the slash that starts it. Whatever stands before the first slash is dropped.
 */
static size_t
resolve(char *path, size_t size)
{
	size_t read = 0, start, written = 1;

	while (read < size && path[read] != '/')
		read++;
	if (read == size) {
		path[0] = '/';
		return (1);
	}
	if (read > 0) {
		memmove(path, path + read, size - read);
		size -= read;
		read = 0;
	}

	/* path[0..written) is the result so far, and ends in a slash until the last segment. */
	while (read < size) {
		while (read < size && path[read] == '/')
			read++;
		start = read;
		while (read < size && path[read] != '/')
			read++;
		if (read - start == 1 && path[start] == '.')
			continue;
		if (read - start == 2 && path[start] == '.' && path[start + 1] == '.') {
			if (written > 1)
				for (written--; path[written - 1] != '/'; written--)
					;
			continue;
		}
		memmove(path + written, path + start, read - start);
		written += read - start;
		if (read < size)
			path[written++] = '/';
	}
	return (written);
}

size_t
canonical_url(char *to, const char *url, size_t size, size_t *path_size)
{
	const char *mark = memchr(url, '?', size);
	size_t raw = mark == NULL ? size : (size_t)(mark - url);
	size_t written;

	written = resolve(to, percent_decode(to, url, raw));
	*path_size = written;
	if (mark != NULL) {
		to[written++] = '?';
		written += percent_decode(to + written, mark + 1, size - raw - 1);
	}
	return (written);
}

size_t
canonical_host(char *to, const char *host, size_t size)
{
	const char *user, *colon;
	size_t i;

	/* Varnish keeps objects of odd spellings apart, and asks the origin for them; it would take them for one site. */
	if ((user = memrchr(host, '@', size)) != NULL) {
		size -= (size_t)(user + 1 - host);
		host = user + 1;
	}
	colon = size > 0 && *host != '[' ? memchr(host, ':', size) : memrchr(host, ':', size);
	if (colon != NULL && memchr(colon, ']', size - (size_t)(colon - host)) == NULL)
		size = (size_t)(colon - host);
	while (size > 0 && host[size - 1] == '.')
		size--;
	for (i = 0; i < size; i++)
		to[i] = host[i] >= 'A' && host[i] <= 'Z' ? (char)(host[i] - 'A' + 'a') : host[i];
	return (size);
}

int
is_site_name(struct slice host)
{
	static const char more[] = {'.', '-', '_', ':', '[', ']'};
	size_t i;

	for (i = 0; i < host.size; i++)
		if (!(host.at[i] >= 'a' && host.at[i] <= 'z') && !(host.at[i] >= '0' && host.at[i] <= '9') &&
		    !(host.at[i] >= 'A' && host.at[i] <= 'Z') && memchr(more, host.at[i], sizeof more) == NULL)
			return (0);
	return (i > 0 && i <= HOST_LENGTH);
}
