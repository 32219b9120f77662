/* Callers' patterns, by PCRE2. */

#ifndef FRESHLINE_PATTERNS_H
#define FRESHLINE_PATTERNS_H

#include "rules.h"

extern const struct patterns pcre2_patterns;

#endif
