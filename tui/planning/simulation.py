"""Holding a simulation against the plan: nothing is signed unless the chain's own answer is what was planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tui.model.calls import Call, Simulation
from tui.model.plan import Plan, PlannedCall, Refusal
from tui.model.units import WAD, format_units
from tui.protocols import erc20
from tui.protocols.base import LendingMarket

HEALTH_TOLERANCE = WAD // 100_000
"""Relative: the simulated block is a block time later than the pinned one, so interest moves health a little."""
GAS_MARGIN_PERCENT = 30
GAS_MARGIN_UNITS = 25_000


def simulation_calls(plan: Plan) -> tuple[PlannedCall, ...]:
    """The calls to simulate before anything is signed: a permit call is stood in for by calls of the same effect."""
    return tuple(one for call in plan.calls for one in (call.stand_in if call.permit is not None else (call,)))


def simulation_reads(plan: Plan, market: LendingMarket) -> tuple[Call, ...]:
    """The reads that prove a simulation: the whole position again, then the wallet's balance of every token used."""
    account = plan.position.account
    tokens = dict.fromkeys(step.action.asset.address for step in plan.steps)
    return (*market.read_calls((account,)), *(erc20.balance_of(token, account) for token in tokens))


def judge(
    plan: Plan, market: LendingMarket, calls: Sequence[PlannedCall], simulation: Simulation, balances: dict[str, int]
) -> Plan | Refusal:
    """The plan with gas limits and the health that simulation gave, or why it must not be signed.

    `calls` are those simulated (stand-ins or final), `balances` the wallet's tokens before, by address.
    """
    for call, done in zip(calls, simulation.calls, strict=True):
        if not done.ok:
            return Refusal("simulation-reverted", f"simulated, “{call.words}” fails: {done.error or 'no reason given'}")
    tokens = tuple(dict.fromkeys(step.action.asset.address for step in plan.steps))
    market_reads = simulation.reads[: len(simulation.reads) - len(tokens)]
    later = replace(plan.block, timestamp=simulation.timestamp)
    reading = market.decode(later, (plan.position.account,), market_reads)
    after = reading.positions[0]
    if after.unknown is not None:
        return Refusal("simulation-unknown", f"the simulated position cannot be read: {after.unknown}")
    refusal = _health_differs(plan, after.health_factor) or _balances_differ(
        plan, tokens, simulation, balances, len(market_reads)
    )
    if refusal is not None:
        return refusal
    return replace(plan, simulated=True, health_factor_after=after.health_factor, calls=_with_gas(plan, simulation))


def _health_differs(plan: Plan, simulated: int | None) -> Refusal | None:
    expected = plan.health_factor_after
    if expected is None or simulated is None:
        if expected is simulated:
            return None
        return Refusal("simulation-disagrees", "simulated, the debt that is left is not what was planned")
    if simulated <= plan.health_factor_before:
        return Refusal("simulation-disagrees", "simulated, the health factor would not rise")
    if abs(simulated - expected) * WAD > expected * HEALTH_TOLERANCE:
        told = f"{format_units(simulated, 18, 6)} instead of {format_units(expected, 18, 6)}"
        return Refusal("simulation-disagrees", f"simulated, the health factor would be {told}")
    return None


def _balances_differ(
    plan: Plan, tokens: tuple[str, ...], simulation: Simulation, before: dict[str, int], offset: int
) -> Refusal | None:
    for index, token in enumerate(tokens):
        answer = simulation.reads[offset + index]
        balance = erc20.decode_uint(answer.data) if answer.data is not None else None
        if balance is None:
            return Refusal("simulation-unknown", "a token balance could not be read after the simulation")
        used = sum(step.action.amount for step in plan.steps if step.action.asset.address == token)
        if before[token] - balance != used:
            asset = next(step.action.asset for step in plan.steps if step.action.asset.address == token)
            moved = format_units(before[token] - balance, asset.decimals)
            return Refusal(
                "simulation-disagrees",
                f"simulated, {moved} {asset.symbol} would leave the wallet instead of "
                f"{format_units(used, asset.decimals)}",
            )
    return None


def _with_gas(plan: Plan, simulation: Simulation) -> tuple[PlannedCall, ...]:
    """The plan's calls with gas limits. A permit call does the work of all its stand-ins in one transaction."""
    calls: list[PlannedCall] = []
    at = 0
    for call in plan.calls:
        width = len(call.stand_in) if call.permit is not None else 1
        used = sum(done.gas_used for done in simulation.calls[at : at + width])
        at += width
        calls.append(replace(call, gas_limit=used + used * GAS_MARGIN_PERCENT // 100 + GAS_MARGIN_UNITS))
    return tuple(calls)
