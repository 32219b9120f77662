/*
 * The gate inside Apache Traffic Server: what ties rules.c and gate.c to lookups and fetches.
 *
 * 1. Every answer of an origin is stored with the stamp that was taken before the lookup that led to it. So it says
 *    no more than was known when the fetch began, also where a conditional fetch was begun by an older object.
 * 2. Every object that a lookup finds is judged by its stamp, under the name the visitor used. One that is gone is
 *    made a miss, which lets go of it: whatever happens then, it is not served. One that is to be revalidated is made
 *    stale, and may not be served stale.
 * 3. What is being written while it is read carries the stamp of the fetch that brings it, and is judged like others.
 *
 * The stamp is a header of the stored response, of the kind that the server keeps to itself. A number goes with it that
 * no other response has, so that what was found of this one is remembered without a look at its tags.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "plugin.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <ts/experimental.h>

#include "disk.h"
#include "door.h"
#include "gate.h"
#include "lease.h"
#include "pattern.h"
#include "peek.h"

#define PLUGIN		"freshline"
#define STAMP		"@freshline-stamp"	/* no name of a header's on any wire: the server neither reads nor writes it */
#define WATCH_MS	500	/* between two looks whether the settings have changed */
#define TAGS_SIZE	16384	/* bytes of tags of one object; one with more is covered by every tag */
#define LABEL_SIZE	64	/* of a stamp, written */
#define FETCHES		64	/* that one request may ask for */
#define NAME_SIZE	65536	/* bytes of a URL; a longer one has no name, and is fetched whenever anything is newer */

static TSCont hooks;

/* What is known of a transaction: of each the stamp of what it may fetch, in two words; of few more than that. */
static int life_index, position_index, visit_index, lane_index;
_Static_assert(sizeof(void *) >= sizeof(uint64_t), "a stamp is kept in two pointers");

/* Where the numbers of responses begin: elsewhere each time, so that none comes again. */
static uint64_t first_serial;
static _Atomic uint64_t serials;

struct visit {
	int passing;		/* began without a lease */
	int refused;
	int ours;
	int64_t id;		/* of a round */
	TSCacheKey key;		/* under which there was nothing; or NULL */
	int64_t length;		/* of what will be there */
};

/* ---- settings ---- */

struct settings {
	char gate[300], secret[300], journal[1024];
	int lapse;
	uint64_t rules, age_seconds, fetch_seconds;
};

static char settings_path[1024];
static struct settings settings;
static const char *secret = settings.secret;

static int
number(const char *value, uint64_t least, uint64_t most, uint64_t *to)
{
	char *end;

	errno = 0;
	if (!isdigit((unsigned char)*value))
		return (0);
	*to = strtoull(value, &end, 10);
	return (errno == 0 && *end == '\0' && *to >= least && *to <= most);
}

static const char *
take_setting(struct settings *s, const char *name, const char *value)
{

	if (strcmp(name, "gate") == 0)
		return (snprintf(s->gate, sizeof s->gate, "%s", value) < (int)sizeof s->gate ? NULL : "too long");
	if (strcmp(name, "secret") == 0)
		return (strlen(value) >= 16 && snprintf(s->secret, sizeof s->secret, "%s", value) <= 256 ?
		    NULL : "not 16 to 256 characters");
	if (strcmp(name, "journal") == 0)
		return (*value == '/' && snprintf(s->journal, sizeof s->journal, "%s", value) < 1000 ?
		    NULL : "not an absolute path");
	if (strcmp(name, "lapse") == 0) {
		s->lapse = strcmp(value, "serve") == 0 ? LAPSE_SERVE : strcmp(value, "bypass") == 0 ? LAPSE_BYPASS :
		    strcmp(value, "refuse") == 0 ? LAPSE_REFUSE : LAPSES;
		return (s->lapse == LAPSES ? "neither serve, bypass nor refuse" : NULL);
	}
	if (strcmp(name, "rules") == 0)
		return (number(value, 1, RULES_CAP_LIMIT, &s->rules) ? NULL : "not 1 to 100000000");
	if (strcmp(name, "age_seconds") == 0)
		return (number(value, 1, UINT32_MAX, &s->age_seconds) ? NULL : "no number of seconds");
	if (strcmp(name, "fetch_seconds") == 0)
		return (number(value, 1, 86400, &s->fetch_seconds) ? NULL : "not 1 to 86400");
	return ("no such setting");
}

static int
read_settings(struct settings *s)
{
	char line[2048], name[64], value[1400];
	const char *why = NULL;
	FILE *file = fopen(settings_path, "re");
	unsigned at = 0;
	int n;

	memset(s, 0, sizeof *s);
	s->lapse = LAPSE_SERVE;
	s->rules = RULES_CAP;
	s->age_seconds = RULES_AGE;
	s->fetch_seconds = 600;
	if (file == NULL) {
		TSError("[" PLUGIN "] %s: %s", settings_path, strerror(errno));
		return (0);
	}
	while (why == NULL && fgets(line, sizeof line, file) != NULL) {
		at++;
		name[0] = '\0';
		n = sscanf(line, "%63s %1399s", name, value);
		if (n < 1 || name[0] == '#')
			continue;
		why = n == 2 ? take_setting(s, name, value) : "no value";
	}
	fclose(file);
	if (why != NULL)
		TSError("[" PLUGIN "] %s line %u: %s: %s", settings_path, at, name, why);
	else if (s->gate[0] == '\0' || s->secret[0] == '\0' || s->journal[0] == '\0') {
		why = "gate, secret and journal must be set";
		TSError("[" PLUGIN "] %s: %s", settings_path, why);
	}
	return (why == NULL);
}

static void
use_settings(const struct settings *s)
{

	lease_set_lapse((enum lapse)s->lapse);
	rules_bounds(s->rules, s->age_seconds);
	trips_set_seconds((unsigned)s->fetch_seconds);
}

/* ---- names and stamps ---- */

struct named {
	struct name names[2];
	unsigned n;
	char room[2][1024], *more[2];	/* what their URLs point to */
	TSMBuffer buffer;
	TSMLoc url;
};

static void
add(char *to, size_t *size, char first, struct slice part)
{

	if (part.at == NULL)
		return;
	to[(*size)++] = first;
	memcpy(to + *size, part.at, part.size);
	*size += part.size;
}

static void
add_name(struct named *n, struct slice host, struct slice path, struct slice params, struct slice query)
{
	struct name *name = &n->names[n->n];
	char *to = n->room[n->n];
	size_t size = path.size + params.size + query.size + 3, written = 0;

	*name = (struct name){{NULL, 0}, {NULL, 0}};	/* counts as covered by whatever is newer */
	if (is_site_name(host) && size <= NAME_SIZE &&
	    (size <= sizeof n->room[0] || (to = n->more[n->n] = malloc(size)) != NULL)) {
		to[written++] = '/';
		memcpy(to + written, path.at, path.size);
		written += path.size;
		add(to, &written, ';', params);
		add(to, &written, '?', query);
		name->host = host;
		name->url = (struct slice){to, written};
	}
	n->n++;
}

static struct slice
part(const char *at, int size)
{

	return ((struct slice){size < 0 ? NULL : at, at == NULL || size < 0 ? 0 : (size_t)size});
}

/*
 * As the visitor wrote it, before anything was mapped. The server has one object for a URL with an empty query and for
 * one without, so that has two names: who asks for either gets what was refreshed as the other.
 */
static void
name_visit(TSHttpTxn txn, struct named *n)
{
	struct slice host, path, params, query;
	const char *at;
	int size;

	memset(n->names, 0, sizeof n->names);
	n->more[0] = n->more[1] = NULL;
	n->n = 0;
	n->buffer = NULL;
	if (TSHttpTxnPristineUrlGet(txn, &n->buffer, &n->url) != TS_SUCCESS) {
		n->buffer = NULL;
		n->n = 1;
		return;
	}
	at = TSUrlHostGet(n->buffer, n->url, &size);
	host = part(at, size);
	at = TSUrlPathGet(n->buffer, n->url, &size);
	path = part(at == NULL ? "" : at, at == NULL ? 0 : size);
	at = TSUrlHttpParamsGet(n->buffer, n->url, &size);
	params = part(at, size);
	at = TSUrlHttpQueryGet(n->buffer, n->url, &size);
	query = part(at, size);
	add_name(n, host, path, params, query);
	if ((params.at != NULL && params.size == 0) || (query.at != NULL && query.size == 0)) {
		if (params.size == 0)
			params.at = NULL;
		if (query.size == 0)
			query.at = NULL;
		add_name(n, host, path, params, query);
	}
}

static void
name_done(struct named *n)
{

	free(n->more[0]);
	free(n->more[1]);
	if (n->buffer != NULL)
		TSHandleMLocRelease(n->buffer, TS_NULL_MLOC, n->url);
}

/* What is written on a stored response: "<life>.<position>.<serial>", in hexadecimal but for the position. */
struct label {
	struct stamp stamp;
	uint64_t serial;	/* 0: none; it has one since it was stored, and with every 304 another one */
};

static const char *
digits(const char *p, const char *end, unsigned base, uint64_t *to)
{
	unsigned digit;

	for (*to = 0; p < end && *p != '.'; p++) {
		digit = *p >= '0' && *p <= '9' ? (unsigned)(*p - '0') : *p >= 'a' && *p <= 'f' ? (unsigned)(*p - 'a') + 10 : 99;
		if (digit >= base)
			return (NULL);
		*to = *to * base + digit;
	}
	return (p < end ? p + 1 : end);
}

static struct label
read_label(TSMBuffer buffer, TSMLoc headers)
{
	struct label label = {{0, 0}, 0};
	const char *text, *end;
	TSMLoc field = TSMimeHdrFieldFind(buffer, headers, STAMP, sizeof STAMP - 1);
	int size;

	if (field == TS_NULL_MLOC)
		return (label);
	text = TSMimeHdrFieldValueStringGet(buffer, headers, field, -1, &size);
	if (text != NULL && size > 0 && size < LABEL_SIZE) {
		end = text + size;
		if ((text = digits(text, end, 16, &label.stamp.life)) == NULL ||
		    (text = digits(text, end, 10, &label.stamp.position)) == NULL ||
		    digits(text, end, 16, &label.serial) == NULL)
			label = (struct label){{0, 0}, 0};
	}
	TSHandleMLocRelease(buffer, headers, field);
	return (label);
}

static void
remove_all(TSMBuffer buffer, TSMLoc headers, const char *name, int size)
{
	TSMLoc field = TSMimeHdrFieldFind(buffer, headers, name, size), more;

	while (field != TS_NULL_MLOC) {
		more = TSMimeHdrFieldNextDup(buffer, headers, field);
		TSMimeHdrFieldDestroy(buffer, headers, field);
		TSHandleMLocRelease(buffer, headers, field);
		field = more;
	}
}

static void
set_header(TSMBuffer buffer, TSMLoc headers, const char *name, int name_size, const char *value)
{
	TSMLoc field;

	if (TSMimeHdrFieldCreateNamed(buffer, headers, name, name_size, &field) != TS_SUCCESS)
		return;
	if (TSMimeHdrFieldValueStringSet(buffer, headers, field, -1, value, (int)strlen(value)) == TS_SUCCESS)
		TSMimeHdrFieldAppend(buffer, headers, field);
	TSHandleMLocRelease(buffer, headers, field);
}

/* All tags of a response, one after another. NULL: too many to say. */
static const struct slice *
read_tags(TSMBuffer buffer, TSMLoc headers, char room[TAGS_SIZE], struct slice *tags)
{
	static const struct slice names[] = {{"Cache-Tag", 9}, {"Surrogate-Key", 13}, {"xkey", 4}};
	const char *text;
	TSMLoc field, more;
	size_t i;
	int size, fits = 1;

	*tags = (struct slice){room, 0};
	for (i = 0; i < sizeof names / sizeof *names; i++) {
		field = TSMimeHdrFieldFind(buffer, headers, names[i].at, (int)names[i].size);
		while (field != TS_NULL_MLOC) {
			text = TSMimeHdrFieldValueStringGet(buffer, headers, field, -1, &size);
			if (text != NULL && size > 0) {
				if (tags->size + (size_t)size + 1 > TAGS_SIZE)
					fits = 0;
				else {
					memcpy(room + tags->size, text, (size_t)size);
					tags->size += (size_t)size;
					room[tags->size++] = ' ';
				}
			}
			more = TSMimeHdrFieldNextDup(buffer, headers, field);
			TSHandleMLocRelease(buffer, headers, field);
			field = more;
		}
	}
	return (fits ? tags : NULL);
}

static enum verdict
judge(TSHttpTxn txn, const struct label *label, TSMBuffer buffer, TSMLoc headers)
{
	struct stamp stamp = label->stamp;
	enum verdict verdict = FRESH;
	char room[TAGS_SIZE];
	uint64_t sight = 0;
	struct slice tags;
	struct named n;

	if (rules_none_newer(stamp))
		return (FRESH);
	name_visit(txn, &n);
	if (label->serial != 0)
		sight = rules_sight(label, sizeof *label, n.names, n.n);
	if (sight == 0 || !rules_seen_fresh(sight, n.names, n.n))
		verdict = rules_judge(sight, stamp, n.names, n.n, read_tags(buffer, headers, room, &tags));
	name_done(&n);
	return (verdict);
}

/* ---- a visit ---- */

/* The hooks that no other transaction needs are its own, so that no hit pays for them. */
static struct visit *
new_visit(TSHttpTxn txn)
{
	struct visit *v = calloc(1, sizeof *v);

	if (v != NULL) {
		TSUserArgSet(txn, visit_index, v);
		TSHttpTxnHookAdd(txn, TS_HTTP_TXN_CLOSE_HOOK, hooks);
	}
	return (v);
}

static void
take_stamp(TSHttpTxn txn)
{
	struct stamp stamp = rules_stamp();

	TSUserArgSet(txn, life_index, (void *)(uintptr_t)stamp.life);
	TSUserArgSet(txn, position_index, (void *)(uintptr_t)stamp.position);
}

/* A life of 0: it took none. */
static struct stamp
stamp_of(TSHttpTxn txn)
{

	return ((struct stamp){(uintptr_t)TSUserArgGet(txn, life_index), (uintptr_t)TSUserArgGet(txn, position_index)});
}

/* Where a redirect leads, as the origin wrote it; empty where there is no such header, or it does not fit a line. */
static void
read_location(TSMBuffer buffer, TSMLoc headers, char to[LOCATION])
{
	TSMLoc field = TSMimeHdrFieldFind(buffer, headers, TS_MIME_FIELD_LOCATION, TS_MIME_LEN_LOCATION);
	const char *text;
	int size, i;

	*to = '\0';
	if (field == TS_NULL_MLOC)
		return;
	text = TSMimeHdrFieldValueStringGet(buffer, headers, field, -1, &size);
	for (i = 0; text != NULL && i < size && text[i] >= '!' && text[i] <= '~'; i++)
		;
	if (text != NULL && i == size && size < LOCATION) {
		memcpy(to, text, (size_t)size);
		to[size] = '\0';
	}
	TSHandleMLocRelease(buffer, headers, field);
}

static int64_t
length_of(TSMBuffer buffer, TSMLoc headers)
{
	TSMLoc field = TSMimeHdrFieldFind(buffer, headers, TS_MIME_FIELD_CONTENT_LENGTH, TS_MIME_LEN_CONTENT_LENGTH);
	int64_t length = -1;

	if (field != TS_NULL_MLOC) {
		length = TSMimeHdrFieldValueInt64Get(buffer, headers, field, -1);
		TSHandleMLocRelease(buffer, headers, field);
	}
	return (length);
}

/* Of the lane that it came by. Nobody else sees the header, nor is it taken from anybody else. */
static int64_t
take_number(TSHttpTxn txn)
{
	TSHttpSsn session = TSHttpTxnSsnGet(txn);
	int64_t id = (intptr_t)TSUserArgGet(session, lane_index);
	TSMBuffer buffer;
	TSMLoc headers, field;

	if (id != 0 || TSHttpTxnClientReqGet(txn, &buffer, &headers) != TS_SUCCESS)
		return (id);
	field = TSMimeHdrFieldFind(buffer, headers, LANE, sizeof LANE - 1);
	if (field != TS_NULL_MLOC) {
		id = TSMimeHdrFieldValueInt64Get(buffer, headers, field, -1);
		TSHandleMLocRelease(buffer, headers, field);
		remove_all(buffer, headers, LANE, sizeof LANE - 1);
		TSUserArgSet(session, lane_index, (void *)(intptr_t)id);
	}
	TSHandleMLocRelease(buffer, TS_NULL_MLOC, headers);
	return (id);
}

static TSEvent
on_request(TSHttpTxn txn)
{
	const char *tag;
	struct visit *v;

	if (TSHttpTxnIsInternal(txn) && (tag = TSHttpTxnPluginTagGet(txn)) != NULL && strcmp(tag, TAG) == 0) {
		if ((v = new_visit(txn)) == NULL)
			return (TS_EVENT_HTTP_ERROR);
		v->ours = 1;
		v->id = take_number(txn);
		return (round_began(v->id) ? TS_EVENT_HTTP_CONTINUE : TS_EVENT_HTTP_ERROR);
	}
	if (!lease_lapsed())
		return (TS_EVENT_HTTP_CONTINUE);
	v = new_visit(txn);
	if (v != NULL && lease_lapse() == LAPSE_BYPASS) {
		v->passing = 1;
		return (TS_EVENT_HTTP_CONTINUE);
	}
	if (v != NULL) {
		v->refused = 1;
		TSHttpTxnHookAdd(txn, TS_HTTP_SEND_RESPONSE_HDR_HOOK, hooks);
	}
	TSHttpTxnStatusSet(txn, TS_HTTP_STATUS_SERVICE_UNAVAILABLE);
	return (TS_EVENT_HTTP_ERROR);
}

/* What a transaction of ours is told of the object that its lookup found. */
static void
describe(TSHttpTxn txn, TSMBuffer buffer, TSMLoc headers, struct stamp stamp, int usable, struct found *found)
{
	TSMgmtInt writing = 0;

	(void)TSHttpTxnInfoIntGet(txn, TS_TXN_INFO_CACHE_HIT_RWW, &writing);
	found->what = usable ? USABLE : OLD;
	found->stamp = stamp;
	found->whole = !writing;
	found->status = (int)TSHttpHdrStatusGet(buffer, headers);
	found->length = length_of(buffer, headers);
	read_location(buffer, headers, found->location);
}

/* Judges what was found. */
static enum verdict
look_at(TSHttpTxn txn, int is_fresh, struct found *found)
{
	struct label label;
	enum verdict verdict;
	TSMBuffer buffer;
	TSMLoc headers;

	if (TSHttpTxnCachedRespGet(txn, &buffer, &headers) != TS_SUCCESS)
		return (GONE);
	label = read_label(buffer, headers);
	verdict = judge(txn, &label, buffer, headers);
	if (found != NULL)
		describe(txn, buffer, headers, label.stamp, verdict == FRESH && is_fresh, found);
	TSHandleMLocRelease(buffer, TS_NULL_MLOC, headers);
	return (verdict);
}

static TSEvent
on_lookup(TSHttpTxn txn)
{
	struct visit *v = TSUserArgGet(txn, visit_index);
	struct found room, *found = v != NULL && v->ours ? &room : NULL;
	enum verdict verdict;
	int lookup = TS_CACHE_LOOKUP_SKIPPED;

	take_stamp(txn);	/* before the object is judged: of what comes later it must know nothing */
	if (found != NULL) {
		found->what = NOTHING;
		found->location[0] = '\0';
	}
	if (TSHttpTxnCacheLookupStatusGet(txn, &lookup) == TS_SUCCESS &&
	    (lookup == TS_CACHE_LOOKUP_HIT_FRESH || lookup == TS_CACHE_LOOKUP_HIT_STALE)) {
		verdict = v != NULL && v->passing ? GONE : look_at(txn, lookup == TS_CACHE_LOOKUP_HIT_FRESH, found);
		if (verdict == GONE)
			TSHttpTxnCacheLookupStatusSet(txn, TS_CACHE_LOOKUP_MISS);
		else if (verdict == REVALIDATE) {
			TSHttpTxnCacheLookupStatusSet(txn, TS_CACHE_LOOKUP_HIT_STALE);
			/* Not even one that is not a second old, so less than nothing. */
			TSHttpTxnConfigIntSet(txn, TS_CONFIG_HTTP_CACHE_MAX_STALE_AGE, -1);
		}
	}
	if (found != NULL && !round_looked(v->id, found)) {
		TSHttpTxnStatusSet(txn, TS_HTTP_STATUS_GATEWAY_TIMEOUT);
		return (TS_EVENT_HTTP_ERROR);
	}
	if (found != NULL && lookup == TS_CACHE_LOOKUP_MISS && v->key == NULL)
		v->key = peek_absent(txn);
	return (TS_EVENT_HTTP_CONTINUE);
}

static void
on_response(TSHttpTxn txn)
{
	struct visit *v = TSUserArgGet(txn, visit_index);
	struct stamp stamp = stamp_of(txn);
	TSMBuffer buffer;
	TSMLoc headers;
	struct label label;
	char text[LABEL_SIZE], location[LOCATION];

	if (TSHttpTxnServerRespGet(txn, &buffer, &headers) != TS_SUCCESS)
		return;
	remove_all(buffer, headers, STAMP, sizeof STAMP - 1);
	if (v != NULL && v->passing)
		TSHttpTxnServerRespNoStoreSet(txn, 1);
	if (stamp.life != 0) {
		label = (struct label){stamp, first_serial + atomic_fetch_add(&serials, 1)};
		snprintf(text, sizeof text, "%016" PRIx64 ".%" PRIu64 ".%" PRIx64, label.stamp.life, label.stamp.position,
		    label.serial);
		set_header(buffer, headers, STAMP, sizeof STAMP - 1, text);
		label.serial = 0;	/* it may carry other tags when it is read again: a plugin's, after this one */
		/* What a refresh overtook on its way need not be stored, nor stand in the way of what is newer. */
		if (judge(txn, &label, buffer, headers) == GONE)
			TSHttpTxnServerRespNoStoreSet(txn, 1);
	}
	if (v != NULL && v->ours) {
		v->length = v->key == NULL ? -1 : peek_length(txn, buffer, headers);
		read_location(buffer, headers, location);
		round_heard(v->id, (int)TSHttpHdrStatusGet(buffer, headers), TSHttpTxnIsCacheable(txn, NULL, NULL) != 0,
		    location);
	}
	TSHandleMLocRelease(buffer, TS_NULL_MLOC, headers);
}

static void
on_answer(TSHttpTxn txn)
{
	struct visit *v = TSUserArgGet(txn, visit_index);
	TSMBuffer buffer;
	TSMLoc headers;

	if (v == NULL || !v->refused || TSHttpTxnClientRespGet(txn, &buffer, &headers) != TS_SUCCESS)
		return;
	set_header(buffer, headers, "Retry-After", 11, "1");
	TSHandleMLocRelease(buffer, TS_NULL_MLOC, headers);
}

static int
status_told(TSHttpTxn txn)
{
	TSMBuffer buffer;
	TSMLoc headers;
	int status;

	if (TSHttpTxnClientRespGet(txn, &buffer, &headers) != TS_SUCCESS)
		return (0);
	status = (int)TSHttpHdrStatusGet(buffer, headers);
	TSHandleMLocRelease(buffer, TS_NULL_MLOC, headers);
	return (status);
}

/* Whether what it fetched is known to be in the cache now. */
static bool
is_there(TSHttpTxn txn, const struct visit *v, int status)
{

	if (v->key == NULL)
		return (false);
	if (status == TS_HTTP_STATUS_OK && v->length >= 0)
		return (peek_there(txn, v->key, v->length) && rules_none_newer(stamp_of(txn)));
	TSCacheKeyDestroy(v->key);
	return (false);
}

static void
on_close(TSHttpTxn txn)
{
	struct visit *v = TSUserArgGet(txn, visit_index);
	int status;
	bool there;

	if (v == NULL)
		return;
	if (v->ours) {
		status = status_told(txn);
		there = is_there(txn, v, status);
		round_closed(v->id, status, TSHttpTxnServerStateGet(txn), there ? v->length : -1);
	}
	TSUserArgSet(txn, visit_index, NULL);
	free(v);
}

/* The door has a thread of its own, which may call on the server's. */
static void *
attend(void *unused)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);		/* they are for the server's */
	pthread_setname_np(pthread_self(), PLUGIN);
	return (door_attend(unused));
}

static int
on_hook(TSCont cont, TSEvent event, void *data)
{
	TSHttpTxn txn = data;
	TSEvent next = TS_EVENT_HTTP_CONTINUE;

	(void)cont;
	switch (event) {
	case TS_EVENT_HTTP_READ_REQUEST_HDR:
		next = on_request(txn);
		break;
	case TS_EVENT_HTTP_CACHE_LOOKUP_COMPLETE:
		next = on_lookup(txn);
		break;
	case TS_EVENT_HTTP_READ_RESPONSE_HDR:
		on_response(txn);
		break;
	case TS_EVENT_HTTP_SEND_RESPONSE_HDR:
		on_answer(txn);
		break;
	case TS_EVENT_HTTP_TXN_CLOSE:
		on_close(txn);
		break;
	default:
		return (0);
	}
	TSHttpTxnReenable(txn, next);
	return (0);
}

/* ---- starting ---- */

/* Told by traffic_ctl config reload, or looking from time to time: not everybody runs it under traffic_manager. */
static int
on_reload(TSCont cont, TSEvent event, void *data)
{
	static struct stat known;
	struct settings fresh;
	struct stat now;

	(void)cont;
	(void)data;
	if (stat(settings_path, &now) < 0)
		return (0);
	if (event != TS_EVENT_MGMT_UPDATE &&
	    (known.st_ino == 0 || (now.st_ino == known.st_ino && now.st_mtim.tv_sec == known.st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == known.st_mtim.tv_nsec))) {
		known = now;
		return (0);
	}
	known = now;
	if (!read_settings(&fresh))
		TSError("[" PLUGIN "] the settings of before stay in force");
	else {
		use_settings(&fresh);
		if (strcmp(fresh.secret, secret) != 0) {
			secret = TSstrdup(fresh.secret);	/* the one of before may be looked at just now */
			door_set_secret(secret);
		}
		TSNote("[" PLUGIN "] settings taken up");
	}
	return (0);
}

void
TSPluginInit(int argc, const char *argv[])
{
	TSPluginRegistrationInfo info = {.plugin_name = PLUGIN, .vendor_name = "freshline", .support_email = ""};
	static struct door door;
	const char *why;
	TSCont reload;

	if (TSPluginRegister(&info) != TS_SUCCESS || argc != 2) {
		TSEmergency("[" PLUGIN "] plugin.config must say: freshline.so <its configuration>");
		return;
	}
	snprintf(settings_path, sizeof settings_path, "%s%s%s", argv[1][0] == '/' ? "" : TSConfigDirGet(),
	    argv[1][0] == '/' ? "" : "/", argv[1]);
	if (!read_settings(&settings)) {
		TSEmergency("[" PLUGIN "] no gate without its settings");
		return;
	}
	gate_start("trafficserver", &pcre2_patterns, &disk_keeper);
	gate_takes_fetches(FETCHES);
	trips_start((unsigned)settings.fetch_seconds);
	use_settings(&settings);
	first_serial = rules_other_life();
	if ((why = disk_open(settings.journal, door_now())) != NULL) {
		TSEmergency("[" PLUGIN "] journal %s: %s", settings.journal, why);
		return;
	}
	door = (struct door){settings.gate, secret, trips_begin, FETCHES};
	if ((why = door_open(&door)) != NULL) {
		TSEmergency("[" PLUGIN "] gate %s: %s", settings.gate, why);
		return;
	}
	if (TSThreadCreate(attend, NULL) == NULL) {
		TSEmergency("[" PLUGIN "] no thread");
		return;
	}
	if (TSUserArgIndexReserve(TS_USER_ARGS_TXN, PLUGIN, "what freshline knows of a visit", &visit_index) != TS_SUCCESS ||
	    TSUserArgIndexReserve(TS_USER_ARGS_TXN, PLUGIN "-life", "a stamp's life", &life_index) != TS_SUCCESS ||
	    TSUserArgIndexReserve(TS_USER_ARGS_TXN, PLUGIN "-position", "its position", &position_index) != TS_SUCCESS ||
	    TSUserArgIndexReserve(TS_USER_ARGS_SSN, PLUGIN "-lane", "the lane it is of", &lane_index) != TS_SUCCESS) {
		TSEmergency("[" PLUGIN "] too many plugins that keep something with each transaction or session");
		return;
	}
	hooks = TSContCreate(on_hook, NULL);
	TSHttpHookAdd(TS_HTTP_READ_REQUEST_HDR_HOOK, hooks);
	TSHttpHookAdd(TS_HTTP_CACHE_LOOKUP_COMPLETE_HOOK, hooks);
	TSHttpHookAdd(TS_HTTP_READ_RESPONSE_HDR_HOOK, hooks);
	reload = TSContCreate(on_reload, TSMutexCreate());
	TSMgmtUpdateRegister(reload, PLUGIN);
	(void)on_reload(reload, TS_EVENT_TIMEOUT, NULL);	/* it has been read as it is now */
	(void)TSContScheduleEveryOnPool(reload, WATCH_MS, TS_THREAD_POOL_TASK);
}
