/*
 * A visitor of the gate's own, who comes without a socket: a connection of one of this nginx's own listeners, whose
 * bytes come from memory and go nowhere. All that nginx does for a visitor it does for this one.
 *
 * 1. Nothing of a visit is begun, and nobody is told of its end, within a call of Lua's: sites may run Lua themselves.
 * 2. Who asked may be gone before it has ended: it goes on to its end, as a visitor's fetch does that is to be stored.
 */

#ifndef FRESHLINE_VISIT_H
#define FRESHLINE_VISIT_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "state.h"

int visit_is(ngx_connection_t *c);

/* Before its answer's head goes out. `judge` is asked when the request goes: is what it fetched stored, and its size. */
typedef int (*visit_judge)(ngx_http_request_t *r, double *bytes);
ngx_int_t visit_answer(ngx_http_request_t *r, visit_judge judge);

#endif
