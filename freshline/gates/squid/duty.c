#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "duty.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAGIC		"freshline squid duty 1"
#define SIZE		4096
#define LOOK_MS		5	/* between two looks whether the one before has gone */
#define SAY_EVERY_MS	60000

static int file = -1;
static _Atomic int held, resigned;
static struct shared *shared;
static void (*leave)(void);
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

/* When a process was started, in ticks since the machine was; 0 if there is none. */
static uint64_t
started(pid_t pid)
{
	char path[64], text[1024], *at;
	unsigned long long ticks = 0;
	size_t n;
	FILE *stat;
	int i;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if ((stat = fopen(path, "re")) == NULL)
		return (0);
	n = fread(text, 1, sizeof text - 1, stat);
	fclose(stat);
	text[n] = '\0';
	/* Field 22; the second one is in parentheses and may hold anything (proc(5)). */
	if ((at = strrchr(text, ')')) == NULL)
		return (0);
	for (i = 2; i < 22 && at != NULL; i++)
		at = strchr(at + 1, ' ');
	return (at != NULL && sscanf(at, "%llu", &ticks) == 1 ? ticks : 0);
}

static void
read_kernel(char to[40])
{
	FILE *id = fopen("/proc/sys/kernel/random/boot_id", "re");

	memset(to, 0, 40);
	if (id != NULL) {
		if (fgets(to, 40, id) == NULL)
			to[0] = '\0';
		fclose(id);
	}
}

static int
lock_file(short type)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET};

	return (fcntl(file, F_SETLK, &lock));
}

static pid_t
holder(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return (fcntl(file, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? lock.l_pid : 0);
}

static int
open_file(const char *path)
{

	if ((file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0 || posix_fallocate(file, 0, SIZE) != 0 ||
	    (shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)) == MAP_FAILED) {
		if (file >= 0)
			close(file);
		file = -1;
		return (-1);
	}
	return (0);
}

static void
say(uint64_t waited, const char *path, const char *what)
{

	if (waited % SAY_EVERY_MS == SAY_EVERY_MS / 60)
		fprintf(stderr, "freshline: ERROR: nothing is cached here: %s: %s\n", path, what);
}

static int
is_of(pid_t squid, uint64_t since, const char *kernel)
{

	return (memcmp(shared->magic, MAGIC, sizeof MAGIC) == 0 && shared->squid == squid && shared->started == since &&
	    memcmp(shared->kernel, kernel, sizeof shared->kernel) == 0);
}

/*
 * Helpers that are started one after another may all wait here at once, and the older ones are about to be ended: they
 * must not take the duty from a newer one, or nobody would have it once they are gone.
 */
static int
came_before(pid_t other, uint64_t my_start)
{
	uint64_t its = started(other);

	return (its < my_start || (its == my_start && other < getpid()));
}

struct shared *
duty_take(const char *path)
{
	const struct timespec moment = {0, LOOK_MS * 1000000};
	uint64_t my_start = started(getpid());
	pid_t squid = getppid(), other, asked = 0;
	uint64_t since = started(squid), waited;
	char kernel[40];

	read_kernel(kernel);
	for (waited = 0; file < 0 && open_file(path) != 0; waited += LOOK_MS) {
		say(waited, path, strerror(errno));
		nanosleep(&moment, NULL);
	}
	for (; lock_file(F_WRLCK) != 0; waited += LOOK_MS) {
		other = holder();
		if (other != 0 && is_of(squid, since, kernel)) {
			if (other != asked && came_before(other, my_start) && kill(other, SIGUSR1) == 0)
				asked = other;
			say(waited, path, "the helper before this one does not go");
		} else
			say(waited, path, "it is another Squid's, or another worker's: each needs a journal of its own, and one worker");
		nanosleep(&moment, NULL);
	}
	if (!is_of(squid, since, kernel)) {
		memset(shared, 0, sizeof *shared);
		strcpy(shared->magic, MAGIC);
		memcpy(shared->kernel, kernel, sizeof kernel);
		shared->squid = squid;
		shared->started = since;
	}
	pthread_mutex_lock(&turn);
	if (!atomic_load(&resigned))
		atomic_store(&held, 1);
	else	/* a newer one asked before this one had anything to give */
		(void)lock_file(F_UNLCK);
	pthread_mutex_unlock(&turn);
	while (!duty_held())
		(void)pause();
	return (shared);
}

int
duty_held(void)
{

	return (atomic_load_explicit(&held, memory_order_acquire));
}

void
duty_resign(void)
{

	pthread_mutex_lock(&turn);
	if (!atomic_exchange(&resigned, 1) && duty_held()) {
		leave();
		atomic_store(&held, 0);
		(void)lock_file(F_UNLCK);
	}
	pthread_mutex_unlock(&turn);
}

static void *
wait_to_be_asked(void *set)
{
	int signal;

	while (sigwait(set, &signal) != 0 || signal != SIGUSR1)
		;
	duty_resign();
	return (NULL);
}

void
duty_start(void (*how)(void))
{
	static sigset_t set;
	pthread_t thread;

	leave = how;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (pthread_create(&thread, NULL, wait_to_be_asked, &set) != 0)
		abort();
}
