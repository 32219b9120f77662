"""What it costs Squid to ask about each hit, by the way it asks. There is no gate in it.

python -m bench.floors.squid [ROUNDS]: each way's rate and CPU time beside those of Squid without any. Needs
libecap3-dev and g++.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench.caches import Kind, PlainSquid, Server, fill, running, target
from bench.cases.hits import CONNECTIONS, OBJECTS
from bench.harness import Sample, compare, interleave
from bench.wrk import get, wrk
from freshline.gates.build import run
from tests.servers.base import SITE

HERE = Path(__file__).parent

HELPER = "store_id_program {built}/helper\nstore_id_children 1 startup=1 idle=1 concurrency=10000 queue-size=10000\n"
ECAP = "loadable_modules {built}/ecap.so\necap_enable on\necap_service it reqmod_precache uri=ecap://freshline.test/"
ALWAYS = " bypass=off\nadaptation_access it allow all\n"
#: The service says in passing whether the helper has to be asked, and is never given a request.
NOTED = """ bypass=off
acl noting annotate_transaction unclear=1
adaptation_access it deny noting
acl unclear note unclear 1
store_id_access allow unclear
store_id_access deny all
"""

PLAIN = "Squid alone"
WAYS = {
    PLAIN: "",
    "a helper that does nothing": HELPER,
    "eCAP, each request given and left": ECAP + "leave" + ALWAYS,
    "eCAP, each request given a header": ECAP + "add" + ALWAYS,
    "eCAP asked for each, and clears all": ECAP + "clear" + NOTED + HELPER,
    "a look at the stored headers": "acl theirs rep_header Cache-Control public\nsend_hit deny !theirs\n",
    "a longer key": "",
}


def build(home: Path) -> None:
    run(["g++", "-O2", "-fPIC", "-shared", "-o", "ecap.so", str(HERE / "ecap.cc"), "-lecap"], home)
    run(["gcc", "-O2", "-fPIC", "-shared", "-o", "salt.so", str(HERE / "salt.c")], home)
    run(["gcc", "-O2", "-o", "helper", str(HERE / "helper.c")], home)


def plain(built: Path, way: str, home: Path, origin: Any, gated: bool) -> Server:
    made = PlainSquid(home, origin, operator=WAYS[way].format(built=built))
    made.waits_for_gate = gated
    if way == "a longer key":
        made.environment = {"LD_PRELOAD": f"{built}/salt.so"}
    return made


def served(server: Server, pid: int) -> Sample:
    requests = [get(SITE, target(number)) for number in range(OBJECTS)]
    return wrk(server.edge.site, requests, seconds=1, connections=CONNECTIONS, pid=pid).sample()


def main(rounds: int) -> None:
    with ExitStack() as ends:
        built = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        built.chmod(0o755)
        build(built)
        sides = {}
        for way in WAYS:
            server, pid = ends.enter_context(running(Kind(way, partial(plain, built, way), 0), gated=False))
            fill(server, pid, 0, OBJECTS)
            sides[way] = partial(served, server, pid)
        got = interleave(rounds, sides)
    for way in WAYS:
        line = compare(way, way, PLAIN, got[way], got[PLAIN], reach=None)
        print(
            f"{way:40} {line.value:.2f}, by CPU {line.cpu:.2f}: {line.detail['ours_cpu_us']:.1f} us a hit", flush=True
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
