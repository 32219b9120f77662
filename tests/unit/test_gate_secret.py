"""How Varnish's gate compares its secret: the same steps wherever the first wrong byte is.

The function is taken from the vmod as it stands and built with a counter in every basic block. (nginx's gate compares
digests under a salt that nobody knows, so that there is no first wrong byte.)
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from freshline.gates import varnish

SECRET = "0123456789abcdefghijklmnopqrstuv"
AROUND = """
#include <stdio.h>
#include <string.h>
#define VRT_CTX const void *ctx
typedef unsigned VCL_BOOL;
typedef const char *VCL_STRING;
volatile unsigned long blocks;
void __attribute__((no_sanitize_coverage)) __sanitizer_cov_trace_pc(void) { blocks++; }
%s
int main(int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		blocks = 0;
		unsigned same = vmod_same(NULL, argv[i], argv[1]);
		printf("%%u %%lu\\n", same, blocks);
	}
}
"""
EARLY = """
VCL_BOOL vmod_same(VRT_CTX, VCL_STRING a, VCL_STRING b)
{
	(void)ctx;
	while (*a != 0 && *a == *b)
		a++, b++;
	return (*a == *b);
}
"""


def steps(home: Path, function: str, *given: str) -> list[tuple[bool, int]]:
    """For each text: whether it is the secret, and how many blocks were run to find out."""
    source, program = home / "same.c", home / "same"
    source.write_text(AROUND % function)
    flags = ["-std=gnu11", "-O2", "-Wno-attributes", "-fsanitize-coverage=trace-pc"]
    subprocess.run(["gcc", *flags, "-o", program, source], check=True, capture_output=True)
    done = subprocess.run([program, SECRET, *given], check=True, capture_output=True, text=True)
    return [(same == "1", int(count)) for same, count in (line.split() for line in done.stdout.splitlines())]


def wrong_at(at: int) -> str:
    return SECRET[:at] + "X" + SECRET[at + 1 :]


def test_the_steps_are_the_same(tmp_path: Path) -> None:
    """For the secret, for one wrong in any byte, for shorter and for longer texts."""
    source = (Path(varnish.__file__).parent / "vmod_freshline.c").read_text()
    found = re.search(r"VCL_BOOL\nvmod_same\(.*?^}\n", source, re.M | re.S)
    assert found is not None
    tries = [SECRET, *map(wrong_at, range(len(SECRET))), SECRET[:-1], SECRET + "X", "X", SECRET[:5], SECRET * 2]
    got = steps(tmp_path, found[0], *tries)

    assert [same for same, _ in got] == [True] + [False] * (len(tries) - 1)
    (count,) = {count for (_, count), text in zip(got, tries, strict=True) if len(text) == len(SECRET)}
    assert count > len(SECRET)
    # Of another length the steps follow from the lengths, and not from how much of it is right.
    for length in (1, 5, 31):
        right, wrong = steps(tmp_path, found[0], SECRET[:length], "X" * length)
        assert right == wrong


def test_an_early_exit_is_seen(tmp_path: Path) -> None:
    """A comparison that stops at the first wrong byte is told by its steps."""
    first, last = steps(tmp_path, EARLY, wrong_at(0), wrong_at(31))

    assert first[1] < last[1]
