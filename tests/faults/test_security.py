"""Fault 58: no key, password or node token in anything that a running program writes, shows or leaves behind."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import resource
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PASSWORD, RULE
from tests.support.chain import ETHER, Chain, keyed_account
from tests.support.http import Reply, bad_server, relay
from tests.support.program import WAIT, Program, network_file, run_trimtab, terminal, trimtab
from tui.cli import build_parser
from tui.journal.reading import read_journal
from tui.model.intent import FiringState
from tui.vault.client import SignerClient, spawn_signer

pytestmark = pytest.mark.node

TOKEN = "kJ8sQ2vLx91TzR4mWb7cYd3e"
QUERY_TOKEN = "zPq77HfNn20aVuX5"
NODE_PASSWORD = "Hunter2-node-secret"
TRADER, KEY = keyed_account(7)


def secrets() -> dict[str, bytes]:
    """Every form in which a secret could get out."""
    found: dict[str, bytes] = {
        "key": KEY,
        "key in hex": KEY.hex().encode(),
        "KEY IN HEX": KEY.hex().upper().encode(),
        "key in base64": base64.b64encode(KEY),
        "key as a number": str(int.from_bytes(KEY, "big")).encode(),
        "key as bytes": repr(KEY)[2:-1].encode(),
    }
    for name, text in (("password", PASSWORD), ("token", TOKEN), ("query token", QUERY_TOKEN), ("node", NODE_PASSWORD)):
        found[name] = text.encode()
        found[f"{name} in hex"] = text.encode().hex().encode()
        found[f"{name} in base64"] = base64.b64encode(text.encode())[:-4]
        found[f"{name} in UTF-16"] = text.encode("utf-16-le")
    return found


def leaks(content: bytes) -> list[str]:
    return [name for name, secret in secrets().items() if secret in content]


def test_the_search_finds_what_it_looks_for() -> None:
    for name, secret in secrets().items():
        assert name in leaks(b"\x00noise" + secret + b"noise")
    assert leaks(b"nothing of the kind") == []


def proc(pid: int, name: str) -> bytes:
    """What anybody may learn of a process."""
    place = Path(f"/proc/{pid}/{name}")
    if place.is_dir():
        return b"\n".join(os.readlink(entry).encode() for entry in place.iterdir())  # noqa: PTH115
    return place.read_bytes()


@dataclass
class Desk:
    """A trader's files, a node behind a URL full of tokens, and the faults it shows when asked to."""

    chain: Chain
    folder: Path
    keystore: Path
    faults: tuple[str, ...] = ()
    url: str = ""
    told: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    arguments: list[object] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def spoil(self, reply: Callable[[Any], Reply]) -> Callable[[Any], Reply]:
        """Errors that repeat the whole URL, as servers and proxies do."""

        def faulty(request: Any) -> Reply:
            trace = f"Traceback (most recent call last):\n  GET {self.url}\n{self.url} {PASSWORD}"
            fault = self.faults[self.told % len(self.faults)] if self.faults else ""
            if fault:
                self.told += 1
                self.asked.set()
            if fault in ("401", "500", "429"):
                return int(fault), {"retry-after": "0"}, trace.encode()
            if fault == "error":
                rows = request if isinstance(request, list) else [request]
                told = [
                    {"jsonrpc": "2.0", "id": row["id"], "error": {"code": -32000, "message": trace, "data": trace}}
                    for row in rows
                ]
                return 200, {}, json.dumps(told if isinstance(request, list) else told[0]).encode()
            if fault == "page":
                return 200, {"content-type": "text/html"}, f"<html>{trace}</html>".encode()
            if fault == "cut":
                return "close"
            return reply(request)

        return faulty

    async def has_told(self, times: int) -> None:
        """Until the fault was shown so often."""
        async with asyncio.timeout(WAIT):
            while self.told < times:
                self.asked.clear()
                await self.asked.wait()

    def firings(self) -> list[FiringState]:
        record = read_journal(self.state)
        try:
            return [firing.state for firing in record.firings()]
        finally:
            record.close()

    def left_behind(self) -> dict[str, bytes]:
        """Every file but those that are there to hold the secrets."""
        kept = {self.folder / "network.toml", self.folder / "password", self.keystore}
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file() and path not in kept}


@pytest.fixture
async def desk(market_v32: Chain, keystore_file: Path, tmp_path: Path) -> AsyncIterator[Desk]:
    """A leveraged position with means to defend it, and a relay that stands between the program and the node."""
    chain = market_v32
    chain.set_ether(TRADER, 10 * ETHER)
    chain.supply(TRADER, "WETH", chain.units("WETH", 10))
    chain.borrow(TRADER, "USDC", chain.units("USDC", 18_000))
    chain.give("USDC", chain.units("USDC", 20_000), TRADER)
    made = Desk(chain, tmp_path, keystore_file)
    async with bad_server(made.spoil(relay(chain.node.rpc, lambda method, params: None))) as server:
        made.url = f"http://user:{NODE_PASSWORD}@127.0.0.1:{server.port}/v2/{TOKEN}?apikey={QUERY_TOKEN}"
        feed = chain.token("WETH").feed
        network = network_file(tmp_path / "network.toml", [made.url], chain.market.provider, feed)
        (tmp_path / "rules.toml").write_text(RULE.format(mode="auto", usdc="20000"))
        password = tmp_path / "password"
        password.write_text(PASSWORD + "\n")
        password.chmod(0o600)
        made.arguments = [
            "--network", network, "--rules", tmp_path / "rules.toml", "--keystore", keystore_file,
            "--config", tmp_path / "config", "--state", made.state, "--log-level", "debug",
        ]  # fmt: skip
        yield made


@asynccontextmanager
async def running(desk: Desk, *more: object, prelude: str = "") -> AsyncIterator[Program]:
    """`trimtab run`, with everything it could print switched on."""
    arguments = ["run", "--json", *desk.arguments, "--password-file", desk.folder / "password", *more]
    async with trimtab(*arguments, prelude=prelude) as program:
        yield program


async def mined(desk: Desk, program: Program) -> None:
    """One more block, and the program's word on it."""
    seen = program.text.count('"event": "block"')
    desk.chain.mine()
    await program.said('"event": "block"', seen + 1)


async def seen_again(desk: Desk, program: Program) -> None:
    """Blocks, until one is told: one that came while the node was left alone is not read once more."""
    seen = program.text.count('"event": "block"')
    async with asyncio.timeout(WAIT):
        while program.text.count('"event": "block"') == seen:
            desk.chain.mine()
            program.anew()
            with suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await program.more()


async def test_a_run_through_firing_and_faults_leaks_nothing(desk: Desk) -> None:
    """Fires once, then the node turns on it with every error there is; all that it wrote anywhere is searched."""
    async with running(desk) as program:
        desk.chain.mine()
        await program.said("armed: guard on")
        desk.chain.set_price("WETH", Decimal(2600))
        for _ in range(8):
            await mined(desk, program)
            if desk.firings() == [FiringState.DONE]:
                break
        assert desk.firings() == [FiringState.DONE]
        family = program.family()
        assert len(family) == 2, "the program and its signer"
        for pid in family:
            for name in ("cmdline", "environ", "maps", "status", "stat", "comm", "fd"):
                assert leaks(proc(pid, name)) == [], name
        desk.faults = ("error", "page", "cut", "401", "429", "500")
        await desk.has_told(len(desk.faults))
        desk.faults = ()
        await seen_again(desk, program)
        during = desk.left_behind()
        assert await program.stop() == 0
    after = desk.left_behind()
    assert any(name.endswith("-wal") for name in during)
    for name in ("journal", "signer-ledger.jsonl"):
        assert any(name in Path(path).name for path in after)
    for path, content in [*during.items(), *after.items(), ("stdout", program.out), ("stderr", program.err)]:
        assert leaks(bytes(content)) == [], path
    assert "Traceback" not in program.text


async def test_every_other_command_leaks_nothing_and_argv_holds_no_secret(desk: Desk) -> None:
    for words in (["positions", "--json"], ["positions"], ["plan"], ["doctor"], ["journal"], ["locate", "state"]):
        code, out, err = await run_trimtab(*words[:1], *words[1:], *desk.arguments)
        assert code in (0, 1), err
        assert leaks((out + err).encode()) == [], words
        assert "Traceback" not in err
        assert words != ["doctor"] or "***" in out, "the URL is named with its tokens masked"


async def test_a_wrong_password_again_and_again_is_named_and_never_repeated(desk: Desk) -> None:
    """Fault 57, from outside: every try is refused with exit code 4, and what was tried is nowhere to be found."""
    desk.chain.mine()
    wrong = "wrong horse battery"
    (desk.folder / "password").write_text(wrong + "\n")
    async with running(desk) as program:
        desk.chain.mine()
        assert await program.ended() == 4
    assert "NOT armed" in program.text
    assert "wrong password" in program.text
    for path, content in [*desk.left_behind().items(), ("said", program.text.encode())]:
        assert wrong.encode() not in content, path
        assert leaks(content) == [], path


FAULTY_ENGINE = """
import sys
import tui.engine.watch as watch
calls = []
async def snapshot(self, block, spoiled=watch.Watch.snapshot):
    calls.append(block)
    secret = open({password!r}).read()
    if len(calls) > 1:
        sys.stderr.write("a block was read\\n")
        raise RuntimeError(f"{{secret}} {{self}} {url}")
    return await spoiled(self, block)
watch.Watch.snapshot = snapshot
"""

FAULTY_START = """
import tui.engine.engine as engine
async def start(self):
    secret = open({password!r}).read()
    raise RuntimeError(f"{{secret}} {url}")
engine.Engine.start = start
"""

FAULTY_BACKGROUND = """
import asyncio, gc, threading
import tui.engine.engine as engine
def spoil(secret):
    raise RuntimeError(secret)
class Spoiled:
    def __del__(self):
        spoil(open({password!r}).read() + "{url}")
async def fail(secret):
    raise RuntimeError(secret)
async def start(self, real=engine.Engine.start):
    secret = open({password!r}).read() + "{url}"
    threading.Thread(target=spoil, args=(secret,)).start()
    Spoiled()
    asyncio.get_running_loop().call_soon(spoil, secret)
    forgotten = asyncio.create_task(fail(secret))
    await asyncio.wait([forgotten])
    del forgotten
    gc.collect()
    await real(self)
engine.Engine.start = start
"""


@pytest.mark.parametrize("prelude", [FAULTY_ENGINE, FAULTY_START, FAULTY_BACKGROUND], ids=["block", "start", "behind"])
async def test_an_error_of_our_own_is_one_line_without_values(desk: Desk, prelude: str) -> None:
    spoiling = prelude.format(password=str(desk.folder / "password"), url="token " + QUERY_TOKEN)
    async with running(desk, prelude=spoiling) as program:
        if prelude is FAULTY_START:
            assert await program.ended() == 4  # the engine holds, so nothing is armed
        else:
            desk.chain.mine()
            await program.said("armed: guard on")
            if prelude is FAULTY_ENGINE:
                # Five blocks of it, and the seconds that they have to take.
                for number in range(1, 1_000):
                    desk.chain.mine()
                    await program.said("a block was read", number)
                    if number >= 5 and "unexpected RuntimeError" in program.text:
                        break
            assert await program.stop() == 0
    assert "unexpected RuntimeError" in program.text
    assert program.text.count("unexpected RuntimeError") >= (4 if prelude is FAULTY_BACKGROUND else 1)
    assert "Traceback" not in program.text
    # The prelude itself stands in argv, and nowhere else.
    for path, content in [*desk.left_behind().items(), ("said", program.text.encode())]:
        assert leaks(content) == [], path


def ended_by(pid: int, number: int) -> tuple[int, int]:
    """End a child of ours by a signal: the signal it died of, and whether it was killed or dumped."""
    os.kill(pid, number)
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert found is not None
    return found.si_status, found.si_code


def test_a_signer_that_crashes_leaves_no_core(tmp_path: Path) -> None:
    """Where the system writes cores: an ordinary child dumps one, the signer and the program do not."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        ordinary = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
        control = ended_by(ordinary.pid, signal.SIGABRT)
        ordinary.wait()
        signer = spawn_signer(tmp_path / "state")
        asyncio.run(ready(signer))
        died = ended_by(signer.pid, signal.SIGSEGV)
        signer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    assert died == (signal.SIGSEGV, os.CLD_KILLED)
    assert not Path("/core").exists()
    if before[1] != 0 and Path("/proc/sys/kernel/core_pattern").read_text().strip() == "core":
        assert control == (signal.SIGABRT, os.CLD_DUMPED)
        assert list(tmp_path.glob("core*"))


async def ready(signer: SignerClient) -> None:
    await signer.status()


async def test_the_program_itself_leaves_no_core(desk: Desk) -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        async with running(desk) as program:
            await program.said("protection")
            limits = proc(program.pid, "limits").decode()
            assert await program.stop(signal.SIGABRT) == -signal.SIGABRT
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    assert [line.split()[-3:-1] for line in limits.splitlines() if line.startswith("Max core")] == [["0", "0"]]


SHOWN = "Password of the key file"
CRASH = """
import tui.screen.password as password
def submit(self):
    secret = "".join(self._secret)
    raise RuntimeError("it was " + secret)
password.PasswordInput.action_submit = submit
"""


@pytest.mark.parametrize("prelude", ["", CRASH], ids=["copied", "crashed"])
async def test_the_password_field_gives_nothing_to_clipboard_screen_or_crash(desk: Desk, prelude: str) -> None:
    """On a real terminal. The name field is the control: what it copies does arrive as an OSC 52 sequence."""
    desk.chain.mine()
    async with terminal(*desk.arguments, prelude=prelude) as shown:
        await shown.shows("guard")
        shown.press("a")
        await shown.shows(SHOWN)
        shown.press("guard")
        await shown.shows("guard")
        shown.press("\x1b[1;2H\x03")  # selected back to its start, copied
        await shown.writes(b"\x1b]52;")
        shown.press("\t")
        await shown.typed("x", "•")
        shown.press(PASSWORD)
        await shown.shows("•" * len(PASSWORD))
        for keys in ("\x03", "\x18", "\x1b[2;5~", "\x1b[3;2~", "\x01\x03", "\x1b[1;2H\x03"):
            shown.press(keys)
        await shown.shows("not copied")
        if prelude:
            shown.press("\r")
            assert await shown.ended() == 1
        else:
            shown.press("\x1b")
            await shown.shows("A liquidation now")
            shown.press("x")
            await shown.shows("Screen written")
            shown.press("q")
            assert await shown.ended() == 0
        raw = bytes(shown.raw)
    copied = [base64.b64decode(part) for part in re.findall(rb"\x1b\]52;[^;]*;([A-Za-z0-9+/=]*)", raw)]
    assert copied == [b"guard"]
    assert leaks(raw) == []
    assert b"Traceback" not in raw
    assert (b"unexpected RuntimeError" in raw) == bool(prelude)
    for path, content in desk.left_behind().items():
        assert leaks(content) == [], path
    assert prelude or list((desk.state / "exports").glob("*.svg"))


def test_no_option_can_be_shortened_into_one_that_takes_a_secret() -> None:
    """`--pass X` must be an error everywhere, not a guess; and no option anywhere takes a key or a password itself."""
    for parser in every_parser(build_parser()):
        assert not parser.allow_abbrev, parser.prog
        for action in parser._actions:
            for option in action.option_strings:
                takes_secret = re.search("password|key|secret|mnemonic|passphrase|token", option)
                harmless = ("-file", "-fd", "--keystore", "--mnemonic", "--passphrase")
                assert not takes_secret or option.endswith(harmless), option
                if option in ("--mnemonic", "--passphrase"):
                    assert action.nargs == 0, f"{option} is a switch"


def every_parser(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from every_parser(child)
