"""Faults 16 to 31: what may happen between signed bytes and a final block, caused on a real node through a proxy.

The relay (28) and what is reverted (31) have files of their own.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.support.fault_rig import ADD, FaultRig, OpenRig
from tests.support.pool_rules import ALREADY_KNOWN, SEND, UNDERPRICED, GethRules, hash_of, read_raw
from tests.support.proxy import Row, Silent, Told
from tui.chain.broadcast import ChainBroadcaster
from tui.model.intent import AttemptKind, FiringState, IntentState
from tui.model.view import Protection
from tui.ports.chain import SendOutcome

pytestmark = pytest.mark.node

MAYBE, DONE = IntentState.MAYBE_SENT, IntentState.FINAL_OK


def base_fee(rig: FaultRig) -> int:
    return int(rig.chain.block()["baseFeePerGas"], 16)


def next_base_fee(rig: FaultRig, wei: int) -> None:
    rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(wei))


async def ended_well(rig: FaultRig, transactions: int = 1) -> None:
    """The firing is done with as many transactions as planned, each once, and the record is the chain."""
    firing = await rig.settle()
    assert firing.state is FiringState.DONE, rig.said
    assert rig.intent_states == [DONE] * transactions
    assert len(rig.on_chain()) == transactions
    await rig.mine(2)
    assert len(rig.firings) == 1
    rig.check()


async def test_16_a_timeout_after_the_node_accepted_stays_maybe_sent(
    open_faulty: OpenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await open_faulty()
    silent = rig.proxies[0].silence(SEND, times=1)
    send = ChainBroadcaster.send

    async def impatient(self: ChainBroadcaster, raw: bytes, expected: str) -> tuple[SendOutcome, ...]:
        client = rig.providers[0].client
        patience, client.timeout = client.timeout, 0.3
        try:
            return await send(self, raw, expected)
        finally:
            client.timeout = patience

    monkeypatch.setattr(ChainBroadcaster, "send", impatient)
    await rig.fall()
    monkeypatch.undo()
    assert isinstance(silent, Silent)
    await silent.reached.wait()
    assert rig.intent_states == [MAYBE]
    assert "no node answered; it may have been sent" in rig.said
    assert rig.pooled() == [rig.intent.attempts[0].hash]
    await ended_well(rig)
    assert len(rig.attempts()) == 1


async def test_16_a_connection_cut_in_the_answer_stays_maybe_sent(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    rig.proxies[0].cut(SEND, times=1)
    await rig.fall()
    assert rig.intent_states == [MAYBE]
    assert rig.intent.attempts[0].answer.startswith("no-answer")
    assert rig.pooled() == [rig.intent.attempts[0].hash]
    await ended_well(rig)
    assert len(rig.attempts()) == 1


async def test_17_accepted_with_a_hash_but_never_propagated_goes_to_the_others(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=2)
    liar, other = rig.proxies
    liar.swallow(SEND, hash_of)
    away = other.http(503, SEND)
    await rig.fall()
    assert rig.intent.attempts[0].answer.startswith("accepted")
    assert rig.intent_states == [MAYBE]
    assert rig.pooled() == []
    away.lift()
    rig.clock.advance(10)
    await rig.mine()
    assert rig.pooled() == [rig.intent.attempts[0].hash]
    await ended_well(rig)
    assert len(rig.attempts()) == 1


async def test_18_a_node_that_answers_another_hash_is_set_aside_as_lying(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=2)
    rig.proxies[0].lie(SEND, "0x" + "12" * 32)
    await rig.fall()
    assert rig.states == ["lying", "ok"]
    assert "another transaction" in rig.statuses[0].detail
    asked = rig.proxies[0].count("eth_call")
    await ended_well(rig)
    assert rig.proxies[0].count("eth_call") == asked
    assert rig.states == ["lying", "ok"]
    assert len(rig.attempts()) == 1


async def test_19_already_known_in_every_clients_words_is_success(open_faulty: OpenRig) -> None:
    clients = list(ALREADY_KNOWN)
    rig = await open_faulty(providers=len(clients))
    for client, proxy in zip(clients, rig.proxies, strict=True):
        said = ALREADY_KNOWN[client]
        proxy.reword(SEND, lambda words, said=said: said if "already imported" in words else None)
    await rig.fall()
    assert sorted(answer.split(":")[0] for answer in rig.intent.attempts[0].answer.split("; ")) == sorted(
        ["accepted", *["already-known"] * (len(clients) - 1)]
    )
    await rig.again()
    answers = rig.intent.attempts[0].answer.split("; ")
    assert [answer.split(":")[0] for answer in answers] == ["already-known"] * len(clients)
    assert all(ALREADY_KNOWN[client] in answer for client, answer in zip(clients, answers, strict=True))
    assert "refused" not in rig.said
    await ended_well(rig)
    assert len(rig.attempts()) == 1


async def test_20_nonce_too_low_looks_up_all_our_hashes_and_never_takes_a_fresh_nonce(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    (proxy,) = rig.proxies
    await rig.fall()
    nonce = rig.intent.nonce
    # A node that lags behind its own block: it has mined the transaction, and says of receipts and nonces what was.
    proxy.lie("eth_getTransactionReceipt", None)
    proxy.lie("eth_getTransactionCount", hex(nonce or 0))
    await rig.mine(4)
    assert [attempt.kind for attempt in rig.intent.attempts] == [AttemptKind.ORIGINAL, AttemptKind.BUMP]
    assert "nonce-too-low" in rig.intent.attempts[-1].answer
    assert rig.intent_states == [MAYBE]
    proxy.heal()
    await ended_well(rig)
    assert rig.intent.included_hash == rig.intent.attempts[0].hash
    assert {sent.nonce for sent in rig.attempts()} == {nonce}


async def test_21_nonce_too_high_fills_the_gap(open_faulty: OpenRig) -> None:
    rig = await open_faulty(steps=ADD)
    (proxy,) = rig.proxies

    def no_queue(params: list[Any]) -> Row | None:
        sent = read_raw(params[0])
        count = int(rig.chain.rpc("eth_getTransactionCount", sent.sender, "pending"), 16)
        words = f"nonce too high: address {sent.sender}, tx: {sent.nonce} state: {count}"
        return {"error": {"code": -32000, "message": words}} if sent.nonce > count else None

    proxy.add(Told(frozenset((SEND,)), instead=no_queue))
    lost = proxy.swallow(SEND, hash_of, times=1)
    await rig.fall()
    assert lost.hits == 1
    assert rig.intent_states == [MAYBE, MAYBE]
    assert "nonce-too-high" in rig.firing.intents[1].attempts[0].answer
    assert "an earlier transaction of this account is missing at the node" in rig.said
    await rig.mine()
    assert len(rig.pooled()) == 2
    await ended_well(rig, transactions=2)
    assert len(rig.attempts()) == 2


@pytest.mark.parametrize("client", list(UNDERPRICED))
async def test_22_an_underpriced_replacement_is_raised_further_within_the_ceiling(
    open_faulty: OpenRig, client: str
) -> None:
    rig = await open_faulty()
    rules = GethRules(rig.chain.node.rpc, client)
    rules.before(rig.proxies[0])
    fees = rig.wired.engine.fees
    assert fees is not None
    rig.chain.rpc("anvil_impersonateAccount", rig.account)
    rig.chain.set_price("WETH", "2600")
    foreign = rig.chain.rpc(
        "eth_sendTransaction",
        {
            "from": rig.account, "to": rig.account, "gas": hex(21_000),
            "maxFeePerGas": hex(fees.max_fee * 14 // 10), "maxPriorityFeePerGas": hex(fees.priority_fee * 14 // 10),
        },
    )  # fmt: skip
    await rig.head()
    assert rules.refused == [UNDERPRICED[client]]
    assert "a pending transaction from elsewhere" in rig.said
    for _ in range(8):
        if rig.pooled() != [foreign]:
            break
        await rig.again()
    attempts = rig.intent.attempts
    assert rig.pooled() == [attempts[-1].hash]
    assert len(attempts) >= 3
    for older, newer in pairwise(attempts):
        assert 8 * newer.max_fee >= 9 * older.max_fee
        assert 8 * newer.priority_fee >= 9 * older.priority_fee
    await ended_well(rig)
    assert rig.intent.included_hash == attempts[-1].hash


async def test_23_a_fee_cap_below_the_base_fee_is_raised(open_faulty: OpenRig) -> None:
    rig = await open_faulty()

    def leap(params: list[Any]) -> Row | None:
        next_base_fee(rig, 4 * read_raw(params[0]).cap // 3)
        rig.chain.mine()
        return None

    rig.proxies[0].add(Told(frozenset((SEND,)), 1, instead=leap))
    await rig.fall()
    assert rig.intent.attempts[0].answer.startswith("fee-too-low")
    assert rig.intent_states == [MAYBE]
    assert "the fee is below what the node takes now" in rig.said
    for _ in range(4):
        next_base_fee(rig, base_fee(rig))
        await rig.mine()
    first, *raised = rig.intent.attempts
    assert raised
    assert raised[-1].max_fee > 4 * first.max_fee // 3
    await ended_well(rig)
    assert rig.intent.included_hash in [attempt.hash for attempt in raised]


async def test_24_base_fee_times_ten_in_three_blocks_stops_at_the_ceiling_and_goes_on(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    before = base_fee(rig)
    await rig.fall()
    ceiling = rig.intent.fee_ceiling
    for tenths in (22, 46, 100, 100, 100, 100, 100, 100, 100):
        next_base_fee(rig, max(before * tenths // 10, 2 * ceiling * tenths // 100))
        await rig.mine()
        rig.check()
    assert base_fee(rig) >= 10 * before
    assert rig.on_chain() == []
    assert rig.intent_states == [MAYBE]
    assert all(attempt.max_fee <= ceiling for attempt in rig.intent.attempts)
    (line,) = [line for line in rig.said.splitlines() if "its fee is at the ceiling of the rule" in line]
    assert any(entry.text == line and entry.severity == "alarm" for entry in rig.view.activity)
    sends = rig.proxies[0].count(SEND)
    next_base_fee(rig, base_fee(rig))
    await rig.mine()
    assert rig.proxies[0].count(SEND) > sends, "it is still sent"
    next_base_fee(rig, before)
    await rig.mine()
    next_base_fee(rig, before)
    await ended_well(rig)


async def test_25_no_gas_money_is_told_before_the_fall_and_nothing_is_signed(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    rig.chain.set_ether(rig.account, 10**12)
    await rig.mine()
    assert rig.view.low_gas
    assert any("gas" in line for line in rig.view.would_stop)
    await rig.fall()
    assert rig.firings == ()
    assert rig.proxies[0].count(SEND) == 0
    assert "gas may take" in rig.said
    rig.chain.set_ether(rig.account, 10**18)
    await rig.mine()
    await ended_well(rig)


async def test_25_gas_money_that_goes_between_signature_and_send(open_faulty: OpenRig) -> None:
    rig = await open_faulty()

    def rob(params: list[Any]) -> Row | None:
        rig.chain.set_ether(rig.account, 1)
        return None

    rig.proxies[0].add(Told(frozenset((SEND,)), 1, instead=rob))
    await rig.fall()
    assert rig.intent.attempts[0].answer.startswith("insufficient-funds")
    assert "the account cannot pay for the gas" in rig.said
    await rig.mine(2)
    assert rig.intent_states == [MAYBE]
    rig.chain.set_ether(rig.account, 10**18)
    await ended_well(rig)


async def test_26_dropped_from_the_mempool_the_same_bytes_are_sent_again(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    await rig.fall()
    waiting = rig.pooled()
    assert waiting == [rig.intent.attempts[0].hash]
    rig.chain.rpc("anvil_dropAllTransactions")
    assert rig.pooled() == []
    await rig.mine()
    assert rig.pooled() == waiting
    await ended_well(rig)
    assert len(rig.attempts()) == 1


async def test_27_a_nodes_own_fee_cap_is_told_and_the_next_node_takes_it(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=2)
    capped = GethRules(rig.chain.node.rpc, fee_cap=1)
    capped.before(rig.proxies[0])
    await rig.fall()
    kinds = [answer.split(":")[0] for answer in rig.intent.attempts[0].answer.split("; ")]
    assert kinds == ["fee-cap-exceeded", "accepted"]
    assert "exceeds the configured cap (0.00 ether)" in capped.refused[0]
    assert rig.states == ["ok", "ok"], "a node with a cap of its own is a good node"
    await ended_well(rig)


async def test_27_where_every_node_has_such_a_cap_it_is_said_and_stays_signed(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    rule = GethRules(rig.chain.node.rpc, fee_cap=1).before(rig.proxies[0])
    await rig.fall()
    assert "the fee is above the node's own limit" in rig.said
    assert rig.intent_states == [MAYBE]
    rule.lift()
    await rig.mine()
    await ended_well(rig)


async def test_29_an_original_that_beats_its_cancel_is_reported_as_executed(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    await rig.fall()
    rig.proxies[0].swallow(SEND, hash_of)
    await rig.cancel()
    assert rig.intent_states == [IntentState.CANCELLING]
    await ended_well(rig)
    assert rig.intent.included_hash == rig.intent.attempts[0].hash
    assert [attempt.kind for attempt in rig.intent.attempts] == [AttemptKind.ORIGINAL, AttemptKind.CANCEL]
    assert "cancelled" not in rig.said


async def test_30_a_foreign_transaction_takes_the_nonce_and_the_account_is_halted(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=3, quorum=2)
    await rig.fall()
    rig.foreign()
    # One node alone cannot make a nonce lost: the second has to see it too.
    away = [proxy.down() for proxy in rig.proxies[1:]]
    await rig.again()
    assert rig.intent_states == [MAYBE]
    for fault in away:
        fault.lift()
    rig.clock.advance(20)
    await rig.mine(3)
    assert rig.intent_states == [IntentState.NONCE_LOST]
    assert rig.firing.state is FiringState.HALTED
    assert "the account is halted until you resume it" in rig.said
    signed = len(rig.attempts())
    rig.chain.set_price("WETH", "2900")
    await rig.head()
    await rig.fall("2550")
    await rig.mine(2)
    assert len(rig.attempts()) == signed, "nothing is signed for a halted account"
    rig.check()


async def test_disarmed_with_a_transaction_on_its_way_it_is_sent_again_and_what_cannot_be_done_is_said(
    open_faulty: OpenRig,
) -> None:
    """Disarming closes the key: what waits is followed and sent again, not raised; armed anew, it is raised."""
    rig = await open_faulty()
    next_base_fee(rig, 50 * 10**9)
    await rig.fall()
    (first,) = rig.intent.attempts
    await rig.wired.commands.disarm("guard", "a person wants it")
    assert f"On the way: a transaction of a rule that is disarmed ({rig.intent.id})" in rig.view.protection_why
    assert "its fee cannot be raised while the key is locked" in rig.view.protection_why
    for _ in range(5):
        next_base_fee(rig, first.max_fee + 10**9)
        rig.chain.rpc("anvil_dropAllTransactions")
        await rig.mine()
    assert rig.view.protection is Protection.WATCHING
    assert rig.intent.attempts[-1].hash == first.hash
    assert rig.proxies[0].count(SEND) > 3
    assert "its fee cannot be raised" in rig.said
    await rig.arm()
    assert "On the way" not in rig.view.protection_why
    next_base_fee(rig, first.max_fee + 10**9)
    await rig.mine()
    assert rig.intent.attempts[-1].kind is AttemptKind.BUMP
    await ended_well(rig)
