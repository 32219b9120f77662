# freshline's gate for Varnish. Include it at the top of your VCL, before any sub of your own:
#
#     include "/etc/varnish/freshline.vcl";
#
# and give varnishd a listener for the controller beside the site's, on an address that visitors cannot reach:
#
#     varnishd -a :80 -a freshline=10.0.0.5:6180,HTTP ...
#
# Nothing here ends an ordinary request early. Your vcl_recv, vcl_hash, vcl_backend_response and the rest run as they
# did, also for the controller's fetches and probes, so that those end up at the objects your visitors get. The gate
# judges an object by its name as it was looked up, and by the one the visitor sent.

import freshline from "@LIBRARY@";

sub vcl_init {
    freshline.bounds(@RULES@, @AGE_SECONDS@s);
    freshline.lapse(@LAPSE@);
}

sub vcl_recv {
    if (req.esi_level == 0 && req.restarts == 0 && local.socket != "freshline") {
        if (freshline.refuse()) {
            return (synth(503));
        }
    } elsif (req.esi_level == 0 && req.restarts == 0 && !freshline.visiting()) {
        if ((req.method == "GET" || req.method == "HEAD") && req.url == "/freshline/fresh") {
            return (synth(freshline.fresh()));
        }
        if (!freshline.same(req.http.freshline-key, "@SECRET@")) {
            return (synth(403));
        }
        unset req.http.freshline-key;
        if (req.http.freshline-probe || req.http.freshline-fetch) {
            if (req.method != "HEAD") {
                return (synth(405));
            }
            if (req.http.freshline-probe) {
                freshline.probe();
            } else {
                freshline.fetch();
            }
            unset req.http.freshline-probe;
            unset req.http.freshline-fetch;
            unset req.http.Range;
        } elsif (req.method == "GET" && req.url == "/freshline/status") {
            return (synth(freshline.status()));
        } elsif (req.method == "POST" && req.url == "/freshline/batch") {
            return (synth(freshline.batch()));
        } elsif (req.method == "POST" && req.url == "/freshline/flush") {
            return (synth(freshline.flush()));
        } elsif (req.method == "POST" && req.url == "/freshline/fetch") {
            return (synth(freshline.visits()));
        } else {
            return (synth(404));
        }
    }
}

sub vcl_hash {
    freshline.guard();
}

sub vcl_backend_fetch {
    freshline.begin();
}

sub vcl_backend_response {
    freshline.mark();
}

sub vcl_backend_error {
    freshline.mark();
}

sub vcl_deliver {
    if (freshline.fetching()) {
        set resp.http.freshline-fetch = freshline.fetched();
    }
    freshline.strip();
}

# A probe ends here: the lookup has told it what there is, and took nothing. And without a lease, under lapse bypass, a
# visitor's request becomes a pass: what is stored stays, and nothing is stored beside it.
sub vcl_miss {
    freshline.repeat();
    if (local.socket == "freshline" && freshline.probing()) {
        return (synth(200));
    }
    if (freshline.passing()) {
        return (pass);
    }
}

sub vcl_pass {
    if (local.socket == "freshline" && freshline.probing()) {
        return (synth(200));
    }
}

sub vcl_pipe {
    if (local.socket == "freshline") {
        return (synth(405));
    }
}

sub vcl_synth {
    if (freshline.refused()) {
        set resp.http.Retry-After = "1";
        set resp.body = "";
        return (deliver);
    }
    if (local.socket == "freshline" && req.esi_level == 0) {
        if (freshline.probing()) {
            set resp.http.freshline-presence = freshline.presence();
        } elsif (freshline.fetching()) {
            set resp.http.freshline-fetch = "other " + resp.status + " " + resp.reason;
        }
        if (freshline.clock()) {
            set resp.http.freshline-clock = freshline.clock();
        }
        set resp.http.Content-Type = "text/plain";
        set resp.body = freshline.answer();
        if (freshline.gathering()) {
            set resp.filters = "freshline";
        }
        return (deliver);
    }
}
