/* One answer of Squid's, read as its bytes come. */

#ifndef FRESHLINE_HEAR_H
#define FRESHLINE_HEAR_H

#include <stddef.h>
#include <stdint.h>

struct reply {
	int status;		/* 0: there was none */
	const char *why;	/* what went wrong, or NULL: it is whole */
	uint64_t bytes;
	char error[64], epoch[100];	/* which error page of Squid's it may be, and what it was asked under */
	int learned;		/* it is an answer of the origin's, of now */
	int varies;		/* or may */
	char location[1000];	/* where it redirects to; empty where it does not say, or that does not fit a line */
	int ends;		/* nothing more comes on this connection */
};

struct hearing {
	struct reply reply;
	int head_only, heard, chunked, measured;
	enum { HEAR_HEAD, HEAR_BODY, HEAR_SIZE, HEAR_CHUNK, HEAR_CHUNK_END, HEAR_TRAILER, HEAR_OVER } at;
	uint64_t left;		/* of the body, or of a chunk */
	size_t lines;		/* bytes of lines so far */
	char *begun;		/* a line whose end is still to come */
	size_t begun_size;
};

void hear_begin(struct hearing *h, int head_only);

/* What has come, which is overwritten. Whether it is over; more than the answer is no answer either. */
int hear(struct hearing *h, char *at, size_t size);

/* Nothing comes any more, and why; unless it is over. */
void hear_end(struct hearing *h, const char *why);

#endif
