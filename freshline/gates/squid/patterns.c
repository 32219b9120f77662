#define PCRE2_CODE_UNIT_WIDTH 8

#include "patterns.h"

#include <pcre2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MATCH_LIMIT	100000	/* steps; a pattern that needs more counts as matching */
#define DEPTH_LIMIT	1000
#define PATTERN_SIZE	4096	/* bytes of the longest pattern */

/*
 * Patterns come from RE2, which reads UTF-8, and URLs may hold any bytes. So a pattern is compiled both ways, and one
 * match is enough. The second way is only asked where it can differ.
 */
struct pattern {
	pcre2_code *bytes, *characters;
};

static pcre2_match_context *limits;
static pcre2_compile_context *bounds;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local pcre2_match_data *match_data;

static void
prepare(void)
{

	limits = pcre2_match_context_create(NULL);
	bounds = pcre2_compile_context_create(NULL);
	if (limits == NULL || bounds == NULL)
		abort();
	pcre2_set_match_limit(limits, MATCH_LIMIT);
	pcre2_set_depth_limit(limits, DEPTH_LIMIT);
	pcre2_set_max_pattern_length(bounds, PATTERN_SIZE);
}

static pcre2_code *
compile_one(const char *text, uint32_t options, char *why, size_t why_size)
{
	PCRE2_SIZE at;
	char said[100];
	int error;
	pcre2_code *code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | options, &error, &at, bounds);

	if (code == NULL && why != NULL) {
		pcre2_get_error_message(error, (PCRE2_UCHAR *)said, sizeof said);
		snprintf(why, why_size, "%s at %zu", said, at);
	}
	if (code != NULL)
		(void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);	/* where it cannot, it is only slower */
	return (code);
}

static void
release(void *compiled)
{
	struct pattern *p = compiled;

	pcre2_code_free(p->bytes);
	pcre2_code_free(p->characters);
	free(p);
}

static void *
compile(const char *text, char *why, size_t why_size)
{
	struct pattern *p;

	pthread_once(&once, prepare);
	if (text[0] == '(' && text[1] == '*') {
		snprintf(why, why_size, "a pattern sets no options of the matcher");
		return (NULL);
	}
	if ((p = calloc(1, sizeof *p)) == NULL) {
		snprintf(why, why_size, "no memory");
		return (NULL);
	}
	p->bytes = compile_one(text, 0, why, why_size);
	p->characters = compile_one(text, PCRE2_UTF, NULL, 0);
	if (p->bytes == NULL && p->characters == NULL) {
		release(p);
		return (NULL);
	}
	return (p);
}

static int
says_no(const pcre2_code *code, const char *subject, size_t size)
{

	return (pcre2_match(code, (PCRE2_SPTR)subject, size, 0, 0, match_data, limits) == PCRE2_ERROR_NOMATCH);
}

/* An error (too many steps, not UTF-8) is a match: one fetch too many, never one too few. */
static int
match(const void *compiled, const char *subject, size_t size)
{
	const struct pattern *p = compiled;
	int beyond_ascii = 0;
	size_t i;

	if (match_data == NULL && (match_data = pcre2_match_data_create(1, NULL)) == NULL)
		return (1);
	if (p->bytes != NULL && !says_no(p->bytes, subject, size))
		return (1);
	for (i = 0; i < size && !beyond_ascii; i++)
		beyond_ascii = (subject[i] & 0x80) != 0;
	if (p->characters == NULL || (p->bytes != NULL && !beyond_ascii))
		return (0);
	return (!says_no(p->characters, subject, size));
}

const struct patterns pcre2_patterns = {.compile = compile, .match = match, .release = release};
