"""``refresh``, ``prefetch``, ``tasks``, ``task``, ``quota``: what callers do, over the API."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from freshline.cli.client import ApiError, Client, NoService
from freshline.cli.credentials import DEFAULT_ENDPOINT, NoCredentials, find
from freshline.cli.output import as_json, fail, table

POLL_SECONDS = 0.2
IDS_PER_CALL = 10  # CONTRACT 2
PER_CALL = {"File": 1000, "Directory": 100, "Regex": 1, "IgnoreParams": 1000, "Preload": 100}  # CONTRACT 2
REFRESH_SECONDS, PREFETCH_SECONDS = 600.0, 1800.0  # how long --wait waits, unless told


@Parameter(name="*", group="Service")
@dataclass(frozen=True)
class Caller:
    """Who calls, where, and how the answer is shown."""

    endpoint: Annotated[str, Parameter(env_var="FRESHLINE_ENDPOINT")] = DEFAULT_ENDPOINT
    """Where the service listens."""

    access_key_id: str | None = None
    """Also ALIBABA_CLOUD_ACCESS_KEY_ID."""

    access_key_secret: str | None = None
    """Also ALIBABA_CLOUD_ACCESS_KEY_SECRET."""

    profile: str | None = None
    """A profile of ~/.aliyun/config.json."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Print JSON."""

    def client(self) -> Client:
        try:
            return Client(self.endpoint, find(self.access_key_id, self.access_key_secret, self.profile))
        except (NoCredentials, NoService) as error:
            fail(str(error), 2)

    def call(self, action: str, params: Mapping[str, str]) -> dict[str, Any]:
        """One operation; a refusal is printed and ends the command."""
        try:
            return self.client().call(action, params)
        except (ApiError, NoService) as error:
            fail(str(error))


@Parameter(name="*", group="Waiting")
@dataclass(frozen=True)
class Waiting:
    """Whether to stay until the tasks have ended."""

    wait: Annotated[bool, Parameter(negative="")] = False
    """Stay until every row is Complete, with a progress bar; exit 1 if one is not."""

    timeout: float | None = None
    """Seconds to wait at most."""


NOBODY = Caller()
AT_ONCE = Waiting()
Lines = Annotated[Path | None, Parameter(name=["--file", "-f"])]


def refresh(
    *urls: str,
    file: Lines = None,
    type: Literal["File", "Directory", "Regex", "IgnoreParams"] = "File",
    tag: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    domain: str | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    waiting: Waiting = AT_ONCE,
    caller: Caller = NOBODY,
) -> None:
    """Refresh URLs, directories, patterns or tags on every edge.

    ```
    freshline refresh http://img.example.com/a.png --wait
    freshline refresh --type Directory http://img.example.com/2026/
    freshline refresh --domain www.example.com --tag news --tag sports
    git diff --name-only | sed s,^,www.example.com/, | freshline refresh
    ```

    Parameters
    ----------
    urls
        What to refresh. Without any, and without --file, they are read from standard input.
    file
        A file of URLs, one a line; # starts a comment, - is standard input.
    type
        What the URLs are.
    tag
        A cache tag instead of URLs; goes with --domain.
    domain
        The domain whose tags are meant.
    force
        Drop what a directory, pattern or tag covers, instead of revalidating it with the origin.
    """
    if tag:
        if not domain or urls or file:
            fail("--tag takes --domain and no URLs", 2)
        asked = {"DomainName": domain, "CacheTag": ",".join(tag), "Force": str(force).lower()}
        answers = [caller.call("RefreshObjectCacheByCacheTag", asked)]
    else:
        common = {"ObjectType": type, "Force": str(force).lower()}
        parts = _parts(_lines(urls, file), PER_CALL[type])
        answers = [caller.call("RefreshObjectCaches", common | {"ObjectPath": "\n".join(part)}) for part in parts]
    _finish(caller, [each["RefreshTaskId"] for each in answers], waiting, REFRESH_SECONDS)


def prefetch(
    *urls: str,
    file: Lines = None,
    header: Annotated[tuple[str, ...], Parameter(name=["--header", "-H"], negative="")] = (),
    area: Literal["domestic", "overseas"] | None = None,
    l2: Annotated[bool, Parameter(negative="")] = False,
    waiting: Waiting = AT_ONCE,
    caller: Caller = NOBODY,
) -> None:
    """Bring URLs into every edge before anyone asks for them.

    ```
    freshline prefetch http://img.example.com/big.iso --wait
    freshline prefetch -f urls.txt -H "Accept-Encoding: br"
    ```

    Parameters
    ----------
    urls
        What to fetch. Without any, and without --file, they are read from standard input.
    file
        A file of URLs, one a line; # starts a comment, - is standard input.
    header
        "Name: value" to send to the edge; may be repeated.
    area
        The part of the fleet to warm.
    l2
        Warm the parent tier only.
    """
    common: dict[str, str] = {"L2Preload": "true"} if l2 else {}
    if area:
        common["Area"] = area
    if header:
        common["WithHeader"] = json.dumps(_headers(header))
    parts = _parts(_lines(urls, file), PER_CALL["Preload"])
    answers = [caller.call("PushObjectCache", common | {"ObjectPath": "\n".join(part)}) for part in parts]
    _finish(caller, [each["PushTaskId"] for each in answers], waiting, PREFETCH_SECONDS)


def tasks(
    *,
    type: str | None = None,
    status: Literal["Complete", "Refreshing", "Failed"] | None = None,
    domain: str | None = None,
    path: str | None = None,
    start: str | None = None,
    end: str | None = None,
    page: int = 1,
    page_size: int = 20,
    caller: Caller = NOBODY,
) -> None:
    """List the tasks of the last three days, newest first.

    ```
    freshline tasks --type file --status Failed
    freshline tasks --start 2026-11-21T08:00:00Z --end 2026-11-21T09:00:00Z
    ```

    Parameters
    ----------
    type
        file, directory, regex, IgnoreParams or preload.
    status
        Needs --type.
    domain
        Needs --type.
    path
        Exactly this ObjectPath.
    start
        Goes with --end.
    end
        Goes with --start.
    page
        From 1.
    page_size
        1 to 100.
    """
    given = {
        "ObjectType": type,
        "Status": status,
        "DomainName": domain,
        "ObjectPath": path,
        "StartTime": start,
        "EndTime": end,
        "PageNumber": str(page),
        "PageSize": str(page_size),
    }
    answer = caller.call("DescribeRefreshTasks", {name: value for name, value in given.items() if value is not None})
    if caller.json:
        as_json(answer)
        return
    _show(answer["Tasks"]["CDNTask"])
    print(f"page {answer['PageNumber']}, {answer['TotalCount']} in all")


def task(*ids: str, caller: Caller = NOBODY) -> None:
    """Show tasks by their ids.

    ```
    freshline task 24840 24841 --json
    ```

    Parameters
    ----------
    ids
        Task ids, as refresh and prefetch printed them.
    """
    if not ids:
        fail("name at least one task id", 2)
    rows = _by_id(caller, ids)
    if caller.json:
        as_json(rows)
    else:
        _show(rows)
    missing = set(ids) - {row["TaskId"] for row in rows}
    if missing:
        fail(f"no task of yours in the last three days: {', '.join(sorted(missing))}")


def quota(*, caller: Caller = NOBODY) -> None:
    """Show what is left of today's allowances."""
    answer = caller.call("DescribeRefreshQuota", {})
    if caller.json:
        as_json(answer)
        return
    kinds = sorted(name.removesuffix("Quota") for name in answer if name.endswith("Quota"))
    table(["KIND", "LEFT", "OF"], [(kind, answer[f"{kind}Remain"], answer[f"{kind}Quota"]) for kind in kinds])


def sign(action: str, *params: str, caller: Caller = NOBODY) -> None:
    """Print a signed address of one call, for curl. It works once, within fifteen minutes.

    ```
    curl "$(freshline sign DescribeRefreshTaskById TaskId=24840)"
    curl "$(freshline sign RefreshObjectCaches ObjectPath=http://img.example.com/a.png)"
    ```

    Parameters
    ----------
    action
        The operation.
    params
        Its parameters, Name=value.
    """
    pairs = {}
    for each in params:
        name, equals, value = each.partition("=")
        if not (name and equals):
            fail(f"{each!r} is not Name=value", 2)
        pairs[name] = value
    print(caller.client().signed_url(action, pairs))


def _lines(urls: tuple[str, ...], file: Path | None) -> list[str]:
    """URLs from the arguments and the file; where neither is named, from standard input."""
    lines = list(urls)
    try:
        if str(file) == "-" or not (urls or file or sys.stdin.isatty()):
            lines += sys.stdin.read().splitlines()
        elif file is not None:
            lines += file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file or 'standard input'}: {error}", 2)
    lines = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        fail("no URLs: name some, or --file, or pipe them in", 2)
    return lines


def _parts(lines: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for at in range(0, len(lines), size):
        yield lines[at : at + size]


def _headers(given: tuple[str, ...]) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for each in given:
        name, colon, value = each.partition(":")
        if not colon or not name.strip():
            fail(f"--header {each!r} is not 'Name: value'", 2)
        headers.setdefault(name.strip(), []).append(value.strip())
    return headers


def _by_id(caller: Caller, ids: Sequence[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for part in _parts(ids, IDS_PER_CALL):
        rows += caller.call("DescribeRefreshTaskById", {"TaskId": ",".join(part)})["Tasks"]
    return rows


def _show(rows: list[dict[str, Any]]) -> None:
    columns = ("TaskId", "Status", "Process", "ObjectType", "CreationTime", "ObjectPath", "Description")
    table([column.upper() for column in columns], [[row[column] for column in columns] for row in rows])


def _finish(caller: Caller, answered: list[str], waiting: Waiting, seconds: float) -> None:
    ids = [id_ for each in answered for id_ in each.split(",")]
    if not waiting.wait:
        as_json({"TaskIds": ids}) if caller.json else print("\n".join(ids))
        return
    rows = _wait(caller, ids, seconds if waiting.timeout is None else waiting.timeout)
    bad = [row for row in rows if row["Status"] != "Complete"]
    if caller.json:
        as_json(rows)
    else:
        _show(bad or rows[:20])
    if bad:
        worst = bad[0]
        why = f"{worst['ObjectPath']} is {worst['Status']} {worst['Process']} {worst['Description']}"
        fail(f"{len(bad)} of {len(rows)} not Complete: {why.rstrip()}")


def _wait(caller: Caller, ids: list[str], seconds: float) -> list[dict[str, Any]]:
    """Ask until every row has an end, or the time is up. The bar goes to standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    until = time.monotonic() + seconds
    done: list[dict[str, Any]] = []
    left = list(ids)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        shown = bar.add_task(f"{len(ids)} task{'s' * (len(ids) != 1)}", total=len(ids))
        while True:
            rows = _by_id(caller, left)
            open_ids = {row["TaskId"] for row in rows if row["Status"] in ("Pending", "Refreshing")}
            done += [row for row in rows if row["TaskId"] not in open_ids]
            still = [row for row in rows if row["TaskId"] in open_ids]
            left = [id_ for id_ in left if id_ in open_ids]
            partly = sum(float(row["Process"].rstrip("%")) for row in still) / 100 / max(len(still), 1) * len(left)
            bar.update(shown, completed=len(ids) - len(left) + partly)
            if not left or time.monotonic() > until:
                return done + still
            time.sleep(POLL_SECONDS)
