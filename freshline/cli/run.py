"""``serve``, ``demo`` and ``sandbox``: the service, the service with a small fleet, and the service in a test."""

from __future__ import annotations

import logging
import sys
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from freshline.cli.local import HERE, Place
from freshline.cli.output import fail

logger = logging.getLogger("freshline")


def serve(*, listen: str | None = None, place: Place = HERE) -> None:
    """Run the service until Ctrl-C or SIGTERM.

    ```
    freshline serve --config /etc/freshline.toml
    freshline serve --data-dir ./data --listen 0.0.0.0:8080
    ```

    Parameters
    ----------
    listen
        Overrides service.listen, host:port.
    """
    settings = place.settings()
    from freshline.config import is_address
    from freshline.serving import serve

    if listen is not None:
        if not is_address(listen):
            fail(f"--listen {listen!r} must be host:port, as in 127.0.0.1:8080", 2)
        settings = replace(settings, service=replace(settings.service, listen=listen))
    log_to_stderr(settings.service.log_level)
    run(serve(settings))


def demo(*, port: int = 8080, run_dir: Path = Path(".run")) -> None:
    """Run the service with an origin, an nginx and a Varnish of its own, one account and two domains.

    ```
    freshline demo --port 8080 --run-dir .run
    ```

    Parameters
    ----------
    port
        Where the service listens on 127.0.0.1; the servers around it take the ports after it.
    run_dir
        Where everything is kept. demo.json there says how to reach all of it.
    """
    if not 0 < port < 65_531:
        fail(f"--port {port}: must be from 1 to 65530, five more follow it", 2)
    from freshline.demo.show import show

    log_to_stderr("warning")
    run(show(port, run_dir.absolute()))


def sandbox(
    *,
    port: int = 8080,
    rules: Path | None = None,
    access_key_id: str = "testid",
    access_key_secret: str = "testsecret",
) -> None:
    """Run the API over scripted edges, in memory: for testing code that speaks it.

    ```
    freshline sandbox
    freshline sandbox --port 9000 --rules rules.json
    curl -X PUT localhost:8080/sandbox/rules -d '[{"outcome": "failed"}]'
    ```

    Parameters
    ----------
    port
        Where it listens on 127.0.0.1; 0 takes a free one.
    rules
        A JSON file with the rules to begin with, or with rules and accounts (docs/sandbox.md).
    access_key_id
        The key of its own account.
    access_key_secret
        Its secret.
    """
    if not 0 <= port < 65_536:
        fail(f"--port {port}: must be from 0 to 65535", 2)
    import json
    import signal

    from freshline.sandbox.server import Sandbox, running

    try:
        script = None if rules is None else json.loads(rules.read_text())
        box = Sandbox(access_key_id, access_key_secret, script=script)
        with running(box, port=port) as address:
            print(f"sandbox on http://{address}, key {access_key_id}, secret {access_key_secret}; Ctrl-C ends it")
            sys.stdout.flush()
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
    except (OSError, ValueError) as error:
        fail(str(error))


def log_to_stderr(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # It says that it starts and stops, once for the API and once for orders; the service says so itself.
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLogger().level))


def run(main: Coroutine[Any, Any, None]) -> None:
    """On uvloop; what keeps the service from starting is said in one line."""
    import uvloop

    from freshline.config import BadConfig
    from freshline.datafile import InUse, WrongFile
    from freshline.gates.build import CannotBuild
    from freshline.inventory.vault import WrongKey
    from freshline.wiring import Broken, CannotStart

    try:
        uvloop.run(main)
    except BadConfig as error:
        fail(f"the configuration has mistakes\n{error}", 2)
    except (Broken, CannotStart, CannotBuild, InUse, WrongFile, WrongKey) as error:
        fail(str(error))
    except OSError as error:  # a full disk, a directory of somebody else's
        logger.debug("ended", exc_info=True)
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        sys.exit(130)
