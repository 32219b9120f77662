/*
 * A visit is a request of our own, made as HTTP/2 makes one of each stream: it shares the session of the request that
 * asked for it, has a worker and a place in Varnish's log for itself, waits for busy objects like any other, and is
 * known by its transport, which sends nothing and keeps what VCL has made of it. So no socket, and no request line, is
 * read or written for an object.
 *
 * They queue before new requests: threads are kept back for those, and so for them, while all others may be taken by
 * requests that wait for visits.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "cache/cache_varnishd.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cache/cache_filter.h"
#include "vtim.h"

#include "errand.h"
#include "steps.h"
#include "visit.h"

#if VRT_MAJOR_VERSION == 15U	/* Varnish 7.1 */

#define LINE_SIZE	12288	/* bytes of one, at most */
#define OWN_HEADERS	16	/* that a request has room for beside those it is sent with */
#define OWN_SIZE	64	/* bytes of it beside its URL and headers, as it would come over a socket */

/* In varnishd's cache/cache_transport.h, which is not among the installed headers; only as far as it is used. */
struct transport {
	unsigned magic;
#define TRANSPORT_MAGIC 0xf157f32f
	uint16_t number;
	const char *proto_ident, *name;
	task_func_t *new_session, *unwait;
	void (*req_fail)(struct req *, stream_close_t);
	void (*req_body)(struct req *);
	void (*deliver)(struct req *, struct boc *, int sendbody);
	void (*sess_panic)(struct vsb *, const struct sess *);
	void (*req_panic)(struct vsb *, const struct req *);
	void (*reembark)(struct worker *, struct req *);
	int (*minimal_response)(struct req *, uint16_t);
	VTAILQ_ENTRY(transport) list;
};
extern struct transport HTTP1_transport;
void V1D_Deliver(struct req *, struct boc *, int sendbody);

/* It is laid out as we think, if what we know of another one is where it should be. */
int
visits_are_possible(void)
{

	return (HTTP1_transport.magic == TRANSPORT_MAGIC && strcmp(HTTP1_transport.name, "HTTP/1") == 0 &&
	    HTTP1_transport.deliver == V1D_Deliver && HTTP1_transport.reembark == NULL);
}

/* ---- what came of it ---- */

static const char H_FETCH[] = "\020freshline-fetch:";

static int
is(const char *word, size_t size, const char *what)
{

	return (size == strlen(what) && memcmp(word, what, size) == 0);
}

static int
is_word(const char *text)
{

	for (; *text >= '!' && *text <= '~'; text++)
		;
	return (*text == '\0');
}

/* What VCL said of it, as the line that a fetch is answered with. NULL: no memory. */
static char *
line_of(const struct req *req, const char *said)
{
	const char *outcome = "other", *why, *location = NULL;
	size_t size = strcspn(said, " ");
	unsigned status;
	uintmax_t bytes = 0;
	char *rest, *line, *p;

	status = (unsigned)strtoul(said + size, &rest, 10);
	why = *rest == ' ' ? rest + 1 : rest;
	if (is(said, size, "stored")) {
		outcome = "stored";
		bytes = strtoumax(rest, NULL, 10);
		why = req->is_hit ? "already" : "fetched";
	} else if (is(said, size, "timeout")) {
		outcome = "origin-timeout";
		status = 0;
	} else if (is(said, size, "status")) {
		outcome = "origin-status";
		why = "the origin answered so";
	} else if (status >= 300 && status <= 399 && http_GetHdr(req->resp, H_Location, &location) &&
	    *location != '\0' && is_word(location))
		why = location;
	else if (is(said, size, "uncacheable"))
		why = "it may not be stored";
	else if (is(said, size, "cut"))
		why = "its body broke off";
	else if (is(said, size, "other") && *why >= '0' && *why <= '9')
		why = "the origin answered so";
	if (asprintf(&line, "fetched %s %u %ju %s%.*s\n", outcome, status, bytes, why == location ? "redirects to " : "",
	    LINE_SIZE, why) < 0)
		return (NULL);
	for (p = line; p[1] != '\0'; p++)
		if (*p < ' ' || *p > '~')
			*p = ' ';
	return (line);
}

static void
keep(struct req *req, struct boc *boc, int sendbody)
{
	struct visit *v = req->transport_priv;
	const char *said;

	(void)boc;
	(void)sendbody;
	if (v->said == NULL && http_GetHdr(req->resp, H_FETCH, &said))
		v->said = line_of(req, said);
	req->acct.resp_bodybytes += VDP_Close(req->vdc);
}

static void
fail(struct req *req, stream_close_t reason)
{

	(void)req;
	(void)reason;
}

static int
respond(struct req *req, uint16_t status)
{

	(void)req;
	(void)status;
	return (0);
}

static const struct transport nowhere = {
	.magic = TRANSPORT_MAGIC,
	.proto_ident = "freshline",
	.name = "freshline",
	.req_fail = fail,
	.deliver = keep,
	.minimal_response = respond,
};

int
visit_is(const struct req *req)
{

	return (req->transport == &nowhere);
}

unsigned
visit_decided(const struct req *req)
{
	const struct visit *v = req->transport_priv;

	return (visit_is(req) ? v->decided : 0);
}

/* ---- on its way ---- */

/* Where it waits for somebody else's fetch, it comes back here. */
static void
go_on(struct worker *wrk, void *priv)
{
	struct req *req = priv;
	struct visit *v;
	int ended;

	CHECK_OBJ_NOTNULL(req, REQ_MAGIC);
	v = req->transport_priv;
	THR_SetRequest(req);
	CNT_Embark(wrk, req);
	ended = steps_take(wrk, req, &v->decided);
	THR_SetRequest(NULL);
	if (!ended)
		return;
	req->task->func = NULL;
	req->task->priv = NULL;
	Req_Cleanup(req->sp, wrk, req);
	Req_Release(req);
	v->arrive(v);
}

static const char *
text_of(struct ws *ws, struct slice part)
{

	return (WS_Printf(ws, "%.*s", (int)part.size, part.at));
}

/*
 * What a visitor could not ask for is not fetched: VCL has the rest of the workspace to itself, and would fail without,
 * which is no fault of the edge's.
 */
static int
is_too_long(const struct errand *e)
{
	size_t size = OWN_SIZE + e->target.size + e->host.size;
	unsigned i;

	for (i = 0; i < e->n_headers; i++)
		size += e->headers[i].name.size + e->headers[i].value.size + strlen(": \r\n");
	return (size > cache_param->http_req_size);
}

/* Returns 0 if there is no room for it. */
static int
write_request(struct req *req, const struct errand *e)
{
	const char *url;
	unsigned i;

	if (is_too_long(e) || e->n_headers + OWN_HEADERS > req->http->shd || (url = text_of(req->ws, e->target)) == NULL)
		return (0);
	http_SetH(req->http, HTTP_HDR_METHOD, "HEAD");
	http_SetH(req->http, HTTP_HDR_URL, url);
	http_SetH(req->http, HTTP_HDR_PROTO, "HTTP/1.1");
	req->http->protover = 20;	/* as HTTP/2's: never piped, whatever VCL says, for the socket is the asker's */
	http_PrintfHeader(req->http, "host: %.*s", (int)e->host.size, e->host.at);
	for (i = 0; i < e->n_headers; i++)
		http_PrintfHeader(req->http, "%.*s: %.*s", (int)e->headers[i].name.size, e->headers[i].name.at,
		    (int)e->headers[i].value.size, e->headers[i].value.at);
	if (e->scheme.size == 5)	/* Varnish speaks no TLS: this is how it learns what the visitor spoke */
		http_ForceHeader(req->http, "\022x-forwarded-proto:", "https");
	return (!WS_Overflowed(req->ws));
}

static void
set_out(struct worker *wrk, void *priv)
{
	struct visit *v = priv;
	struct req *req = Req_New(v->session);

	CHECK_OBJ_NOTNULL(req, REQ_MAGIC);
	req->vsl->wid = VXID_Get(wrk, VSL_CLIENTMARKER);
	VSLb(req->vsl, SLT_Begin, "req %u rxreq", VXID(v->session->vxid));
	req->t_req = VTIM_real();
	VSLb_ts_req(req, "Start", req->t_req);
	req->transport = &nowhere;
	req->transport_priv = v;
	req->req_body_status = BS_NONE;
	HTTP_Setup(req->http, req->ws, req->vsl, SLT_ReqMethod);
	if (!write_request(req, v->errand)) {
		v->said = strdup("fetched other 0 0 longer than a request may be\n");
		Req_Cleanup(v->session, wrk, req);
		Req_Release(req);
		v->arrive(v);
		return;
	}
	assert(req->req_step == R_STP_TRANSPORT);
	VCL_TaskEnter(req->privs);
	VCL_TaskEnter(req->top->privs);
	req->task->func = go_on;
	req->task->priv = req;
	go_on(wrk, req);
}

int
visit_begin(struct visit *v)
{

	v->task.func = set_out;
	v->task.priv = v;
	return (Pool_Task_Any(&v->task, TASK_QUEUE_RUSH) == 0);
}

#else	/* one whose requests nobody has looked at: the controller sends a HEAD for each object */

int
visits_are_possible(void)
{

	return (0);
}

int
visit_is(const struct req *req)
{

	(void)req;
	return (0);
}

unsigned
visit_decided(const struct req *req)
{

	(void)req;
	return (0);
}

int
visit_begin(struct visit *v)
{

	(void)v;
	return (0);
}

#endif
