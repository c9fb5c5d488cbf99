"""Dataclasses to rows and back. Wei and wad travel as decimal texts, states as their names."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from tui.model.intent import Attempt, AttemptKind, Firing, FiringState, Intent, IntentState
from tui.model.outcome import Outcome, SoldAsset
from tui.model.pinned import pinned_of, pinned_text
from tui.model.view import Severity
from tui.ports.journal import Decision, NewAttempt

Value = str | int | float | bytes | None


def text_of(value: int | None) -> str | None:
    """A big integer for a TEXT column."""
    return None if value is None else str(value)


def int_of(text: str | None) -> int | None:
    """A big integer from a TEXT column."""
    return None if text is None else int(text)


def firing_row(firing: Firing) -> dict[str, Value]:
    """The columns of a firing, by name."""
    return {
        "id": firing.id,
        "rule": firing.rule,
        "rule_digest": firing.rule_digest,
        "episode": firing.episode,
        "position": firing.position,
        "account": firing.account,
        "chain_id": firing.chain_id,
        "state": firing.state.value,
        "block_number": firing.block_number,
        "block_hash": firing.block_hash,
        "block_timestamp": firing.block_timestamp,
        "health_factor_before": text_of(firing.health_factor_before),
        "health_factor_expected": text_of(firing.health_factor_expected),
        "health_factor_after": text_of(firing.health_factor_after),
        "summary": firing.summary,
        "reason": firing.reason,
        "spend_usd": firing.spend_usd,
        "cost_usd": firing.cost_usd,
    }


def firing_of(row: sqlite3.Row, intents: Iterable[Intent]) -> Firing:
    """The firing of a row."""
    return Firing(
        id=row["id"],
        rule=row["rule"],
        rule_digest=row["rule_digest"],
        episode=row["episode"],
        position=row["position"],
        account=row["account"],
        chain_id=row["chain_id"],
        state=FiringState(row["state"]),
        block_number=row["block_number"],
        block_hash=row["block_hash"],
        block_timestamp=row["block_timestamp"],
        health_factor_before=int_of(row["health_factor_before"]),
        health_factor_expected=int_of(row["health_factor_expected"]),
        health_factor_after=int_of(row["health_factor_after"]),
        summary=row["summary"],
        reason=row["reason"],
        spend_usd=row["spend_usd"],
        cost_usd=row["cost_usd"],
        intents=tuple(intents),
    )


def intent_row(intent: Intent) -> dict[str, Value]:
    """The columns of an intent, by name."""
    return {
        "id": intent.id,
        "firing_id": intent.firing_id,
        "sequence": intent.sequence,
        "chain_id": intent.chain_id,
        "account": intent.account,
        "to_address": intent.to,
        "data": intent.data,
        "value": str(intent.value),
        "words": intent.words,
        "gas_limit": intent.gas_limit,
        "fee_ceiling": intent.fee_ceiling,
        "state": intent.state.value,
        "nonce": intent.nonce,
        "included_hash": intent.included_hash,
        "included_block": intent.included_block,
        "included_block_hash": intent.included_block_hash,
        "gas_used": intent.gas_used,
        "gas_paid_wei": text_of(intent.gas_paid_wei),
        "reason": intent.reason,
        "signing_began": int(intent.signing_began),
        "withheld": int(intent.withheld),
        "delegate": pinned_text(intent.delegate),
        "step": intent.step,
        "takes": text_of(intent.takes),
    }


def intent_of(row: sqlite3.Row, attempts: Iterable[Attempt]) -> Intent:
    """The intent of a row."""
    return Intent(
        id=row["id"],
        firing_id=row["firing_id"],
        sequence=row["sequence"],
        chain_id=row["chain_id"],
        account=row["account"],
        to=row["to_address"],
        data=row["data"],
        value=int(row["value"]),
        words=row["words"],
        gas_limit=row["gas_limit"],
        fee_ceiling=row["fee_ceiling"],
        state=IntentState(row["state"]),
        nonce=row["nonce"],
        attempts=tuple(attempts),
        included_hash=row["included_hash"],
        included_block=row["included_block"],
        included_block_hash=row["included_block_hash"],
        gas_used=row["gas_used"],
        gas_paid_wei=int_of(row["gas_paid_wei"]),
        reason=row["reason"],
        signing_began=bool(row["signing_began"]),
        withheld=bool(row["withheld"]),
        delegate=pinned_of(row["delegate"]),
        step=row["step"],
        takes=int_of(row["takes"]),
    )


def attempt_row(new: NewAttempt) -> dict[str, Value]:
    """The columns of an attempt, by name; the meaning is that of the request that was signed."""
    attempt, request = new.attempt, new.request
    return {
        "intent_id": new.before.id,
        "number": attempt.number,
        "kind": attempt.kind.value,
        "hash": attempt.hash,
        "raw": attempt.raw,
        "nonce": request.nonce,
        "to_address": request.to,
        "value": str(request.value),
        "data": request.data,
        "delegate": pinned_text(request.delegate),
        "max_fee": request.max_fee_per_gas,
        "priority_fee": request.max_priority_fee_per_gas,
        "signed_at": attempt.signed_at,
        "sent_at": attempt.sent_at,
        "answer": attempt.answer,
        "block": attempt.block,
    }


def attempt_of(row: sqlite3.Row) -> Attempt:
    """The attempt of a row."""
    return Attempt(
        number=row["number"],
        kind=AttemptKind(row["kind"]),
        hash=row["hash"],
        raw=row["raw"],
        max_fee=row["max_fee"],
        priority_fee=row["priority_fee"],
        signed_at=row["signed_at"],
        sent_at=row["sent_at"],
        answer=row["answer"],
        block=row["block"],
    )


def outcome_row(outcome: Outcome) -> dict[str, Value]:
    """The columns of an outcome, by name."""
    return {
        "firing_id": outcome.firing_id,
        "health_expected": text_of(outcome.health_expected),
        "health_simulated": text_of(outcome.health_simulated),
        "health_actual": text_of(outcome.health_actual),
        "gas_expected_usd": outcome.gas_expected_usd,
        "gas_actual_usd": outcome.gas_actual_usd,
        "swap_expected_usd": outcome.swap_expected_usd,
    }


def sold_row(firing_id: str, place: int, sold: SoldAsset) -> dict[str, Value]:
    """The columns of one asset that pays or comes in, by name; `place` from 0."""
    return {
        "firing_id": firing_id,
        "place": place,
        "symbol": sold.symbol,
        "token": sold.token,
        "decimals": sold.decimals,
        "price_usd": text_of(sold.price_usd),
        "expected": text_of(sold.expected),
        "actual": text_of(sold.actual),
    }


def sold_of(row: sqlite3.Row) -> SoldAsset:
    """One asset that pays or comes in, of its row."""
    return SoldAsset(
        row["symbol"],
        int_of(row["expected"]),
        int_of(row["actual"]),
        row["token"],
        row["decimals"],
        int_of(row["price_usd"]),
    )


def outcome_of(row: sqlite3.Row, sales: Iterable[SoldAsset], buys: Iterable[SoldAsset]) -> Outcome:
    """The outcome of a row."""
    return Outcome(
        firing_id=row["firing_id"],
        health_expected=int_of(row["health_expected"]),
        health_simulated=int_of(row["health_simulated"]),
        health_actual=int_of(row["health_actual"]),
        gas_expected_usd=row["gas_expected_usd"],
        gas_actual_usd=row["gas_actual_usd"],
        swap_expected_usd=row["swap_expected_usd"],
        sales=tuple(sales),
        buys=tuple(buys),
    )


def decision_of(row: sqlite3.Row) -> Decision:
    """The decision of a row."""
    return Decision(
        number=row["number"],
        at=row["at"],
        block=row["block"],
        kind=row["kind"],
        severity=Severity(row["severity"]),
        text=row["text"],
        rule=row["rule"],
        position=row["position"],
        firing_id=row["firing_id"],
        detail=row["detail"],
    )
