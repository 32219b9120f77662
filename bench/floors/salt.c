/*
 * Preloaded, it makes each of Squid's keys longer by an epoch, in Squid's own process and without being asked: what a key
 * costs by itself. Squid hashes one byte for the method, and then the URL. Nothing here says when an object's fetch began.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

typedef void update(void *, size_t, const uint8_t *);

static const uint8_t epoch[] = "#0123456789abcdef.0000001234";
static update *theirs;

__attribute__((constructor)) static void
begin(void)
{

	theirs = (update *)dlsym(RTLD_NEXT, "nettle_md5_update");
}

void
nettle_md5_update(void *context, size_t size, const uint8_t *at)
{
	static int url;

	theirs(context, size, at);
	if (url)
		theirs(context, sizeof epoch - 1, epoch);
	url = !url && size == 1;
}
