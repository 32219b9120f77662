"""python -m bench [CASE ...] [--quick] [--report] [--against REVISION]

Without a case: all of them, then docs/performance.md. ``--report`` writes only the page, from the results that are
kept; ``--against`` prints the results kept now beside those of another commit.
"""

from __future__ import annotations

import argparse
import logging
import time

from bench import report
from bench.cases import NAMES, case
from bench.harness import Bench, Unmeasured, keep


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(NAMES)}; else all")
    parser.add_argument("--quick", action="store_true", help="smaller logs, fewer and shorter rounds; a first look")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the page")
    parser.add_argument("--against", metavar="REVISION", help="print what is kept beside what was kept there")
    asked = parser.parse_args()
    if unknown := [name for name in asked.cases if name not in NAMES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if asked.against:
        report.against(asked.against)
        return
    logging.getLogger("freshline").setLevel(logging.ERROR)  # gates that are new are flushed, as they should be
    bench = Bench(quick=asked.quick)
    bench.home.mkdir(exist_ok=True)
    failed: list[str] = []
    for name in [] if asked.report else asked.cases or NAMES:
        print(f"{name}:", flush=True)
        begun = time.monotonic()
        try:
            lines = case(name).run(bench)
        except Unmeasured as why:  # what is kept of it stays, and the others are measured all the same
            failed.append(name)
            print(f"  not measured: {why}", flush=True)
            continue
        took = time.monotonic() - begun
        if not asked.quick:
            keep(name, bench, lines, took)
        print(report.text(lines), f"  ({took:.0f} s)", sep="\n", flush=True)
    if asked.report or not (asked.cases or asked.quick):
        report.write()
    if failed:
        raise SystemExit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
