"""``refresh``, ``prefetch``, ``tasks``, ``task``, ``quota``, ``sign``: what callers do, over the API."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from freshline.access.limits import PER_CALL
from freshline.cli import urls as lines
from freshline.cli import waiting as following
from freshline.cli import warming
from freshline.cli.caller import NOBODY, Caller, Flag, Product
from freshline.cli.local import HERE, Place
from freshline.cli.output import as_json, fail, table
from freshline.cli.waiting import AT_ONCE, Waiting
from freshline.cli.warming import UNPACED, Pacing

BUCKETS = {
    "File": "url",
    "Directory": "dir",
    "Regex": "regex",
    "IgnoreParams": "ignore_params",
    "ExQuery": "ignore_params",
}
REFRESH_SECONDS, PREFETCH_SECONDS = 600.0, 1800.0  # how long --wait waits, unless told
SHOWN = 20  #: rows of what was waited for

Lines = Annotated[Path | None, Parameter(name=["--file", "-f"], allow_leading_hyphen=True)]


def refresh(
    *urls: str,
    file: Lines = None,
    type: Literal["File", "Directory", "Regex", "IgnoreParams", "ExQuery"] = "File",
    tag: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    domain: str | None = None,
    force: Flag = False,
    plan: Flag = False,
    waiting: Waiting = AT_ONCE,
    caller: Caller = NOBODY,
    place: Place = HERE,
) -> None:
    """Refresh URLs, directories, patterns or tags on every edge.

    ```
    freshline refresh http://img.example.com/a.png --wait
    freshline refresh --type Directory http://img.example.com/2026/
    freshline refresh --domain www.example.com --tag news --tag sports
    freshline refresh http://img.example.com/a.png --plan
    git diff --name-only | sed s,^,www.example.com/, | freshline refresh
    ```

    Parameters
    ----------
    urls
        What to refresh. Without any, and without --file, they are read from standard input.
    file
        A file of URLs, one a line; # starts a comment, - is standard input.
    type
        What the URLs are. ExQuery is another name of IgnoreParams.
    tag
        A cache tag instead of URLs; goes with --domain.
    domain
        The domain whose tags are meant.
    force
        Drop what a directory, pattern or tag covers, instead of revalidating it with the origin.
    plan
        Only say which edges it would go to and, of files, how many of them have it now. On the service's machine.
    """
    waiting.check()
    if tag and (not domain or urls or file):
        fail("--tag takes --domain and no URLs", 2)
    if plan:
        _plan([domain or ""] if tag else lines.read(urls, file), "tag" if tag else type, place, caller.json)
        return
    if tag:
        params = {"DomainName": domain or "", "CacheTag": ",".join(tag), "Force": str(force).lower()}
        ids = caller.call("RefreshObjectCacheByCacheTag", params)["RefreshTaskId"].split(",")
    else:
        if domain:
            fail("--domain goes with --tag", 2)
        common = {"ObjectType": type, "Force": str(force).lower()}
        ids = _submit(caller, "RefreshObjectCaches", common, lines.read(urls, file), PER_CALL[BUCKETS[type]])
    _finish(caller, ids, waiting, REFRESH_SECONDS)


def _plan(wanted: Sequence[str], kind: str, place: Place, json: bool) -> None:
    from freshline.cli import plan
    from freshline.domain.task import Kind

    kinds = {
        "File": Kind.FILE,
        "Directory": Kind.DIRECTORY,
        "Regex": Kind.REGEX,
        "IgnoreParams": Kind.IGNORE_PARAMS,
        "ExQuery": Kind.IGNORE_PARAMS,
    }
    plan.show(wanted, kinds.get(kind, Kind.TAG), place, json)


def prefetch(
    *urls: str,
    file: Lines = None,
    header: Annotated[tuple[str, ...], Parameter(name=["--header", "-H"], negative="", show_default=False)] = (),
    area: Literal["domestic", "overseas"] | None = None,
    l2: Flag = False,
    sitemap: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    pacing: Pacing = UNPACED,
    waiting: Waiting = AT_ONCE,
    caller: Caller = NOBODY,
    place: Place = HERE,
) -> None:
    """Bring URLs into every edge before anyone asks for them.

    ```
    freshline prefetch http://img.example.com/big.iso --wait
    freshline prefetch -f urls.txt -H "Accept-Encoding: br"
    freshline prefetch --sitemap http://www.example.com/sitemap.xml --pace
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
    sitemap
        A sitemap or an index of them, plain or gzip: a URL or a file; may be repeated. What ends with / is left out.
    """
    waiting.check()
    pacing.check()
    common: dict[str, str] = {"L2Preload": "true"} if l2 else {}
    if area:
        common["Area"] = area
    if header:
        common["WithHeader"] = json.dumps(_headers(header))
    wanted = [*(lines.read(urls, file) if urls or file or not sitemap else []), *_listed(sitemap)]
    ids = warming.submit(caller, common, wanted, PER_CALL["preload"], pacing)
    _finish(caller, ids, waiting, PREFETCH_SECONDS * math.ceil(len(wanted) / 1_000), place)


def _listed(sitemaps: Sequence[str]) -> list[str]:
    """What sitemaps list, each once. A prefetch is of objects, so what ends with / is left out, and told."""
    from freshline.cli import sitemap

    try:
        found = list(dict.fromkeys(url for each in sitemaps for url in sitemap.urls(each)))
    except sitemap.BadSitemap as error:
        fail(str(error), 2)
    objects = [url for url in found if not any(part.endswith("/") for part in (url, url.partition("?")[0]))]
    if sitemaps and not objects:
        fail(f"{', '.join(sitemaps)}: no URL of an object among {len(found)}", 2)
    if len(objects) < len(found):
        print(f"freshline: left out {len(found) - len(objects)} URLs that end with /", file=sys.stderr)
    return objects


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
        file, directory, regex, IgnoreParams, cachetag or preload.
    status
        Rows that read this; needs --type. The API has no such choice for Pending: leave it out to see those.
    domain
        Needs --type.
    path
        Exactly this ObjectPath.
    start
        Tasks accepted from then on, in UTC as above; goes with --end.
    end
        Tasks accepted until then, that second too; goes with --start.
    page
        From 1.
    page_size
        1 to 100.
    """
    if (status or domain) and not type:
        fail(f"{'--status' if status else '--domain'} needs --type: file, directory, … or preload", 2)
    if (start is None) != (end is None):
        fail("--start and --end go together", 2)
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
    from freshline.cli.client import ApiError, NoService

    asked = list(dict.fromkeys(id_ for each in ids for id_ in each.split(",") if id_))
    if not asked:
        fail("name at least one task id", 2)
    try:
        rows = following.by_id(caller, asked)
    except (ApiError, NoService) as error:
        fail(str(error))
    if caller.json:
        as_json(rows)
    else:
        _show(rows)
    there = {row["TaskId"] for row in rows}
    if missing := [id_ for id_ in asked if id_ not in there]:
        fail(f"no task of yours in the last three days: {', '.join(missing)}")


def quota(*, caller: Caller = NOBODY) -> None:
    """Show what is left of today's allowances.

    ```
    freshline quota --json
    ```
    """
    answer = caller.call("DescribeRefreshQuota", {})
    if caller.json:
        as_json(answer)
        return
    kinds = sorted(name.removesuffix("Quota") for name in answer if name.endswith("Quota"))
    table(["KIND", "LEFT", "OF"], [(kind, answer[f"{kind}Remain"], answer[f"{kind}Quota"]) for kind in kinds])


def sign(action: str, /, *params: str, product: Product = "cdn", caller: Caller = NOBODY) -> None:
    """Print a signed address of one call, for curl. It works once, within fifteen minutes.

    ```
    curl "$(freshline sign DescribeRefreshTaskById TaskId=24840)"
    curl "$(freshline sign RefreshObjectCaches ObjectPath=http://example.com/a)"
    curl "$(freshline sign GetPurgeQuota --product esa SiteId=123)"
    ```

    An operation that takes nothing but POST is signed for that: `curl -X POST`.

    Parameters
    ----------
    action
        The operation.
    params
        Its parameters, Name=value.
    product
        Whose operation it is.
    """
    pairs = {}
    for each in params:
        name, equals, value = each.partition("=")
        if not (name and equals):
            fail(f"{each!r} is not Name=value", 2)
        pairs[name] = value
    version, method = _way(product, action)
    url = caller.client.signed_url(action, pairs, version, method)
    as_json({"url": url}) if caller.json else print(url)


def _way(product: str, action: str) -> tuple[str, str]:
    """Version and method of an operation. What no table has is for the service to refuse."""
    from freshline.spec import model

    (found,) = model.load((product,)).products.values()
    op = found.operations.get(action)
    return found.version, "GET" if op is None or "GET" in op.methods else "POST"


def _submit(caller: Caller, action: str, common: Mapping[str, str], wanted: Sequence[str], size: int) -> list[str]:
    """Task ids. When a later call is refused, the tasks of those before it are told all the same."""
    from freshline.cli.client import ApiError, NoService

    ids: list[str] = []
    taken = 0
    for part in lines.calls(wanted, size):
        try:
            answer = caller.ask(action, {**common, "ObjectPath": "\n".join(part)})
        except (ApiError, NoService) as error:
            if not ids:
                fail(str(error))
            _tell(caller, ids)
            fail(f"{error}; {taken} of {len(wanted)} lines were taken before that")
        ids += (answer.get("RefreshTaskId") or answer["PushTaskId"]).split(",")
        taken += len(part)
    return ids


def _tell(caller: Caller, ids: Sequence[str]) -> None:
    as_json({"TaskIds": ids}) if caller.json else print("\n".join(ids))


def _headers(given: tuple[str, ...]) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for each in given:
        name, colon, value = each.partition(":")
        if not colon or not name.strip():
            fail(f"--header {each!r} is not 'Name: value'", 2)
        headers.setdefault(name.strip(), []).append(value.strip())
    return headers


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    columns = ("TaskId", "Status", "Process", "ObjectType", "CreationTime", "ObjectPath", "Description")
    table([column.upper() for column in columns], [[row[column] for column in columns] for row in rows])


def _finish(caller: Caller, ids: Sequence[str], waiting: Waiting, seconds: float, place: Place | None = None) -> None:
    if not waiting.wait:
        _tell(caller, ids)
        return
    seconds = seconds if waiting.timeout is None else waiting.timeout
    found = following.follow(caller, ids, seconds, place)
    rows = [row for each in found.values() for row in each]
    bad = [row for row in rows if row["Status"] != "Complete"]
    if caller.json:
        as_json(rows)
    else:
        _show((bad or rows)[:SHOWN])
        if (more := len(bad or rows) - SHOWN) > 0:
            print(f"and {more} more")
    if lost := [id_ for id_, each in found.items() if not each]:
        fail(f"the service no longer knows {', '.join(lost)}")
    if bad:
        first = " ".join(bad[0][name] for name in ("ObjectPath", "Status", "Process", "Description")).rstrip()
        waited = f" after {seconds:g} s" if any(row["Status"] != "Failed" for row in bad) else ""
        fail(f"{len(bad)} of {len(rows)} not Complete{waited}: {first}")
