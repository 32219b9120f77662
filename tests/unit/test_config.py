"""What may stand in the configuration, and what is said of what may not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from freshline import config_page
from freshline.access.limits import DAILY
from freshline.config import BadConfig, Settings, known, load

ROOT = Path(__file__).parents[2]
EVERY = [each for section in known().values() for each in section.values()]


def mistakes(text: str | bytes, tmp_path: Path, environ: dict[str, str] | None = None) -> list[str]:
    path = tmp_path / "freshline.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadConfig) as caught:
        load(path, environ or {})
    return str(caught.value).split("\n")


def mistake(text: str | bytes, tmp_path: Path) -> str:
    (only,) = mistakes(text, tmp_path)
    return only


def test_nothing_said_is_the_defaults(tmp_path):
    """Without a file, and with an empty one, every setting has its default."""
    empty = tmp_path / "empty.toml"
    empty.touch()

    assert load(None, {}) == load(empty, {}) == Settings()


def test_the_environment_wins_over_the_file(tmp_path):
    """What both say is as the environment says, what one says is as it says."""
    path = tmp_path / "freshline.toml"
    path.write_text('[service]\nlisten = "[::1]:80"\ndata_dir = "a"\n[delivery]\nheartbeat_seconds = 3\n')
    environ = {"FRESHLINE_SERVICE_DATA_DIR": "b", "FRESHLINE_DELIVERY_FETCH_WINDOW": "5", "HOME": "/"}

    settings = load(path, environ)

    assert (settings.service.listen, settings.service.data_dir) == ("[::1]:80", "b")
    assert (settings.delivery.heartbeat_seconds, settings.delivery.fetch_window) == (3.0, 5)


def test_a_table_changes_what_it_names(tmp_path):
    """The file's table goes over the default, the environment's over both, key by key."""
    path = tmp_path / "freshline.toml"
    path.write_text("[limits.daily]\nurl = 5\ndir = 6\n[limits.rates]\nPushObjectCache = 2\n")

    limits = load(path, {"FRESHLINE_LIMITS_DAILY": "{dir = 7}"}).limits

    assert limits.daily == {**DAILY, "url": 5, "dir": 7}
    assert limits.rates == {"PushObjectCache": 2.0}
    assert load(None, {}).limits.daily == DAILY


def test_every_mistake_is_reported_at_once(tmp_path):
    """Whoever has five mistakes reads of five, in the file, in its tables and in the environment."""
    text = """
        [service]
        listen = "here"
        [limits]
        body_bytes = 1
        daily = {url = -1, dri = 2}
        [servce]
    """
    found = mistakes(text, tmp_path, {"FRESHLINE_SERVICE_LISTN": "x", "FRESHLINE_DELIVERY_FETCH_TRIES": "0"})

    assert found == [
        "[servce]: no such section; did you mean service?",
        'FRESHLINE_SERVICE_LISTN = "x": no such setting; did you mean FRESHLINE_SERVICE_LISTEN?',
        'service.listen = "here": must be host:port, as in 127.0.0.1:8080 or [::1]:8080',
        "limits.body_bytes = 1: must be a whole number from 4096 to 67_108_864",
        "limits.daily.url = -1: must be a whole number from 0 to 1_000_000_000",
        "limits.daily.dri = 2: no such key; did you mean dir?",
        "FRESHLINE_DELIVERY_FETCH_TRIES = 0: must be a whole number from 1 to 100",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[nope]", "[nope]: no such section; there are service, gates, delivery, deadlines, limits"),
        ("service = 1", "service = 1: must be a section, written [service]"),
        ("[gates]\nnope = 1", "gates.nope = 1: no such key; there are status_seconds, batch_seconds"),
        ('[limits]\nnonces = "many"', 'limits.nonces = "many": must be a whole number from 1000 to 1_000_000_000'),
        ("[limits]\nnonces = true", "limits.nonces = true: must be a whole number from 1000 to 1_000_000_000"),
        ("[limits]\nnonces = 1e6", "limits.nonces = 1_000_000: must be a whole number from 1000 to 1_000_000_000"),
        ("[limits]\ndomains = [1]", "limits.domains = [1]: must be a whole number from 0 to 1_000_000_000"),
        ("[limits]\nbody_seconds = false", "limits.body_seconds = false: must be a number from 0.1 to 3600"),
        ("[limits]\nbody_seconds = nan", "limits.body_seconds = nan: must be a number from 0.1 to 3600"),
        ("[limits]\nbody_seconds = inf", "limits.body_seconds = inf: must be a number from 0.1 to 3600"),
        ("[limits]\nrates = 5", "limits.rates = 5: must be a table, such as {NAME = 1}, each a number from 0.001"),
        ("[limits.daily]\nurl = true", "limits.daily.url = true: must be a whole number from 0"),
        ("[limits.per_minute]\nurl = 0", "limits.per_minute.url = 0: must be a whole number from 1"),
        ("[limits.rates]\nPushObjectCache = 0", "limits.rates.PushObjectCache = 0: must be a number from 0.001"),
        ("[limits.rates]\nNope = 1", "limits.rates.Nope = 1: no such key; there are "),
        ("[limits.rates]\nPushObjectCach = 1", "limits.rates.PushObjectCach = 1: no such key; did you mean PushObj"),
        ("[delivery]\nfetch_window = 0", "delivery.fetch_window = 0: must be a whole number from 1 to 1000"),
        ("[delivery]\nheartbeat_seconds = 0", "delivery.heartbeat_seconds = 0: must be a number from 0.05 to 3600"),
        ("[deadlines]\nrefresh_seconds = -5", "deadlines.refresh_seconds = -5: must be a number from 0.1 to 1_209_600"),
        ("[service]\nlisten = 8080", "service.listen = 8080: must be host:port"),
        ('[service]\ndata_dir = ""', 'service.data_dir = "": must be a string that is not empty'),
        ('[service]\ndefault_format = "xml"', 'service.default_format = "xml": must be one of XML, JSON'),
        ("[service]\nforbidden_status = 401", "service.forbidden_status = 401: must be one of 403, 400"),
        (
            '[service]\ntrusted_proxies = "10.0.0.1/8"',
            'service.trusted_proxies = "10.0.0.1/8": must be addresses and net',
        ),
        ("[service]\nlog_level = 2026-11-21", "service.log_level = 2026-11-21: must be one of debug, info, warning"),
        (f"[limits]\nnonces = 0x{'f' * 9000}", "limits.nonces = …: must be a whole number"),
        (f'[service]\nlisten = "{"x" * 9000}"', f'service.listen = "{"x" * 118}…: must be host:port'),
    ],
)
def test_a_mistake_has_its_key_its_value_and_what_is_allowed(text, said, tmp_path):
    """One line is all it takes to mend it."""
    assert mistake(text, tmp_path).startswith(said)


@pytest.mark.parametrize(
    "address",
    [
        "a:" + "9" * 5000,
        "x" * 64 + ":80",
        "a:80\n",
        "",
        ":80",
        "a",
        "a:",
        "a:b",
        "a:65536",
        "a:-1",
        "a b:80",
        "::1:80",
        "[::1]",
        "http://a:80",
        "a:8٠",
        "a..b:80",
    ],
)
def test_an_address_is_host_and_port(address, tmp_path):
    """What no socket could be bound to is not found out by trying."""
    assert "must be host:port" in mistakes("", tmp_path, {"FRESHLINE_SERVICE_LISTEN": address})[0]


@pytest.mark.parametrize("address", ["localhost:0", "0.0.0.0:8080", "[::]:443", "a_b.example-1.com:65535"])
def test_every_kind_of_host_is_an_address(address):
    """Names, IPv4 and bracketed IPv6."""
    assert load(None, {"FRESHLINE_SERVICE_LISTEN": address}).service.listen == address


@pytest.mark.parametrize(
    "content", [b"[service", b"[service]\nlisten = x", b"\xff\xfe", b"a = 1\na = 2", b"a = " + b"[" * 9000, b"\x00"]
)
def test_what_is_not_toml_is_said_with_the_file(content, tmp_path):
    """A broken file is one mistake that names it."""
    assert mistake(content, tmp_path).startswith(f"{tmp_path / 'freshline.toml'}: must be TOML in UTF-8: ")


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    """Some editors leave one."""
    path = tmp_path / "freshline.toml"
    path.write_bytes(b'\xef\xbb\xbf[service]\ndata_dir = "d"\n')

    assert load(path, {}).service.data_dir == "d"


@pytest.mark.parametrize(("name", "why"), [("absent.toml", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_does_not_hide_the_rest(name, why, tmp_path):
    """The file is one mistake, the environment may have others."""
    with pytest.raises(BadConfig) as caught:
        load(tmp_path / name, {"FRESHLINE_LIMITS_NONCES": "0"})

    assert str(caught.value).startswith(f"{tmp_path / name}: {why}\nFRESHLINE_LIMITS_NONCES = 0: must be")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("LIMITS_NONCES", "", 'LIMITS_NONCES = "": must be a whole number'),
        ("LIMITS_NONCES", "12x", 'LIMITS_NONCES = "12x": must be a whole number'),
        ("LIMITS_NONCES", "5000\n[limits]", 'LIMITS_NONCES = "5000\\n[limits]": must be a whole number'),
        ("LIMITS_NONCES", "5000\nb = 1", 'LIMITS_NONCES = "5000\\nb = 1": must be a whole number'),
        ("LIMITS_DAILY", "url=5", 'LIMITS_DAILY = "url=5": must be a table, such as {url = 10_000, '),
        ("LIMITS_DAILY", "{url = 'x'}", 'LIMITS_DAILY.url = "x": must be a whole number'),
        ("LIMITS", "{}", 'LIMITS = "{}": no such setting'),
        ("SERVCE_LISTEN", "a:1", 'SERVCE_LISTEN = "a:1": no such setting; did you mean FRESHLINE_SERVICE_LISTEN?'),
    ],
)
def test_a_mistake_in_the_environment_has_the_name_of_the_variable(name, text, said):
    """Nobody looks in the file for what is not there."""
    with pytest.raises(BadConfig) as caught:
        load(None, {f"FRESHLINE_{name}": text})

    assert str(caught.value).startswith(f"FRESHLINE_{said}")


@pytest.mark.parametrize("text", ["{", "{}", "{0}", "{kode}", "{code!r}", "{code:>9}", "{code.x}", "}"])
def test_braces_that_nothing_fills_in(text):
    """A template is tried when the service starts, and not by the first error that is answered."""
    with pytest.raises(BadConfig, match="braces stand only around code, product, request_id"):
        load(None, {"FRESHLINE_SERVICE_RECOMMEND": text})

    assert load(None, {"FRESHLINE_SERVICE_RECOMMEND": "{{}} {code}"}).service.recommend == "{{}} {code}"


def test_names_that_are_no_settings_are_passed_over():
    """The command line has two of its own, and Kubernetes tells of a Service called freshline."""
    others = ["ENDPOINT", "CONFIG", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_API", "PORT", "PORT_80_TCP_ADDR"]

    assert load(None, {f"FRESHLINE_{name}": "x" for name in others}) == Settings()


@pytest.mark.parametrize("what", EVERY, ids=lambda each: each.variable)
def test_every_setting_can_be_set_either_way(what, tmp_path):
    """The default of each, written out, is accepted from the file and from the environment."""
    written = config_page.written(what.default)
    path = tmp_path / "freshline.toml"
    path.write_text(f"[{what.section}]\n{what.key} = {written}\n")

    assert load(path, {}) == Settings()
    assert load(None, {what.variable: str(what.default) if what.kind is str else written}) == Settings()


@pytest.mark.parametrize("what", [each for each in EVERY if each.kind in (int, float)], ids=lambda each: each.variable)
def test_every_number_has_bounds(what, tmp_path):
    """Nothing can be set to what the service was never meant to run with; seconds are never negative."""
    rule = what.rule
    if what.table:
        name = "PushObjectCache" if what.key == "rates" else next(iter(what.default))
        written = [f"{{{name} = {bound}}}" for bound in (rule.least, rule.most, rule.least - 1, rule.most + 1)]
    else:
        written = [str(bound) for bound in (rule.least, rule.most, rule.least - 1, rule.most + 1)]

    assert rule.least >= 0 or what.key == "day_offset_seconds"
    for good in written[:2]:
        load(None, {what.variable: good})
    for bad in written[2:]:
        with pytest.raises(BadConfig, match=re.escape(rule.allowed(what.kind))):
            load(None, {what.variable: bad})


def test_every_setting_has_a_meaning():
    """None is left to be guessed from its name."""
    assert all(each.rule.means for each in EVERY)
    assert set(config_page.MEANS) == set(known())


def test_the_page_is_not_stale():
    """docs/configuration.md is `freshline config --page`, as it is now."""
    assert (ROOT / "docs" / "configuration.md").read_text() == config_page.page()


def test_the_example_changes_nothing_and_shows_everything(tmp_path):
    """As it is it means the defaults; uncommented it still does, and every key is in it."""
    path = tmp_path / "freshline.toml"
    path.write_text(config_page.example())
    assert load(path, {}) == Settings()

    said = re.sub(r"(?m)^#(?=[a-z])", "", config_page.example())
    path.write_text(said)

    assert load(path, {}) == Settings()
    assert all(f"\n{each.key} = " in said for each in EVERY)


def test_what_is_in_force_can_be_read_back(tmp_path):
    """What is printed is a file that means the same."""
    settings = load(None, {"FRESHLINE_LIMITS_RATES": "{PushObjectCache = 0.5}", "FRESHLINE_SERVICE_DATA_DIR": 'a"\\b'})
    path = tmp_path / "freshline.toml"
    path.write_text(config_page.in_force(settings))

    assert load(path, {}) == settings


@pytest.mark.parametrize("command", [["serve"], ["config"], ["account", "list"], ["edges"]], ids=" ".join)
def test_mistakes_end_a_command_before_it_begins(command, tmp_path):
    """All of them on standard error, exit 2, no traceback, and nothing is made."""
    bad = tmp_path / "bad.toml"
    bad.write_text('[service]\nlisten = "x"\ndata_dir = 5\n[limits]\nnonces = 0\n[limits.rates]\nNope = 1\n')
    asked = [sys.executable, "-m", "freshline", *command, "--config", str(bad)]

    done = subprocess.run(asked, capture_output=True, text=True, cwd=tmp_path, timeout=60)

    assert (done.returncode, done.stdout) == (2, "")
    assert [line.partition(" = ")[0] for line in done.stderr.splitlines()[1:]] == [
        "service.listen",
        "service.data_dir",
        "limits.nonces",
        "limits.rates.Nope",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]
