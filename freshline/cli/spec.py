"""``spec``: what the tables say, for programs and for people."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from freshline.cli.caller import Product
from freshline.cli.local import AsJson
from freshline.cli.output import as_json

spec = App(name="spec", help="What operations there are.")


@spec.command
def openapi(*, product: Product = "cdn") -> None:
    """Print a product's operations as an OpenAPI 3.1 document.

    ```
    freshline spec openapi --product dcdn > dcdn.json
    ```

    Parameters
    ----------
    product
        Which product.
    """
    import json

    from freshline.reference import openapi, samples
    from freshline.spec import model

    version = next(version for version, name in samples.names(model.load()).items() if name == product)
    print(json.dumps(openapi.document(model.load().products[version]), indent=2, ensure_ascii=False))


@spec.command
def pages(*, to: Path, json: AsJson = False) -> None:
    """Write the reference: a page for each product, and an index.

    ```
    freshline spec pages --to docs/reference
    ```

    Parameters
    ----------
    to
        The directory; made where there is none.
    """
    from freshline.reference import page

    to.mkdir(parents=True, exist_ok=True)
    for name, text in page.pages().items():
        (to / name).write_text(text, encoding="utf-8")
    if json:
        as_json([str(to / name) for name in page.pages()])
