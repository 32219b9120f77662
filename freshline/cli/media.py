"""``media``: which URLs a medium is played from, for refreshes and prefetches by media id (VOD)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cyclopts import App

from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json, table
from freshline.cli.people import account_id

if TYPE_CHECKING:
    from freshline.domain.media import Media

media = App(name="media", help="Media and their play URLs.")


@media.command
def add(
    id_: str,
    /,
    *urls: str,
    format: str | None = None,
    definition: str = "OD",
    stream_type: str | None = None,
    slice: tuple[str, ...] = (),
    json: AsJson = False,
    place: Place = HERE,
) -> None:
    """Declare play URLs of a medium. It belongs to the account whose domain they are of.

    ```
    freshline media add film-7 http://v.example.com/7.mp4 --definition HD
    freshline media add film-7 http://v.test/7.m3u8 --slice http://v.test/0.ts
    ```

    Of several URLs of one format, definition and stream type the one that was declared last is the latest, which is
    all that calls with ResultType=Single are about.

    Parameters
    ----------
    id_
        The medium, 1 to 64 letters, digits, '.', '_' or '-'.
    urls
        Where it is played from.
    format
        mp4, m3u8, mp3, flv, webm or ts; else what the URL ends with.
    definition
        FD, LD, SD, HD, OD, 2K, 4K, SQ, HQ or AUTO.
    stream_type
        video or audio; else audio for mp3, and video.
    slice
        A part of an m3u8 stream, from the first on; may be given 20 times.
    """
    with place.inventory() as inventory:
        made = inventory.library.add(
            id_, urls, format=format, definition=definition, stream_type=stream_type, slices=slice
        )
    if json:
        as_json(_medium(made))


@media.command(name="list")
def list_(id_: str | None = None, /, *, account: str | None = None, json: AsJson = False, place: Place = HERE) -> None:
    """List media and their play URLs, the latest last.

    ```
    freshline media list --account shop
    ```

    Parameters
    ----------
    id_
        Only this medium.
    account
        Only the media of this account, its id or its name.
    """
    with place.inventory() as inventory:
        owner = account_id(inventory, account) if account else None
        found = [each for each in inventory.library.all(owner) if id_ is None or each.id == id_]
    if json:
        as_json([_medium(each) for each in found])
        return
    table(
        ["MEDIA", "ACCOUNT", "FORMAT", "DEFINITION", "STREAM", "SLICES", "URL"],
        [
            (each.id, each.account, play.format, play.definition, play.stream_type, len(play.slices), play.url)
            for each in found
            for play in each.plays
        ],
    )


@media.command
def remove(id_: str, /, *urls: str, json: AsJson = False, place: Place = HERE) -> None:
    """Forget a medium, or some of its play URLs.

    ```
    freshline media remove film-7
    ```

    Parameters
    ----------
    id_
        The medium.
    urls
        Only these play URLs of it.
    """
    with place.inventory() as inventory:
        inventory.library.remove(id_, urls)
    if json:
        as_json({"removed": id_, "urls": list(urls)})


def _medium(each: Media) -> dict[str, Any]:
    return {
        "id": each.id,
        "account": each.account,
        "plays": [
            {
                "url": play.url,
                "format": play.format,
                "definition": play.definition,
                "stream_type": play.stream_type,
                "slices": list(play.slices),
            }
            for play in each.plays
        ],
    }
