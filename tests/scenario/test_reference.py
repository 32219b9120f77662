"""The reference's samples, taken from its pages as they stand and run against a service behind a real web server.

What samples name is made here, anew for each: the domains, a site, two tasks, a job with its executions, a medium and
a job of it. Python's run in this process, Node's in one, curl's in a shell each.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from freshline.access.policy import parse
from freshline.ambient import Ambient
from freshline.api.app import App
from freshline.api.asgi import Receive, Scope, Send
from freshline.cli.main import app as command_line
from freshline.domain.media import Media, Play
from freshline.domain.task import Kind, Wish
from freshline.inventory.base import AccessKey
from freshline.inventory.principals import Role, User
from freshline.log.memory import MemoryLog
from freshline.media.base import Entry, MediaJob
from freshline.media.memory import MemoryMediaJobs
from freshline.reference import page
from freshline.sandbox.server import Sandbox, running
from freshline.schedule.base import Job, Plan, State
from freshline.schedule.memory import MemorySchedule
from freshline.spec import model
from tests.scenario.test_sdks import node_modules as node_modules
from tests.servers.base import until
from tests.service import UNTHROTTLED, books

DOCS = Path(__file__).parents[2] / "docs" / "reference"
TITLES = "curl|Python, legacy SDK|Python|Node, any operation|Node"
BLOCK = re.compile(rf"(?m)^({TITLES})(?: \(in an async function\))?:\n\n```(\w+)\n(.*?)^```$", re.S)
AT = "http://www.example.com"
ACCOUNT = "1000000000000001"  #: whose role a sample names


# -- what is on the pages -------------------------------------------------------------
@dataclass(frozen=True)
class Sample:
    page: str
    action: str
    title: str
    begin: str
    text: str

    def __str__(self) -> str:
        return f"{self.page} {self.action}: {self.title}\n{self.text}"


def samples(*titles: str) -> list[Sample]:
    """Every sample under these titles, with what its page begins with."""
    found = []
    for file in sorted(DOCS.glob("*.md")):
        sections = re.split(r"(?m)^## ", file.read_text())[1:]
        begins: dict[str, str] = {}
        for section in sections:
            name, _, rest = section.partition("\n")
            for said, _, text in BLOCK.findall(rest):
                if name == "Before the samples":
                    begins[said] = text
                elif said in titles:
                    found.append(Sample(file.stem, name, said, begins.get(said, ""), text))
    return found


def test_the_pages_are_of_now() -> None:
    """docs/reference is what `freshline spec pages --to docs/reference` writes."""
    assert {file.name: file.read_text() for file in DOCS.iterdir()} == page.pages()


def test_every_operation_has_samples() -> None:
    """In curl, Python and Node."""
    all_ = {op.action for op in model.load()}
    assert len(samples("curl")) == len(list(model.load()))
    for titles in (("curl",), ("Python", "Python, legacy SDK"), ("Node", "Node, any operation")):
        assert {sample.action for sample in samples(*titles)} == all_


# -- what they are run against ----------------------------------------------------------
class Set:
    """A service that can be set up anew between two samples."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        house, log, ambient = books(), MemoryLog(), Ambient()
        now = int(ambient.now())
        house.add_domain("www.example.com", "1", "main")
        house.names["www.example.com"] = replace(house.names["www.example.com"], id=5001)
        plays = (Play(f"{AT}/film-7/hd.mp4", "mp4", "HD", "video"), Play(f"{AT}/film-7/hd.m3u8", "m3u8", "HD", "video"))
        house.library["film-7"] = Media("film-7", "1", plays)
        policy = json.dumps({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "sts:*", "Resource": "*"}]})
        house.accounts[ACCOUNT] = replace(house.accounts["1"], id=ACCOUNT)
        house.principals.policies[ACCOUNT, "hers"] = parse(policy, "hers")
        house.principals.add(User("2000", ACCOUNT, "anna", ("hers",)))
        house.principals.add(Role("3000", ACCOUNT, "deploy", (f"acs:ram::{ACCOUNT}:root",)))
        house.keys["anna"] = AccessKey("anna", ACCOUNT, "annasecret", user="2000")
        wishes = [
            Wish("1", "www.example.com", "main", Kind.FILE, (f"{AT}/a.png",)),
            Wish("1", "www.example.com", "main", Kind.PRELOAD, (f"{AT}/film.mp4",)),
        ]
        asyncio.run(log.append(wishes, now=now))
        schedule, media = MemorySchedule(), MemoryMediaJobs()
        schedule.add_job(Job("job-1", "1", 5001, "nightly", now, (f"{AT}/a.iso", f"{AT}/b.iso")))
        plan = Plan("plan-1", "job-1", now + 3600, None, 60, 2, State.WAITING, now + 3600)
        schedule.add_plan(plan)
        schedule.add_plan(replace(plan, id="plan-2", status=State.STOPPED))
        entries = (Entry("film-7", (f"{AT}/a.png",), 1),)
        media.add(MediaJob("media-job-1", "1", now, "Refresh", "{}", "", entries), 0)
        self._app = App(
            model.load(), log, house, ambient, limits=UNTHROTTLED, schedule=schedule, media=media,
            observe=lambda action, status, _: self.answered.append((action, status)),
        )  # fmt: skip
        self.answered: list[tuple[str, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Set, str]]:
    it = Set()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(it, http="httptools", loop="uvloop", lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        yield it, "http://{}:{}".format(*listener.getsockname())
        server.should_exit = True
        thread.join()


def environ(sample: Sample, endpoint: str) -> dict[str, str]:
    """A user's key where the account itself may not call."""
    user = sample.page == "sts"
    return {
        "ALIBABA_CLOUD_ACCESS_KEY_ID": "anna" if user else "testid",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "annasecret" if user else "testsecret",
        "FRESHLINE_ENDPOINT": endpoint,
    }


def run(stage: tuple[Set, str], found: list[Sample], one: Callable[[Sample, dict[str, str]], Any]) -> None:
    """Each on a stage of its own: it calls its operation once, and prints what was asked for."""
    it, endpoint = stage
    assert found
    for sample in found:
        it.begin()
        printed = one(sample, environ(sample, endpoint))
        until(lambda: bool(it.answered))  # it is counted once the answer is on its way
        assert it.answered == [(sample.action, 200)], sample
        assert isinstance(printed, dict) and len(printed.get("RequestId", "")) == 36, (sample, printed)


def test_python(stage: tuple[Set, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The vendor's SDKs of today, and the one before them."""

    def one(sample: Sample, env: dict[str, str]) -> Any:
        return in_python(sample, env, monkeypatch)

    run(stage, samples("Python", "Python, legacy SDK"), one)


def in_python(sample: Sample, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(sample.begin + sample.text, f"{sample.page} {sample.action}", "exec"), {})
    text = out.getvalue()
    return json.loads(text) if sample.title.endswith("legacy SDK") else eval(text, {})


def test_a_sandbox_has_what_samples_name(shell: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """ESA's site, and the user and the role of STS, once it begins with docs/reference/sandbox.json."""
    made_by_calls = ("job-1", "plan-1", "plan-2")
    found = [
        sample
        for sample in samples("curl", "Python")
        if sample.page in ("esa", "sts") and not any(id_ in sample.text for id_ in made_by_calls)
    ]
    with running(Sandbox("testid", "testsecret", script=json.loads((DOCS / page.SANDBOX).read_text()))) as address:
        printed = []
        for sample in found:
            env = environ(sample, f"http://{address}")
            curl = sample.title == "curl"
            printed.append(in_shell(sample, env, shell) if curl else in_python(sample, env, monkeypatch))

    assert {sample.action for sample in found} >= {"PurgeCaches", "ListSites", "AssumeRole", "GetCallerIdentity"}
    assert all(len(answer["RequestId"]) == 36 for answer in printed)


def test_node(stage: tuple[Set, str], node_modules: Path) -> None:
    """The vendor's SDKs for Node where there are some, its client for any operation elsewhere."""
    calm = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    runner = ["node", str(node_modules / "samples.js")]
    with subprocess.Popen(
        runner, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=node_modules, env=calm
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def one(sample: Sample, env: dict[str, str]) -> Any:
            keys = "".join(f"process.env.{name} = {json.dumps(value)};" for name, value in env.items())
            stdin.write(json.dumps({"begin": keys + sample.begin, "text": sample.text}) + "\n")
            stdin.flush()
            answer = json.loads(stdout.readline())
            assert "error" not in answer, (str(sample), answer["error"])
            (said,) = answer["said"]
            return {"RequestId": said.get("requestId") or said.get("RequestId")}

        try:
            run(stage, samples("Node", "Node, any operation"), one)
        finally:
            stdin.close()


def test_curl(stage: tuple[Set, str], shell: dict[str, str]) -> None:
    """With addresses that `freshline sign` prints."""

    def one(sample: Sample, env: dict[str, str]) -> Any:
        return in_shell(sample, env, shell)

    run(stage, samples("curl"), one)


def in_shell(sample: Sample, env: dict[str, str], shell: dict[str, str]) -> Any:
    os.environ |= env
    done = subprocess.run(["bash", "-ec", sample.text], env={**os.environ, **shell}, capture_output=True, timeout=30)
    assert done.returncode == 0, (str(sample), done.stdout, done.stderr)
    return json.loads(done.stdout)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A ``freshline`` for shells that is answered by this process: the same command line, without a Python for each."""
    for name in (
        "ALIBABA_CLOUD_ACCESS_KEY_ID",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        "FRESHLINE_ENDPOINT",
        "FRESHLINE_CONFIG",
    ):
        monkeypatch.setenv(name, "")
    command = tmp_path / "freshline"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command.write_text(f"#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/{port}\nprintf '%s\\0' \"$@\" '' >&3\ncat <&3\n")
        command.chmod(0o755)
        thread = threading.Thread(target=_answer, args=(listener,))
        thread.start()
        yield {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        with socket.create_connection(("127.0.0.1", port)) as last:
            last.sendall(b"\0")
        thread.join()


def _answer(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            said = b""
            while not said.endswith(b"\0\0") and said != b"\0":
                said += connection.recv(1 << 16)
            words = said.decode().split("\0")[:-2]
            if not words:
                return
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                command_line(words, exit_on_error=False, print_error=False, result_action="return_value")
            connection.sendall(out.getvalue().encode())
