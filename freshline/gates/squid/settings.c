#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE	4096

struct settings settings;

static const struct {
	const char *name;
	char **to;
} texts[] = {
	{"secret", &settings.secret},
	{"token", &settings.token},
	{"journal", &settings.journal},
	{"gate", &settings.gate},
	{"door", &settings.door},
};

static const struct {
	const char *name;
	uint64_t *to;
} numbers[] = {
	{"rules", &settings.rules},
	{"tags", &settings.tags},
	{"fetch_seconds", &settings.fetch_seconds},
};

#define COUNT(table)	(sizeof(table) / sizeof *(table))

static int
set(const char *name, const char *value)
{
	static const char *const lapses[LAPSES] = {"serve", "bypass", "refuse"};
	char *end;
	size_t i;

	for (i = 0; i < COUNT(texts); i++)
		if (strcmp(name, texts[i].name) == 0)
			return (*value != '\0' && (*texts[i].to = strdup(value)) != NULL ? 0 : -1);
	for (i = 0; i < COUNT(numbers); i++)
		if (strcmp(name, numbers[i].name) == 0) {
			*numbers[i].to = strtoull(value, &end, 10);
			return (*value >= '1' && *value <= '9' && *end == '\0' ? 0 : -1);
		}
	if (strcmp(name, "lapse") == 0)
		for (i = 0; i < LAPSES; i++)
			if (strcmp(value, lapses[i]) == 0) {
				settings.lapse = (enum lapse)i;
				return (0);
			}
	return (-1);
}

int
settings_read(const char *path)
{
	char line[LINE_SIZE], *space;
	FILE *file = fopen(path, "re");
	size_t i;
	int bad = 0;

	if (file == NULL) {
		fprintf(stderr, "freshline: %s: %s\n", path, strerror(errno));
		return (-1);
	}
	while (fgets(line, sizeof line, file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '#' || line[0] == '\0')
			continue;
		space = strchr(line, ' ');
		if (space != NULL)
			*space = '\0';
		if (space == NULL || set(line, space + 1) != 0) {
			fprintf(stderr, "freshline: %s: %s has no such value\n", path, line);
			bad = 1;
		}
	}
	fclose(file);
	for (i = 0; i < COUNT(texts); i++)
		if (*texts[i].to == NULL) {
			fprintf(stderr, "freshline: %s: no %s\n", path, texts[i].name);
			bad = 1;
		}
	for (i = 0; i < COUNT(numbers); i++)
		if (*numbers[i].to == 0) {
			fprintf(stderr, "freshline: %s: no %s\n", path, numbers[i].name);
			bad = 1;
		}
	return (bad ? -1 : 0);
}
