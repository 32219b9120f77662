#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "siphash.h"

#define PIECE		65536		/* bytes written at once */
#define WORTH		(1u << 20)	/* a smaller journal is not written anew */
#define GROWTH		4		/* written anew when so many times its size after the last time */
#define SUM_SIZE	16		/* hexadecimal digits */
#define LOCK_TRIES	50		/* a tenth of a second apart */

static char path[PATH_MAX], path_new[PATH_MAX + 8];
static int fd = -1;
static uint64_t good, base;		/* bytes that are committed; after it was last written anew */
static int harmed;

static const uint64_t sum_key[2] = {UINT64_C(0x6e696c6873657266), UINT64_C(0x6c616e72756f6a65)};

/* ---- writing ---- */

struct writer {
	int fd;
	int failed;		/* errno */
	struct siphash sum;
	uint64_t bytes;
	size_t held;
	char room[PIECE];
};

static void
hand_over(struct writer *w)
{
	size_t at = 0;
	ssize_t n;

	while (at < w->held && w->failed == 0) {
		n = write(w->fd, w->room + at, w->held - at);
		if (n < 0 && errno != EINTR)
			w->failed = errno;
		else if (n > 0)
			at += (size_t)n;
	}
	w->held = 0;
}

static void
put(struct writer *w, const char *from, size_t size)
{
	size_t part;

	siphash_bytes(&w->sum, from, size);
	w->bytes += size;
	while (size > 0) {
		if (w->held == PIECE)
			hand_over(w);
		part = PIECE - w->held < size ? PIECE - w->held : size;
		memcpy(w->room + w->held, from, part);
		w->held += part;
		from += part;
		size -= part;
	}
}

/* Ends what has been put since the last sum. */
static void
seal(struct writer *w)
{
	char text[SUM_SIZE + 3];
	uint64_t sum = siphash_end(&w->sum);

	snprintf(text, sizeof text, " %016" PRIx64 "\n", sum);
	put(w, text, SUM_SIZE + 2);
	siphash_begin(&w->sum, sum_key);
}

static void
put_commit(struct writer *w, uint64_t position, const char *mark)
{
	char text[TOKEN_SIZE + 40];

	put(w, text, (size_t)snprintf(text, sizeof text, "commit %" PRIu64 " %s", position, mark));
	seal(w);
}

/* A new name in a directory is on disk when the directory is. */
static int
sync_directory(void)
{
	char directory[PATH_MAX], *slash;
	int at, failed;

	snprintf(directory, sizeof directory, "%s", path);
	slash = strrchr(directory, '/');
	slash[slash == directory ? 1 : 0] = '\0';
	if ((at = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return (errno);
	failed = fsync(at) < 0 ? errno : 0;
	close(at);
	return (failed);
}

/* A journal in place of the one there is: that of before, or the new one, whatever happens. */
static const char *
replace(const struct stance *stance, void (*fill)(struct writer *w, void *priv), void *priv)
{
	char text[TOKEN_SIZE + 60];
	struct writer *w = calloc(1, sizeof *w);
	int failed;

	if (w == NULL)
		return ("no memory");
	w->fd = open(path_new, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (w->fd < 0) {
		failed = errno;
		free(w);
		return (strerror(failed));
	}
	siphash_begin(&w->sum, sum_key);
	put(w, text, (size_t)snprintf(text, sizeof text, "freshline journal 1 %016" PRIx64 " %s", stance->life,
	    stance->log));
	seal(w);
	if (fill != NULL)
		fill(w, priv);
	put_commit(w, stance->position, stance->mark);
	hand_over(w);
	if (w->failed == 0 && fdatasync(w->fd) < 0)
		w->failed = errno;
	if (w->failed == 0 && rename(path_new, path) < 0)
		w->failed = errno;
	if (w->failed == 0) {
		/* The old one may yet come back if power fails now. It says what was true before, and no less. */
		failed = sync_directory();
		if (fd >= 0)
			close(fd);
		fd = w->fd;
		good = base = w->bytes;
		harmed = 0;
	} else {
		failed = w->failed;
		close(w->fd);
		unlink(path_new);
	}
	free(w);
	return (failed == 0 ? NULL : strerror(failed));
}

const char *
journal_begin(const struct stance *stance)
{

	return (replace(stance, NULL, NULL));
}

const char *
journal_append(struct slice lines, uint64_t position, const char *mark)
{
	struct writer *w;
	int failed;

	if (fd < 0 || harmed)
		return ("the journal is harmed");
	if ((w = calloc(1, sizeof *w)) == NULL)
		return ("no memory");
	w->fd = fd;
	siphash_begin(&w->sum, sum_key);
	if (lseek(fd, (off_t)good, SEEK_SET) < 0)
		w->failed = errno;
	put(w, lines.at, lines.size);
	put_commit(w, position, mark);
	hand_over(w);
	if (w->failed == 0 && lines.size > 0 && fdatasync(fd) < 0) {
		/* Nobody knows what of it, and of what was there before, is on disk. */
		w->failed = errno;
		harmed = 1;
	}
	if (w->failed == 0)
		good += w->bytes;
	else if (ftruncate(fd, (off_t)good) < 0)
		harmed = 1;
	failed = w->failed;
	free(w);
	return (failed == 0 ? NULL : strerror(failed));
}

/* ---- reading ---- */

/* The next line of what lies in memory, without its end. */
static int
next_line(struct slice *rest, struct slice *line)
{
	const char *end = memchr(rest->at, '\n', rest->size);

	if (end == NULL)
		return (0);
	line->at = rest->at;
	line->size = (size_t)(end - rest->at);
	rest->at = end + 1;
	rest->size -= line->size + 1;
	return (1);
}

/* Does the line that ends at `end` carry the sum of everything from `start` on? Cuts the sum off. */
static int
sealed(const char *start, struct slice *line)
{
	struct siphash sum;
	char text[SUM_SIZE + 1];

	if (line->size < SUM_SIZE + 1 || line->at[line->size - SUM_SIZE - 1] != ' ')
		return (0);
	line->size -= SUM_SIZE + 1;
	siphash_begin(&sum, sum_key);
	siphash_bytes(&sum, start, (size_t)(line->at + line->size - start));
	snprintf(text, sizeof text, "%016" PRIx64, siphash_end(&sum));
	return (memcmp(text, line->at + line->size + 1, SUM_SIZE) == 0);
}

static int
scan(struct slice line, const char *format, void *a, void *b)
{
	char text[2 * TOKEN_SIZE];

	if (line.size >= sizeof text)
		return (0);
	memcpy(text, line.at, line.size);
	text[line.size] = '\0';
	return (sscanf(text, format, a, b) == 2);
}

/* Returns how many bytes hold. */
static uint64_t
read_through(struct slice rest, struct stance *found, void (*hand)(struct slice line, void *priv), void *priv)
{
	const char *begin = rest.at, *start = rest.at;
	struct slice line, block;
	uint64_t held = 0;

	found->log[0] = '\0';
	if (!next_line(&rest, &line) || !sealed(start, &line) ||
	    !scan(line, "freshline journal 1 %" SCNx64 " %128s", &found->life, found->log)) {
		found->log[0] = '\0';
		return (0);
	}
	for (start = rest.at; next_line(&rest, &line);) {
		if (line.size < 7 || memcmp(line.at, "commit ", 7) != 0)
			continue;
		if (!sealed(start, &line) || !scan(line, "commit %" SCNu64 " %128s", &found->position, found->mark))
			break;
		block = (struct slice){start, (size_t)(line.at - start)};
		while (block.size > 0 && next_line(&block, &line))
			hand(line, priv);
		start = rest.at;
		held = (uint64_t)(start - begin);
	}
	if (held == 0)
		found->log[0] = '\0';
	return (held);
}

static int
map(struct slice *all)
{
	struct stat st;
	void *at;

	*all = (struct slice){NULL, 0};
	if (fstat(fd, &st) < 0)
		return (errno);
	if (st.st_size == 0)
		return (0);
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		return (errno);
	*all = (struct slice){at, (size_t)st.st_size};
	return (0);
}

static void
unmap(struct slice all)
{

	if (all.size > 0)
		munmap((void *)(uintptr_t)all.at, all.size);
}

static void
give(struct slice line, void *priv)
{
	void (**to)(struct slice line) = priv;

	(*to)(line);
}

const char *
journal_read(struct stance *found, void (*line)(struct slice line))
{
	struct slice all;
	int failed;

	memset(found, 0, sizeof *found);
	if ((fd = open(path, O_RDWR | O_CLOEXEC)) < 0)
		return (errno == ENOENT ? NULL : strerror(errno));
	if ((failed = map(&all)) != 0)
		return (strerror(failed));
	good = all.size == 0 ? 0 : read_through(all, found, give, &line);
	base = good;
	unmap(all);
	if (found->log[0] == '\0' || (good < all.size && ftruncate(fd, (off_t)good) < 0))
		harmed = 1;
	return (NULL);
}

struct compaction {
	struct writer *to;
	enum keep (*keep)(struct slice line, char *instead);
};

static void
keep_line(struct slice line, void *priv)
{
	struct compaction *c = priv;
	char instead[LINE_ROOM];

	switch (c->keep(line, instead)) {
	case STAYS:
		put(c->to, line.at, line.size + 1);	/* with its end */
		break;
	case REPLACED:
		put(c->to, instead, strlen(instead));
		break;
	case GOES:
		break;
	}
}

struct source {
	enum keep (*keep)(struct slice line, char *instead);
	const struct stance *stance;
};

static void
fill_from_old(struct writer *w, void *priv)
{
	struct source *source = priv;
	struct compaction c = {w, source->keep};
	struct stance found;
	struct slice all;

	if ((w->failed = map(&all)) != 0)
		return;
	if (all.size == 0 || read_through(all, &found, keep_line, &c) < good || found.log[0] == '\0' ||
	    found.life != source->stance->life || found.position < source->stance->position)
		w->failed = EIO;	/* with a hole it would be worse than none */
	unmap(all);
}

const char *
journal_compact(const struct stance *stance, enum keep (*keep)(struct slice line, char *instead))
{
	struct source source = {keep, stance};

	return (replace(stance, fill_from_old, &source));
}

/* ---- the rest ---- */

enum journal_state
journal_state(void)
{
	struct stat there, here;

	if (fd < 0 || stat(path, &there) < 0 || fstat(fd, &here) < 0 || there.st_ino != here.st_ino ||
	    there.st_dev != here.st_dev)
		return (JOURNAL_GONE);
	if (harmed)
		return (JOURNAL_HARMED);
	return (good > WORTH && good > GROWTH * base ? JOURNAL_GROWN : JOURNAL_FINE);
}

uint64_t
journal_bytes(void)
{

	return (good);
}

const char *
journal_at(const char *at)
{

	if (at[0] != '/' || strlen(at) >= sizeof path)
		return ("not an absolute path");
	snprintf(path, sizeof path, "%s", at);
	snprintf(path_new, sizeof path_new, "%s.new", at);
	return (NULL);
}

const char *
journal_open(const char *at)
{
	const char *why = journal_at(at);
	const struct timespec moment = {0, 100000000};
	char lock[PATH_MAX + 8];
	int held, tries;

	if (why != NULL)
		return (why);
	snprintf(lock, sizeof lock, "%s.lock", at);
	if ((held = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
		return (strerror(errno));
	for (tries = 0; flock(held, LOCK_EX | LOCK_NB) < 0; tries++) {
		if (errno != EWOULDBLOCK || tries == LOCK_TRIES) {
			close(held);
			return ("another process has it");
		}
		nanosleep(&moment, NULL);
	}
	return (NULL);	/* the lock is held until the process ends */
}
