"""Commands that work on the service's own files, on its machine: which files, and what goes wrong with them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from freshline.audit import Audit
from freshline.cli.output import fail

if TYPE_CHECKING:  # what they import takes longer than most commands
    from freshline.config import Settings
    from freshline.inventory.sqlite import SqliteInventory
    from freshline.log.reading import ReadOnlyLog


@Parameter(name="*", group="Files")
@dataclass(frozen=True)
class Place:
    """Where the service keeps its files."""

    config: Annotated[Path | None, Parameter(env_var="FRESHLINE_CONFIG")] = None
    """The TOML file with the settings; docs/configuration.md has them all."""

    data_dir: Path | None = None
    """Overrides service.data_dir."""

    def settings(self) -> Settings:
        from freshline.config import BadConfig

        try:
            return self._settings()
        except BadConfig as error:
            fail(f"the configuration has mistakes\n{error}", 2)

    def _settings(self) -> Settings:
        from freshline.config import load

        # An empty FRESHLINE_CONFIG is as good as none; as a path it would be the directory we stand in.
        settings = load(None if self.config == Path() else self.config)
        if self.data_dir is not None:
            settings = replace(settings, service=replace(settings.service, data_dir=str(self.data_dir)))
        return settings

    @contextmanager
    def inventory(self, *, new: bool = False) -> Iterator[SqliteInventory]:
        """The inventory, open; what it refuses is printed and ends the command.

        :param new: make it where there is none
        """
        settings = self.settings()
        import sqlite3

        from freshline.datafile import WrongFile
        from freshline.inventory.vault import WrongKey
        from freshline.wiring import CannotStart, open_inventory

        try:
            inventory = open_inventory(settings, new=new)
        except (WrongFile, WrongKey, CannotStart, OSError, sqlite3.Error) as error:
            fail(_said(error))
        before = inventory.changes
        try:
            yield inventory
        except ValueError as error:
            fail(str(error), 2)
        except sqlite3.Error as error:
            fail(f"the inventory in {settings.service.data_dir}: {error}")
        finally:
            if inventory.changes != before:
                self.note(" ".join(sys.argv[1:]))
            inventory.close()

    def note(self, what: str) -> None:
        """In the audit trail, under the name of whoever is logged in here."""
        settings = self.settings().service
        if settings.audit_days:
            from freshline.wiring import AUDIT

            try:
                Audit(Path(settings.data_dir) / AUDIT).ordered(time.time(), what)
            except OSError as error:
                print(f"note: the audit trail cannot be written: {error}", file=sys.stderr)

    def log_here(self) -> ReadOnlyLog | None:
        """The log, where the service may be elsewhere: nothing if there is none that can be read."""
        import sqlite3

        from freshline.config import BadConfig
        from freshline.datafile import WrongFile
        from freshline.wiring import CannotStart, read_log

        try:
            return read_log(self._settings())
        except (BadConfig, WrongFile, CannotStart, OSError, sqlite3.Error):
            return None

    def log(self) -> ReadOnlyLog | None:
        """The log beside the service that writes it; nothing if there is none yet."""
        settings = self.settings()
        import sqlite3

        from freshline.datafile import WrongFile
        from freshline.wiring import CannotStart, read_log

        try:
            return read_log(settings)
        except FileNotFoundError:
            return None
        except (WrongFile, CannotStart, OSError, sqlite3.Error) as error:
            fail(_said(error))


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


HERE = Place()
AsJson = Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON.")]
