#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HOST_SIZE	256
#define BACKLOG		1024
#define LOOK_MS		20
#define SAY_EVERY_MS	60000
#define LISTENERS	4

static int listeners[LISTENERS], held, ended;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static struct addrinfo *
look_up(const char *address, int flags)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	const char *colon = strrchr(address, ':');
	char host[HOST_SIZE];
	size_t size;

	if (colon == NULL || (size = (size_t)(colon - address)) >= sizeof host)
		return (NULL);
	memcpy(host, address, size);
	host[size] = '\0';
	if (size > 2 && host[0] == '[' && host[size - 1] == ']') {
		host[size - 1] = '\0';
		memmove(host, host + 1, size - 1);
	}
	return (getaddrinfo(host, colon + 1, &hints, &found) == 0 ? found : NULL);
}

static int
try(const char *address)
{
	struct addrinfo *found = look_up(address, AI_PASSIVE);
	const int on = 1;
	int fd = -1;

	if (found == NULL) {
		errno = EADDRNOTAVAIL;
		return (-1);
	}
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	    bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return (fd);
}

int
listen_keep(int fd)
{
	int kept;

	pthread_mutex_lock(&turn);
	kept = !ended && held < LISTENERS;
	if (kept)
		listeners[held++] = fd;
	else
		close(fd);
	pthread_mutex_unlock(&turn);
	return (kept);
}

int
listen_on(const char *address)
{
	const struct timespec pause = {0, LOOK_MS * 1000000};
	unsigned waited = 0;
	int fd;

	for (; (fd = try(address)) < 0; waited += LOOK_MS) {
		if (waited % SAY_EVERY_MS == SAY_EVERY_MS / 60)
			fprintf(stderr, "freshline: ERROR: cannot listen on %s: %s\n", address, strerror(errno));
		nanosleep(&pause, NULL);
	}
	return (listen_keep(fd) ? fd : -1);
}

void
listen_end(void)
{

	pthread_mutex_lock(&turn);
	for (ended = 1; held > 0; held--) {
		(void)shutdown(listeners[held - 1], SHUT_RDWR);	/* wakes who waits in accept(2) */
		close(listeners[held - 1]);
	}
	pthread_mutex_unlock(&turn);
}

int
connect_begin(const char *address)
{
	struct addrinfo *found = look_up(address, 0);
	const int on = 1;
	int fd;

	if (found == NULL)
		return (-1);
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0 && errno != EINPROGRESS) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return (fd);
}

int
same(const char *given, size_t size, const char *secret)
{
	size_t i;
	unsigned char differs = size != strlen(secret);

	for (i = 0; secret[i] != '\0'; i++)
		differs |= (unsigned char)(secret[i] ^ (i < size ? given[i] : (char)~secret[i]));
	return (differs == 0);
}
