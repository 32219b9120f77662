#include "visit.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_BYTES	262144	/* of an answer, at most */

struct visit {
	struct freshline_visit said;	/* first: Lua is given it */
	ngx_queue_t place;		/* of those under way, or of those that ended */
	struct freshline_party *party;	/* NULL: nobody waits */
	ngx_connection_t *connection;	/* NULL: it is over */
	visit_judge judge;
	int ended;			/* or taken for it */
	ngx_msec_t stirred;
	off_t sent;
	size_t request_size, at;
	char request[];
};

/* Those that one request of the service's brought about. */
struct freshline_party {
	ngx_queue_t under_way, ended;
	struct visit *shown;
	int (*wake)(void *whom, int once);
	void *whom;
	int woken;
	ngx_pool_cleanup_t *end;	/* of the request */
};

/* Where the site is reached, among what this process listens to. */
static struct {
	ngx_listening_t *listening;
	ngx_sockaddr_t address;
	socklen_t size;
	ngx_socket_t fd;	/* stands for all visits' sockets: nothing ever comes or goes there */
} site = {.fd = (ngx_socket_t)-1};

/* ---- what nginx takes for a socket ---- */

static void
over(void *data)
{
	struct visit *v = data;
	struct freshline_party *party = v->party;

	v->connection = NULL;
	if (party == NULL) {
		free((void *)(uintptr_t)v->said.head);
		free(v);
	} else if (!v->ended) {
		v->ended = 1;
		ngx_queue_remove(&v->place);
		ngx_queue_insert_tail(&party->ended, &v->place);
		if (!party->woken)
			(void)party->wake(party->whom, 1);
		party->woken = 1;
	}
}

static struct visit *
visit_of(ngx_connection_t *c)
{
	ngx_pool_cleanup_t *cleanup;

	for (cleanup = c->pool->cleanup; cleanup != NULL && cleanup->handler != over; cleanup = cleanup->next)
		;
	return (cleanup == NULL ? NULL : cleanup->data);
}

static ssize_t
receive(ngx_connection_t *c, u_char *to, size_t size)
{
	struct visit *v = visit_of(c);
	size_t left;

	if (v == NULL)
		return (NGX_ERROR);
	left = v->request_size - v->at;
	if (size > left)
		size = left;
	ngx_memcpy(to, v->request + v->at, size);
	v->at += size;
	c->read->ready = size < left;
	return (size > 0 ? (ssize_t)size : NGX_AGAIN);
}

static ssize_t
receive_chain(ngx_connection_t *c, ngx_chain_t *to, off_t limit)
{

	(void)to;
	(void)limit;
	c->read->ready = 0;
	return (NGX_AGAIN);
}

static void
keep_head(struct visit *v, ngx_http_request_t *r, const ngx_buf_t *b)
{
	size_t size = (size_t)(b->last - b->pos), left = r->main->header_size - v->said.head_size;
	char *head = (char *)(uintptr_t)v->said.head;

	if (head == NULL && (r->main->header_size > HEAD_BYTES || (v->said.head = head = malloc(r->main->header_size)) == NULL))
		return;
	if (size > left)
		size = left;
	ngx_memcpy(head + v->said.head_size, b->pos, size);
	v->said.head_size += size;
}

static void
gone(ngx_connection_t *c, struct visit *v, off_t size)
{

	c->sent += size;
	v->sent += size;
	v->stirred = ngx_current_msec;
}

static ngx_chain_t *
send_chain(ngx_connection_t *c, ngx_chain_t *in, off_t limit)
{
	ngx_http_request_t *r = c->data;
	struct visit *v = visit_of(c);
	ngx_buf_t *b;

	(void)limit;
	if (v == NULL)
		return (NGX_CHAIN_ERROR);
	for (; in != NULL; in = in->next) {
		b = in->buf;
		if (ngx_buf_special(b))
			continue;
		if (v->said.head_size < r->main->header_size && ngx_buf_in_memory(b))
			keep_head(v, r, b);
		gone(c, v, ngx_buf_size(b));
		if (ngx_buf_in_memory(b))
			b->pos = b->last;
		if (b->in_file)
			b->file_pos = b->file_last;
	}
	return (NULL);
}

static ssize_t
send_bytes(ngx_connection_t *c, u_char *from, size_t size)
{
	struct visit *v = visit_of(c);

	(void)from;
	if (v == NULL)
		return (NGX_ERROR);
	gone(c, v, (off_t)size);
	return ((ssize_t)size);
}

int
visit_is(ngx_connection_t *c)
{

	return (c->recv == receive);
}

/* ---- while it is answered ---- */

static void
judged(void *data)
{
	ngx_http_request_t *r = data;
	struct visit *v = visit_of(r->connection);

	if (v == NULL)
		return;
	v->said.status = (int)r->headers_out.status;
	v->said.whole = r->request_complete;
	v->said.bytes = (double)(v->sent - (off_t)r->header_size);
	v->said.stored = v->said.whole && v->judge(r, &v->said.bytes);
}

ngx_int_t
visit_answer(ngx_http_request_t *r, visit_judge judge)
{
	ngx_pool_cleanup_t *cleanup;
	struct visit *v = visit_of(r->connection);

	r->keepalive = 0;
	r->http_version = NGX_HTTP_VERSION_10;	/* in one piece: nobody is there to tell chunks apart */
	r->connection->sendfile = 1;	/* nor to read what lies in a file */
	if (v == NULL || v->judge != NULL)
		return (NGX_OK);
	if ((cleanup = ngx_pool_cleanup_add(r->pool, 0)) == NULL)
		return (NGX_ERROR);
	v->judge = judge;
	cleanup->handler = judged;
	cleanup->data = r;
	return (NGX_OK);
}

/* ---- where it comes in ---- */

/* nginx's own, for a connection to that address: ngx_http_init_connection() looks it up likewise. */
static const ngx_http_addr_conf_t *
listens_for(const ngx_listening_t *listening, const struct sockaddr *address)
{
	const ngx_http_port_t *port = listening->servers;
	const ngx_http_in_addr_t *in = port->addrs;
	ngx_uint_t i = 0;

#if (NGX_HAVE_INET6)
	if (address->sa_family == AF_INET6) {
		const ngx_http_in6_addr_t *in6 = port->addrs;

		while (i + 1 < port->naddrs &&
		    ngx_memcmp(&in6[i].addr6, &((const struct sockaddr_in6 *)address)->sin6_addr, 16) != 0)
			i++;
		return (&in6[i].conf);
	}
#endif
	while (i + 1 < port->naddrs && in[i].addr != ((const struct sockaddr_in *)address)->sin_addr.s_addr)
		i++;
	return (&in[i].conf);
}

static ngx_listening_t *
listening_at(struct sockaddr *address, socklen_t size)
{
	ngx_listening_t *all = ngx_cycle->listening.elts, *wide = NULL;
	ngx_uint_t i;

	for (i = 0; i < ngx_cycle->listening.nelts; i++) {
		if (all[i].handler != ngx_http_init_connection || all[i].sockaddr->sa_family != address->sa_family)
			continue;
		if (ngx_cmp_sockaddr(all[i].sockaddr, all[i].socklen, address, size, 1) == NGX_OK)
			return (&all[i]);
		if (ngx_inet_wildcard(all[i].sockaddr) && ngx_inet_get_port(all[i].sockaddr) == ngx_inet_get_port(address))
			wide = &all[i];
	}
	return (wide);
}

/* A door that speaks plain HTTP/1.1 at once is the only one that can be come through like this. */
int
freshline_door(const char *host, size_t size, int port)
{
	const ngx_http_addr_conf_t *conf;
	ngx_addr_t address;
	u_char text[NGX_SOCKADDR_STRLEN];

	site.listening = NULL;
	if (!(ngx_event_flags & NGX_USE_EPOLL_EVENT) || ngx_exiting || size > sizeof text)
		return (0);
	if (size > 2 && host[0] == '[') {
		host++;
		size -= 2;
	}
	ngx_memcpy(text, host, size);
	if (ngx_parse_addr(ngx_cycle->pool, &address, text, size) != NGX_OK)
		return (0);
	ngx_inet_set_port(address.sockaddr, (in_port_t)port);
	if ((site.listening = listening_at(address.sockaddr, address.socklen)) == NULL)
		return (0);
	ngx_memcpy(&site.address, address.sockaddr, address.socklen);
	site.size = address.socklen;
	conf = listens_for(site.listening, &site.address.sockaddr);
	if (conf->ssl || conf->http2 || conf->proxy_protocol)
		site.listening = NULL;
	/* Not connected: whoever asks it for what has come is told that nothing has, and it can't be shut. */
	if (site.listening != NULL && site.fd == (ngx_socket_t)-1 &&
	    (site.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) == (ngx_socket_t)-1)
		site.listening = NULL;
	return (site.listening != NULL);
}

static void
begins(ngx_event_t *event)
{
	ngx_connection_t *c = event->data;

	c->listening->handler(c);
}

static ngx_int_t
furnish(ngx_connection_t *c, struct visit *v)
{
	ngx_listening_t *listening = site.listening;
	ngx_pool_cleanup_t *cleanup;
	ngx_log_t *log;

	if ((c->pool = ngx_create_pool(listening->pool_size, ngx_cycle->log)) == NULL)
		return (NGX_ERROR);
	if ((log = ngx_palloc(c->pool, sizeof *log)) == NULL || (c->sockaddr = ngx_pcalloc(c->pool, site.size)) == NULL ||
	    (cleanup = ngx_pool_cleanup_add(c->pool, 0)) == NULL)
		return (NGX_ERROR);
	*log = listening->log;
	log->data = NULL;
	log->handler = NULL;
	ngx_memcpy(c->sockaddr, &site.address, site.size);	/* as if it were told to connect there from here */
	ngx_inet_set_port(c->sockaddr, 0);
	c->socklen = c->local_socklen = site.size;
	c->local_sockaddr = &site.address.sockaddr;
	if (listening->addr_ntop) {
		c->addr_text.data = ngx_pnalloc(c->pool, listening->addr_text_max_len);
		if (c->addr_text.data == NULL)
			return (NGX_ERROR);
		c->addr_text.len =
		    ngx_sock_ntop(c->sockaddr, c->socklen, c->addr_text.data, listening->addr_text_max_len, 0);
	}
	c->log = c->pool->log = c->read->log = c->write->log = log;
	cleanup->handler = over;
	cleanup->data = v;
	v->connection = c;
	return (NGX_OK);
}

int
freshline_visit(struct freshline_party *party, int number, const char *request, size_t size)
{
	ngx_connection_t *c;
	struct visit *v;

	if (site.listening == NULL || ngx_exiting || (v = calloc(1, sizeof *v + size)) == NULL)
		return (0);
	v->said.number = number;
	v->party = party;
	v->stirred = ngx_current_msec;
	v->request_size = size;
	ngx_memcpy(v->request, request, size);
	if ((c = ngx_get_connection(site.fd, ngx_cycle->log)) == NULL) {
		free(v);
		return (0);
	}
	if (furnish(c, v) != NGX_OK) {
		if (c->pool != NULL) {
			v->ended = 1;	/* nobody is told */
			ngx_destroy_pool(c->pool);
		}
		ngx_free_connection(c);
		c->fd = (ngx_socket_t)-1;
		free(v);
		return (0);
	}
	c->type = SOCK_STREAM;
	c->shared = 1;		/* it is not closed */
	c->listening = site.listening;
	c->recv = receive;
	c->recv_chain = receive_chain;
	c->send = send_bytes;
	c->send_chain = send_chain;
	c->tcp_nodelay = NGX_TCP_NODELAY_DISABLED;
	c->tcp_nopush = NGX_TCP_NOPUSH_DISABLED;
	c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
	c->start_time = ngx_current_msec;
#if (NGX_STAT_STUB)
	(void)ngx_atomic_fetch_add(ngx_stat_accepted, 1);
	(void)ngx_atomic_fetch_add(ngx_stat_handled, 1);
	(void)ngx_atomic_fetch_add(ngx_stat_active, 1);
#endif
	/* Active: nginx asks the system for no events, of which there would be none. */
	c->read->active = c->write->active = c->read->ready = c->write->ready = 1;
	c->read->handler = begins;
	ngx_queue_insert_tail(&party->under_way, &v->place);
	ngx_post_event(c->read, &ngx_posted_events);
	return (1);
}

/* ---- who waits for them ---- */

static void
let_go(struct visit *v)
{

	v->party = NULL;
	if (v->connection == NULL)
		over(v);
}

static void
leave(void *data)
{
	struct freshline_party *party = data;
	ngx_queue_t *lists[] = {&party->under_way, &party->ended}, *at;
	int i;

	if (party->shown != NULL)
		let_go(party->shown);
	for (i = 0; i < 2; i++)
		while (!ngx_queue_empty(lists[i])) {
			at = ngx_queue_head(lists[i]);
			ngx_queue_remove(at);
			let_go(ngx_queue_data(at, struct visit, place));
		}
	free(party);
}

struct freshline_party *
freshline_gather(void *request, int (*wake)(void *whom, int once), void *whom)
{
	struct freshline_party *party = calloc(1, sizeof *party);

	if (party == NULL)
		return (NULL);
	ngx_queue_init(&party->under_way);
	ngx_queue_init(&party->ended);
	party->wake = wake;
	party->whom = whom;
	/* A request that is ended from outside runs no Lua any more. */
	if ((party->end = ngx_pool_cleanup_add(((ngx_http_request_t *)request)->pool, 0)) == NULL) {
		free(party);
		return (NULL);
	}
	party->end->handler = leave;
	party->end->data = party;
	return (party);
}

void
freshline_leave(struct freshline_party *party)
{

	party->end->handler = NULL;
	leave(party);
}

void
freshline_last(void *request)
{
	ngx_http_request_t *r = request;

	r->keepalive = 0;
}

const struct freshline_visit *
freshline_next(struct freshline_party *party)
{
	ngx_queue_t *at;

	if (party->shown != NULL)
		let_go(party->shown);
	party->shown = NULL;
	party->woken = 0;
	if (ngx_queue_empty(&party->ended))
		return (NULL);
	at = ngx_queue_head(&party->ended);
	ngx_queue_remove(at);
	party->shown = ngx_queue_data(at, struct visit, place);
	return (&party->shown->said);
}

double
freshline_patience(struct freshline_party *party, double most_ms)
{
	double least = most_ms, left;
	ngx_queue_t *at, *next;
	struct visit *v;

	for (at = ngx_queue_head(&party->under_way); at != ngx_queue_sentinel(&party->under_way); at = next) {
		next = ngx_queue_next(at);
		v = ngx_queue_data(at, struct visit, place);
		left = most_ms - (double)(ngx_msec_int_t)(ngx_current_msec - v->stirred);
		if (left <= 0) {
			v->said.late = v->ended = 1;
			ngx_queue_remove(at);
			ngx_queue_insert_tail(&party->ended, at);
			least = 0;
		} else if (left < least)
			least = left;
	}
	return (least);
}
