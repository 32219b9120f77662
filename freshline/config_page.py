"""Every setting on a page, from the declarations themselves: docs/configuration.md, and a file to begin with."""

from __future__ import annotations

import textwrap
from dataclasses import fields

from freshline.config import Known, Settings, known
from freshline.setting import written

HEAD = """\
# Configuration

One TOML file (`freshline serve --config FILE`, or `FRESHLINE_CONFIG`) and the environment. What the environment says
wins over the file; what neither says has the default below. A table changes the keys it names and leaves the rest. All
mistakes are reported at once, each with its key, its value and what is allowed; with a mistake nothing is started.

    freshline config --example > freshline.toml     # every setting, commented out
    freshline config --config freshline.toml        # is it right? then: every setting as it will be in force

In the environment numbers, truth values and tables are written as in TOML, and text as it is:

    FRESHLINE_SERVICE_LISTEN=0.0.0.0:8080
    FRESHLINE_LIMITS_DAILY='{url = 50_000, dir = 500}'

`FRESHLINE_CONFIG` and `FRESHLINE_ENDPOINT` are the command line's own; every other name that begins with `FRESHLINE_`
has to be in the tables below (what Kubernetes adds for a Service called freshline is passed over).
"""

MEANS = {
    "service": "The service itself.",
    "gates": "How hard the caches are worked.",
    "delivery": "How eager delivery is.",
    "deadlines": "How long a line may take before its task reads `Failed`. A refresh is delivered all the same.",
    "limits": "What callers may do. The defaults are the vendor's.",
}


def page() -> str:
    """docs/configuration.md."""
    parts = [HEAD]
    for section, settings in known().items():
        parts.append(f"\n## [{section}]\n\n{MEANS[section]}\n\n")
        parts.append("| Key | Default | Allowed | Meaning | Environment |\n|---|---|---|---|---|\n")
        parts += [_row(each) for each in settings.values()]
    return "".join(parts)


def _row(each: Known) -> str:
    allowed = f"a table; each {each.rule.allowed(each.kind)}" if each.table else each.allowed
    return f"| `{each.key}` | `{written(each.default)}` | {allowed} | {each.rule.means} | `{each.variable}` |\n"


def example() -> str:
    """A TOML file that changes nothing until something is uncommented."""
    parts = ["# Every setting of freshline, with its default. Take away the # before one to change it.\n"]
    for section, settings in known().items():
        parts.append(f"\n[{section}]  # {MEANS[section]}\n")
        for each in settings.values():
            allowed = each.rule.allowed(each.kind)
            said = f"{each.rule.means} ({'each ' if each.table else ''}{allowed})"
            parts.append(textwrap.indent(textwrap.fill(said, 100), "# ") + "\n")
            parts.append(f"#{each.key} = {written(each.default)}\n")
    return "".join(parts)


def in_force(settings: Settings) -> str:
    """A TOML file that says the same as the settings."""
    return "\n".join(
        f"[{section.name}]\n"
        + "".join(
            f"{each.name} = {written(getattr(getattr(settings, section.name), each.name))}\n"
            for each in fields(getattr(settings, section.name))
        )
        for section in fields(settings)
    )
