"""Faults 56, 57, 63, 64, 65: key files that others can touch, guessed passwords, the kill switch, hostile texts."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import unicodedata
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest
from eth_utils.crypto import keccak
from textual.pilot import Pilot

from tests.e2e.conftest import PASSWORD, MakeRig, Rig
from tests.support.program import network_file, run_trimtab
from tui.engine.facade import CommandRefused
from tui.headless.as_json import positions_json
from tui.headless.output import data_json
from tui.headless.watch_commands import _print_positions
from tui.model.intent import FiringState, IntentState
from tui.model.signing import SignedTransaction, TransactionRequest
from tui.model.view import Protection
from tui.screen.app import TrimtabApp

pytestmark = pytest.mark.node


def own_copy(rig: Rig, folder: Path) -> Path:
    """The trader's key file at a place that a test may spoil."""
    folder.mkdir(mode=0o700)
    path = folder / "key.json"
    path.write_bytes(rig.trader.keystore.read_bytes())
    path.chmod(0o600)
    return path


def written(folder: Path) -> list[bytes]:
    """Every file under a folder."""
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def texts_kept(folder: Path) -> list[str]:
    """Every text of every file under a folder: of a database those in its tables, since its pages and its log hold
    numbers, too, which may be any bytes.
    """
    found: list[str] = []
    for path in folder.rglob("*"):
        if not path.is_file() or path.name.endswith(("-wal", "-shm")):
            continue
        content = path.read_bytes()
        if not content.startswith(b"SQLite format 3\0"):
            found.append(content.decode())
            continue
        with closing(sqlite3.connect(path)) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
                for row in database.execute(f'SELECT * FROM "{table}"'):
                    found += [one for one in row if isinstance(one, str)]
    return found


SPOILED = {
    "open to others": "chmod 600",
    "a link": "Name the file it points to",
    "in an open directory": "chmod 700",
} | ({"of another user": "Make your own"} if os.geteuid() == 0 else {})  # only root can give a file away


def spoil(path: Path, how: str) -> Path:
    if how == "open to others":
        path.chmod(0o644)
    elif how == "a link":
        link = path.with_name("link.json")
        link.symlink_to(path)
        return link
    elif how == "of another user":
        os.chown(path, 12345, 12345)
    else:
        path.parent.chmod(0o755)
    return path


async def test_a_key_file_that_others_can_touch_is_refused_with_its_fix(make_rig: MakeRig, tmp_path: Path) -> None:
    """The app's way: the file was fine when the engine started, and is not when it is armed."""
    rig = await make_rig()
    signer = rig.wired.signer
    assert signer is not None
    keystores: dict[str, Path] = rig.wired.engine.setup.keystores  # type: ignore[assignment]
    (account,) = keystores
    for how, fix in SPOILED.items():
        keystores[account] = spoil(own_copy(rig, tmp_path / how), how)
        with pytest.raises(CommandRefused, match=re.escape(fix)):
            await rig.arm()
        assert rig.wired.engine.book.armed == {}, how
        assert (await signer.status())["unlocked"] == [], how


async def test_a_run_with_such_a_key_file_does_not_start(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = await make_rig()
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    feed = rig.chain.token("WETH").feed
    network = network_file(tmp_path / "network.toml", [rig.chain.url], rig.chain.market.provider, feed)
    for how, fix in SPOILED.items():
        path = spoil(own_copy(rig, tmp_path / how), how)
        code, out, err = await run_trimtab(
            "run", "--network", network, "--rules", rig.trader.rules, "--keystore", path, "--password-file", password,
            "--state", tmp_path / "own", "--config", tmp_path / "config",
        )  # fmt: skip
        assert code in (2, 4), how
        assert out == "", how
        assert fix in err, how
        assert err.count("\n") == 1, how


async def test_wrong_passwords_are_slowed_down_and_written_nowhere(make_rig: MakeRig, tmp_path: Path) -> None:
    """The signer's clock is the real one, in a process of its own: each answer is held against what had passed on ours,
    so that a slow machine is allowed the tries that it has waited for, and no more.
    """
    rig = await make_rig()
    tried: list[str] = []
    said: list[str] = []
    failures = 0
    earliest = latest = monotonic()  # the signer's next try is free somewhere between these two

    async def attempt(password: str) -> str:
        """One try: what was said of it, or nothing where the rule was armed. Fails if it came too early or too late."""
        nonlocal failures, earliest, latest
        asked = monotonic()
        try:
            await rig.wired.commands.arm("guard", "guard", password)
            text = ""
        except CommandRefused as refused:
            text = str(refused)
        answered = monotonic()
        if "Wait" in text:
            assert f"{failures} wrong password(s) so far" in text, "no try is spent while it waits"
            assert asked < latest, "it waits no longer than it has to"
            return text
        assert answered >= earliest, "not before the wait is over"
        if password == PASSWORD:
            assert text == ""
            return text
        assert "wrong password" in text
        failures += 1
        wait = 2.0 ** (failures - 1)
        earliest, latest = asked + wait, answered + wait
        return text

    while not said or "Wait" not in said[-1]:  # a try that is free doubles the wait for the next: this ends
        tried.append(f"guess number {len(tried)}")
        said.append(await attempt(tried[-1]))
    assert failures >= 1, "the first try is free"
    said.append(await attempt(PASSWORD))  # not even the right one while it waits
    while said[-1]:
        assert rig.wired.engine.book.armed == {}
        await rig.mine()
        said.append(await attempt(PASSWORD))
    assert set(rig.wired.engine.book.armed) == {"guard"}
    await rig.mine()
    places = written(tmp_path)
    places += [repr(rig.wired.engine.view).encode(), *(text.encode() for text in said)]
    for password in (*tried, PASSWORD):
        assert not [place for place in places if password.encode() in place]


async def test_the_kill_switch_between_signature_and_send(make_rig: MakeRig, tmp_path: Path) -> None:
    """Pulled by another process in the instant after the signature: nothing goes out, and the nonce that the
    signature holds is only ever closed by a transfer of nothing to oneself.
    """
    rig = await make_rig()
    await rig.arm()
    signer = rig.wired.signer
    assert signer is not None
    sign, signed = signer.sign_transaction, []

    async def sign_and_pull(request: TransactionRequest) -> SignedTransaction:
        answer = await sign(request)
        if not signed:
            code, _, err = await run_trimtab("kill", "--state", tmp_path / "state", "--config", tmp_path / "config")
            assert code == 0, err
        signed.append((request, answer))
        return answer

    signer.sign_transaction = sign_and_pull  # type: ignore[method-assign]
    nonce = int(rig.chain.rpc("eth_getTransactionCount", rig.trader.address, "latest"), 16)
    rig.chain.set_price("WETH", 2600)
    await rig.head()
    await rig.mine(3)
    assert len(signed) == 1
    assert rig.wired.engine.view.protection is Protection.HELD
    assert rig.transactions_of(rig.trader.address) == []
    pool = rig.chain.rpc("txpool_content")
    assert rig.trader.address.lower() not in {one.lower() for kind in pool.values() for one in kind}
    assert rig.chain.rpc("eth_getTransactionByHash", signed[0][1].hash) is None
    code, _, err = await run_trimtab("kill", "--off", "--state", tmp_path / "state", "--config", tmp_path / "config")
    assert code == 0, err
    await rig.mine(6)
    assert rig.transactions_of(rig.trader.address) == [], "released, it is still not sent"
    assert len(signed) == 1
    (intent,) = rig.firings()[-1].intents
    assert (intent.state, intent.withheld, intent.nonce) == (IntentState.SIGNED, True, nonce)
    assert any("kept until you cancel it" in entry.text for entry in rig.wired.engine.view.activity)
    await rig.wired.commands.cancel(intent.id)
    await rig.mine(3)
    (digest,) = rig.transactions_of(rig.trader.address)
    sent = rig.chain.rpc("eth_getTransactionByHash", digest)
    assert (int(sent["nonce"], 16), sent["to"].lower(), sent["input"], sent["value"]) == (
        nonce, rig.trader.address.lower(), "0x", "0x0",
    )  # fmt: skip
    firing = rig.firings()[-1]
    assert firing.intents[0].state is IntentState.FINAL_CANCELLED
    assert firing.state in (FiringState.FAILED, FiringState.DROPPED)
    assert rig.chain.rpc("eth_getTransactionByHash", signed[0][1].hash) is None


# --- 64: texts from the chain ---------------------------------------------------------------------------------------

HOSTILE = {
    "escape codes": "\x1b[2J\x1b]0;owned\x07\x1b]52;c;cHduZWQ=\x07",
    "markup": "[red]x[/red][/][@click=app.quit]",
    "right to left": "‮CDSU‬⁦⁩",
    "ten kilobytes": "A" * 10_240,
    "lines": "US\r\nDC\n\x85\u2028",
    "combining": "U" + "\u0301\u0489" * 14,
    "C1 controls": "\x9b2J\x9dX",
}


def slot_of(rig: Rig, token: str, text: str) -> int:
    """The storage slot of a token's short string (Solidity's layout)."""
    short = text.encode().ljust(31, b"\0") + bytes([2 * len(text)])
    words = ((slot, rig.chain.rpc("eth_getStorageAt", token, hex(slot), "latest")) for slot in range(64))
    return next(slot for slot, word in words if bytes.fromhex(word[2:]) == short)


def set_text(rig: Rig, token: str, slot: int, text: bytes) -> None:
    """Overwrite a string of a token's storage."""
    if len(text) < 32:
        value = text.ljust(31, b"\0") + bytes([2 * len(text)])
        rig.chain.rpc("anvil_setStorageAt", token, f"0x{slot:064x}", "0x" + value.hex())
        return
    rig.chain.rpc("anvil_setStorageAt", token, f"0x{slot:064x}", f"0x{2 * len(text) + 1:064x}")
    start = int.from_bytes(keccak(slot.to_bytes(32, "big")), "big")
    for place in range(0, len(text), 32):
        piece = text[place : place + 32].ljust(32, b"\0")
        rig.chain.rpc("anvil_setStorageAt", token, f"0x{start + place // 32:064x}", "0x" + piece.hex())


def harmless(text: str, allowed: str = "\n") -> list[str]:
    """Characters that may not reach a terminal."""
    bad = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Mn", "Me"}
    return [repr(one) for one in text if unicodedata.category(one) in bad and one not in allowed]


async def test_hostile_token_texts_are_shown_harmless_everywhere(
    make_rig: MakeRig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A listed collateral whose symbol and name turn hostile on chain, read through the whole engine and drawn."""
    rig = await make_rig()
    wbtc = rig.chain.token("WBTC").address
    rig.chain.supply(rig.trader.address, "WBTC", rig.chain.units("WBTC", "0.1"))
    slots = [slot_of(rig, wbtc, text) for text in ("WBTC", "Wrapped Bitcoin")]
    await rig.arm()
    rig.chain.set_price("WETH", 2000)
    await rig.mine(4)
    async with shown(rig, tmp_path) as (app, pilot):
        for how, text in HOSTILE.items():
            for slot in slots:
                set_text(rig, wbtc, slot, text.encode())
            assert rig.chain.call(wbtc, "symbol()", ["string"]) == text
            await rig.mine(1)
            snapshot = rig.wired.engine.snapshot
            assert snapshot is not None
            held = [h.asset.symbol for p in snapshot.positions for h in p.holdings if h.asset.address == wbtc.lower()]
            assert len(held) == 1, how
            assert 0 < len(held[0]) <= 48, how
            capsys.readouterr()
            data_json(positions_json(snapshot, 31337))
            _print_positions(snapshot)
            printed = capsys.readouterr().out
            assert harmless(printed) == [], how
            for key in ("0", "1", "3", "4", "x"):
                await pilot.press(key)
                await pilot.pause()
            strips = app.screen._compositor.render_strips()
            drawn = "\n".join(strip.text for strip in strips)
            assert harmless(drawn) == [], how
            assert harmless(app.export_screenshot(), "\n\t") == [], how
            if how == "markup":
                assert "[red]x" in drawn
                assert not any("click" in str(s.style.meta) for strip in strips for s in strip if s.style is not None)
    kept = texts_kept(tmp_path / "state")
    assert any("WETH" in text for text in kept)
    for text in kept:
        assert harmless(text, "\n\t") == []
        assert "A" * 100 not in text


class shown:  # noqa: N801 - reads as a sentence
    """The app on the rig's engine, without a terminal."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        async def start() -> object:
            return rig.wired.commands

        self.app = TrimtabApp(start, config=folder / "config", state=folder / "state", ticking=False)  # type: ignore[arg-type]

    async def __aenter__(self) -> tuple[TrimtabApp, Pilot[None]]:
        self.context = self.app.run_test(size=(140, 40))
        pilot = await self.context.__aenter__()
        await self.app.workers.wait_for_complete()
        return self.app, pilot

    async def __aexit__(self, *error: object) -> None:
        await self.context.__aexit__(*error)  # type: ignore[arg-type]


# --- 65: texts from files -------------------------------------------------------------------------------------------

RULES_LINE = 3
BAD_RULES = {
    "deep nesting": "x = " + "[" * 50_000,
    "a huge integer": "x = " + "9" * 100_000,
    "not a number": '[[rule]]\nname = "guard"\nposition = "*"\nmode = "auto"\nwhen = { health_factor_below = nan }',
    "twice the same key": '[[rule]]\nname = "guard"\nname = "guard"',
    "a NUL": 'x = "\0"',
    "wrong types": '[[rule]]\nname = ["guard"]\nposition = 5\nmode = {}\nwhen = "1"',
    "no text at all": "\udcff\udcfe",
    "a long dotted key": "x" + ".x" * 20_000 + " = 1",
    "escape codes": '[[rule]]\nname = "\\u001b[2Jguard"\n"\x1b[31m" = 1',
    "a megabyte": "#" * (1 << 20),
}


async def test_hostile_rules_leave_the_last_good_ones_in_force(make_rig: MakeRig, tmp_path: Path) -> None:
    """Each with a message that names file, line and fix, in the engine and from `trimtab rules check`."""
    rig = await make_rig()
    await rig.arm()
    rules = rig.trader.rules
    for how, text in BAD_RULES.items():
        content = text.encode("utf-8", "surrogateescape")
        rules.write_bytes(content)
        (tmp_path / f"{how}.toml").write_bytes(content)
        async with asyncio.timeout(60):
            await rig.mine(1)
        view = rig.wired.engine.view
        assert view.protection is Protection.ARMED, how
        assert view.rule_faults, how
        for fault in map(str, view.rule_faults):
            assert re.match(rf"{re.escape(str(rules))}:\d+: .+; .+", fault), fault
            assert harmless(fault) == [], how
    code, out, err = await run_trimtab("rules", "check", *(tmp_path / f"{how}.toml" for how in BAD_RULES))
    assert code == 1
    assert "Traceback" not in err
    assert harmless(out + err) == []
    for how in BAD_RULES:
        assert re.search(rf"^{re.escape(str(tmp_path / how))}\.toml:\d+: .+; .+$", out, re.MULTILINE), how
    rig.chain.set_price("WETH", 2600)
    await rig.head()
    await rig.mine(4)
    assert [firing.state for firing in rig.firings()] == [FiringState.DONE]
