/*
 * What the helper is told: lines of `name value` in a file that only Squid's user can read.
 */

#ifndef FRESHLINE_SETTINGS_H
#define FRESHLINE_SETTINGS_H

#include <stdint.h>

#include "lease.h"

struct settings {
	char *secret;		/* what the controller shows */
	char *token;		/* what Squid and we show each other */
	char *journal;
	char *gate;		/* where we listen: host:port */
	char *door;		/* where Squid listens for us */
	uint64_t rules, tags;	/* how many at most */
	uint64_t fetch_seconds;	/* a site that says nothing for so long is given up */
	enum lapse lapse;
};

extern struct settings settings;

/* 0, or -1 after it has said on stderr what is wrong. */
int settings_read(const char *path);

#endif
