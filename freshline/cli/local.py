"""Commands that work on the service's own files, on its machine: which files, and what goes wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from freshline.cli.output import fail

if TYPE_CHECKING:  # what they import takes longer than most commands
    from freshline.config import Settings
    from freshline.inventory.sqlite import SqliteInventory


@Parameter(name="*", group="Files")
@dataclass(frozen=True)
class Place:
    """Where the service keeps its files."""

    config: Annotated[Path | None, Parameter(env_var="FRESHLINE_CONFIG")] = None
    """The TOML file with the settings."""

    data_dir: Path | None = None
    """Overrides service.data_dir."""

    def settings(self) -> Settings:
        from freshline.config import BadConfig, load

        try:
            settings = load(self.config)
        except BadConfig as error:
            fail(f"the configuration has mistakes\n{error}", 2)
        if self.data_dir is not None:
            settings = replace(settings, service=replace(settings.service, data_dir=str(self.data_dir)))
        return settings

    @contextmanager
    def inventory(self) -> Iterator[SqliteInventory]:
        """The inventory, open; what it refuses is printed and ends the command."""
        from freshline.datafile import WrongFile
        from freshline.wiring import CannotStart, open_inventory

        try:
            inventory = open_inventory(self.settings())
        except (WrongFile, CannotStart, OSError, ValueError) as error:
            fail(str(error))
        try:
            yield inventory
        except ValueError as error:
            fail(str(error), 2)
        finally:
            inventory.close()


HERE = Place()
AsJson = Annotated[bool, Parameter(negative="")]
