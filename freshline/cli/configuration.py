"""``config``: is the configuration right, and what does it come to?"""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from freshline.cli.local import HERE, AsJson, Place
from freshline.cli.output import as_json

Show = Annotated[bool, Parameter(negative="", show_default=False)]


def config(*, example: Show = False, page: Show = False, json: AsJson = False, place: Place = HERE) -> None:
    """Check the configuration, and print every setting as it is in force.

    ```
    freshline config --config /etc/freshline.toml
    freshline config --example > freshline.toml
    ```

    Parameters
    ----------
    example
        Print a file with every setting in it, commented out, instead.
    page
        Print docs/configuration.md instead.
    """
    from dataclasses import asdict

    from freshline import config_page

    if example or page:
        text = config_page.example() if example else config_page.page()
        as_json({"text": text}) if json else print(text, end="")
        return
    settings = place.settings()
    as_json(asdict(settings)) if json else print(config_page.in_force(settings), end="")
