/*
 * Learning tags. Squid asks an external ACL about the head of every answer of the origin's before anybody else can get
 * it, and stores only what has a note from there. So no tag is ever missed, and what nobody could be asked about is
 * passed on to the visitor and not stored. Hits are not asked about.
 *
 * Squid starts a process of its own for that, which hands each line to the helper on duty and its answer back:
 *
 *     <channel> <epoch> <Cache-Tag> <Surrogate-Key> <xkey> -     each percent-encoded, - where there is none
 *     <channel> ERR freshline_learned=<1|no>                     no: it was refreshed on its way here, do not store it
 *     <channel> ERR                                              nobody was there to learn it
 */

#ifndef FRESHLINE_LEARN_H
#define FRESHLINE_LEARN_H

/* Answers on <journal>.learn, in threads of its own. */
void learn_start(void);

/* The other process: until stdin ends. */
void learn_relay(void);

#endif
