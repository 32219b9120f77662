/* The least that a store_id helper can do: it has a key for nothing, and lets itself be woken late as the gate does. */

#define _GNU_SOURCE
#include <sched.h>
#include <string.h>
#include <unistd.h>

static char in[1 << 20], out[1 << 20];

int
main(void)
{
	const struct sched_param none = {0};
	size_t held = 0, said;
	char *at, *end, *space;
	ssize_t n;

	(void)sched_setscheduler(0, SCHED_BATCH, &none);
	while ((n = read(STDIN_FILENO, in + held, sizeof in - held)) > 0) {
		held += (size_t)n;
		for (at = in, said = 0; (end = memchr(at, '\n', held - (size_t)(at - in))) != NULL; at = end + 1) {
			space = memchr(at, ' ', (size_t)(end - at));
			if (space == NULL)
				continue;
			memcpy(out + said, at, (size_t)(space - at));
			said += (size_t)(space - at);
			memcpy(out + said, " ERR\n", 5);
			said += 5;
		}
		held -= (size_t)(at - in);
		memmove(in, at, held);
		if (said > 0 && write(STDOUT_FILENO, out, said) != (ssize_t)said)
			return (1);
	}
	return (0);
}
