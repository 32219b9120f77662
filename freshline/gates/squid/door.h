/* The gate's own listener: docs/gates.md over HTTP/1.1. */

#ifndef FRESHLINE_DOOR_H
#define FRESHLINE_DOOR_H

/* Listens in a thread of its own, as soon as the address is free. */
void door_start(void);

#endif
