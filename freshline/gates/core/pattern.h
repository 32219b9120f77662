/*
 * Patterns by PCRE2, for gates whose server lends them none.
 *
 * Patterns come from RE2, which reads UTF-8, and URLs may hold any bytes. So a pattern is compiled both ways, and one
 * match is enough. The second way is only asked where it can differ.
 */

#ifndef FRESHLINE_PATTERN_H
#define FRESHLINE_PATTERN_H

#include "rules.h"

extern const struct patterns pcre2_patterns;

/* So many steps of one pattern on one URL; what takes more is a match. Not while others match. */
void pattern_steps(uint32_t steps);

#endif
