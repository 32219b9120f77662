#ifndef FRESHLINE_LISTEN_H
#define FRESHLINE_LISTEN_H

#include <stddef.h>

/*
 * A listening socket on host:port, [v6]:port too. Tries until the address is free, and says so now and then. -1 after listen_end.
 */
int listen_on(const char *address);

/* Another socket that listens; 0 after listen_end, which has closed it. */
int listen_keep(int fd);

/* Ends every one of them, so that another process can have the addresses. */
void listen_end(void);

/* A connection to host:port that is being made, not to be waited for; or -1. */
int connect_begin(const char *address);

/* Equal, in a time that tells nothing of `secret`. */
int same(const char *given, size_t size, const char *secret);

#endif
