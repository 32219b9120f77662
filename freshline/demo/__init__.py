"""A small fleet to look at: an origin, an nginx, a Varnish, and the service between them."""
