"""Users, policies and roles on the command line, and what the service makes of them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from freshline.cli.main import main
from freshline.inventory.sqlite import SqliteInventory
from tests.scenario.said import Said
from tests.unit.test_authorization import statement

Run = Callable[..., Said]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``freshline`` on files of its own."""
    monkeypatch.setenv("FRESHLINE_SERVICE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: str = "") -> Said:
        monkeypatch.setattr(sys, "argv", ["freshline", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def shop(cli: Run) -> str:
    """An account with a user, a role and a policy of its own."""
    account: str = cli("account", "add", "shop", "--json").json["account"]
    policy(
        "refreshers.json",
        statement("Allow", "cdn:Refresh*", "acs:cdn:*:*:domain/img.test"),
        statement("Deny", "cdn:Push*"),
    )
    assert cli("account", "user", "add", "shop", "anna").code == 0
    assert cli("role", "add", "shop", "deploy").code == 0
    assert cli("policy", "add", "refreshers", "refreshers.json", "--account", "shop").code == 0
    return account


def policy(file: str, *statements: dict[str, Any]) -> None:
    Path(file).write_text(json.dumps({"Version": "1", "Statement": list(statements)}, indent=2))


def test_users(cli: Run, shop: str) -> None:
    """A user is made with a key, has more of them, and is taken away with all."""
    more = cli("account", "key", "add", "shop", "--user", "anna", "--json").json
    attached = cli("policy", "attach", "refreshers", "--account", "shop", "--user", "anna", "--json").json
    (anna,) = cli("account", "user", "list", "shop", "--json").json
    listed = cli("account", "user", "list", shop).out
    whose = cli("account", "list").out

    assert more["user"] == "anna" and more["account"] == shop
    assert attached == {"attached": "refreshers", "user": "anna"}
    assert anna["policies"] == ["refreshers"] and len(anna["keys"]) == 2
    assert more["access_key_id"] in {key["id"] for key in anna["keys"]}
    assert f"{more['access_key_id']} (user anna)" in whose
    assert "anna" in listed and "refreshers" in listed and more["access_key_id"] in listed

    assert cli("account", "user", "remove", "shop", "anna", "--json").json == {"removed": "anna"}
    assert cli("account", "user", "list", "shop", "--json").json == []


def test_policies(cli: Run, shop: str) -> None:
    """A policy is shown as it was written, listed with those it is attached to, and not removed while it is."""
    said = cli("policy", "attach", "refreshers", "--account", "shop", "--role", "deploy").out
    rows = {row["name"]: row for row in cli("policy", "list", "--account", "shop", "--json").json}
    attached = cli("policy", "remove", "refreshers", "--account", "shop")

    assert cli("policy", "show", "refreshers", "--account", "shop").out == Path("refreshers.json").read_text() + "\n"
    assert json.loads(cli("policy", "show", "AliyunCDNFullAccess").out)["Statement"][0]["Action"] == ["cdn:*"]
    assert rows["refreshers"] == {"name": "refreshers", "type": "Custom", "attached_to": ["role deploy"]}
    assert rows["AliyunCDNReadOnlyAccess"]["type"] == "System"
    assert said == "refreshers is attached to role deploy\n"
    assert (attached.code, attached.err) == (2, "freshline: policy 'refreshers' is attached; detach it first\n")
    assert cli("policy", "detach", "refreshers", "--account", "shop", "--role", "deploy").code == 0
    assert cli("policy", "remove", "refreshers", "--account", "shop").code == 0
    assert cli("policy", "show", "refreshers", "--account", "shop").code == 2


def test_a_policy_with_mistakes(cli: Run, shop: str) -> None:
    """Every mistake is told, nothing is kept, and what is only odd is noted."""
    odd = json.dumps(
        {"Version": "1", "Statement": [statement("Allow", ["cdn:RefreshObjectCache", "oss:Get*", "cdn:*"])]}
    )
    wrong = cli("policy", "add", "bad", "-", "--account", "shop", stdin='{"Version": "2", "Statement": [{}]}')
    noted = cli("policy", "add", "odd", "-", "--account", "shop", stdin=odd)

    assert wrong.code == 2
    assert wrong.err.splitlines() == [
        "freshline: - has mistakes",
        'Version: must be "1"',
        "Statement[1].Effect: must be Allow or Deny",
        "Statement[1]: must have either Action or NotAction",
        "Statement[1]: must have either Resource or NotResource",
    ]
    assert cli("policy", "show", "bad", "--account", "shop").code == 2
    assert noted.out == "note: cdn:RefreshObjectCache is no operation here\npolicy odd is there\n"


def test_roles(cli: Run, shop: str) -> None:
    """A role says whom it trusts and for how long."""
    arn = cli("role", "add", "shop", "ci", "--trust", f"acs:ram::{shop}:user/anna", "--longest-seconds", "7200").out
    rows = cli("role", "list", "shop", "--json").json

    assert arn == f"acs:ram::{shop}:role/ci\n"
    assert [row["trusted"] for row in rows] == [[f"acs:ram::{shop}:user/anna"], [f"acs:ram::{shop}:root"]]
    assert "7200 s" in cli("role", "list", "shop").out
    assert cli("role", "remove", "shop", "ci").code == 0
    assert cli("role", "remove", "shop", "ci").code == 2
    assert cli("role", "add", "shop", "x", "--trust", "anna").code == 2


def test_services(cli: Run, shop: str, tmp_path: Path) -> None:
    """A service is taken away and given back; one there is not is named."""
    assert cli("account", "service", "shop", "cdn", "suspended").out == "cdn of account shop is suspended\n"
    inventory = SqliteInventory.open(tmp_path / "data" / "inventory.db")
    account = inventory.account(shop)
    inventory.close()

    assert account is not None and account.suspended == {"cdn"}
    assert "service 'cdnn' is unknown; there are cdn, dcdn" in cli("account", "service", "shop", "cdnn", "open").err


IMG = "acs:cdn:*:1:domain/img.test"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--action", "cdn:RefreshObjectCaches", "--resource", IMG], 0, "allowed by statement 1 of refreshers.json\n{"),
        (["--action", "cdn:refreshobjectcaches", "--resource", IMG], 0, "allowed by statement 1"),
        (["--action", "cdn:RefreshObjectCaches", "--resource", f"{IMG}.x"], 1, "denied: none of 1 policies allows it"),
        (["--action", "cdn:RefreshObjectCaches"], 1, "denied: none"),
        (["--action", "cdn:PushObjectCache", "--resource", IMG], 1, "denied by statement 2 of refreshers.json\n{"),
    ],
)
def test_simulator(cli: Run, shop: str, arguments: list[str], code: int, said: str) -> None:
    """The verdict, the statement that decided, and an exit code for scripts."""
    answer = cli("policy", "test", *arguments, "refreshers.json")

    assert answer.code == code
    assert answer.out.startswith(said)


def test_simulated_conditions(cli: Run, tmp_path: Path) -> None:
    """What is known of a call can be said."""
    policy("office.json", statement("Allow", "cdn:*", IpAddress={"acs:SourceIp": "10.0.0.0/8"}))
    asked = ("policy", "test", "--action", "cdn:DescribeRefreshQuota", "office.json")
    inside = cli(*asked, "--condition", "acs:SourceIp=10.0.0.1")
    tomorrow = cli(
        *asked, "--condition", "acs:SourceIp=10.0.0.1", "--condition", "acs:CurrentTime=2030-01-01T00:00:00Z"
    )

    assert (inside.code, tomorrow.code) == (0, 0)
    assert cli(*asked, "--condition", "acs:SourceIp=11.0.0.1").code == 1
    assert cli(*asked).code == 1
    assert cli(*asked, "--json").out.startswith('{"verdict": "ImplicitDeny"')
    assert "did you mean acs:SourceIp?" in cli(*asked, "--condition", "acs:SourceIP=11.0.0.1").err
    assert "must be KEY=VALUE" in cli(*asked, "--condition", "acs:SourceIp").err
    assert cli("policy", "test", "--action", "Refresh", "office.json").code == 2
    assert cli("policy", "test", "--action", "cdn:X", "--resource", "img.test", "office.json").code == 2
    assert (
        cli("policy", "test", "--action", "cdn:X", "nothing.json").err
        == "freshline: nothing.json: No such file or directory\n"
    )


def test_simulator_for_somebody(cli: Run, shop: str) -> None:
    """With the policies that are attached to a user or a role, as the service would decide."""
    cli("policy", "attach", "AliyunCDNReadOnlyAccess", "--account", "shop", "--user", "anna")
    cli("policy", "attach", "refreshers", "--account", "shop", "--user", "anna")
    anna = ("--account", "shop", "--user", "anna", "--json")
    reads = cli("policy", "test", "--action", "cdn:DescribeRefreshQuota", *anna)
    pushes = cli("policy", "test", "--action", "cdn:PushObjectCache", *anna)

    assert (reads.json["verdict"], reads.json["policy"]) == ("Allow", "AliyunCDNReadOnlyAccess")
    assert json.loads(pushes.out)["verdict"] == "ExplicitDeny"
    assert cli("policy", "test", "--action", "cdn:X", "--account", "shop", "--role", "deploy").code == 1
    assert cli("policy", "test", "--action", "cdn:X", "--account", "shop", "--role", "nobody").code == 2
    assert cli("policy", "test", "--action", "cdn:X", "--user", "anna").code == 2


def test_explain(cli: Run, shop: str) -> None:
    """What is no message of this service is said to be none."""
    assert cli("policy", "explain", "x").code == 2
