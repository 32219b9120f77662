/*
 * Varnish fetches in another thread than the one that asks, since a visitor is sent the beginning while the rest comes.
 * For a request that nobody reads, that is one thread woken to fetch and the other to hear of it: half of all that such
 * a request waits. So a miss of ours is done here, as Varnish does it up to where it would hand the fetch over; and the
 * fetch, all Varnish's own, is then called.
 *
 * What Varnish keeps to itself is learnt from it: which step comes after which from the names of those that requests of
 * ours go through, and how a fetch is run from one that it began. Until all of that is known, Varnish does the miss.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "cache/cache_varnishd.h"

#include <pthread.h>
#include <stdatomic.h>

#include "vcl.h"
#include "vtim.h"

#include "steps.h"

#if VRT_MAJOR_VERSION == 15U	/* Varnish 7.1 */

/* In varnishd's cache/cache_objhead.h and hash/hash_slinger.h, which are not among the installed headers. */
struct objhead {		/* only as far as it is used */
	unsigned magic;
#define OBJHEAD_MAGIC 0x1b96615d
	int refcnt;
	struct lock mtx;
};
void HSH_Ref(struct objcore *);
int HSH_DerefObjCore(struct worker *, struct objcore **, int rushmax);
struct boc *HSH_RefBoc(const struct objcore *);
void HSH_DerefBoc(struct worker *, struct objcore *);

/* ---- what has been learnt ---- */

enum known { MISS, FETCH, DELIVER, N_KNOWN };

static const char *const names[N_KNOWN] = {"Req Step miss", "Req Step fetch", "Req Step deliver"};
static const struct req_step *_Atomic steps[N_KNOWN];
static task_func_t *_Atomic run_fetch;

void
steps_learn(const struct busyobj *bo)
{

	if (run_fetch == NULL)
		run_fetch = bo->fetch_task->func;
}

static int
knows_all(void)
{
	unsigned i;

	for (i = 0; i < N_KNOWN && steps[i] != NULL; i++)
		;
	return (i == N_KNOWN && run_fetch != NULL);
}

static void
learn_step(const struct req_step *step)
{
	unsigned i;

	for (i = 0; i < N_KNOWN; i++)
		if (steps[i] == NULL && strcmp(step->name, names[i]) == 0)
			steps[i] = step;
}

/* ---- what is being fetched ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static VTAILQ_HEAD(, way) under_way = VTAILQ_HEAD_INITIALIZER(under_way);

struct way {
	struct objcore *oc;	/* the request's */
	VTAILQ_ENTRY(way) list;
};

/*
 * Varnish does so once the request that asked for it has had its answer. Here that is after the fetch, which may have no
 * end. An object that waits for nobody any more, and is not to be kept, is one that Varnish would break off.
 */
void
steps_break_off(void)
{
	struct objcore *oc;
	struct way *way;

	AZ(pthread_mutex_lock(&lock));
	VTAILQ_FOREACH(way, &under_way, list) {
		oc = way->oc;
		CHECK_OBJ_NOTNULL(oc->objhead, OBJHEAD_MAGIC);
		Lck_Lock(&oc->objhead->mtx);
		/* No lookup finds what has no ttl, and Varnish breaks off only what is marked. It dies, as no base for a 304. */
		if (!(oc->flags & (OC_F_BUSY | OC_F_HFM)) && oc->ttl <= 0. && oc->hits == 0) {
			if (!(oc->flags & OC_F_DYING))
				EXP_Remove(oc);
			oc->flags |= OC_F_HFM | OC_F_DYING;
		}
		if (!(oc->flags & OC_F_BUSY) && oc->flags & (OC_F_PRIVATE | OC_F_HFM | OC_F_HFP))
			oc->flags |= OC_F_CANCEL;
		Lck_Unlock(&oc->objhead->mtx);
	}
	AZ(pthread_mutex_unlock(&lock));
}

/* ---- a miss ---- */

/* What Varnish's own fetch is given, as Varnish gives it. */
static struct busyobj *
busyobj_of(struct worker *wrk, struct req *req, struct boc *boc)
{
	struct busyobj *bo = VBO_GetBusyObj(wrk, req);

	CHECK_OBJ_NOTNULL(bo, BUSYOBJ_MAGIC);
	VSLb(bo->vsl, SLT_Begin, "bereq %u fetch", VXID(req->vsl->wid));
	VSLb(bo->vsl, SLT_VCL_use, "%s", VCL_Name(bo->vcl));
	VSLb(req->vsl, SLT_Link, "bereq %u fetch", VXID(bo->vsl->wid));
	bo->is_hitmiss = req->is_hitmiss;
	bo->is_hitpass = req->is_hitpass;
	bo->sp = req->sp;
	SES_Ref(bo->sp);
	HSH_Ref(req->objcore);
	bo->fetch_objcore = req->objcore;
	boc->vary = req->vary_b;
	req->vary_b = NULL;
	if (req->stale_oc != NULL) {
		HSH_Ref(req->stale_oc);
		bo->stale_oc = req->stale_oc;
	}
	bo->req = req;
	bo->fetch_task->func = run_fetch;
	bo->fetch_task->priv = bo;
	return (bo);
}

static void
fetch(struct worker *wrk, struct req *req)
{
	struct boc *boc = HSH_RefBoc(req->objcore);
	struct way way = {.oc = req->objcore};
	struct busyobj *bo;

	CHECK_OBJ_NOTNULL(boc, BOC_MAGIC);
	bo = busyobj_of(wrk, req, boc);
	AZ(pthread_mutex_lock(&lock));
	VTAILQ_INSERT_TAIL(&under_way, &way, list);
	AZ(pthread_mutex_unlock(&lock));
	run_fetch(wrk, bo);
	AZ(pthread_mutex_lock(&lock));
	VTAILQ_REMOVE(&under_way, &way, list);
	AZ(pthread_mutex_unlock(&lock));
	wrk->vsl = req->vsl;
	VSLb_ts_req(req, "Fetch", W_TIM_real(wrk));
	HSH_DerefBoc(wrk, req->objcore);
}

/*
 * Where VCL wants something else than to fetch, Varnish does the miss, and asks VCL again: our part of it comes first and
 * says the same, so that the operator's is run once. And where the body broke off, VCL is shown what has come of it, as
 * it would have been while that came.
 */
static enum req_fsm_nxt
miss(struct worker *wrk, struct req *req, unsigned *decided)
{
	enum req_fsm_nxt next;
	int broke_off;

	VCL_miss_method(req->vcl, wrk, req, NULL, NULL);
	if (wrk->handling != VCL_RET_FETCH) {
		*decided = wrk->handling;
		next = req->req_step->func(wrk, req);
		*decided = 0;
		return (next);
	}
	fetch(wrk, req);
	broke_off = (req->objcore->flags & (OC_F_FAILED | OC_F_BUSY)) == OC_F_FAILED;
	req->req_step = steps[broke_off ? DELIVER : FETCH];
	if (req->stale_oc != NULL)
		(void)HSH_DerefObjCore(wrk, &req->stale_oc, 0);
	return (REQ_FSM_MORE);
}

/* ---- all of them ---- */

/* As CNT_Request() ends one. */
static void
end(struct worker *wrk, struct req *req)
{
	struct vrt_ctx ctx[1];

	INIT_OBJ(ctx, VRT_CTX_MAGIC);
	VCL_Req2Ctx(ctx, req);
	VCL_TaskLeave(ctx, req->top->privs);
	if (req->top->vcl0 != NULL)
		VCL_Recache(wrk, &req->top->vcl0);
	VCL_TaskLeave(ctx, req->privs);
	VRB_Free(req);
	VRT_Assign_Backend(&req->director_hint, NULL);
	req->wrk = NULL;
}

int
steps_take(struct worker *wrk, struct req *req, unsigned *decided)
{
	enum req_fsm_nxt next = REQ_FSM_MORE;

	while (next == REQ_FSM_MORE) {
		learn_step(req->req_step);
		if (req->req_step == steps[MISS] && knows_all())
			next = miss(wrk, req, decided);
		else
			next = req->req_step->func(wrk, req);
	}
	wrk->vsl = NULL;
	if (next == REQ_FSM_DONE)
		end(wrk, req);
	return (next == REQ_FSM_DONE);
}

#else

void
steps_learn(const struct busyobj *bo)
{

	(void)bo;
}

void
steps_break_off(void)
{
}

#endif
