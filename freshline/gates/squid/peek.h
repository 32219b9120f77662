/*
 * Whether Squid has an object under its key, asked by ICP (RFC 2186): a datagram each way, where HEAD costs Squid
 * eight times as much. Only that it is there counts; whoever is told anything else, or nothing, asks by HEAD.
 *
 * Squid drops an object that it may not keep when its last reader is done with it, and who asks in the same round of its
 * event loop, on another socket, would still find it. So what has been read is asked for only after another exchange,
 * which was begun then, has been answered (visit.c).
 */

#ifndef FRESHLINE_PEEK_H
#define FRESHLINE_PEEK_H

#include <stddef.h>
#include <stdint.h>

#define PEEK_KEY_SIZE	2048	/* of a key, at most: longer ones are asked for by HEAD */

/* A socket, or -1: there is none, or nobody answers there. */
int peek_open(void);

/* 0: it could not be sent. */
int peek_send(int fd, uint32_t number, const char *key);

/* The next answer; 0: there is none now. Where nobody listens it says so of `number` 0. */
int peek_read(int fd, uint32_t *number, char key[PEEK_KEY_SIZE], int *there);

/* Nobody answers: not to be tried for a while. */
void peek_give_up(void);

#endif
