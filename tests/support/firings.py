"""Firings, intents and plans made up for tests, in one line each."""

from __future__ import annotations

from dataclasses import replace

from tui.model.block import BlockRef
from tui.model.intent import Attempt, AttemptKind, Firing, FiringState, Intent, IntentState
from tui.model.plan import FeeQuote, Plan, PlanCost, PlannedCall
from tui.model.position import MarketKey, PositionKey
from tui.model.signing import TransactionRequest
from tui.model.units import USD, WAD
from tui.ports.journal import NewAttempt, SpendEntry, SpendKind

CHAIN_ID = 31337
ACCOUNT = "0x" + "a1" * 20
POOL = "0x" + "b2" * 20
TOKEN = "0x" + "c3" * 20
GWEI = 10**9
DAY = "2023-11-14"
BLOCK = BlockRef(10, "0x" + "10" * 32, "0x" + "09" * 32, 1_700_000_000, 2 * GWEI)


def a_firing(number: int = 1, *, rule: str = "guard", account: str = ACCOUNT) -> Firing:
    """A TRIGGERED firing; each number is an episode of its own."""
    return Firing(
        id=f"f{number}",
        rule=rule,
        rule_digest="digest",
        episode=f"episode-{number}",
        position=f"aave-v3/core/{account}",
        account=account,
        chain_id=CHAIN_ID,
        state=FiringState.TRIGGERED,
        block_number=BLOCK.number,
        block_hash=BLOCK.hash,
        block_timestamp=BLOCK.timestamp,
        health_factor_before=11 * WAD,
    )


def an_intent(firing: Firing, nonce: int, sequence: int = 0) -> Intent:
    """A RESERVED intent of a firing."""
    return Intent(
        id=f"{firing.id}-{sequence}",
        firing_id=firing.id,
        sequence=sequence,
        chain_id=firing.chain_id,
        account=firing.account,
        to=POOL,
        data=b"\x01\x02\x03\x04" + sequence.to_bytes(32, "big"),
        value=0,
        words=f"call {sequence}",
        gas_limit=100_000,
        fee_ceiling=100 * GWEI,
        state=IntentState.RESERVED,
        nonce=nonce,
    )


def a_debit(firing: Firing, amount: int = 5 * USD) -> SpendEntry:
    """What a firing debits."""
    return SpendEntry(SpendKind.USD, firing.rule, DAY, amount, firing.id)


def an_attempt(
    intent: Intent, to: IntentState, kind: AttemptKind = AttemptKind.ORIGINAL, max_fee: int = 10 * GWEI
) -> NewAttempt:
    """Bytes for an intent: its own meaning, or the no-op."""
    cancel = kind is AttemptKind.CANCEL
    assert intent.nonce is not None
    request = TransactionRequest(
        intent.id,
        intent.chain_id,
        intent.account,
        intent.nonce,
        intent.account if cancel else intent.to,
        0 if cancel else intent.value,
        b"" if cancel else intent.data,
        intent.gas_limit,
        max_fee,
        GWEI,
    )
    number = len(intent.attempts)
    name = f"{intent.id}/{number}/{kind}"
    attempt = Attempt(number, kind, "0x" + name.encode().hex(), name.encode(), max_fee, GWEI, 1_700_000_001.0, block=10)
    return NewAttempt(intent, to, attempt, request)


def a_plan(firing: Firing, calls: int = 2, *, block: BlockRef = BLOCK, spend_usd: int = 5 * USD) -> Plan:
    """A plan of `calls` plain calls whose data name the firing and the place in the plan."""
    return Plan(
        rule=firing.rule,
        rule_digest=firing.rule_digest,
        position=PositionKey(MarketKey("aave-v3", "core"), firing.account),
        block=block,
        steps=(),
        calls=tuple(a_call(f"{firing.id}/{place}".encode(), f"call {place}") for place in range(calls)),
        health_factor_before=11 * WAD // 10,
        health_factor_after=15 * WAD // 10,
        reaches_target=True,
        shortfall=None,
        fees=FeeQuote(block.base_fee, 10 * GWEI, 2 * GWEI, 40 * GWEI),
        cost=PlanCost(100_000, 10**14, None),
        avoided_loss_usd=None,
        spend_usd=spend_usd,
        simulated=True,
    )


def a_call(meaning: bytes, words: str = "call") -> PlannedCall:
    """A call to the pool."""
    return PlannedCall(POOL, b"\x01\x02\x03\x04" + meaning, 0, words, None, gas_limit=100_000)


def with_calls(plan: Plan, *calls: PlannedCall) -> Plan:
    """The plan with other calls."""
    return replace(plan, calls=calls)
