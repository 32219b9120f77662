/*
 * The gate inside Varnish: what ties rules.c and gate.c to lookups, fetches and the controller's requests.
 *
 * An object is judged in the lookup itself, under its objhead's lock, where Varnish tests bans: a gone one is passed
 * over and dies as a banned one would, one to be revalidated is seen as expired, so a conditional fetch follows. No
 * restart, nothing for the user's VCL to trip over, and the lookup's own coalescing is what keeps the origin quiet.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "cache/cache_varnishd.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cache/cache_filter.h"
#include "vcl.h"
#include "vre.h"
#include "vtim.h"

#include "flights.h"
#include "gate.h"
#include "lease.h"
#include "steps.h"
#include "vcc_if.h"
#include "visit.h"
#include "visits.h"

/* In varnishd's hash/hash_slinger.h, which is not among the installed headers. */
struct boc *HSH_RefBoc(const struct objcore *);
void HSH_DerefBoc(struct worker *, struct objcore *);

#define ANCHORED	0x80000000u	/* PCRE2_ANCHORED: vre.h hands options through and names only one */
#define EXPIRED_TTL	1e-6		/* lookups pass over an object whose ttl is 0, even for a conditional fetch */
#define TROUBLE_SIZE	200
#define HOST_SIZE	255		/* bytes of a host; no site's name is as long */
#define PATIENCE	86400.		/* seconds; whoever waits for lines gives up before */

static const char H_STAMP[] = "\022x-freshline-stamp:";
static const char H_LEASE[] = "\020freshline-lease:";
static const char H_TAGS[] = "\021x-freshline-tags:";
static const char H_TROUBLE[] = "\024x-freshline-trouble:";
static const char H_FETCH[] = "\020freshline-fetch:";
static const char H_VISITED[] = "\024x-freshline-visited:";

/* ---- patterns ---- */

/*
 * Patterns come from RE2, which reads UTF-8, and URLs may hold any bytes. So a pattern is compiled both ways, and one
 * match is enough. The second way is only asked where it can differ.
 */
struct pattern {
	vre_t *bytes, *characters;
};

static const struct vre_limits limits = {.match = 100000, .depth = 1000};

static vre_t *
compile_one(const char *pattern, char *why, size_t why_size)
{
	int error, at;
	struct vsb vsb[1];
	vre_t *re = VRE_compile(pattern, ANCHORED, &error, &at, 1);

	if (re == NULL && why != NULL) {
		AN(VSB_init(vsb, why, (ssize_t)why_size));
		(void)VRE_error(vsb, error);
		VSB_printf(vsb, " at %d", at);
		(void)VSB_finish(vsb);
		VSB_fini(vsb);
	}
	return (re);
}

static void *
pattern_compile(const char *text, char *why, size_t why_size)
{
	struct pattern *p = calloc(1, sizeof *p);
	char *utf = NULL;

	*why = '\0';
	if (p == NULL || asprintf(&utf, "(*UTF)%s", text) < 0) {
		free(p);
		(void)snprintf(why, why_size, "no memory");
		return (NULL);
	}
	if (text[0] == '(' && text[1] == '*')
		(void)snprintf(why, why_size, "a pattern sets no options of the matcher");
	else {
		p->bytes = compile_one(text, why, why_size);
		p->characters = compile_one(utf, NULL, 0);
	}
	free(utf);
	if (p->bytes == NULL && p->characters == NULL) {
		free(p);
		return (NULL);
	}
	return (p);
}

/* An error (too many steps, not UTF-8) is a match: one fetch too many, never one too few. */
static int
pattern_match(const void *compiled, const char *subject, size_t size)
{
	const struct pattern *p = compiled;
	int beyond_ascii = 0;
	size_t i;

	if (p->bytes != NULL && VRE_match(p->bytes, subject, size, 0, &limits) != VRE_ERROR_NOMATCH)
		return (1);
	for (i = 0; i < size && !beyond_ascii; i++)
		beyond_ascii = (subject[i] & 0x80) != 0;
	if (p->characters == NULL || (p->bytes != NULL && !beyond_ascii))
		return (0);
	return (VRE_match(p->characters, subject, size, 0, &limits) != VRE_ERROR_NOMATCH);
}

static void
pattern_release(void *compiled)
{
	struct pattern *p = compiled;

	if (p->bytes != NULL)
		VRE_free(&p->bytes);
	if (p->characters != NULL)
		VRE_free(&p->characters);
	free(p);
}

static const struct patterns vre = {pattern_compile, pattern_match, pattern_release};

/* Once in the life of the library. It is linked so that it stays when the last VCL that uses it goes. */
static void __attribute__((constructor))
load(void)
{

	gate_start("varnish", &vre, NULL);
	flights_start();
}

/* ---- what the controller asked of this request ---- */

enum errand_kind { COMMAND, PROBE, FETCH, ASKED, VISIT, REFUSED, PASSED };

struct errand {
	unsigned magic;
#define ERRAND_MAGIC 0x66726573
	enum errand_kind kind;
	struct answer answer;
	struct party *party;	/* of visits that it asked for */
	struct vcf vcf;
	enum { ABSENT, OBSOLETE, STORED } presence;
	struct stamp stamp;
};

static const int errand_id;	/* its address names the errand among a request's privates */

static void
errand_fini(VRT_CTX, void *p)
{
	struct errand *errand;

	(void)ctx;
	CAST_OBJ_NOTNULL(errand, p, ERRAND_MAGIC);
	if (errand->party != NULL)
		party_end(errand->party);
	free(errand->answer.text);
	FREE_OBJ(errand);
}

static const struct vmod_priv_methods errand_methods = {
	.magic = VMOD_PRIV_METHODS_MAGIC,
	.type = "freshline errand",
	.fini = errand_fini,
};

static struct errand *
errand_of(VRT_CTX)
{
	struct vmod_priv *priv = VRT_priv_task_get(ctx, &errand_id);
	struct errand *errand;

	if (priv == NULL || priv->priv == NULL)
		return (NULL);
	CAST_OBJ_NOTNULL(errand, priv->priv, ERRAND_MAGIC);
	return (errand);
}

static struct errand *
new_errand(VRT_CTX, enum errand_kind kind)
{
	struct vmod_priv *priv = VRT_priv_task(ctx, &errand_id);
	struct errand *errand;

	if (priv == NULL || priv->priv != NULL) {
		VRT_fail(ctx, "freshline: one errand for one request");
		return (NULL);
	}
	ALLOC_OBJ(errand, ERRAND_MAGIC);
	XXXAN(errand);
	errand->kind = kind;
	priv->priv = errand;
	priv->methods = &errand_methods;
	return (errand);
}

/* ---- judging ---- */

static struct stamp
read_stamp(const char *text)
{
	struct stamp stamp = {0, 0};
	const char *dot = text;
	int digit;

	if (text == NULL)
		return (stamp);
	for (; *dot != '.' && *dot != '\0'; dot++) {
		digit = *dot >= 'a' ? *dot - 'a' + 10 : *dot - '0';
		stamp.life = stamp.life << 4 | (uint64_t)(digit & 15);
	}
	if (*dot == '.')
		for (dot++; *dot >= '0' && *dot <= '9'; dot++)
			stamp.position = stamp.position * 10 + (uint64_t)(*dot - '0');
	return (stamp);
}

/*
 * Varnish looks up whatever a visitor sends: "www.test?x" for a host, or "http://www.test?x" for a URL, which an origin
 * may well understand. What no site is called has no name, and is fetched whenever anything is newer.
 */
static struct name
name_of(const struct http *http)
{
	static const char more[] = ".-_:@[]";
	const char *host = NULL;
	struct name name;
	size_t i;

	(void)http_GetHdr(http, H_Host, &host);
	name.host = (struct slice){host, host == NULL ? 0 : strlen(host)};
	name.url = (struct slice){http->hd[HTTP_HDR_URL].b, Tlen(http->hd[HTTP_HDR_URL])};
	for (i = 0; i < name.host.size; i++)
		if (!(host[i] >= 'a' && host[i] <= 'z') && !(host[i] >= '0' && host[i] <= '9') &&
		    !(host[i] >= 'A' && host[i] <= 'Z') && strchr(more, host[i]) == NULL)
			break;
	if (i < name.host.size || i > HOST_SIZE || *name.url.at != '/')
		name.host = (struct slice){NULL, 0};
	return (name);
}

static int
equal(struct slice a, struct slice b)
{

	return (a.size == b.size && (a.at == b.at || memcmp(a.at, b.at, a.size) == 0));
}

/*
 * An object is known by the name it was looked up with and by the one the visitor used, which VCL may have rewritten:
 * people refresh what they see in their browser. Returns how many there are.
 */
static unsigned
names_of(struct name names[2], const struct http *now, const struct http *before)
{

	names[0] = name_of(now);
	if (before == NULL)
		return (1);
	names[1] = name_of(before);
	if (names[1].host.size == 0)
		return (1);	/* nobody can mean it */
	return (equal(names[0].url, names[1].url) && equal(names[0].host, names[1].host) ? 1 : 2);
}

/* No two objects are the same transaction's, at one place, of one instant; stamp and tags of one never change. */
static uint64_t
sight_of(struct worker *wrk, struct objcore *oc, const struct name *names, unsigned n)
{
	struct {
		uint64_t at, fetched_by;
		double when;
	} what = {(uintptr_t)oc, ObjGetXID(wrk, oc), oc->t_origin};

	return (rules_sight(&what, sizeof what, names, n));
}

static enum verdict
judge(struct worker *wrk, struct objcore *oc, const struct name *names, unsigned n)
{
	uint64_t sight = sight_of(wrk, oc, names, n);
	struct slice tags;
	const char *text;

	if (rules_seen_fresh(sight, names, n))
		return (FRESH);
	text = HTTP_GetHdrPack(wrk, oc, H_TAGS);
	tags = (struct slice){text, text == NULL ? 0 : strlen(text)};
	return (rules_judge(sight, read_stamp(HTTP_GetHdrPack(wrk, oc, H_STAMP)), names, n, &tags));
}

static enum verdict
judge_for(struct req *req, struct objcore *oc)
{
	struct name names[2];
	unsigned n = names_of(names, req->http, req->http0);

	return (judge(req->wrk, oc, names, n));
}

static int
is_marker(const struct objcore *oc)
{

	return ((oc->flags & (OC_F_HFM | OC_F_HFP)) != 0);
}

/* From here on it is only good for a conditional fetch. It leaves the cache when it would have. */
static void
expire(struct objcore *oc)
{

	if (oc->grace > 0. || oc->ttl > 2 * EXPIRED_TTL)
		EXP_Rearm(oc, oc->t_origin, EXPIRED_TTL, 0., oc->ttl + oc->grace + oc->keep);
}

/*
 * The fetch that an expired object begins does not know any more what the visitor asked for, and may be begun again long
 * after the lookup. So where VCL has rewritten it, it goes along: "<size of the host> <host> <url>".
 */
static void
pass_on_name(struct http *http, const struct name *visited)
{

	http_Unset(http, H_VISITED);
	http_PrintfHeader(http, "x-freshline-visited: %zu %.*s %.*s", visited->host.size, (int)visited->host.size,
	    visited->host.at, (int)visited->url.size, visited->url.at);
}

/* There may be more headers already than there is room for. */
static int
is_passed_on(const struct req *req)
{
	struct name names[2];
	const char *text;

	return (names_of(names, req->http, req->http0) < 2 || http_GetHdr(req->http, H_VISITED, &text));
}

static unsigned
names_of_fetch(struct name names[2], const struct busyobj *bo)
{
	const char *text;
	size_t size;
	char *end;

	names[0] = name_of(bo->bereq);
	if (!http_GetHdr(bo->bereq0, H_VISITED, &text))
		return (1);
	size = strtoul(text, &end, 10);
	names[1] = (struct name){{NULL, 0}, {NULL, 0}};
	if (*end == ' ' && strlen(end) > size + 1) {
		names[1].host = (struct slice){end + 1, size};
		names[1].url = (struct slice){end + 2 + size, strlen(end + 2 + size)};
	}
	return (2);
}

/* Called for each object that fits the request, under the lock of its objhead. */
static const struct vcf_return *
guard(struct req *req, struct objcore **ocp, struct objcore **expired, int state)
{
	struct objcore *oc;
	enum verdict verdict;

	(void)expired;
	if (state != 0)
		return (VCF_DEFAULT);
	oc = *ocp;
	verdict = judge_for(req, oc);
	if (verdict == FRESH)
		return (EXP_Ttl(req, oc) > req->t_req || is_passed_on(req) ? VCF_DEFAULT : VCF_CONTINUE);
	if (verdict == GONE || is_marker(oc) || !ObjCheckFlag(req->wrk, oc, OF_IMSCAND)) {
		VSLb(req->vsl, SLT_VCL_Log, "freshline: gone");
		oc->flags |= OC_F_DYING;	/* as HSH_Lookup does with a banned one */
		EXP_Remove(oc);
		return (VCF_CONTINUE);
	}
	VSLb(req->vsl, SLT_VCL_Log, "freshline: revalidate");
	expire(oc);
	/* A request older than the object, having waited for it, would still see it within its ttl: it fetches anew. */
	return (oc->t_origin + oc->ttl < req->t_req && is_passed_on(req) ? VCF_DEFAULT : VCF_CONTINUE);
}

static struct vcf guarded = {.magic = VCF_MAGIC, .func = guard};

/* Finds out and takes nothing. */
static const struct vcf_return *
look(struct req *req, struct objcore **ocp, struct objcore **expired, int state)
{
	struct errand *errand;
	struct objcore *oc;

	(void)expired;
	if (state != 0)
		return (VCF_DEFAULT);
	CAST_OBJ_NOTNULL(errand, req->vcf->priv, ERRAND_MAGIC);
	oc = *ocp;
	if (is_marker(oc) || errand->presence == STORED)
		return (VCF_CONTINUE);
	if (judge_for(req, oc) != FRESH) {
		errand->presence = OBSOLETE;
		errand->stamp = read_stamp(HTTP_GetHdrPack(req->wrk, oc, H_STAMP));
	} else if (EXP_Ttl_grace(req, oc) >= req->t_req) {
		errand->presence = STORED;
		errand->stamp = read_stamp(HTTP_GetHdrPack(req->wrk, oc, H_STAMP));
	}
	return (VCF_CONTINUE);
}

/* Without a lease nothing is taken that is there, and nothing is waited for. */
static const struct vcf_return *
pass_over(struct req *req, struct objcore **ocp, struct objcore **expired, int state)
{

	(void)req;
	(void)ocp;
	(void)expired;
	return (state == 0 ? VCF_CONTINUE : VCF_DEFAULT);
}

static struct vcf lapsed = {.magic = VCF_MAGIC, .func = pass_over};

VCL_VOID
vmod_guard(VRT_CTX)
{
	struct errand *errand;
	struct name names[2];
	unsigned n;

	CHECK_OBJ_NOTNULL(ctx->req, REQ_MAGIC);
	errand = errand_of(ctx);
	ctx->req->vcf = &guarded;
	n = names_of(names, ctx->req->http, ctx->req->http0);
	if (n == 2)
		pass_on_name(ctx->req->http, &names[1]);
	if (flights_under_way() && flight_overtake(names, n, (uint64_t)(VTIM_mono() * 1000.)))
		ctx->req->hash_ignore_busy = 1;
	if (errand != NULL && errand->kind == PASSED)
		errand->kind = VISIT;	/* a restart is judged anew */
	if ((errand == NULL || errand->kind == VISIT) && lease_lapse() == LAPSE_BYPASS && lease_lapsed()) {
		if (errand == NULL && (errand = new_errand(ctx, VISIT)) == NULL)
			return;
		errand->kind = PASSED;
		ctx->req->vcf = &lapsed;
		ctx->req->hash_ignore_busy = 1;
	}
	if (errand != NULL && errand->kind == PROBE) {
		INIT_OBJ(&errand->vcf, VCF_MAGIC);
		errand->vcf.func = look;
		errand->vcf.priv = errand;
		ctx->req->vcf = &errand->vcf;
		ctx->req->hash_ignore_busy = 1;
	}
	if (errand != NULL && errand->kind == FETCH)
		ctx->req->d_grace = 0.;	/* an expired object is no answer */
}

/* ---- fetches ---- */

struct fetch {
	unsigned magic;
#define FETCH_MAGIC 0x66657463
	struct flight flight;
	uint16_t status;	/* of the origin's last answer */
};

static const int fetch_id;

static void
fetch_fini(VRT_CTX, void *p)
{
	struct fetch *fetch;

	(void)ctx;
	CAST_OBJ_NOTNULL(fetch, p, FETCH_MAGIC);
	flight_end(&fetch->flight);
}

static const struct vmod_priv_methods fetch_methods = {
	.magic = VMOD_PRIV_METHODS_MAGIC,
	.type = "freshline fetch",
	.fini = fetch_fini,
};

static struct fetch *
fetch_of(VRT_CTX)
{
	struct vmod_priv *priv = VRT_priv_task(ctx, &fetch_id);
	struct fetch *fetch;

	if (priv != NULL && priv->priv == NULL) {
		fetch = WS_Alloc(ctx->ws, sizeof *fetch);
		if (fetch != NULL) {
			INIT_OBJ(fetch, FETCH_MAGIC);
			priv->priv = fetch;
			priv->methods = &fetch_methods;
		}
	}
	if (priv == NULL || priv->priv == NULL) {
		VRT_fail(ctx, "freshline: no workspace to stamp a fetch");
		return (NULL);
	}
	CAST_OBJ_NOTNULL(fetch, priv->priv, FETCH_MAGIC);
	return (fetch);
}

VCL_VOID
vmod_repeat(VRT_CTX)
{
	unsigned decided = visit_decided(ctx->req);

	if (decided == VCL_RET_FAIL)
		VRT_fail(ctx, "freshline: as before");
	else if (decided != 0)
		VRT_handling(ctx, decided);
}

VCL_VOID
vmod_begin(VRT_CTX)
{
	struct busyobj *bo = ctx->bo;
	struct fetch *fetch;
	struct name names[2];
	unsigned n;

	CHECK_OBJ_NOTNULL(bo, BUSYOBJ_MAGIC);
	if ((fetch = fetch_of(ctx)) == NULL)
		return;
	steps_learn(bo);
	n = names_of_fetch(names, bo);
	http_Unset(bo->bereq, H_VISITED);
	flight_begin(&fetch->flight, &names[0]);
	fetch->status = 0;
	/*
	 * A 304 would put the old body under the new stamp. That is what revalidating is for; but a command that came
	 * between the lookup and here may want the object gone.
	 */
	if (bo->stale_oc != NULL && judge(bo->wrk, bo->stale_oc, names, n) == GONE) {
		http_Unset(bo->bereq, H_If_None_Match);
		http_Unset(bo->bereq, H_If_Modified_Since);
	}
}

static int
is_tag_header(const txt *line, int merged)
{

	return (http_IsHdr(line, "\012Cache-Tag:") || http_IsHdr(line, "\016Surrogate-Key:") ||
	    http_IsHdr(line, "\005xkey:") || (merged && http_IsHdr(line, H_TAGS)));
}

static int
has_token(const char *list, size_t size, const char *token, size_t token_size)
{
	const char *p = list, *end = list + size, *space;

	for (; p < end; p = space + 1) {
		space = memchr(p, ' ', (size_t)(end - p));
		if (space == NULL)
			space = end;
		if ((size_t)(space - p) == token_size && memcmp(p, token, token_size) == 0)
			return (1);
	}
	return (0);
}

/* Every tag once, parted by spaces. After a 304 those the object had before stay with it. */
static void
mark_tags(VRT_CTX, struct http *beresp)
{
	static const char name[] = "x-freshline-tags: ";
	const char *p, *start, *end;
	size_t room = sizeof name, size = 0;
	char *line, *tags;
	unsigned i;

	for (i = HTTP_HDR_FIRST; i < beresp->nhd; i++)
		if (is_tag_header(&beresp->hd[i], ctx->bo->was_304))
			room += Tlen(beresp->hd[i]);
	if (room > sizeof name) {
		if ((line = WS_Alloc(ctx->ws, (unsigned)room)) == NULL) {
			VRT_fail(ctx, "freshline: no workspace for %zu bytes of tags", room);
			return;
		}
		memcpy(line, name, sizeof name - 1);
		tags = line + sizeof name - 1;
		for (i = HTTP_HDR_FIRST; i < beresp->nhd; i++) {
			if (!is_tag_header(&beresp->hd[i], ctx->bo->was_304))
				continue;
			end = beresp->hd[i].e;
			for (p = strchr(beresp->hd[i].b, ':') + 1; p < end;) {
				for (; p < end && strchr(" ,\t", *p) != NULL; p++)
					;
				for (start = p; p < end && strchr(" ,\t", *p) == NULL; p++)
					;
				if (p == start || has_token(tags, size, start, (size_t)(p - start)))
					continue;
				if (size > 0)
					tags[size++] = ' ';
				memcpy(tags + size, start, (size_t)(p - start));
				size += (size_t)(p - start);
			}
		}
		tags[size] = '\0';
	}
	http_Unset(beresp, H_TAGS);
	if (size > 0)
		http_SetHeader(beresp, line);
}

/* What Varnish wrote last about this fetch into its log, which is the only place where it says why it failed. */
static void
last_fetch_error(const struct vsl_log *vsl, char *to, size_t size)
{
	const uint32_t *record;

	*to = '\0';
	for (record = vsl->wlb; record < vsl->wlp; record = VSL_NEXT(record))
		if (VSL_TAG(record) == SLT_FetchError || VSL_TAG(record) == SLT_Error)
			(void)snprintf(to, size, "%.*s", (int)VSL_LEN(record), VSL_CDATA(record));
}

static void
mark_trouble(VRT_CTX, struct http *beresp, const struct fetch *fetch)
{
	char text[TROUBLE_SIZE];
	const char *kind = "broken";

	last_fetch_error(ctx->vsl, text, sizeof text);
	if (strstr(text, "timeout") != NULL || strstr(text, "timed out") != NULL)
		kind = "timeout";
	else if (strncmp(text, "backend ", 8) == 0 || strncmp(text, "Director ", 9) == 0 ||
	    strncmp(text, "No backend", 10) == 0)
		kind = "unreachable";
	else if (fetch->status >= 500)
		kind = "status";
	http_PrintfHeader(beresp, "x-freshline-trouble: %s %u %s", kind, fetch->status, text);
}

VCL_VOID
vmod_mark(VRT_CTX)
{
	struct http *beresp = ctx->http_beresp;
	struct fetch *fetch;

	CHECK_OBJ_NOTNULL(beresp, HTTP_MAGIC);
	if ((fetch = fetch_of(ctx)) == NULL)
		return;
	http_Unset(beresp, H_STAMP);
	http_Unset(beresp, H_TROUBLE);
	http_Unset(beresp, H_FETCH);	/* it is for us to say what comes of a fetch */
	http_PrintfHeader(beresp, "x-freshline-stamp: %016" PRIx64 ".%" PRIu64, fetch->flight.stamp.life,
	    fetch->flight.stamp.position);
	mark_tags(ctx, beresp);
	if (ctx->method == VCL_MET_BACKEND_ERROR)
		mark_trouble(ctx, beresp, fetch);
	else
		fetch->status = http_GetStatus(beresp);
}

/* ---- the controller's requests ---- */

VCL_VOID
vmod_bounds(VRT_CTX, VCL_INT rules, VCL_DURATION seconds)
{

	if (rules < 1 || seconds < 1.)
		VRT_fail(ctx, "freshline.bounds(): at least one rule, for at least a second");
	else
		rules_bounds((uint64_t)rules, (uint64_t)seconds);
}

VCL_VOID
vmod_lapse(VRT_CTX, VCL_ENUM what)
{

	(void)ctx;
	lease_set_lapse(what == VENUM(bypass) ? LAPSE_BYPASS : what == VENUM(refuse) ? LAPSE_REFUSE : LAPSE_SERVE);
}

VCL_BOOL
vmod_passing(VRT_CTX)
{
	struct errand *errand = errand_of(ctx);

	return (errand != NULL && errand->kind == PASSED);
}

VCL_BOOL
vmod_refuse(VRT_CTX)
{

	if (lease_lapse() != LAPSE_REFUSE || !lease_lapsed())
		return (0);
	(void)new_errand(ctx, REFUSED);
	return (1);
}

VCL_BOOL
vmod_refused(VRT_CTX)
{
	struct errand *errand = errand_of(ctx);

	return (errand != NULL && errand->kind == REFUSED);
}

VCL_BOOL
vmod_same(VRT_CTX, VCL_STRING given, VCL_STRING secret)
{
	size_t i, size;
	unsigned char differs;

	(void)ctx;
	if (given == NULL || secret == NULL || *secret == '\0')
		return (0);
	size = strlen(given);
	differs = size != strlen(secret);
	for (i = 0; secret[i] != '\0'; i++)
		differs |= (unsigned char)(secret[i] ^ given[i < size ? i : size]);
	return (differs == 0);
}

struct body {
	char *at;
	size_t size, room, most;
};

static int
read_more(void *priv, unsigned flush, const void *from, ssize_t n)
{
	struct body *body = priv;
	size_t room;
	char *more;

	(void)flush;
	if ((size_t)n > body->most - body->size)
		return (-1);
	if (body->size + (size_t)n > body->room) {
		room = body->room * 2 + (size_t)n;
		if ((more = realloc(body->at, room)) == NULL)
			return (-1);
		body->at = more;
		body->room = room;
	}
	if (n > 0)
		memcpy(body->at + body->size, from, (size_t)n);
	body->size += (size_t)n;
	return (0);
}

static void
renew(VRT_CTX)
{
	const char *header;

	if (http_GetHdr(ctx->req->http, H_LEASE, &header))
		gate_renew(header);
}

/* What was cut off or is too long is not looked at. */
static struct body
read_body(VRT_CTX, size_t most)
{
	struct body body = {NULL, 0, 0, most};

	if (VRB_Iterate(ctx->req->wrk, ctx->vsl, ctx->req, read_more, &body) < 0)
		body.size = 0;
	return (body);
}

static VCL_INT
carry_out(VRT_CTX, struct answer (*what)(char *body, size_t size, uint64_t now))
{
	struct errand *errand = new_errand(ctx, COMMAND);
	struct body body;

	if (errand == NULL)
		return (500);
	body = read_body(ctx, BATCH_BYTES);
	errand->answer = what(body.at, body.size, (uint64_t)VTIM_mono());
	free(body.at);
	if (errand->answer.status == 200)
		renew(ctx);
	return (errand->answer.status);
}

static struct answer
status_errand(char *body, size_t size, uint64_t now)
{

	(void)body;
	(void)size;
	(void)now;
	return (gate_status());
}

static struct answer
flush_errand(char *body, size_t size, uint64_t now)
{

	(void)now;
	return (gate_flush(body, size));
}

VCL_INT
vmod_status(VRT_CTX)
{

	return (carry_out(ctx, status_errand));
}

VCL_INT
vmod_batch(VRT_CTX)
{

	return (carry_out(ctx, gate_batch));
}

VCL_INT
vmod_flush(VRT_CTX)
{

	return (carry_out(ctx, flush_errand));
}

VCL_INT
vmod_visits(VRT_CTX)
{
	struct errand *errand = new_errand(ctx, ASKED);
	struct body body;

	if (errand == NULL)
		return (500);
	body = read_body(ctx, VISITS_BYTES);
	errand->party = party_begin(ctx->req, (struct slice){body.at, body.size}, &errand->answer);
	free(body.at);
	return (errand->answer.status);
}

VCL_BOOL
vmod_visiting(VRT_CTX)
{

	if (visit_is(ctx->req)) {
		(void)new_errand(ctx, FETCH);
		return (1);
	}
	visits_offer();		/* a VCL of before, which would not know them, does not ask */
	return (0);
}

VCL_INT
vmod_fresh(VRT_CTX)
{
	struct errand *errand = new_errand(ctx, ASKED);

	if (errand == NULL)
		return (500);
	errand->answer = gate_fresh();
	return (errand->answer.status);
}

VCL_STRING
vmod_clock(VRT_CTX)
{
	struct errand *errand = errand_of(ctx);
	char clock[LEASE_CLOCK_SIZE];

	if (errand == NULL || errand->kind != COMMAND || errand->answer.status != 200 || errand->party != NULL)
		return (NULL);
	lease_clock(clock);
	return (WS_Copy(ctx->ws, clock, -1));
}

VCL_STRING
vmod_answer(VRT_CTX)
{
	struct errand *errand = errand_of(ctx);

	if (errand != NULL && errand->party != NULL)
		return ("\n");	/* there has to be a body for lines to come instead of it */
	return (errand == NULL || errand->answer.text == NULL ? "" : errand->answer.text);
}

/* ---- answers that come line by line ---- */

static int
lines_init(VRT_CTX, struct vdp_ctx *vdc, void **priv, struct objcore *oc)
{
	struct errand *errand = errand_of(ctx);

	(void)vdc;
	(void)oc;
	if (errand == NULL || errand->party == NULL)
		return (1);
	*priv = errand->party;
	ctx->req->resp_len = -1;
	ctx->req->sp->send_timeout = PATIENCE;	/* it counts from here, and nothing is sent when it is over */
	return (0);
}

static int
lines_bytes(struct vdp_ctx *vdc, enum vdp_action act, void **priv, const void *ptr, ssize_t len)
{
	const char *text;
	size_t size;

	(void)ptr;
	if (len > 0)
		while ((text = party_lines(*priv, &size)) != NULL)
			if (VDP_bytes(vdc, VDP_FLUSH, text, (ssize_t)size) != 0)
				return (vdc->retval);
	return (VDP_bytes(vdc, act, NULL, 0));
}

static int
lines_fini(struct vdp_ctx *vdc, void **priv)
{

	(void)vdc;
	*priv = NULL;	/* it is the errand's */
	return (0);
}

static const struct vdp lines = {"freshline", lines_init, lines_bytes, lines_fini};

VCL_BOOL
vmod_gathering(VRT_CTX)
{
	struct errand *errand = errand_of(ctx);

	return (errand != NULL && errand->party != NULL);
}

int
vmod_event(VRT_CTX, struct vmod_priv *priv, enum vcl_event_e event)
{
	const char *why = NULL;

	(void)priv;
	if (event == VCL_EVENT_LOAD)
		why = VRT_AddFilter(ctx, NULL, &lines);
	else if (event == VCL_EVENT_DISCARD)
		VRT_RemoveFilter(ctx, NULL, &lines);
	if (why != NULL)
		VSB_cat(ctx->msg, why);
	return (why != NULL);
}

VCL_VOID
vmod_probe(VRT_CTX)
{

	(void)new_errand(ctx, PROBE);
}

VCL_VOID
vmod_fetch(VRT_CTX)
{

	if (gate_caught_up())
		(void)new_errand(ctx, FETCH);
	else	/* no answer to a fetch: it is asked for again */
		VRT_fail(ctx, "freshline: a fetch before the gate has caught up");
}

VCL_BOOL
vmod_probing(VRT_CTX)
{
	struct errand *errand = errand_of(ctx);

	return (errand != NULL && errand->kind == PROBE);
}

VCL_BOOL
vmod_fetching(VRT_CTX)
{
	struct errand *errand = errand_of(ctx);

	return (errand != NULL && errand->kind == FETCH);
}

/* In one pass over the headers: every hit has one of ours, and none has to be looked for by name. */
VCL_VOID
vmod_strip(VRT_CTX)
{
	static const char ours[] = "x-freshline-";
	struct http *resp = ctx->http_resp;
	unsigned from, to;

	CHECK_OBJ_NOTNULL(resp, HTTP_MAGIC);
	for (from = to = HTTP_HDR_FIRST; from < resp->nhd; from++) {
		if ((*resp->hd[from].b | ' ') == 'x' && strncasecmp(resp->hd[from].b, ours, sizeof ours - 1) == 0 &&
		    (http_IsHdr(&resp->hd[from], H_STAMP) || http_IsHdr(&resp->hd[from], H_TAGS) ||
		    http_IsHdr(&resp->hd[from], H_TROUBLE))) {
			VSLbt(ctx->vsl, SLT_RespUnset, resp->hd[from]);
			continue;
		}
		if (from != to) {
			resp->hd[to] = resp->hd[from];
			resp->hdf[to] = resp->hdf[from];
		}
		to++;
	}
	resp->nhd = (uint16_t)to;
}

VCL_STRING
vmod_presence(VRT_CTX)
{
	struct errand *errand = errand_of(ctx);

	if (errand == NULL || errand->presence == ABSENT)
		return ("absent -");
	if (errand->stamp.life != rules_stamp().life)
		return (errand->presence == STORED ? "stored -" : "obsolete -");
	return (WS_Printf(ctx->ws, "%s %" PRIu64, errand->presence == STORED ? "stored" : "obsolete",
	    errand->stamp.position));
}

/* Of a fetch's answer nobody wants more than what came of it and where it leads to. */
static void
keep_location(struct http *resp)
{
	uint16_t from, to;

	for (from = to = HTTP_HDR_FIRST; from < resp->nhd; from++) {
		if (!http_IsHdr(&resp->hd[from], H_Location))
			continue;
		resp->hd[to] = resp->hd[from];
		resp->hdf[to++] = resp->hdf[from];
	}
	resp->nhd = to;
}

VCL_STRING
vmod_fetched(VRT_CTX)
{
	struct req *req = ctx->req;
	struct objcore *oc;
	const char *trouble, *outcome = "stored";
	unsigned status;

	CHECK_OBJ_NOTNULL(req, REQ_MAGIC);
	oc = req->objcore;
	if (oc == NULL)
		return (NULL);
	keep_location(ctx->http_resp);
	trouble = HTTP_GetHdrPack(req->wrk, oc, H_TROUBLE);
	if (trouble != NULL)
		return (trouble);
	status = HTTP_GetStatusPack(req->wrk, oc);
	if (oc->flags & OC_F_PRIVATE || is_marker(oc) || oc->ttl <= 0.)
		outcome = "uncacheable";
	else if (HSH_RefBoc(oc) != NULL) {
		/* Somebody's fetch, streaming: the headers are here, the body is still on its way. */
		ObjWaitState(oc, BOS_FINISHED);
		HSH_DerefBoc(req->wrk, oc);
	}
	if (oc->flags & OC_F_FAILED)
		return (WS_Printf(ctx->ws, "cut %u", status));
	if (status >= 500)
		return (WS_Printf(ctx->ws, "status %u", status));
	if (status < 200 || status > 299)
		outcome = "other";
	return (WS_Printf(ctx->ws, "%s %u %ju", outcome, status,
	    *outcome == 's' ? (uintmax_t)ObjGetLen(req->wrk, oc) : 0));
}
