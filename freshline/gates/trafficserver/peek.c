#include "peek.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <ts/experimental.h>

#define FRESH_SECONDS 60
#define TRIES 6	/* while another thread has what a look needs */

static _Thread_local TSCont cont;
static _Thread_local struct {
	enum { UNSURE, NOTHING_THERE, BUSY, THERE } what;
	int64_t length;
} seen;

static int
on_cache(TSCont self, TSEvent event, void *data)
{

	(void)self;
	if (event == TS_EVENT_CACHE_OPEN_READ) {
		seen.what = THERE;
		seen.length = TSVConnCacheObjectSizeGet((TSVConn)data);
		TSVConnClose((TSVConn)data);
	} else if (event == TS_EVENT_CACHE_OPEN_READ_FAILED)
		seen.what = (intptr_t)data == TS_CACHE_ERROR_NO_DOC ? NOTHING_THERE : BUSY;
	return (0);
}

/*
 * What is known at once: the disk is not waited for. Another thread is, for a moment, by calling off and asking again: the
 * server would look 10 ms later.
 */
static void
look(TSCacheKey key, TSCacheDataType type)
{
	TSAction action;
	int i;

	if (cont == NULL)
		cont = TSContCreate(on_cache, TSMutexCreate());
	seen.what = UNSURE;
	TSCacheKeyDataTypeSet(key, type);
	for (i = 0; i < TRIES && seen.what == UNSURE; i++) {
		if (i > 0)
			sched_yield();
		action = TSCacheRead(cont, key);
		if (!TSActionDone(action))
			TSActionCancel(action);
	}
}

static TSCacheKey
key_of(TSHttpTxn txn)
{
	TSMBuffer buffer = TSMBufferCreate();
	TSCacheKey key = NULL;
	const char *host;
	TSMLoc url;
	int size;

	if (TSUrlCreate(buffer, &url) == TS_SUCCESS) {
		if (TSHttpTxnCacheLookupUrlGet(txn, buffer, url) == TS_SUCCESS &&
		    (host = TSUrlHostGet(buffer, url, &size)) != NULL && size > 0) {
			key = TSCacheKeyCreate();
			TSCacheKeyDigestFromUrlSet(key, url);
			TSCacheKeyHostNameSet(key, host, size);
		}
		TSHandleMLocRelease(buffer, TS_NULL_MLOC, url);
	}
	TSMBufferDestroy(buffer);
	return (key);
}

static bool
is_set_to(TSHttpTxn txn, TSOverridableConfigKey setting, TSMgmtInt value)
{
	TSMgmtInt is;

	return (TSHttpTxnConfigIntGet(txn, setting, &is) == TS_SUCCESS && is == value);
}

TSCacheKey
peek_absent(TSHttpTxn txn)
{
	TSCacheKey key;

	/* A generation is part of the key, and another policy of what is fresh. */
	if (!is_set_to(txn, TS_CONFIG_HTTP_CACHE_GENERATION, -1) ||
	    !is_set_to(txn, TS_CONFIG_HTTP_CACHE_WHEN_TO_REVALIDATE, 0) || (key = key_of(txn)) == NULL)
		return (NULL);
	look(key, TS_CACHE_DATA_TYPE_NONE);
	if (seen.what == NOTHING_THERE)
		return (key);
	TSCacheKeyDestroy(key);
	return (NULL);
}

static bool
has(TSMBuffer buffer, TSMLoc headers, const char *name, int size)
{
	TSMLoc field = TSMimeHdrFieldFind(buffer, headers, name, size);

	if (field != TS_NULL_MLOC)
		TSHandleMLocRelease(buffer, headers, field);
	return (field != TS_NULL_MLOC);
}

int64_t
peek_length(TSHttpTxn txn, TSMBuffer buffer, TSMLoc headers)
{
	TSMgmtInt longest = 0;
	int64_t length = -1, off = INT64_MAX;
	TSMLoc field;

	if (TSHttpTxnGetMaxAge(txn, NULL) < FRESH_SECONDS || has(buffer, headers, TS_MIME_FIELD_VARY, TS_MIME_LEN_VARY) ||
	    has(buffer, headers, TS_MIME_FIELD_AGE, TS_MIME_LEN_AGE) ||
	    TSHttpTxnConfigIntGet(txn, TS_CONFIG_HTTP_CACHE_GUARANTEED_MAX_LIFETIME, &longest) != TS_SUCCESS ||
	    longest < FRESH_SECONDS)
		return (-1);
	field = TSMimeHdrFieldFind(buffer, headers, TS_MIME_FIELD_DATE, TS_MIME_LEN_DATE);
	if (field != TS_NULL_MLOC) {
		off = (int64_t)time(NULL) - (int64_t)TSMimeHdrFieldValueDateGet(buffer, headers, field);
		TSHandleMLocRelease(buffer, headers, field);
	}
	if (off < -FRESH_SECONDS / 2 || off > FRESH_SECONDS / 2)
		return (-1);
	field = TSMimeHdrFieldFind(buffer, headers, TS_MIME_FIELD_CONTENT_LENGTH, TS_MIME_LEN_CONTENT_LENGTH);
	if (field != TS_NULL_MLOC) {
		length = TSMimeHdrFieldValueInt64Get(buffer, headers, field, -1);
		TSHandleMLocRelease(buffer, headers, field);
	}
	return (length);
}

/* Who may try again does: then one try is one that succeeded. */
static bool
wrote_at_first_try(TSHttpTxn txn)
{
	TSMgmtInt tries, again;

	return (TSHttpTxnInfoIntGet(txn, TS_TXN_INFO_CACHE_OPEN_WRITE_TRIES, &tries) == TS_SUCCESS && tries == 1 &&
	    TSHttpTxnConfigIntGet(txn, TS_CONFIG_HTTP_CACHE_MAX_OPEN_WRITE_RETRIES, &again) == TS_SUCCESS && again >= 1);
}

bool
peek_there(TSHttpTxn txn, TSCacheKey key, int64_t length)
{
	bool there = false;

	/* In this way nothing is seen that somebody is still bringing, only what is there whole, or about to be put there. */
	if (wrote_at_first_try(txn)) {
		look(key, TS_CACHE_DATA_TYPE_NONE);
		there = seen.what == THERE && seen.length == length;
	}
	if (there) {
		/* And in this way the latter is no more dropped when there is too much to write. */
		look(key, TS_CACHE_DATA_TYPE_HTTP);
		there = seen.what == THERE && seen.length == length;
	}
	TSCacheKeyDestroy(key);
	return (there);
}
