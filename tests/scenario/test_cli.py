"""The command line against the running service: what people type, what they read, and what scripts get."""

from __future__ import annotations

import fcntl
import inspect
import io
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from freshline.cli.main import app, main
from freshline.domain.edge import Edge
from freshline.inventory.sqlite import SqliteInventory
from tests.scenario.said import Said
from tests.scenario.stack import SETTINGS, Stack
from tests.servers.base import SITE, free_port, until
from tests.servers.nginx import Nginx
from tests.servers.origin import Origin

DEAD = "dead.test"  #: its edge is never there
MANY = [f"d{at}.test" for at in range(12)]
URL = f"http://{SITE}/a.png"
FRESHLINE = [sys.executable, "-m", "freshline"]


Cli = Callable[..., Said]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One service for all of this file: no edge but one that is never there."""
    home = tmp_path_factory.mktemp("cli") / "service"
    home.mkdir()
    settings = {
        "FRESHLINE_DEADLINES_REFRESH_SECONDS": "0.5",
        "FRESHLINE_DEADLINES_PREFETCH_SECONDS": "600",
        "FRESHLINE_LIMITS_RATES": SETTINGS["FRESHLINE_LIMITS_RATES"].replace(
            "}", ", RefreshObjectCacheByCacheTag = 2}"
        ),
        "FRESHLINE_LIMITS_DAILY": "{url = 1_000_000, dir = 150, regex = 1000, ignore_params = 1000, preload = 1000}",
    }
    stack = Stack(home, [], settings)
    inventory = SqliteInventory.open(home / "inventory.db")
    account = inventory.accounts()[0].id
    inventory.roster.add(dead_edge("dead-1", "dead"))
    inventory.add_domain(DEAD, account, "dead")
    for name in MANY:
        inventory.add_domain(name, account, "default")
    inventory.close()
    stack.start()
    yield stack
    stack.stop()


def dead_edge(name: str, group: str) -> Edge:
    return Edge(name, "nginx", group, f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", "0123456789abcdef")


@pytest.fixture
def environ(service: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """What a caller of this service has in the environment, and nothing of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("ALIBABA", "ALICLOUD", "FRESHLINE_")):
            monkeypatch.delenv(name)
    ours = {
        "FRESHLINE_ENDPOINT": f"http://{service.address}",
        "ALIBABA_CLOUD_ACCESS_KEY_ID": service.key.id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": service.key.secret,
        "FRESHLINE_SERVICE_DATA_DIR": str(service.home),
        "HOME": str(tmp_path),
    }
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)  # where a gate that is built for this machine is put
    return ours


@pytest.fixture
def cli(
    environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """The command, with its own arguments and standard input."""

    def run(*arguments: object, stdin: str | bytes = "", **more: str) -> Said:
        for name, value in more.items():
            monkeypatch.setenv(name, value)
        content = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        monkeypatch.setattr(sys, "argv", ["freshline", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


def newcomer(cli: Cli, domain: str) -> dict[str, str]:
    """An account with one domain, and what it has in its environment."""
    made = cli("account", "add", domain, "--json").fine().json
    cli("domain", "add", domain, "--account", domain).fine()
    key = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "access_key_id", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "access_key_secret"}
    found = {name: made[of] for name, of in key.items()}
    until(lambda: domain in _got(cli("sign", "DescribeUserDomains", **found).fine().out.strip()))
    return found


def _got(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text: str = answer.read().decode()
            return text
    except urllib.error.HTTPError:
        return ""


# -- help and usage -------------------------------------------------------------------------------------------------


def every_command(of: Any = app, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in of:
        if not name.startswith("-"):
            below = list(every_command(of[name], (*path, name)))
            yield from below or [(*path, name)]


@pytest.mark.parametrize("command", list(every_command()), ids=" ".join)
def test_every_command_shows_an_example(cli: Cli, command: tuple[str, ...]) -> None:
    """--help has at least one line to copy."""
    said = cli(*command, "--help").fine()

    assert said.err == ""
    assert re.search(rf"^ .*freshline {' '.join(command) if command[0] != 'edge' else 'edge'}", said.out, re.M)


@pytest.mark.parametrize("command", list(every_command()), ids=" ".join)
def test_examples_can_be_copied(cli: Cli, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    """On a terminal of 80 columns every example is one line."""
    of: Any = app
    for name in command:
        of = of[name]
    (block,) = re.findall(r"```\n(.*?)```", inspect.cleandoc(of.default_command.__doc__), re.S)
    monkeypatch.setenv("COLUMNS", "80")
    shown = [line.strip() for line in cli(*command, "--help").fine().out.splitlines()]

    for line in filter(None, block.splitlines()):
        assert len(line) <= 76 and not line.endswith("\\"), line
        assert line in shown


def test_a_command_alone_is_light() -> None:
    """--help and --version pull in nothing of the service: no server, no cryptography, no database, no TLS."""
    heavy = {"uvicorn", "cryptography", "sqlite3", "ssl", "asyncio", "re2", "prometheus_client", "msgspec", "uvloop"}
    script = f"""
import sys
from freshline.cli.main import main
for sys.argv in (["freshline", "--version"], ["freshline", "--help"], ["freshline", "refresh", "--help"]):
    try: main()
    except SystemExit: pass
print(sorted({heavy} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert done.stdout.startswith("freshline ")
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["nope"], ["nope"]),
        (["refresh", "--nope"], ["--nope", "freshline refresh --help"]),
        (["refresh", "--type", "Fil", URL], ["Fil", "File", "Directory"]),
        (["refresh"], ["no URLs"]),
        (["refresh", "--file", "/nonexistent"], ["/nonexistent: No such file"]),
        (["refresh", "--file", "/"], ["/: Is a directory"]),
        (["refresh", "--tag", "t"], ["--tag takes --domain"]),
        (["refresh", "--domain", SITE, URL], ["--domain goes with --tag"]),
        (["refresh", URL, "--timeout", "5"], ["--timeout goes with --wait"]),
        (["refresh", URL, "--wait", "--timeout", "-1"], ["--timeout -1: must be"]),
        (["refresh", URL, "--wait", "--timeout", "nan"], ["--timeout nan: must be"]),
        (["refresh", "http://x/\udcff"], ["not UTF-8"]),
        (["prefetch", URL, "-H", "nope"], ["--header 'nope' is not 'Name: value'"]),
        (["task"], ["at least one task id"]),
        (["tasks", "--page", "x"], ["--page", "x"]),
        (["sign", "X", "nope"], ["'nope' is not Name=value"]),
        (["sign"], ["ACTION"]),
        (["quota", "--endpoint", "ftp://x"], ["ftp://x", "http://127.0.0.1:8080"]),
        (["quota", "--endpoint", "http://a:99999"], ["http://a:99999"]),
        (["quota", "--endpoint", "http://[::1"], ["http://[::1"]),
        (["quota", "--endpoint", "http://u@a/x"], ["http://u@a/x"]),
        (["serve", "--listen", "8080"], ["--listen '8080' must be host:port"]),
        (["demo", "--port", "70000"], ["--port 70000: must be"]),
        (["account", "key", "set", "x", "off"], ["off", "active", "inactive"]),
        (["account", "key", "add", "x", "--key-id", "y"], ["--key-id and --secret-file go together"]),
        (["edge", "add", "x"], ["--kind"]),
        (["edge", "set", "x"], ["nothing to change"]),
        (["edge", "add", "x", "--kind", "apache", "--gate", "a:1", "--site", "a:2"], ["apache", "nginx", "varnish"]),
        (["gate", "nginx", "unheard-of"], ["there is no edge unheard-of"]),
        (["gate", "varnish", "dead-1"], ["dead-1 is declared as nginx"]),
        (["gate", "nginx", "dead-1", "--inactive", "1 fortnight"], ["--inactive '1 fortnight': must be a time"]),
        (["gate", "nginx", "dead-1", "--cache-path", "here; evil"], ["cache_path"]),
        (["edge", "check", "unheard-of"], ["there is no edge unheard-of"]),
        (["edge", "check", "dead-1", "--url", "http://a b/"], ["--url 'http://a b/' is no URL: holds a space"]),
        (["edge", "check", "dead-1", "--url", ""], ["--url '' is no URL"]),
        (["edge", "check", "dead-1", "--url", "http://nobody.test/"], ["nobody.test is no domain of the inventory"]),
    ],
    ids=lambda value: " ".join(value).encode("ascii", "replace").decode() if isinstance(value, list) else None,
)
def test_wrong_usage_is_said_in_one_line(cli: Cli, command: list[str], words: list[str]) -> None:
    """Exit 2, and the line has the word that is wrong and what may stand there."""
    cli(*command).refused(2, *words)


# -- what callers do ------------------------------------------------------------------------------------------------


def paths(cli: Cli, *ids: str) -> list[str]:
    return [row["ObjectPath"] for row in cli("task", *ids, "--json").fine().json]


def test_urls_come_from_everywhere(cli: Cli, tmp_path: Path) -> None:
    """Arguments, a file, both, standard input, a dash; comments, blank lines, line ends and byte order marks aside."""
    file = tmp_path / "urls.txt"
    file.write_bytes(f"\ufeff# all of them\r\n\r\n  http://{SITE}/1 \r\n\t#http://{SITE}/no\nhttp://{SITE}/2".encode())
    listed = [f"http://{SITE}/1", f"http://{SITE}/2"]

    assert paths(cli, cli("refresh", URL).fine().out.strip()) == [URL]
    assert paths(cli, cli("refresh", "-f", file).fine().out.strip()) == listed
    assert paths(cli, cli("refresh", URL, "--file", file).fine().out.strip()) == [URL, *listed]
    assert paths(cli, cli("refresh", stdin=file.read_bytes()).fine().out.strip()) == listed
    assert paths(cli, cli("prefetch", URL, "-f", "-", stdin=file.read_bytes()).fine().out.strip()) == [URL, *listed]
    cli("refresh", stdin="# nothing\n\n").refused(2, "no URLs")
    cli("refresh", stdin=b"http://x/1\n\xff").refused(2, "standard input, line 2: not UTF-8")


@pytest.mark.parametrize(
    ("arguments", "calls"),
    [
        (["--type", "File", *(f"http://{SITE}/{at}" for at in range(2001))], 3),
        (["--type", "IgnoreParams", *(f"http://{SITE}/{at}" for at in range(101))], 2),
        (["--type", "Regex", f"http://{SITE}/a.*", f"http://{SITE}/b.*"], 2),
        ([f"{host}/{at}" for at in range(3) for host in MANY], 12),  # a task has one domain
    ],
    ids=["2001 URLs", "101 IgnoreParams", "2 patterns", "12 domains"],
)
def test_long_lists_are_split_into_calls(cli: Cli, arguments: list[str], calls: int) -> None:
    """What is too much for one call goes out in as many as it needs, and nothing is lost."""
    ids = cli("refresh", *arguments, "--json").fine().json["TaskIds"]

    assert len(set(ids)) == calls
    asked = [each for each in arguments if "/" in each]
    assert sum(len(paths(cli, id_)) for id_ in ids) == len(asked)


def test_wait_ends_well(cli: Cli) -> None:
    """Exit 0 once every row is Complete; the rows on standard output, and no bar where nobody looks."""
    said = cli("refresh", URL, "--wait").fine()
    header, row = said.out.splitlines()

    assert header.split()[:2] == ["TASKID", "STATUS"]
    assert row.split()[1:3] == ["Complete", "100%"]
    assert said.err == ""
    assert [row["Status"] for row in cli("refresh", URL, "--wait", "--json").fine().json] == ["Complete"]


def test_wait_ends_badly(cli: Cli) -> None:
    """Exit 1 when a row is Failed, and the line says which."""
    url = f"http://{DEAD}/a.png"

    assert "Failed" in cli("refresh", url, "--wait").refused(1, "1 of 1 not Complete: ", url, "Failed").out
    assert [row["Status"] for row in cli("refresh", url, "--wait", "--json").refused(1).json] == ["Failed"]


def test_wait_has_a_limit(cli: Cli) -> None:
    """--timeout ends the waiting, exit 1, and says how far it has come."""
    said = cli("prefetch", f"http://{DEAD}/a.png", "--wait", "--timeout", "0.3")

    said.refused(1, "1 of 1 not Complete after 0.3 s: ", "0%")


def test_wait_outlives_a_restart(environ: Mapping[str, str], service: Stack) -> None:
    """A service that is away for a moment is waited for."""
    process = subprocess.Popen(
        [*FRESHLINE, "prefetch", f"http://{DEAD}/slow.png", "--wait", "--timeout", "5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    asked_before = followed(service)
    until(lambda: followed(service) > asked_before)
    service.stop()
    service.start()
    until(lambda: followed(service) > 0)
    out, err = process.communicate(timeout=30)

    assert (process.returncode, err.count("\n")) == (1, 1)
    assert "not Complete after 5 s" in err
    assert "slow.png" in out


def followed(service: Stack) -> float:
    """How often a task was asked for."""
    counts = re.findall(r'_count\{.*"DescribeRefreshTaskById".*\} (\S+)', service.look("/metrics"))
    return sum(map(float, counts))


def test_ctrl_c_ends_the_waiting_not_the_task(environ: Mapping[str, str], service: Stack) -> None:
    """Exit 130, one line with the task's id, no traceback."""
    command = [*FRESHLINE, "prefetch", f"http://{DEAD}/long.png", "--wait"]
    before = followed(service)
    heard = partial(
        signal.signal, signal.SIGINT, signal.SIG_DFL
    )  # a shell's background job ignores it, its children too
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    until(lambda: followed(service) > before)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert (process.returncode, out) == (130, "")
    assert re.fullmatch(r"freshline: waiting ends, the tasks go on: \d+\n", err)


def on_a_terminal(command: list[str], columns: int, *, stdout: bool) -> tuple[str, str]:
    """What a command writes to its terminal, and what to the other stream, which is a pipe."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*FRESHLINE, *command],
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout else pipe,
        stderr=pipe if stdout else theirs,
        env={**environ, "TERM": "xterm"},
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the last who had it open is gone
            break
        if not part:
            break
        seen += part
    out, err = process.communicate(timeout=30)
    os.close(ours)
    return seen.decode(), ((err if stdout else out) or b"").decode()


def test_the_bar_is_on_standard_error_only(environ: Mapping[str, str]) -> None:
    """Whoever pipes the rows gets rows; whoever looks sees the bar move."""
    seen, piped = on_a_terminal(["refresh", URL, "--wait"], 100, stdout=False)

    assert "1 task" in seen and "100%" in seen
    assert "\x1b" not in piped
    assert piped.splitlines()[0].startswith("TASKID")


def test_columns_fit_the_terminal(cli: Cli) -> None:
    """With room side by side, with less the widest folded, with little row after row. A pipe folds nothing."""
    url = f"http://{SITE}/{'long-' * 30}.png"
    id_ = cli("refresh", url).fine().out.strip()

    piped = cli("task", id_).fine().out
    folded, _ = on_a_terminal(["task", id_], 110, stdout=True)
    narrow, _ = on_a_terminal(["task", id_], 60, stdout=True)

    assert url in piped and len(piped.splitlines()) == 2
    assert max(map(len, folded.splitlines())) <= 110 and "".join(re.findall(r"\S*long-\S*", folded)) == url
    assert re.search(r"^STATUS +(Pending|Complete)\r?$", narrow, re.M) and re.search(r"^OBJECTPATH +http", narrow, re.M)


def test_tasks_are_listed_and_shown(cli: Cli) -> None:
    """tasks pages and filters; task takes ids in any form, and says which are unknown."""
    one, two = (cli("refresh", f"http://{SITE}/{name}").fine().out.strip() for name in "xy")

    assert cli("tasks", "--path", f"http://{SITE}/x", "--json").fine().json["TotalCount"] == 1
    assert "page 1, " in cli("tasks", "--type", "file", "--domain", SITE, "--page-size", "1").fine().out
    assert [row["TaskId"] for row in cli("task", f"{one},{two}", one, "--json").fine().json] in ([one, two], [two, one])
    said = cli("task", one, "999999999").refused(1, "no task of yours in the last three days: 999999999")
    assert one in said.out


@pytest.mark.parametrize(
    "command",
    [
        ["refresh", URL],
        ["refresh", "--tag", "t", "--domain", SITE],
        ["refresh", URL, "--wait"],
        ["prefetch", URL, "-H", "Accept: */*"],
        ["prefetch", URL, "--wait"],
        ["tasks"],
        ["quota"],
        ["sign", "DescribeRefreshTasks"],
        ["edges"],
        ["edge", "list"],
        ["account", "list"],
        ["domain", "list"],
        ["config"],
        ["config", "--example"],
        ["gate", "nginx", "dead-1"],
    ],
    ids=" ".join,
)
def test_json_is_json(cli: Cli, command: list[str]) -> None:
    """Nothing but one JSON value on standard output."""
    said = cli(*command, "--json").fine()

    assert isinstance(said.json, dict | list)
    assert said.err == ""


def test_the_configuration_is_checked_and_shown(cli: Cli, tmp_path: Path) -> None:
    """From the file that FRESHLINE_CONFIG names, as it will be in force; the example is a file that passes."""
    path = tmp_path / "freshline.toml"
    path.write_text(cli("config", "--example").fine().out.replace("#domains = 50", "domains = 51"))

    shown = cli("config", FRESHLINE_CONFIG=str(path)).fine().out
    assert "\ndomains = 51\n" in shown and "\nfetch_window = 32\n" in shown
    assert cli("config", "--json").fine().json["limits"]["domains"] == 51

    assert cli("config", "--json", FRESHLINE_CONFIG="").fine().json["limits"]["domains"] == 50

    path.write_text("[limits]\ndomains = -1\n")
    said = cli("config", "--config", path)
    assert (said.code, said.out) == (2, "")
    assert "\nlimits.domains = -1: must be a whole number from 0 to" in said.err


def test_a_signed_address_works_once(cli: Cli) -> None:
    """What sign prints is a call; the second time it is a replay."""
    url = cli("sign", "DescribeRefreshQuota").fine().out.strip()
    fetch = ["curl", "-s", url]

    first, again = (json.loads(subprocess.run(fetch, capture_output=True, timeout=30).stdout) for _ in range(2))

    assert int(first["UrlRemain"]) > 0
    assert again["Code"] == "SignatureNonceUsed"


# -- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_refusal_is_one_line(cli: Cli) -> None:
    """The service's code and words on standard error, exit 1."""
    cli("quota", ALIBABA_CLOUD_ACCESS_KEY_SECRET="wrong").refused(1, "SignatureDoesNotMatch", "HTTP 400")
    cli("quota", ALIBABA_CLOUD_ACCESS_KEY_ID="unknown").refused(1, "InvalidAccessKeyId.NotFound", "HTTP 404")


def test_an_unknown_domain_is_one_line(cli: Cli) -> None:
    """The caller is told by the code of the contract."""
    cli("refresh", "http://not-ours.test/a").refused(1, "InvalidDomain.NotFound")


def test_what_was_taken_before_a_refusal_is_told(cli: Cli) -> None:
    """Of 200 directories 150 are allowed: the first call's task is printed, and the second's refusal."""
    key = newcomer(cli, "spender.test")
    urls = "".join(f"http://spender.test/{at}/\n" for at in range(200))

    said = cli("refresh", "--type", "Directory", "--json", stdin=urls, **key)

    said.refused(1, "QuotaExceeded.Refresh", "100 of 200 lines were taken before that")
    (id_,) = said.json["TaskIds"]
    assert len(paths(cli, id_)) == 100
    again = cli("refresh", "--type", "Directory", stdin=urls, **key).refused(1, "QuotaExceeded.Refresh")
    assert again.out == ""


def test_a_warm_list_goes_on_where_it_was_broken_off(cli: Cli, tmp_path: Path) -> None:
    """1,000 of 1,050 objects of a sitemap are allowed a day: what is taken is told, and which line goes on."""
    key = newcomer(cli, "warmer.test")
    pages = "".join(f"<url><loc>http://warmer.test/{at}</loc></url>" for at in range(1050))
    left_out = "".join(f"<url><loc>http://warmer.test/{at}</loc></url>" for at in ("", "go?to=/"))
    (tmp_path / "map.xml").write_text(f"<urlset>{pages}{left_out}</urlset>")
    listed = ["prefetch", "--sitemap", tmp_path / "map.xml"]

    said = cli(*listed, **key)
    assert said.code == 1
    assert said.err.splitlines()[0] == "freshline: left out 2 URLs that end with /"
    for words in ("QuotaExceeded.Preload", "1000 of 1050 lines were taken", "--skip 1000 goes on with"):
        assert words in said.err.splitlines()[1]
    ids = said.out.split()
    assert len(ids) == 10 and len(paths(cli, ids[9])) == 100

    again = cli(*listed, "--skip", "1000", **key)
    assert again.code == 1 and again.out == "" and "lines were taken" not in again.err
    assert "--skip 2000: the list has 1050 lines" in cli(*listed, "--skip", "2000", **key).err
    cli(*listed, "--skip", "-1", **key).refused(2, "--skip -1")
    (tmp_path / "map.xml").write_text("<!DOCTYPE x><urlset/>")
    cli(*listed, **key).refused(2, "map.xml", "document type")


def test_a_paced_list_waits_for_room(cli: Cli, tmp_path: Path) -> None:
    """A queue of a hundred, which an edge that is away leaves full until its deadline: all is taken in the end."""
    home = tmp_path / "service"
    home.mkdir()
    settings = {"FRESHLINE_LIMITS_PRELOAD_QUEUE": "100", "FRESHLINE_DEADLINES_PREFETCH_SECONDS": "1"}
    stack = Stack(home, [], settings)
    inventory = SqliteInventory.open(home / "inventory.db")
    inventory.roster.add(dead_edge("dead", "default"))
    inventory.close()
    stack.start()
    there = {"FRESHLINE_ENDPOINT": f"http://{stack.address}", "ALIBABA_CLOUD_ACCESS_KEY_ID": stack.key.id}
    there["ALIBABA_CLOUD_ACCESS_KEY_SECRET"] = stack.key.secret
    urls = "".join(f"http://{SITE}/paced/{at}\n" for at in range(250))

    without = cli("prefetch", stdin=urls, **there)
    paced = cli("prefetch", "--pace", "--skip", "100", stdin=urls, **there).fine()

    assert "PreloadQueueFull" in without.err and "--skip 100 goes on with" in without.err
    assert len(paced.out.split()) == 2 and "freshline: PreloadQueueFull: waiting" in paced.err
    stack.stop()


def test_a_call_that_is_put_off_is_made_again(cli: Cli) -> None:
    """Two a second are allowed: the third and fourth wait for as long as the service says."""
    before = time.monotonic()

    for tag in "abcd":
        cli("refresh", "--domain", SITE, "--tag", tag).fine()

    assert time.monotonic() - before > 0.5


def test_nobody_there_is_one_line(cli: Cli) -> None:
    """The address that was tried, and why it did not work."""
    address = f"127.0.0.1:{free_port()}"

    cli("quota", "--endpoint", address).refused(1, f"{address}: no answer: Connection refused")
    cli("refresh", URL, "--wait", FRESHLINE_ENDPOINT=f"http://{address}").refused(1, address, "Connection refused")
    cli("quota", "--endpoint", "http://no-such-host.invalid").refused(1, "http://no-such-host.invalid: no answer: ")


def test_somebody_else_there_is_one_line(cli: Cli, origin: Origin) -> None:
    """An answer that is not the API's is not taken for one."""
    cli("quota", "--endpoint", f"http://{origin.address}").refused(1, "is it freshline?")


@pytest.mark.parametrize("command", [["quota"], ["quota", "--json"], ["--help"], ["tasks"], ["domain", "list"]])
def test_a_closed_pipe_is_no_trouble(environ: Mapping[str, str], command: list[str]) -> None:
    """`| head -1` ends it, without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*FRESHLINE, *command], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)

    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_disk_is_one_line(environ: Mapping[str, str]) -> None:
    """Rows that could not be written are not taken for written."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*FRESHLINE, "quota"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (1, "freshline: standard output: No space left on device\n")


# -- credentials ----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_key(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("ID", "SECRET"):
        monkeypatch.delenv(f"ALIBABA_CLOUD_ACCESS_KEY_{part}")


def profiles(path: Path, service: Stack, **more: Any) -> Path:
    ours = {"name": "shop", "mode": "AK", "access_key_id": service.key.id, "access_key_secret": service.key.secret}
    empty = {"name": "empty", "mode": "AK", "access_key_id": "", "access_key_secret": ""}
    half = {"name": "half", "access_key_id": "x"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"current": "shop", "profiles": [empty, half, ours], **more}))
    return path


def test_keys_from_flags(cli: Cli, service: Stack, no_key: None) -> None:
    """Both flags, and they win over the environment."""
    flags = ["--access-key-id", service.key.id, "--access-key-secret", service.key.secret]

    cli("quota", *flags).fine()
    cli("quota", *flags, ALIBABA_CLOUD_ACCESS_KEY_ID="x", ALIBABA_CLOUD_ACCESS_KEY_SECRET="y").fine()


@pytest.mark.parametrize("prefix", ["ALIBABA_CLOUD", "ALIBABACLOUD", "ALICLOUD"])
def test_keys_from_the_environment(cli: Cli, service: Stack, no_key: None, prefix: str) -> None:
    """Every spelling that the cloud's own tools know."""
    pair = {f"{prefix}_ACCESS_KEY_ID": service.key.id, f"{prefix}_ACCESS_KEY_SECRET": service.key.secret}

    cli("quota", **pair).fine()


def test_keys_from_a_profile(cli: Cli, service: Stack, no_key: None, tmp_path: Path) -> None:
    """~/.aliyun/config.json, or the file that is named, its current profile or the one that is named."""
    profiles(tmp_path / ".aliyun" / "config.json", service)
    elsewhere = profiles(tmp_path / "elsewhere.json", service, current="empty")

    cli("quota").fine()
    cli("quota", ALIBABA_CLOUD_ACCESS_KEY_ID="x", ALIBABA_CLOUD_ACCESS_KEY_SECRET="y").refused(1)
    cli("quota", "--profile", "shop").fine()  # named: wins over the environment
    cli("quota", "--profile", "shop", ALIBABA_CLOUD_CONFIG_FILE=str(elsewhere)).fine()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ["no access key", "ALIBABA_CLOUD_ACCESS_KEY_ID", "~/.aliyun/config.json"]),
        ({"ALIBABA_CLOUD_ACCESS_KEY_ID": "x"}, ["_ID is set and ALIBABA_CLOUD_ACCESS_KEY_SECRET is not"]),
        ({"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "x"}, ["_SECRET is set and ALIBABA_CLOUD_ACCESS_KEY_ID is not"]),
        (
            {"ALIBABA_CLOUD_ACCESS_KEY_ID": "x\ny", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "z"},
            ["ALIBABA_CLOUD_ACCESS_KEY_ID: printable ASCII"],
        ),
    ],
)
def test_half_a_pair_is_no_pair(cli: Cli, no_key: None, given: dict[str, str], words: list[str]) -> None:
    """What is missing is said by name, and no other source is tried instead."""
    cli("quota", **given).refused(2, *words)


def test_half_a_pair_of_flags_is_no_pair(cli: Cli) -> None:
    """Not even when the environment has the other half."""
    cli("quota", "--access-key-id", "x").refused(2, "--access-key-id is set and --access-key-secret is not")
    cli("quota", "--access-key-secret", "x").refused(2, "--access-key-secret is set and --access-key-id is not")


@pytest.mark.parametrize(
    ("profile", "content", "words"),
    [
        ("nope", None, ["has no profile 'nope'"]),
        ("empty", None, ["profile 'empty' has no access key"]),
        ("half", None, ["access_key_id of profile 'half' is set", "access_key_secret of profile 'half' is not"]),
        ("shop", "{", ["is not JSON"]),
        ("shop", "[" * 100_000, ["is not JSON"]),
        ("shop", "[]", ["has no profile 'shop'"]),
        ("shop", '{"profiles": null}', ["has no profile 'shop'"]),
        ("shop", '{"profiles": ["shop", 1]}', ["has no profile 'shop'"]),
        ("shop", '{"profiles": [{"name": "shop", "access_key_id": 5}]}', ["profile 'shop' has no access key"]),
    ],
)
def test_a_bad_profile_is_said_with_its_file(
    cli: Cli, service: Stack, no_key: None, tmp_path: Path, profile: str, content: str | None, words: list[str]
) -> None:
    """Which file, which profile, and what is the matter."""
    path = profiles(tmp_path / "config.json", service)
    if content is not None:
        path.write_text(content)

    said = cli("quota", "--profile", profile, ALIBABA_CLOUD_CONFIG_FILE=str(path))

    said.refused(2, str(path), *words)


# -- what operators do ----------------------------------------------------------------------------------------------


def everything(service: Stack) -> str:
    """All that the inventory has, secrets too."""
    inventory = SqliteInventory.open(service.home / "inventory.db")
    try:
        accounts = inventory.accounts()
        keys = [inventory.access_keys(each.id) for each in accounts]
        secrets = [key.secret for each in keys for key in each]
        return repr((accounts, keys, secrets, [inventory.domains(each.id) for each in accounts], inventory.edges()))
    finally:
        inventory.close()


GOOD_EDGE = ["--kind", "nginx", "--gate", "127.0.0.1:9101", "--site", "127.0.0.1:80"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["account", "add", "tests"], ["account name 'tests' is taken"]),
        (["account", "add", "a b"], ["account name 'a b': 1 to 64 letters"]),
        (["account", "disable", "nobody"], ["account 'nobody' is unknown"]),
        (["account", "enable", ""], ["account '' is unknown"]),
        (["account", "key", "add", "nobody"], ["account 'nobody' is unknown"]),
        (["account", "key", "set", "nope", "inactive"], ["access key 'nope' is unknown"]),
        (["account", "key", "remove", "nope"], ["access key 'nope' is unknown"]),
        (["domain", "add", "http://x.test/", "--account", "tests"], ["domain 'http://x.test/': a host name"]),
        (["domain", "add", SITE, "--account", "tests"], [f"domain '{SITE}' is there already"]),
        (["domain", "add", "x.test", "--account", "nobody"], ["account 'nobody' is unknown"]),
        (["domain", "add", "x.test", "--account", "tests", "--group", "a/b"], ["group 'a/b'"]),
        (["domain", "list", "--account", "nobody"], ["account 'nobody' is unknown"]),
        (["domain", "set", "x.test", "offline"], ["domain 'x.test' is unknown"]),
        (["domain", "remove", "x.test"], ["domain 'x.test' is unknown"]),
        (["edge", "add", "dead-1", *GOOD_EDGE], ["edge 'dead-1' is there already"]),
        (["edge", "add", "a b", *GOOD_EDGE], ["edge name 'a b'"]),
        (["edge", "add", "x", *GOOD_EDGE, "--group", ""], ["group ''"]),
        (["edge", "add", "x", *GOOD_EDGE[:2], "--gate", "a:1", "--site", "a"], ["site 'a': host:port"]),
        (["edge", "add", "x", *GOOD_EDGE[:2], "--gate", "a:0", "--site", "a:1"], ["gate 'a:0': host:port"]),
        (["edge", "add", "x", *GOOD_EDGE[:2], "--gate", "a:1", "--site", "a:1"], ["visitors must not reach"]),
        (["edge", "add", "x", *GOOD_EDGE, "--secret-file", "/nonexistent"], ["/nonexistent: No such file"]),
        (["edge", "add", "x", *GOOD_EDGE, "--secret-file", "/dev/null"], ["/dev/null: a gate's secret is 16 to"]),
        (["edge", "remove", "x"], ["edge 'x' is unknown"]),
        (["edge", "set", "x", "--gate", "a:1"], ["edge 'x' is unknown"]),
        (["edge", "set", "dead-1", "--gate", "a"], ["gate 'a': host:port"]),
        (["edge", "set", "dead-1", "--gate", "a:1", "--site", "a:1"], ["visitors must not reach"]),
        (["edge", "set", "dead-1", "--group", "a/b"], ["group 'a/b'"]),
        (["edge", "set", "dead-1", "--secret-file", "/dev/null"], ["/dev/null: a gate's secret is 16 to"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_changes_nothing(cli: Cli, service: Stack, command: list[str], words: list[str]) -> None:
    """Exit 2 with the field and its value; everything is as it was."""
    before = everything(service)

    cli(*command).refused(2, *words)

    assert everything(service) == before


def test_an_account_comes_and_goes(cli: Cli) -> None:
    """Made, listed, disabled, enabled: by name or id, and the service follows."""
    key = newcomer(cli, "brief.test")
    (listed,) = [each for each in cli("account", "list", "--json").json if each["name"] == "brief.test"]
    assert listed["keys"] == [{"id": key["ALIBABA_CLOUD_ACCESS_KEY_ID"], "active": True}]

    assert cli("account", "disable", "brief.test", "--json").fine().json["enabled"] is False
    until(lambda: cli("quota", **key).code == 1)
    assert re.search(rf"{listed['id']} +brief.test +no ", cli("account", "list").fine().out)

    assert cli("account", "enable", listed["id"]).fine().out == ""
    until(lambda: cli("quota", **key).code == 0)


def test_keys_are_rotated_while_the_service_runs(cli: Cli, tmp_path: Path) -> None:
    """A second key works beside the first; a deactivated one is refused within a second, and can come back or go."""
    first = newcomer(cli, "rotating.test")
    made = cli("account", "key", "add", "rotating.test").fine().out.split()
    second = {"ALIBABA_CLOUD_ACCESS_KEY_ID": made[3], "ALIBABA_CLOUD_ACCESS_KEY_SECRET": made[5]}
    until(lambda: cli("quota", **second).code == 0)
    old = first["ALIBABA_CLOUD_ACCESS_KEY_ID"]

    cli("account", "key", "set", old, "inactive").fine()
    until(lambda: cli("quota", **first).code == 1, seconds=2)
    cli("quota", **first).refused(1, "InvalidAccessKeyId.Inactive")
    assert f"{old} (inactive)" in cli("account", "list").out
    cli("quota", **second).fine()

    assert cli("account", "key", "set", old, "active", "--json").fine().json["active"] is True
    until(lambda: cli("quota", **first).code == 0)
    assert cli("account", "key", "remove", old, "--json").fine().json == {"removed": old}
    until(lambda: "NotFound" in cli("quota", **first).err)


def test_a_key_from_elsewhere_is_taken_in(cli: Cli, tmp_path: Path) -> None:
    """Callers keep the key they have."""
    newcomer(cli, "moving.test")
    secret = tmp_path / "secret"
    secret.write_text("their-own-secret\n")

    cli("account", "key", "add", "moving.test", "--key-id", "LTAItheirs", "--secret-file", secret).fine()

    pair = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAItheirs", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "their-own-secret"}
    until(lambda: cli("quota", **pair).code == 0)
    secret.write_bytes(b"\xff")
    cli("account", "key", "add", "moving.test", "--key-id", "x", "--secret-file", secret).refused(2, str(secret))


def test_a_domain_comes_and_goes(cli: Cli) -> None:
    """Added in any case, taken offline and back, listed, removed; the service follows."""
    made = cli("domain", "add", "New.Test", "--account", "tests", "--json").fine().json
    assert (made["name"], made["online"]) == ("new.test", True)
    until(lambda: cli("refresh", "http://new.test/a").code == 0)

    assert cli("domain", "set", "NEW.test", "offline", "--json").fine().json["online"] is False
    until(lambda: cli("refresh", "http://new.test/a").code == 1)
    assert re.search(r"^new.test +\d+ +default +no$", cli("domain", "list", "--account", "tests").fine().out, re.M)
    cli("domain", "set", "new.test", "online").fine()
    until(lambda: cli("refresh", "http://new.test/a").code == 0)

    assert cli("domain", "remove", "NEW.test", "--json").fine().json == {"removed": "new.test"}
    until(lambda: cli("refresh", "http://new.test/a").code == 1)


def test_a_domain_without_edges_is_noted(cli: Cli) -> None:
    """Tasks that are Complete at once would surprise nobody who was told."""
    assert (
        "group empty has no edges yet"
        in cli("domain", "add", "lonely.test", "--account", "tests", "--group", "empty").fine().out
    )


def test_edges_come_and_go_while_the_service_runs(cli: Cli, service: Stack) -> None:
    """A new edge's tasks wait for it; once it is removed they do not."""
    gate, site = (f"127.0.0.1:{free_port()}" for _ in range(2))
    arguments = ["--kind", "nginx", "--gate", gate, "--site", site, "--group", "later"]
    cli("domain", "add", "later.test", "--account", "tests", "--group", "later").fine()
    made = cli("edge", "add", "later-1", *arguments, "--json").fine().json
    assert (made["gate"], made["lag_entries"]) == (gate, 0)
    until(lambda: 'edge="later-1"' in service.look("/metrics"))
    id_ = cli("prefetch", "http://later.test/a").fine().out.strip()

    (row,) = cli("task", id_, "--json").fine().json
    assert row["Status"] != "Complete"
    (edge,) = [each for each in cli("edges", "--json").fine().json if each["name"] == "later-1"]
    assert edge["lag_entries"] >= 1

    assert cli("edge", "remove", "later-1", "--json").fine().json == {"removed": "later-1"}
    until(lambda: cli("task", id_, "--json").json[0]["Status"] == "Complete")
    assert "later-1" not in cli("edge", "list").fine().out


def test_an_edge_is_changed_while_the_service_runs(cli: Cli, service: Stack, tmp_path: Path, origin: Origin) -> None:
    """A task waits for an edge declared in the wrong place; put right, it goes on where it stood."""
    cache = Nginx(tmp_path, origin)
    cache.start()
    secret = tmp_path / "secret"
    secret.write_text(cache.edge.secret)
    wrong = ["--gate", f"127.0.0.1:{free_port()}", "--site", f"127.0.0.1:{free_port()}", "--group", "moving"]
    try:
        cli("domain", "add", "moving-edge.test", "--account", "tests", "--group", "moving").fine()
        cli("edge", "add", "moved", "--kind", "nginx", *wrong).fine()
        until(lambda: 'edge="moved"' in service.look("/metrics"))
        id_ = cli("prefetch", "http://moving-edge.test/a").fine().out.strip()
        before = declared(service, "moved")

        said = cli("edge", "set", "moved", "--gate", cache.gate, "--site", cache.site, "--secret-file", secret).fine()

        after = declared(service, "moved")
        assert (after.gate, after.site, after.secret) == (cache.gate, cache.site, cache.edge.secret)
        assert (after.joined, after.group) == (before.joined, "moving")
        assert "`freshline gate nginx moved` writes them anew" in said.out
        origin.serves("/a", "v1")
        until(lambda: cli("task", id_, "--json").json[0]["Status"] == "Complete")
        assert cache.get("/a", "moving-edge.test").cache == "HIT"

        assert "note" not in cli("edge", "set", "moved", "--group", "elsewhere").fine().out
        assert cli("edge", "set", "moved", "--group", "moving", "--json").fine().json["group"] == "moving"
        assert "take its gate out too" in cli("edge", "remove", "moved").fine().out
    finally:
        cache.stop()


def test_an_odd_edge_is_noted(cli: Cli) -> None:
    """A gate that another edge has, and a group that no domain uses, are taken and told."""
    gate = next(edge["gate"] for edge in cli("edges", "--offline", "--json").fine().json if edge["name"] == "dead-1")
    try:
        twin = cli("edge", "add", "twin", "--kind", "nginx", "--gate", gate, "--site", "a:2", "--group", "dead").fine()
        lone = cli(
            "edge", "add", "lone", "--kind", "nginx", "--gate", "a:1", "--site", "a:2", "--group", "nodom"
        ).fine()
    finally:
        for name in ("twin", "lone"):
            cli("edge", "remove", name)

    assert f"note: dead-1 has the gate {gate} too" in twin.out and "no domain" not in twin.out
    assert "note: no domain is served by the group nodom" in lone.out and "gate a:1" not in lone.out


def states(cli: Cli) -> dict[str, str]:
    return {row["name"]: row["state"] for row in cli("edges", "--json").fine().json}


def test_an_edge_is_ordered_about(cli: Cli) -> None:
    """Paused, drained and resumed; with parents, that cannot go before their children, nor in a circle."""
    for order, duty in (("pause", "paused"), ("drain", "drained"), ("resume", "active")):
        cli("edge", order, "dead-1").fine()
        assert {edge["name"]: edge["duty"] for edge in cli("edges", "--offline", "--json").fine().json}[
            "dead-1"
        ] == duty
    child = ["--kind", "nginx", "--gate", "127.0.0.1:1", "--site", "127.0.0.1:2", "--group", "dead"]
    cli("edge", "add", "child", *child, "--parent", "dead-1", "--area", "overseas").fine()

    assert {edge["name"]: edge["tier"] for edge in cli("edges", "--offline", "--json").fine().json}["dead-1"] == "L2"
    cli("edge", "remove", "dead-1").refused(2, "child fetches through it; give it another parent first")
    cli("edge", "set", "dead-1", "--parent", "child").refused(2, "in a circle: ")
    cli("edge", "set", "child", "--parent", "nobody").refused(2, "'nobody', which is no edge")
    cli("edge", "set", "child", "--parent", "dead-1", "--no-parents").refused(2, "contradict")
    cli("edge", "set", "child", "--no-parents", "--area", "any").fine()
    cli("edge", "remove", "child").fine()


def test_an_edge_that_says_nothing_is_waited_for_so_long(cli: Cli, tmp_path: Path) -> None:
    """Takes connections and never answers: within seconds that is its state, and the others have theirs."""
    home = tmp_path / "home"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gate = f"127.0.0.1:{silent.getsockname()[1]}"
        for name, at in (("silent", gate), ("gone", f"127.0.0.1:{free_port()}")):
            arguments = ["--kind", "nginx", "--gate", at, "--site", "127.0.0.1:80", "--data-dir", home]
            cli("edge", "add", name, *arguments).fine()
        begun = time.monotonic()
        rows = cli("edges", "--json", "--data-dir", home).fine().json

    assert time.monotonic() - begun < 10
    assert [(row["name"], row["state"], row["said"]) for row in rows] == [
        ("gone", "unreachable", "Connection refused"),
        ("silent", "timeout", "no answer within 3 s"),
    ]


def declared(service: Stack, name: str) -> Edge:
    inventory = SqliteInventory.open(service.home / "inventory.db")
    try:
        found = inventory.edge(name)
    finally:
        inventory.close()
    assert found
    return found


def test_commands_that_look_make_nothing(cli: Cli, tmp_path: Path) -> None:
    """A directory that is misspelt is said to be empty, and stays away; edges are shown before the first start."""
    nowhere = tmp_path / "nowhere"
    for command in (["edges"], ["account", "list"], ["domain", "list"], ["account", "key", "add", "x"]):
        cli(*command, "--data-dir", nowhere).refused(1, f"there is no inventory at {nowhere}/inventory.db")
    assert not nowhere.exists()

    cli("edge", "add", "first", *GOOD_EDGE, "--data-dir", nowhere).fine()
    assert [each["name"] for each in cli("edges", "--json", "--data-dir", nowhere).fine().json] == ["first"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda home: (home / "secret.key").unlink(), ["secret.key is missing"]),
        (lambda home: (home / "secret.key").write_text("nonsense"), ["secret.key is no key file"]),
        (lambda home: (home / "secret.key").write_text("0" * 64), ["inventory.db", "the key is not the one"]),
        (lambda home: (home / "secret.key").write_text("00"), ["32 bytes"]),
        (lambda home: (home / "inventory.db").write_text("x" * 5000), ["inventory.db is no freshline inventory"]),
    ],
    ids=["no key", "bad key", "wrong key", "short key", "no inventory"],
)
def test_spoilt_files_are_said_by_name(
    cli: Cli, tmp_path: Path, spoil: Callable[[Path], object], words: list[str]
) -> None:
    """Exit 1 with the file, from a command and from the service alike."""
    home = tmp_path / "home"
    cli("account", "add", "x", "--data-dir", home).fine()
    for rest in home.glob("inventory.db-*"):
        rest.unlink()
    spoil(home)

    cli("account", "list", "--data-dir", home).refused(1, *words)
    command = [*FRESHLINE, "serve", "--data-dir", str(home), "--listen", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    Said(done.returncode, done.stdout, done.stderr).refused(1, *words)


def test_what_keeps_the_service_from_starting_is_one_line(environ: Mapping[str, str], service: Stack) -> None:
    """A taken address, a data directory in use, one that cannot be made."""

    def serve(*arguments: str) -> Said:
        done = subprocess.run([*FRESHLINE, "serve", *arguments], capture_output=True, text=True, timeout=60)
        return Said(done.returncode, done.stdout, done.stderr)

    serve("--listen", service.address).refused(1, service.address, "Address already in use")
    serve("--listen", "127.0.0.1:0").refused(1, "log.db is in use by process")
    serve("--listen", "127.0.0.1:0", "--data-dir", "/dev/null/x").refused(1, "/dev/null/x", "Not a directory")


# -- gates ----------------------------------------------------------------------------------------------------------


def test_an_edge_is_checked(cli: Cli, tmp_path: Path, origin: Origin) -> None:
    """A good gate passes every check; a dead one, and one with another secret, fail the first and say why."""
    cli("edge", "check", "dead-1").refused(1, "dead-1 is not to be trusted yet")
    (found,) = cli("edge", "check", "dead-1", "--json").refused(1).json
    assert (found["check"], found["ok"]) == ("installed", False)

    origin.serves("/a", "v1")
    cache = Nginx(tmp_path, origin)
    cache.start()
    try:
        for name, secret in (("real", cache.edge.secret), ("stranger", "another-secret-0123456789")):
            (tmp_path / name).write_text(secret + "\n")
            arguments = ["--kind", "nginx", "--gate", cache.gate, "--site", cache.site]
            cli("edge", "add", name, *arguments, "--group", "checked", "--secret-file", tmp_path / name).fine()
        until(lambda: "bound to no log" not in cli("edge", "check", "real").out)

        until(lambda: states(cli)["real"] == "fresh")
        assert (states(cli)["stranger"], states(cli)["dead-1"]) == ("wrong secret", "unreachable")
        shown = cli("edges").fine().out
        assert re.search(r"^dead-1 +nginx +dead +unreachable: Connection refused +L1 +active +127", shown, re.M)
        assert "state" not in cli("edges", "--offline", "--json").fine().json[0]

        said = cli("edge", "check", "real", "--url", f"http://{SITE}/a").fine().out
        assert [line.split()[0] for line in said.splitlines()] == ["ok"] * 6
        assert "FAIL  installed: wrong secret: 403" in cli("edge", "check", "stranger").refused(1, "stranger").out
        origin.refuses("/b")
        bad = cli("edge", "check", "real", "--url", f"http://{SITE}/b").refused(1, "/b cannot show how real fetches")
        assert "FAIL  choice of URL: it answers 403" in bad.out
    finally:
        for name in ("real", "stranger"):
            cli("edge", "remove", name).fine()
        cache.stop()
