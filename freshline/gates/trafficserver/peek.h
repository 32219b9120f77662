/*
 * Bare looks into the cache: is something under this key? They need no transaction, and know nothing of what it is. Yet
 * that what a transaction of ours fetched is there can be told by them, where
 *
 * 1. after its stamp was taken nothing was under its key, nor was anybody writing there (peek_absent());
 * 2. it was let write there at its first try, so until it was done nobody else was (peek_there());
 * 3. now that it is something of its length is there, whole (peek_there() again), and no rule is newer than the stamp;
 * 4. it has no Vary, no Age, a date of now, and is fresh for a minute: whoever finds it finds it usable (peek_length()).
 *
 * Whatever else is seen proves nothing, and it has to be looked by a transaction.
 */

#ifndef FRESHLINE_PEEK_H
#define FRESHLINE_PEEK_H

#include <stdbool.h>
#include <stdint.h>
#include <ts/ts.h>

/* From the hook of a lookup that found nothing. NULL: it is not known. */
TSCacheKey peek_absent(TSHttpTxn txn);

/* From the hook of the origin's headers: how long it will be. Below zero: it is not of the second kind. */
int64_t peek_length(TSHttpTxn txn, TSMBuffer buffer, TSMLoc headers);

/* From the hook of its end. Frees the key. */
bool peek_there(TSHttpTxn txn, TSCacheKey key, int64_t length);

#endif
