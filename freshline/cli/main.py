"""The ``freshline`` command.

Whatever goes wrong is one line on standard error. Exit 1: it did not work; 2: it was asked for wrongly.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper

from cyclopts import App, CycloptsError, Parameter

from freshline import __version__
from freshline.cli import (
    access,
    configuration,
    evidence,
    fleet,
    gate,
    media,
    orders,
    people,
    policies,
    roles,
    run,
    spec,
    standing,
    tasks,
    users,
)
from freshline.cli.output import fail

INTERRUPTED = 130  # as shells have it: 128 + SIGINT

app = App(
    name="freshline",
    help="Keep a fleet of caches fresh: refresh and prefetch tasks, with proof.",
    version=f"freshline {__version__}",
    help_format="markdown",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
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
    evidence.evidence,
    orders.retry,
    orders.cancel,
    orders.audit,
    standing.edges,
    configuration.config,
]
for command in COMMANDS:
    app.command(command)
for group in (fleet.edge, gate.gate, people.account, people.domain, media.media, spec.spec, access.policy, roles.role):
    app.command(group)
access.policy.command(policies.test)
people.account.command(users.user)


def main() -> None:
    _whole_streams()
    try:
        try:
            app(sys.argv[1:], exit_on_error=False, print_error=False)
        finally:
            sys.stdout.flush()
    except CycloptsError as error:
        asked = " ".join(["freshline", *(error.command_chain or ()), "--help"])
        fail(f"{' '.join(str(error).split())} ({asked})", 2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read has read enough
        _to_nowhere()
        sys.exit(1)
    except OSError as error:
        _to_nowhere()
        fail(f"{error.filename or 'standard output'}: {error.strerror or error}")


def _whole_streams() -> None:
    """Three streams that take any text, whatever we were started with."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
        elif mode == "w" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _to_nowhere() -> None:
    """What is left in the buffer cannot be written, and Python would try again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
