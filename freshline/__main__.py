"""``python -m freshline`` and the ``freshline`` command."""

from __future__ import annotations


def main() -> None:
    from freshline.cli.main import app

    app()


if __name__ == "__main__":
    main()
