"""`trimtab helper delegate` and `undelegate` on a real node: what is set, what is refused, what is taken away."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.headless.test_helper_command import key, network, tick, words
from tests.support.chain import ETHER, Chain
from tests.support.deleverage import code_at, remove_code, the_helper
from tests.support.program import run_trimtab, trimtab
from tui.headless.helper_delegation import acts_as
from tui.headless.helper_reading import HelperFacts
from tui.journal.store import open_journal
from tui.model.calls import CallResult, Simulation
from tui.model.intent import FiringState
from tui.model.pinned import NO_CODE
from tui.model.position import MarketKey
from tui.protocols.aave_v3.helper import Helper

__all__ = ["key", "network", "tick"]

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]
FOREIGN = "0x" + "bb" * 20


@dataclass
class Desk:
    """A key on a chain that makes blocks by itself, and the command line."""

    chain: Chain
    account: str
    state: Path
    common: list[str]

    @property
    def helper(self) -> Helper:
        return the_helper(self.chain)

    @property
    def nonce(self) -> int:
        return int(self.chain.rpc("eth_getTransactionCount", self.account, "latest"), 16)

    def code(self) -> bytes:
        return code_at(self.chain, self.account)

    def set_code(self, address: str, code: bytes) -> None:
        self.chain.rpc("anvil_setCode", address, "0x" + code.hex())

    async def run(self, command: str, *more: str) -> tuple[int, str, str]:
        return await run_trimtab("helper", command, *self.common, *more)


@pytest.fixture
def desk(
    market_v32: Chain, tick: Callable[[], None], network: Path, tmp_path: Path, key: tuple[Path, Path, str]
) -> Desk:
    market_v32.set_ether(key[2], 10 * ETHER)
    tick()
    common = words(tmp_path, network, "--keystore", key[0], "--password-file", key[1], "--yes")
    return Desk(market_v32, key[2], tmp_path / "state", common)


async def test_delegate_show_undelegate(desk: Desk) -> None:
    """There and back: each a single transaction of type 4, recorded whole, its two nonces explained to the next one."""
    first = desk.nonce
    code, out, err = await desk.run("delegate", "--json")
    assert code == 0, err
    assert f"Delegate {desk.account} to the helper" in err
    assert desk.helper.code_hash in err
    assert "delegated, final" in err
    assert desk.code() == desk.helper.delegation
    answer = json.loads(out)
    assert answer["delegation"] == {"delegate": desk.helper.address, "is_helper": True}
    (told,) = answer["outcome"]["transactions"]
    mined = desk.chain.rpc("eth_getTransactionByHash", told["hash"])
    assert (int(mined["type"], 16), int(mined["nonce"], 16), mined["to"], mined["input"]) == (
        4, first, desk.account, "0x")  # fmt: skip
    (authorization,) = mined["authorizationList"]
    assert int(authorization["chainId"], 16) == desk.chain.market.chain_id
    assert (int(authorization["nonce"], 16), authorization["address"]) == (first + 1, desk.helper.address)
    assert desk.nonce == first + 2

    code, out, err = await desk.run("delegate")
    assert (code, "already" in err, out.strip()) == (0, True, desk.helper.address)
    _, out, _ = await run_trimtab("helper", "show", *desk.common[:-3])
    assert f"{desk.account} is delegated to {desk.helper.address}: the helper, code as packaged" in out

    code, out, err = await desk.run("undelegate", "--json")
    assert code == 0, err
    assert f"now       {desk.helper.address}, the helper" in err
    assert desk.code() == b""
    assert json.loads(out)["delegation"] is None
    assert desk.nonce == first + 4
    code, _, err = await desk.run("undelegate")
    assert (code, "nothing to do" in err) == (0, True)

    journal = open_journal(desk.state)
    firings = list(reversed(journal.firings()))
    assert journal.next_nonce(desk.chain.market.chain_id, desk.account) == first + 4
    journal.close()
    assert [one.rule for one in firings] == [
        "by hand: delegate the account to the helper",
        "by hand: take the account's delegation away",
    ]
    assert [one.state for one in firings] == [FiringState.DONE] * 2
    assert [intent.delegate for one in firings for intent in one.intents] == [desk.helper.pinned, NO_CODE]
    assert [intent.attempts[0].raw[0] for one in firings for intent in one.intents] == [4, 4]
    code, out, _ = await run_trimtab("journal", "--json", *desk.common[2:6])
    assert code == 0
    assert "take away the delegation" in out


async def test_only_our_very_code_is_delegated_to(desk: Desk) -> None:
    helper = desk.helper
    spoiled = helper.code[:-1] + bytes([helper.code[-1] ^ 1])
    wrong = ((spoiled, "made for another router"), (b"\x00", "bytes long"), (b"", "nothing is deployed"))
    for code_there, why in wrong:
        desk.set_code(helper.address, code_there)
        code, _, err = await desk.run("delegate")
        assert (code, "nothing was done" in err, why in err) == (4, True, True), err
    assert desk.code() == b""
    assert not (desk.state / "signer-ledger.jsonl").exists() or (desk.state / "signer-ledger.jsonl").read_text() == ""


async def test_a_foreign_delegation_is_not_replaced_but_taken_away(desk: Desk) -> None:
    desk.set_code(desk.account, bytes.fromhex("ef0100" + FOREIGN[2:]))
    desk.set_code(FOREIGN, bytes.fromhex("60006000fd"))
    code, _, err = await desk.run("delegate")
    assert (code, f"delegated to {FOREIGN}" in err, "helper undelegate" in err) == (4, True, True), err
    _, out, _ = await run_trimtab("helper", "show", *desk.common[:-3])
    assert f"is delegated to {FOREIGN}: NOT one of these helpers" in out
    code, _, err = await desk.run("undelegate")
    assert code == 0, err
    assert f"now       {FOREIGN}, NOT one of these helpers" in err
    assert "is a plain account" in err
    assert desk.code() == b""
    code, _, err = await desk.run("delegate")
    assert code == 0, err
    assert desk.code() == desk.helper.delegation


async def test_a_helper_that_is_gone_is_still_taken_away(desk: Desk) -> None:
    desk.set_code(desk.account, desk.helper.delegation)
    remove_code(desk.chain, desk.helper.address)
    code, _, err = await desk.run("undelegate")
    assert (code, "NOT one of these helpers" in err) == (0, True), err
    assert desk.code() == b""


@pytest.mark.parametrize("words_before", ["signed, nonce", "sent to 1 node"])
async def test_killed_on_the_way_it_is_followed_by_the_next_command_and_done_once(
    desk: Desk, words_before: str
) -> None:
    first = desk.nonce
    async with trimtab("helper", "delegate", *desk.common) as program:
        await program.said(words_before)
        program.process.kill()
        await program.process.wait()
    code, _, err = await desk.run("delegate")
    assert code == 0, err
    assert "an earlier command of this kind was stopped" in err or "already" in err
    assert desk.code() == desk.helper.delegation
    assert desk.nonce == first + 2
    journal = open_journal(desk.state)
    (firing,) = journal.firings()
    journal.close()
    assert firing.state is FiringState.DONE
    assert {attempt.raw[0] for intent in firing.intents for attempt in intent.attempts} == {4}


HELPER = Helper("0x" + "11" * 20, "0x" + "22" * 20)
ITSELF = CallResult(bytes.fromhex(HELPER.address[2:]).rjust(32, b"\0"))


@pytest.mark.parametrize(
    ("code", "itself", "why"),
    [
        (CallResult(HELPER.code), ITSELF, None),
        (CallResult(HELPER.code), CallResult(b""), "may not know EIP-7702"),
        (CallResult(HELPER.code), CallResult(bytes(32)), "may not know EIP-7702"),
        (CallResult(HELPER.code), CallResult(None, "invalid opcode"), "may not know EIP-7702"),
        (CallResult(HELPER.code[:-1] + b"\0"), ITSELF, "is not the helper"),
        (CallResult(b""), ITSELF, "nothing is deployed there"),
        (CallResult(None, "limits"), ITSELF, "cannot be read: limits"),
    ],
)
def test_nothing_is_signed_unless_the_account_would_answer_as_the_helper(
    code: CallResult, itself: CallResult, why: str | None
) -> None:
    facts = HelperFacts(MarketKey("aave-v3", "core"), HELPER, HELPER.code, True, None, ())
    told = acts_as(facts, Simulation((), (code, itself), 0))
    assert told is None if why is None else why in (told or "")
