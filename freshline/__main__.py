"""``python -m freshline`` and the ``freshline`` command."""

from __future__ import annotations

from freshline.cli.main import main

if __name__ == "__main__":
    main()
