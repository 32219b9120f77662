/*
 * One spelling for hosts, paths and queries: freshline/domain/target.py in C, byte for byte.
 */

#ifndef FRESHLINE_CANONICAL_H
#define FRESHLINE_CANONICAL_H

#include <stddef.h>

struct slice {
	const char *at;
	size_t size;
};

/* Percent-decodes in place or elsewhere; returns the new size. What is no escape stays as it is. */
size_t percent_decode(char *to, const char *from, size_t size);

/*
 * Path and query as commands name them. `to` must hold size + 2 bytes; returns the size of the whole and leaves
 * in *path_size how much of it is the path. There is a query where the whole is longer than the path.
 */
size_t canonical_url(char *to, const char *url, size_t size, size_t *path_size);

/* Lower case, no port, no trailing dot. `to` must hold `size` bytes; returns the new size. */
size_t canonical_host(char *to, const char *host, size_t size);

/* May a site be called that? What an origin takes for a site all the same, no command can mean. */
int is_site_name(struct slice host);

#endif
