"""``retry``, ``cancel``, ``audit``: what operators order the service to do, on its machine, and who did."""

from __future__ import annotations

import json as json_
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, fail, table

ANSWER_SECONDS = 30.0
HOURS = 10 * 366 * 24  #: as long as a trail may be kept


def retry(task: int, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Do what edges gave up of a task after all, with a new deadline.

    ```
    freshline retry 24840
    ```

    Parameters
    ----------
    task
        Its id.
    """
    _order("retry", task, json, place)


def cancel(task: int, /, *, json: AsJson = False, place: Place = HERE) -> None:
    """Begin no more of a prefetch. What is under way ends by itself; the rest reads Failed, Canceled.

    ```
    freshline cancel 24840
    ```

    Parameters
    ----------
    task
        Its id.
    """
    _order("cancel", task, json, place)


def _order(order: str, task: int, json: bool, place: Place) -> None:
    from freshline.api.control import NAME

    path = Path(place.settings().service.data_dir).absolute() / NAME
    status, said = _post(path, f"/{order}/{task}")
    if status != 200:
        fail(str(said.get("said", said)))
    place.note(f"{order} {task}")
    if json:
        as_json(said)
        return
    table(["EDGE", "ROWS"], list(said["rows"].items()))


def _post(path: Path, target: str) -> tuple[int, dict[str, Any]]:
    import http.client  # brings TLS with it, which takes longer than most commands
    import socket

    connection = http.client.HTTPConnection("localhost", timeout=ANSWER_SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(ANSWER_SECONDS)
    try:
        connection.sock.connect(str(path))
        connection.request("POST", target)
        answer = connection.getresponse()
        return answer.status, json_.loads(answer.read())
    except (FileNotFoundError, ConnectionRefusedError):
        fail(f"no service is running there: {path}")
    except (OSError, ValueError, http.client.HTTPException) as error:
        fail(f"{path}: {error}")
    finally:
        connection.close()


def audit(
    *,
    hours: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=HOURS))] = 24.0,
    who: str | None = None,
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Show who asked for what: calls that would change something, and orders from the command line.

    ```
    freshline audit --hours 2
    freshline audit --who anna --json
    ```

    Parameters
    ----------
    hours
        How far back, ten years at most.
    who
        Only those whose name, key or address holds this.
    """
    from freshline.audit import Audit
    from freshline.wiring import AUDIT

    home = Path(place.settings().service.data_dir)
    if not home.is_dir():
        fail(f"there is no data directory at {home}")
    trail = Audit(home / AUDIT)
    try:
        found = list(trail.lines(time.time() - hours * 3600))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    if who:
        found = [each for each in found if any(who in str(each.get(name, "")) for name in ("who", "key", "from"))]
    if json:
        as_json(found)
        return
    columns = ("at", "who", "from", "what", "status", "asked")
    rows = [[_cell(each.get(column, "")) for column in columns] for each in found]
    table([column.upper() for column in columns], rows)


def _cell(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    text = " ".join(f"{name}={inner}" for name, inner in value.items())
    return " ".join(text.split())
