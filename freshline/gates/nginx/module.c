/*
 * The gate in nginx, as far as visitors meet it: the key that a request looks up, the tags of what is fetched, and
 * whether it may be served at all. What the gate is told comes in by Lua, which calls what shared.h has.
 *
 * A hit costs a hash of its URL, a comparison with what this process remembers of it, and the key's text. It takes no
 * lock, and nothing of it can be left half done by a process that is killed.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "epoch.h"
#include "lease.h"
#include "pattern.h"
#include "table.h"
#include "tags.h"
#include "visit.h"

#define STATE_SIZE	(128 * 1024)
#define LEAST_PAGES	3	/* of a zone */
#define ALREADY		((void *)1)	/* of a zone: it was opened before */

typedef struct {
	ngx_shm_zone_t *state, *rules, *tags;
	ngx_uint_t lapse;
	ngx_uint_t match_limit;
} main_conf_t;

typedef struct {
	ngx_flag_t on;
} server_conf_t;

/* Of one request, or of the parts of one that nginx makes without asking us. */
typedef struct {
	struct epoch epoch;
	u_char word[64];	/* of the key */
	size_t size;
	unsigned lapsed:1;	/* it began without a lease: what is stored is not for it, nor what it stores for others */
	unsigned withheld:1;
} context_t;

ngx_module_t ngx_http_freshline_module;

static ngx_http_output_header_filter_pt next_header_filter;

static ngx_uint_t own_fetches;	/* requests of the gate's own that this process is at */
static uint64_t apart, requests;	/* for keys that nobody else looks up */

/* ---- fetches of the gate's own: visits, and where the site can only be reached by a socket, those with the word ---- */

static void
own_ends(void *unused)
{

	(void)unused;
	own_fetches--;
}

/* nginx begins a redirected request anew, and clears what we know of it; not what is to be done at its end. */
static int
is_own(ngx_http_request_t *r)
{
	ngx_pool_cleanup_t *cleanup;

	if (visit_is(r->connection))
		return (1);
	if (own_fetches == 0)
		return (0);
	for (cleanup = r->pool->cleanup; cleanup != NULL; cleanup = cleanup->next)
		if (cleanup->handler == own_ends)
			return (1);
	return (0);
}

/* Takes the element out of the list, leaving all others where they are: nginx has pointers to them. */
static ngx_int_t
take_out(ngx_http_request_t *r, ngx_list_part_t *before, ngx_list_part_t *part, ngx_uint_t i)
{
	ngx_list_t *list = &r->headers_in.headers;
	ngx_table_elt_t *elements = part->elts;
	ngx_list_part_t *rest;

	if (i + 1 == part->nelts && (i > 0 || before == NULL)) {
		part->nelts--;
	} else if (i + 1 == part->nelts) {	/* an empty part that is not the first would be read */
		before->next = part->next;
		if (list->last == part) {
			list->last = before;
			list->nalloc = before->nelts > 0 ? before->nelts : 1;
		}
	} else if (i == 0) {
		part->elts = elements + 1;
		part->nelts--;
		if (list->last == part)
			list->nalloc--;
	} else {
		if ((rest = ngx_palloc(r->pool, sizeof *rest)) == NULL)
			return (NGX_ERROR);
		rest->elts = elements + i + 1;
		rest->nelts = part->nelts - i - 1;
		rest->next = part->next;
		part->nelts = i;
		part->next = rest;
		if (list->last == part) {
			list->last = rest;
			list->nalloc -= i + 1;
		}
	}
	return (NGX_OK);
}

static int
is_token(ngx_str_t value)
{
	size_t i, size = ngx_strlen(state->token);
	unsigned differs = 0;

	if (value.len != size)
		return (0);
	for (i = 0; i < size; i++)
		differs |= value.data[i] ^ (u_char)state->token[i];
	return (differs == 0);
}

/* The word that a fetch of ours is known by: nobody behind us sees it, and it counts once. */
static ngx_int_t
read_token(ngx_http_request_t *r)
{
	static const char name[] = "freshline-fetch";
	ngx_list_part_t *part, *before = NULL;
	ngx_table_elt_t *header;
	ngx_pool_cleanup_t *cleanup;
	ngx_uint_t i;

	for (part = &r->headers_in.headers.part; part != NULL; before = part, part = part->next) {
		header = part->elts;
		for (i = 0; i < part->nelts; i++) {
			if (header[i].key.len != sizeof name - 1 ||
			    ngx_strncasecmp(header[i].key.data, (u_char *)name, sizeof name - 1) != 0)
				continue;
			if (is_token(header[i].value) && !is_own(r)) {
				if ((cleanup = ngx_pool_cleanup_add(r->pool, 0)) == NULL)
					return (NGX_ERROR);
				cleanup->handler = own_ends;
				own_fetches++;
			}
			if (take_out(r, before, part, i) != NGX_OK)
				return (NGX_ERROR);
			return (read_token(r));		/* there may be more */
		}
	}
	return (NGX_OK);
}

/* ---- the key ---- */

static struct slice
host_of(ngx_http_request_t *r)
{
	ngx_str_t name = r->headers_in.server;

	if (name.len == 0)
		name = ((ngx_http_core_srv_conf_t *)ngx_http_get_module_srv_conf(r, ngx_http_core_module))->server_name;
	return ((struct slice){(char *)name.data, name.len});
}

static struct slice
target_of(ngx_http_request_t *r)
{

	return ((struct slice){(char *)r->unparsed_uri.data, r->unparsed_uri.len});
}

static ngx_int_t
add_header(ngx_http_request_t *r, ngx_str_t name, ngx_str_t value)
{
	ngx_table_elt_t *header = ngx_list_push(&r->headers_out.headers);

	if (header == NULL)
		return (NGX_ERROR);
	header->hash = 1;
	header->key = name;
	header->value = value;
#if (nginx_version >= 1023000)
	header->next = NULL;
#endif
	return (NGX_OK);
}

static ngx_int_t
lapse(ngx_http_request_t *r, context_t *context)
{
	static const ngx_str_t retry_after = ngx_string("Retry-After"), one = ngx_string("1");

	context->lapsed = 1;
	if (apart == 0)
		apart = state_random();
	context->size = (size_t)(ngx_sprintf(context->word, "lapsed-%016xL-%uL.0", apart, ++requests) - context->word);
	if (lease_lapse() != LAPSE_REFUSE || r != r->main)
		return (NGX_OK);
	return (add_header(r, retry_after, one));
}

/* What is known of the request: worked out where it begins, or first asks. */
static context_t *
begin(ngx_http_request_t *r)
{
	context_t *context = ngx_pcalloc(r->pool, sizeof *context);

	if (context == NULL)
		return (NULL);
	ngx_http_set_ctx(r, context, ngx_http_freshline_module);
	/* The lease first: another worker may be told what is new, and be granted one, while this one works the key out. */
	if (lease_lapsed() && !is_own(r))
		return (lapse(r, context) == NGX_OK ? context : NULL);
	context->epoch = epoch_of(host_of(r), target_of(r));
	context->size = epoch_word(&context->epoch, (char *)context->word);
	return (context);
}

static context_t *
context_of(ngx_http_request_t *r)
{
	context_t *context;
	ngx_http_request_t *of;

	/* A slice, and what is renewed behind the scenes, goes by what began it: nginx does not begin those anew. */
	for (of = r; of != NULL; of = of->parent)
		if ((context = ngx_http_get_module_ctx(of, ngx_http_freshline_module)) != NULL)
			return (context);
	return (begin(r));
}

/* Where a request begins, and where nginx begins one anew: a redirect within the site, a part of a page. */
static ngx_int_t
server_rewrite_handler(ngx_http_request_t *r)
{
	server_conf_t *server = ngx_http_get_module_srv_conf(r, ngx_http_freshline_module);

	if (!server->on || state == NULL)
		return (NGX_DECLINED);
	if (r == r->main && !r->internal && read_token(r) != NGX_OK)
		return (NGX_HTTP_INTERNAL_SERVER_ERROR);
	return (begin(r) == NULL ? NGX_HTTP_INTERNAL_SERVER_ERROR : NGX_DECLINED);
}

static ngx_int_t
variable_epoch(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t unused)
{
	context_t *context = state == NULL ? NULL : context_of(r);

	(void)unused;
	if (context == NULL)
		return (NGX_ERROR);
	v->data = context->word;
	v->len = context->size;
	v->valid = 1;
	v->no_cacheable = 0;
	v->not_found = 0;
	return (NGX_OK);
}

static ngx_int_t
variable_key(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t unused)
{
	context_t *context = state == NULL ? NULL : context_of(r);
	struct slice host = host_of(r), target = target_of(r);
	u_char *to;
	int tls = 0;

	(void)unused;
	if (context == NULL || (to = ngx_pnalloc(r->pool, 9 + host.size + target.size + context->size)) == NULL)
		return (NGX_ERROR);
#if (NGX_HTTP_SSL)
	tls = r->connection->ssl != NULL;
#endif
	v->data = to;
	to = tls ? ngx_cpymem(to, "https://", 8) : ngx_cpymem(to, "http://", 7);
	to = ngx_cpymem(to, host.at, host.size);
	to = ngx_cpymem(to, target.at, target.size);
	*to++ = '|';
	to = ngx_cpymem(to, context->word, context->size);
	v->len = (unsigned)(to - v->data);
	v->valid = 1;
	v->no_cacheable = 0;
	v->not_found = 0;
	return (NGX_OK);
}

static ngx_int_t
variable_lapsed(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t unused)
{
	context_t *context = state == NULL ? NULL : context_of(r);

	(void)unused;
	if (context == NULL)
		return (NGX_ERROR);
	v->data = (u_char *)"1";
	v->len = context->lapsed;
	v->valid = 1;
	v->no_cacheable = 0;
	v->not_found = 0;
	return (NGX_OK);
}

static ngx_http_variable_t variables[] = {
	{ngx_string("freshline_epoch"), NULL, variable_epoch, 0, NGX_HTTP_VAR_NOCACHEABLE, 0},
	{ngx_string("freshline_key"), NULL, variable_key, 0, NGX_HTTP_VAR_NOCACHEABLE, 0},
	{ngx_string("freshline_lapsed"), NULL, variable_lapsed, 0, NGX_HTTP_VAR_NOCACHEABLE, 0},
};

static ngx_int_t
add_variables(ngx_conf_t *cf)
{
	ngx_http_variable_t *made;
	size_t i;

	for (i = 0; i < sizeof variables / sizeof *variables; i++) {
		if ((made = ngx_http_add_variable(cf, &variables[i].name, variables[i].flags)) == NULL)
			return (NGX_ERROR);
		made->get_handler = variables[i].get_handler;
	}
	return (NGX_OK);
}

/* ---- tags ---- */

static int
is_blank(u_char c)
{

	return (c == ',' || c == ' ' || (c >= '\t' && c <= '\r'));
}

static void
read_tags(struct record *to, uint64_t host_key, ngx_str_t value)
{
	u_char *p = value.data, *end = p + value.len, *start;

	while (p < end) {
		while (p < end && is_blank(*p))
			p++;
		for (start = p; p < end && !is_blank(*p); p++)
			;
		if (p == start)
			continue;
		if (to->n == TAGS_MOST) {
			to->any = 1;
			to->n = 0;
			return;
		}
		to->tags[to->n++] = table_tag_key(host_key, (char *)start, (size_t)(p - start));
	}
}

/* What the origin said of the answer at hand, whatever the site hides of it. */
static void
read_answer(ngx_http_request_t *r, struct record *to, uint64_t host_key)
{
	static const ngx_str_t names[] = {
	    ngx_string("cache-tag"), ngx_string("surrogate-key"), ngx_string("xkey")};
	ngx_list_part_t *part;
	ngx_table_elt_t *header;
	ngx_uint_t i, k;

	to->n = 0;
	to->any = to->late = 0;
	for (part = &r->upstream->headers_in.headers.part; part != NULL; part = part->next) {
		header = part->elts;
		for (i = 0; i < part->nelts; i++)
			for (k = 0; k < 3 && !to->any; k++)
				if (header[i].hash != 0 && header[i].key.len == names[k].len &&
				    ngx_strncasecmp(header[i].key.data, names[k].data, names[k].len) == 0)
					read_tags(to, host_key, header[i].value);
	}
}

static uint64_t
host_tag(uint64_t host_key)
{
	const struct host *host = table_host(host_key);

	return (host == NULL ? 0 : LOAD(&host->tag));
}

/* Was a tag of these refreshed since? */
static int
overtaken(const struct record *answer, void *host_key)
{
	uint64_t removals = table_removals();
	unsigned i;
	int newer;

	newer = answer->any && host_tag(*(uint64_t *)host_key) > answer->position;
	for (i = 0; i < answer->n && !newer; i++)
		newer = table_tag(answer->tags[i]) > answer->position;
	return (newer || !table_same(removals) || !table_fits());	/* rules of before a reload say nothing of now */
}

static void
learn(ngx_http_request_t *r, const context_t *context)
{
	static struct record answer, before;
	struct slice host = host_of(r), target = target_of(r);
	uint64_t host_key = table_host_key(host), url = tags_url(host_key, target.at, target.size), now = UINT64_MAX;

	if (context->epoch.torn)
		return;
	answer.position = context->epoch.position;
	read_answer(r, &answer, host_key);
	if (tags_recall(context->epoch.generation, url, &before) == KNOWN && answer.position < before.position)
		now = epoch_of(host, target).position;
	tags_learn(context->epoch.generation, url, &answer, now, overtaken, &host_key);
}

/*
 * Who waited for another's fetch (proxy_cache_lock) while that fetch brought a tag which nobody knew of, and which had
 * been refreshed meanwhile, is not given what it brought: 503, and the next to ask fetches anew.
 */
static int
withhold(ngx_http_request_t *r, const context_t *context)
{
	static struct record answer;
	struct slice host = host_of(r), target = target_of(r);
	uint64_t host_key = table_host_key(host);

	if (context->lapsed || context->epoch.torn || host_tag(host_key) <= context->epoch.position)
		return (0);
	/* After a reload that changed the memory, what is known here is not what its new processes learn. */
	if (tags_fit() &&
	    tags_recall(context->epoch.generation, tags_url(host_key, target.at, target.size), &answer) == KNOWN &&
	    answer.position == context->epoch.position && !answer.late)
		return (0);
	read_answer(r, &answer, host_key);
	answer.position = context->epoch.position;
	return (overtaken(&answer, &host_key));
}

/* ---- the answer's headers ---- */

static ngx_str_t
variable(ngx_http_request_t *r, const char *name)
{
	static const ngx_str_t none = ngx_string("-");
	ngx_str_t key = {ngx_strlen(name), (u_char *)name};
	ngx_http_variable_value_t *value = ngx_http_get_variable(r, &key, ngx_hash_key(key.data, key.len));

	return (value == NULL || value->not_found ? none : (ngx_str_t){value->len, value->data});
}

/* Tells a fetch of ours what no visitor is told. */
static ngx_int_t
expose(ngx_http_request_t *r, const context_t *context)
{
	static const ngx_str_t said = ngx_string("freshline-said"), in_slices = ngx_string("freshline-slice");
	ngx_str_t status = variable(r, "upstream_status"), time = variable(r, "upstream_header_time");
	ngx_str_t cache = variable(r, "upstream_cache_status"), slice = variable(r, "slice_range"), value;
	u_char *to;

	value.len = status.len + time.len + cache.len + context->size + 3;
	if ((to = value.data = ngx_pnalloc(r->pool, value.len)) == NULL)
		return (NGX_ERROR);
	(void)ngx_sprintf(to, "%V|%V|%V|%*s", &status, &time, &cache, context->size, context->word);
	if (add_header(r, said, value) != NGX_OK)
		return (NGX_ERROR);
	return (slice.len > 1 ? add_header(r, in_slices, slice) : NGX_OK);
}

static int
begins_with(ngx_str_t *text, const void *with, size_t size)
{

	if (text->len < size || ngx_memcmp(text->data, with, size) != 0)
		return (0);
	text->data += size;
	text->len -= size;
	return (1);
}

/* Was it put into the cache under our own key, in no variant and no slice? */
static int
is_at_its_key(ngx_http_request_t *r, const context_t *context)
{
	const ngx_http_cache_t *cache = r->cache;
	ngx_str_t key = *(ngx_str_t *)cache->keys.elts;
	struct slice host = host_of(r), target = target_of(r);

	return (cache->keys.nelts == 1 && begins_with(&key, "http://", 7) && begins_with(&key, host.at, host.size) &&
	    begins_with(&key, target.at, target.size) && begins_with(&key, "|", 1) &&
	    begins_with(&key, context->word, context->size) && key.len == 0 && cache->vary.len == 0 &&
	    ngx_memcmp(cache->key, cache->main, NGX_HTTP_CACHE_KEY_LEN) == 0);
}

/*
 * A plain miss, and there is an object in its place since: what nginx itself goes by when it is asked for next. Anything
 * else is looked into more closely.
 */
static int
is_stored(ngx_http_request_t *r, double *bytes)
{
	const context_t *context = ngx_http_get_module_ctx(r, ngx_http_freshline_module);
	const ngx_http_cache_t *cache = r->cache;
	struct epoch now;

	if (context == NULL || context->epoch.torn || context->withheld || r->headers_out.status < 200 ||
	    r->headers_out.status > 299 || r->upstream == NULL || r->upstream->cache_status != NGX_HTTP_CACHE_MISS ||
	    r->upstream->pipe == NULL || r->upstream->pipe->temp_file == NULL || cache == NULL || cache->node == NULL ||
	    !cache->updated || !cache->node->exists || cache->valid_sec <= ngx_time() || !is_at_its_key(r, context))
		return (0);
	now = epoch_of(host_of(r), target_of(r));
	if (now.torn || now.generation != context->epoch.generation || now.position != context->epoch.position)
		return (0);
	*bytes = (double)(r->upstream->pipe->temp_file->offset - (off_t)cache->body_start);
	return (1);
}

static ngx_int_t
header_filter(ngx_http_request_t *r)
{
	static const ngx_str_t retry_after = ngx_string("Retry-After"), one = ngx_string("1");
	server_conf_t *server = ngx_http_get_module_srv_conf(r, ngx_http_freshline_module);
	ngx_uint_t status = r->upstream == NULL ? 0 : r->upstream->cache_status;
	context_t *context;

	if (visit_is(r->connection) && r == r->main && visit_answer(r, is_stored) != NGX_OK)
		return (NGX_ERROR);
	if (!server->on || state == NULL)
		return (next_header_filter(r));
	context = ngx_http_get_module_ctx(r, ngx_http_freshline_module);
	if (context != NULL && context->withheld) {	/* the 503 itself passes here */
		if (r->headers_out.status == NGX_HTTP_SERVICE_UNAVAILABLE && add_header(r, retry_after, one) != NGX_OK)
			return (NGX_ERROR);
		return (next_header_filter(r));
	}
	if (status == NGX_HTTP_CACHE_MISS || status == NGX_HTTP_CACHE_EXPIRED || status == NGX_HTTP_CACHE_BYPASS ||
	    status == NGX_HTTP_CACHE_REVALIDATED) {
		if ((context = context_of(r)) == NULL)
			return (NGX_ERROR);
		if (!context->lapsed)
			learn(r, context);
	} else if (status != 0 && LOAD(&state->late) != 0 && LOAD(&state->late) > state_boot_ms()) {
		if ((context = context_of(r)) == NULL)
			return (NGX_ERROR);
		if (withhold(r, context)) {
			if (ngx_http_get_module_ctx(r, ngx_http_freshline_module) == NULL) {	/* it was its parent's */
				context = ngx_pcalloc(r->pool, sizeof *context);
				if (context == NULL)
					return (NGX_ERROR);
				ngx_http_set_ctx(r, context, ngx_http_freshline_module);
			}
			context->withheld = 1;
			return (ngx_http_filter_finalize_request(r, &ngx_http_freshline_module, NGX_HTTP_SERVICE_UNAVAILABLE));
		}
	}
	if (r == r->main && is_own(r)) {
		if ((context = context_of(r)) == NULL || expose(r, context) != NGX_OK)
			return (NGX_ERROR);
		if (visit_is(r->connection) && status == NGX_HTTP_CACHE_HIT && variable(r, "slice_range").len <= 1)
			r->header_only = 1;	/* all there, and nobody reads it */
	}
	return (next_header_filter(r));
}

/* ---- configuration and memory ---- */

static void *
memory_of(ngx_shm_zone_t *zone, size_t *size)
{
	ngx_slab_pool_t *pool = (ngx_slab_pool_t *)zone->shm.addr;

	*size = (size_t)(pool->end - pool->start);
	return (pool->start);
}

/* nginx's own allocator is never asked for anything of these: the memory is ours as it stands. */
static ngx_int_t
open_state(ngx_shm_zone_t *zone, void *before)
{
	size_t size;

	state_open(memory_of(zone, &size));
	zone->data = ALREADY;
	(void)before;
	return (size >= sizeof *state ? NGX_OK : NGX_ERROR);
}

static ngx_int_t
open_rules(ngx_shm_zone_t *zone, void *before)
{
	size_t size;
	void *memory = memory_of(zone, &size);

	table_open(memory, size, before == NULL);
	zone->data = ALREADY;
	return (NGX_OK);
}

static ngx_int_t
open_tags(ngx_shm_zone_t *zone, void *before)
{
	size_t size;
	void *memory = memory_of(zone, &size);

	tags_open(memory, size, before == NULL);
	zone->data = ALREADY;
	return (NGX_OK);
}

/* The master may have read a configuration since that it could not use: this process goes by the one that holds. */
static ngx_int_t
init_process(ngx_cycle_t *cycle)
{
	main_conf_t *conf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_freshline_module);

	if (conf == NULL || conf->state == NULL)
		return (NGX_OK);
	(void)open_state(conf->state, ALREADY);
	(void)open_rules(conf->rules, ALREADY);
	(void)open_tags(conf->tags, ALREADY);
	tags_take_up();
	lease_set_lapse((enum lapse)conf->lapse);
	pattern_steps((uint32_t)conf->match_limit);
	return (NGX_OK);
}

static ngx_shm_zone_t *
zone(ngx_conf_t *cf, const char *name, size_t size, ngx_shm_zone_init_pt init)
{
	u_char *to = ngx_pnalloc(cf->pool, 64);
	ngx_str_t text = {0, to};
	ngx_shm_zone_t *made;

	if (to == NULL)
		return (NULL);
	text.len = (size_t)(ngx_sprintf(to, "freshline_%s_%d", name, FRESHLINE_LAYOUT) - to);
	/* Not this module's own address for a tag: built anew it has another, and the memory is the same. */
	made = ngx_shared_memory_add(cf, &text, size, &ngx_http_core_module);
	if (made != NULL)
		made->init = init;
	return (made);
}

/* freshline_memory <for rules> <for tags>; */
static char *
set_memory(ngx_conf_t *cf, ngx_command_t *command, void *at)
{
	main_conf_t *conf = at;
	ngx_str_t *words = cf->args->elts;
	ssize_t sizes[2];
	int i;

	(void)command;
	if (conf->state != NULL)
		return ("is duplicate");
	for (i = 0; i < 2; i++) {
		sizes[i] = ngx_parse_size(&words[i + 1]);
		if (sizes[i] == NGX_ERROR || (size_t)sizes[i] < (LEAST_PAGES + 1) * ngx_pagesize) {
			ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "freshline_memory \"%V\": at least %uzk", &words[i + 1],
			    (LEAST_PAGES + 1) * ngx_pagesize / 1024);
			return (NGX_CONF_ERROR);
		}
	}
	conf->state = zone(cf, "state", STATE_SIZE, open_state);
	conf->rules = zone(cf, "rules", (size_t)sizes[0], open_rules);
	conf->tags = zone(cf, "tags", (size_t)sizes[1], open_tags);
	return (conf->state == NULL || conf->rules == NULL || conf->tags == NULL ? NGX_CONF_ERROR : NGX_CONF_OK);
}

static ngx_conf_enum_t lapses[] = {
	{ngx_string("serve"), LAPSE_SERVE},
	{ngx_string("bypass"), LAPSE_BYPASS},
	{ngx_string("refuse"), LAPSE_REFUSE},
	{ngx_null_string, 0},
};

static ngx_command_t commands[] = {
	{ngx_string("freshline_memory"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE2, set_memory, NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL},
	{ngx_string("freshline_lapse"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_enum_slot,
	    NGX_HTTP_MAIN_CONF_OFFSET, offsetof(main_conf_t, lapse), lapses},
	{ngx_string("freshline_match_limit"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_num_slot,
	    NGX_HTTP_MAIN_CONF_OFFSET, offsetof(main_conf_t, match_limit), NULL},
	{ngx_string("freshline"), NGX_HTTP_SRV_CONF | NGX_CONF_FLAG, ngx_conf_set_flag_slot, NGX_HTTP_SRV_CONF_OFFSET,
	    offsetof(server_conf_t, on), NULL},
	ngx_null_command,
};

static void *
create_main(ngx_conf_t *cf)
{
	main_conf_t *conf = ngx_pcalloc(cf->pool, sizeof *conf);

	if (conf != NULL) {
		conf->lapse = NGX_CONF_UNSET_UINT;
		conf->match_limit = (ngx_uint_t)NGX_CONF_UNSET;
	}
	return (conf);
}

static char *
init_main(ngx_conf_t *cf, void *at)
{
	main_conf_t *conf = at;

	(void)cf;
	ngx_conf_init_uint_value(conf->lapse, LAPSE_SERVE);
	ngx_conf_init_uint_value(conf->match_limit, 20000);
	return (NGX_CONF_OK);
}

static void *
create_server(ngx_conf_t *cf)
{
	server_conf_t *conf = ngx_pcalloc(cf->pool, sizeof *conf);

	if (conf != NULL)
		conf->on = NGX_CONF_UNSET;
	return (conf);
}

static char *
merge_server(ngx_conf_t *cf, void *above, void *at)
{
	server_conf_t *conf = at, *parent = above;
	main_conf_t *all = ngx_http_conf_get_module_main_conf(cf, ngx_http_freshline_module);

	ngx_conf_merge_value(conf->on, parent->on, 0);
	return (conf->on && all->state == NULL ? "\"freshline on\" wants http.conf of the gate included" : NGX_CONF_OK);
}

static ngx_int_t
set_up(ngx_conf_t *cf)
{
	ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
	ngx_http_handler_pt *handler = ngx_array_push(&core->phases[NGX_HTTP_SERVER_REWRITE_PHASE].handlers);

	if (handler == NULL)
		return (NGX_ERROR);
	*handler = server_rewrite_handler;
	next_header_filter = ngx_http_top_header_filter;
	ngx_http_top_header_filter = header_filter;
	return (NGX_OK);
}

static ngx_http_module_t context = {
	add_variables, set_up, create_main, init_main, create_server, merge_server, NULL, NULL,
};

ngx_module_t ngx_http_freshline_module = {
	NGX_MODULE_V1, &context, commands, NGX_HTTP_MODULE, NULL, NULL, init_process, NULL, NULL, NULL, NULL,
	NGX_MODULE_V1_PADDING,
};

/* What load_module looks for. As an auxiliary filter: behind what makes a 304, before what the site adds. */
#pragma GCC visibility push(default)
extern ngx_module_t *ngx_modules[];
extern char *ngx_module_names[], *ngx_module_order[];

ngx_module_t *ngx_modules[] = {&ngx_http_freshline_module, NULL};
char *ngx_module_names[] = {"ngx_http_freshline_module", NULL};
char *ngx_module_order[] = {"ngx_http_freshline_module", "ngx_http_copy_filter_module", NULL};
#pragma GCC visibility pop
