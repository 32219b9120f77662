#include "pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MATCH_LIMIT	100000		/* as it comes */
#define DEPTH_LIMIT	1000

struct pattern {
	pcre2_code *bytes, *characters;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pcre2_match_context *limits;
static uint32_t match_limit = MATCH_LIMIT;

/* One for each thread that judges; they last as long as the server. */
static _Thread_local pcre2_match_data *match_data;

static void
set_limits(void)
{

	limits = pcre2_match_context_create(NULL);
	if (limits == NULL)
		abort();
	pcre2_set_match_limit(limits, match_limit);
	pcre2_set_depth_limit(limits, DEPTH_LIMIT);
}

void
pattern_steps(uint32_t steps)
{

	match_limit = steps;
	if (limits != NULL)
		pcre2_set_match_limit(limits, steps);
}

static pcre2_code *
compile_one(const char *pattern, uint32_t options, char *why, size_t why_size)
{
	int error;
	PCRE2_SIZE at;
	PCRE2_UCHAR text[120];
	pcre2_code *code;

	code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
	    PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C | options, &error, &at, NULL);
	if (code == NULL && why != NULL) {
		pcre2_get_error_message(error, text, sizeof text);
		snprintf(why, why_size, "%s at %zu", (char *)text, at);
	}
	if (code != NULL)
		(void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);	/* without it, it is slower */
	return (code);
}

static void *
pattern_compile(const char *text, char *why, size_t why_size)
{
	struct pattern *p = calloc(1, sizeof *p);

	(void)pthread_once(&once, set_limits);
	if (p == NULL) {
		snprintf(why, why_size, "no memory");
		return (NULL);
	}
	if (text[0] == '(' && text[1] == '*')
		snprintf(why, why_size, "a pattern sets no options of the matcher");
	else {
		p->bytes = compile_one(text, 0, why, why_size);
		p->characters = compile_one(text, PCRE2_UTF, NULL, 0);
	}
	if (p->bytes == NULL && p->characters == NULL) {
		free(p);
		return (NULL);
	}
	return (p);
}

/* An error (too many steps, not UTF-8) is a match: one fetch too many, never one too few. */
static int
matches(const pcre2_code *code, const char *subject, size_t size)
{

	if (match_data == NULL && (match_data = pcre2_match_data_create(1, NULL)) == NULL)
		return (1);
	return (pcre2_match(code, (PCRE2_SPTR)subject, size, 0, 0, match_data, limits) != PCRE2_ERROR_NOMATCH);
}

static int
pattern_match(const void *compiled, const char *subject, size_t size)
{
	const struct pattern *p = compiled;
	int beyond_ascii = 0;
	size_t i;

	if (p->bytes != NULL && matches(p->bytes, subject, size))
		return (1);
	for (i = 0; i < size && !beyond_ascii; i++)
		beyond_ascii = (subject[i] & 0x80) != 0;
	if (p->characters == NULL || (p->bytes != NULL && !beyond_ascii))
		return (0);
	return (matches(p->characters, subject, size));
}

static void
pattern_release(void *compiled)
{
	struct pattern *p = compiled;

	pcre2_code_free(p->bytes);
	pcre2_code_free(p->characters);
	free(p);
}

const struct patterns pcre2_patterns = {pattern_compile, pattern_match, pattern_release};
