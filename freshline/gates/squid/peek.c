#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "peek.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "settings.h"

#define QUERY		1
#define HIT		2
#define VERSION		2
#define HEAD_SIZE	20
#define ASKER_SIZE	4	/* an address behind the head of a query, which nobody reads */
#define REST_SECONDS	10

struct message {
	uint8_t opcode, version;
	uint16_t size;
	uint32_t number, flags, data, sender;
	char rest[ASKER_SIZE + PEEK_KEY_SIZE];
};

static _Atomic time_t silent_until;

static time_t
now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (at.tv_sec);
}

void
peek_give_up(void)
{

	atomic_store(&silent_until, now() + REST_SECONDS);
}

/* The door's address, with the port's number among datagrams. Squid takes what comes from its own address for its own. */
int
peek_open(void)
{
	const char *colon = strrchr(settings.door, ':');
	struct sockaddr_in there = {.sin_family = AF_INET}, here = {.sin_family = AF_INET};
	char host[INET_ADDRSTRLEN];
	size_t size;
	int fd;

	if (atomic_load(&silent_until) > now() || colon == NULL || (size = (size_t)(colon - settings.door)) >= sizeof host)
		return (-1);
	memcpy(host, settings.door, size);
	host[size] = '\0';
	if (inet_pton(AF_INET, host, &there.sin_addr) != 1)
		return (-1);
	there.sin_port = htons((uint16_t)atoi(colon + 1));
	here.sin_addr.s_addr = there.sin_addr.s_addr ^ htonl(3);
	if ((fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0)
		return (-1);
	if (bind(fd, (struct sockaddr *)&here, sizeof here) != 0 || connect(fd, (struct sockaddr *)&there, sizeof there) != 0) {
		close(fd);
		return (-1);
	}
	return (fd);
}

int
peek_send(int fd, uint32_t number, const char *key)
{
	struct message m = {.opcode = QUERY, .version = VERSION, .number = htonl(number)};
	size_t size = strlen(key) + 1;

	if (size > PEEK_KEY_SIZE)
		return (0);
	memcpy(m.rest + ASKER_SIZE, key, size);
	size += HEAD_SIZE + ASKER_SIZE;
	m.size = htons((uint16_t)size);
	return (send(fd, &m, size, MSG_NOSIGNAL) == (ssize_t)size);
}

int
peek_read(int fd, uint32_t *number, char key[PEEK_KEY_SIZE], int *there)
{
	struct message m;
	ssize_t n;
	size_t size;

	for (;;) {
		n = recv(fd, &m, sizeof m, 0);
		*number = 0;
		if (n < 0)
			return (errno == ECONNREFUSED);
		size = (size_t)n;
		if (size <= HEAD_SIZE || size > HEAD_SIZE + PEEK_KEY_SIZE || ntohs(m.size) != size || m.version != VERSION ||
		    m.rest[size - HEAD_SIZE - 1] != '\0')
			continue;
		memcpy(key, m.rest, size - HEAD_SIZE);
		*number = ntohl(m.number);
		*there = m.opcode == HIT;
		return (1);
	}
}
