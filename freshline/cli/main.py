"""The ``freshline`` command."""

from __future__ import annotations

from collections.abc import Callable

from cyclopts import App

from freshline import __version__
from freshline.cli import configuration, fleet, people, run, tasks

app = App(
    name="freshline",
    help="Keep a fleet of caches fresh: refresh and prefetch tasks, with proof.",
    version=__version__,
    help_format="markdown",
)

COMMANDS: list[Callable[..., None]] = [
    run.serve,
    run.demo,
    run.sandbox,
    tasks.refresh,
    tasks.prefetch,
    tasks.tasks,
    tasks.task,
    tasks.quota,
    tasks.sign,
    fleet.edges,
    configuration.config,
]
for command in COMMANDS:
    app.command(command)
for group in (fleet.edge, fleet.gate, people.account, people.domain):
    app.command(group)
