"""What arming a rule means, before and when it is done: which account, what it may spend, what would stop it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tui.engine.facade import ArmingReport
from tui.engine.prospect import Prospect
from tui.model.plan import FeeQuote, Refusal
from tui.model.position import Asset, Position
from tui.model.rule import BORROWING, FROM_WALLET, SALES, ActionKind, Mode, Rule, Step, TriggerKind
from tui.model.snapshot import Snapshot
from tui.model.text import short_address
from tui.model.units import format_units, group_digits
from tui.model.wallet import Wallet
from tui.planning.fee_caps import cap_words
from tui.planning.policy import ArmedScope, step_cap
from tui.planning.texts import amount_text
from tui.protocols.base import ActionImpossible
from tui.rules.match import applies
from tui.rules.prices import fact, level_words, pair_text, price_text

BUMPS_TO_PAY = 3
"""Gas for this many raised attempts should be at hand before a rule is called well armed."""
GAS_IS_LOW = "gas-low"
"""The code of the obstacle that an account has too little of the native coin."""


def positions_for(rule: Rule, snapshot: Snapshot, accounts: Sequence[str]) -> tuple[Position, ...]:
    """The positions of a snapshot that a rule watches and that one of `accounts` owns."""
    return tuple(
        position for position in snapshot.positions if position.key.account in accounts and applies(rule, position.key)
    )


def scope_of(rule: Rule, position: Position, snapshot: Snapshot, prospect: Prospect) -> ArmedScope:
    """A rule on a position, as the signer's policy wants it."""
    wallet = snapshot.wallets.get(position.key.account) or Wallet(position.key.account, None, None)
    market = prospect.market(position)
    return ArmedScope(rule, market, position, wallet, prospect.wrapped_native, prospect.swapper, prospect.dialects)


def arming_report(
    rule: Rule,
    snapshot: Snapshot | None,
    fees: FeeQuote | None,
    keystores: Mapping[str, Path],
    prospect: Prospect,
    problems: Sequence[str],
) -> ArmingReport:
    """The report for one rule. `keystores` maps own accounts to their key files; `problems` are known already."""
    found = list(problems)
    warnings: list[str] = []
    if rule.mode is Mode.NOTIFY:
        found.append('mode "notify" needs no arming: it never signs; write mode = "confirm" or "auto" to let it act')
    if not keystores:
        found.append("no keystore is open to this engine; make one with `trimtab keystore new`, or name one")
    if snapshot is None:
        found.append("nothing has been read from the chain yet")
        return ArmingReport(rule.name, None, None, spends_of(rule), (), tuple(found))
    positions = positions_for(rule, snapshot, tuple(keystores))
    if not positions and keystores:
        accounts = ", ".join(short_address(account) for account in keystores)
        found.append(f"the rule watches {rule.position}, where the account of the key ({accounts}) is not watched")
    account = positions[0].key.account if positions else None
    for position in positions:
        found.extend(_too_late(rule, position, prospect))
        warnings.extend(_at_once(rule, position, prospect))
        warnings.extend(obstacles(rule, position, snapshot, fees, prospect))
    path = None if account is None else str(keystores[account])
    spends = spends_of(rule)
    cap = prospect.signer_fees(rule, snapshot)
    if rule.steps and cap is not None:
        spends = (*spends, cap_words(cap, snapshot.native_price_usd))
    return ArmingReport(rule.name, account, path, spends, tuple(dict.fromkeys(warnings)), tuple(found))


def _too_late(rule: Rule, position: Position, prospect: Prospect) -> list[str]:
    """That a trailing stop lies beyond liquidation as things are; fixed levels are judged with the file."""
    late = prospect.liquidated_first(rule, position) if rule.trigger.kind is TriggerKind.TRAILING else None
    if late is None:
        return []
    level, at = late
    pair = pair_text(rule.trigger)
    return [
        f"it fires at {pair} {level_words(rule.trigger, level)}, but the position is liquidated at {price_text(at)} "
        "before that: write a smaller trailing"
    ]


def _at_once(rule: Rule, position: Position, prospect: Prospect) -> list[str]:
    """That the price a rule waits for is there already."""
    price = prospect.price_of(rule, position)
    if price is None or not prospect.is_crossed(rule, position):
        return []
    return [f"it fires at once: {fact(rule.trigger, price, prospect.best_seen(rule, position))}"]


def spends_of(rule: Rule) -> tuple[str, ...]:
    """What a rule may spend, in words."""
    lines = [f"{step.action.word}: {_most_of(step)} each time it fires" for step in rule.steps]
    limits = rule.limits
    day = limits.daily_spend_usd
    lines.append("no limit a day" if day is None else f"at most ${group_digits(format_units(day, 8, 2))} moved a day")
    cost = limits.max_cost_usd
    lines.append(
        "gas and sales: no limit of the rule's"
        if cost is None
        else f"gas and what sales lose: at most ${format_units(cost, 8, 2)} each time"
    )
    return tuple(lines)


def _most_of(step: Step) -> str:
    """The most that one firing may take by a step, in words."""
    moved = step.collateral or step.asset
    most = f"up to {group_digits(step.maximum)} {moved}" if step.maximum else f"any {moved}"
    if step.action in SALES:
        loss = (step.max_slippage_bps or 0) / 100
        limit = f"losing at most {loss:g}% against the market's prices"
        if step.action is ActionKind.SWAP_TO_REPAY:
            return f"swap {most} of the wallet for {step.asset} and repay with it, {limit}"
        if step.action is ActionKind.SWITCH_COLLATERAL:
            return f"sell {most} of the collateral for {step.asset} in its place, {limit}"
        if step.action in BORROWING:
            what = "repay" if step.action is ActionKind.SWITCH_DEBT else "buy collateral of"
            return (
                f"borrow {most} to {what} {step.asset}, {limit}; what is not borrowed of it stays delegated to the "
                "helper, which acts for you alone"
            )
        return f"sell {most} of the collateral for {step.asset}, losing at most {loss:g}% against the market's prices"
    if step.action in FROM_WALLET:
        return most if step.maximum else f"{most} in the wallet"
    return f"{most} supplied"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing in the way of a defence. `stops`: by itself it stops it or keeps it from its target; what does not is
    worth knowing all the same, because the steps of the waterfall may still make up for it.
    """

    code: str
    text: str
    stops: bool = True


def obstacles(
    rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote | None, prospect: Prospect
) -> list[str]:
    """What would stop a defence of `position`, or keep it from its target, were it to fire where its trigger lies."""
    return [one.text for one in find_obstacles(rule, position, snapshot, fees, prospect)]


def find_obstacles(
    rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote | None, prospect: Prospect
) -> list[Obstacle]:
    """The same, each with a code and whether it is decisive."""
    if position.unknown is not None:
        return [Obstacle("position-unknown", f"the position is unknown now: {position.unknown}")]
    if position.health_factor is None:
        return [Obstacle("no-debt", "the position owes nothing: there is nothing to defend", stops=False)]
    if fees is None:
        return [Obstacle("fees-unknown", "fees could not be read, so no plan can be priced")]
    market = prospect.market(position)
    found: list[Obstacle] = []
    for step in rule.steps:
        asset = market.find_asset(position, step.asset)
        if asset is None:
            found.append(Obstacle("asset-unlisted", f"{market.key} lists no asset {step.asset}", stops=False))
            continue
        if step.action not in market.actions:
            text = f"{market.key}: this version cannot {step.action.word}; the step is passed over"
            found.append(Obstacle("action-missing", text, stops=False))
            continue
        if step.action not in FROM_WALLET:
            found.extend(_unable(step, asset, position, prospect))
        if step.action is ActionKind.SWAP_TO_REPAY:
            asset = market.find_asset(position, step.collateral or "")
        elif step.action not in FROM_WALLET:
            continue
        if asset is None:
            continue
        held = snapshot.wallets.get(position.key.account)
        holding = None if held is None else held.holding(asset.address)
        balance = None if holding is None else holding.balance
        if balance is None:
            found.append(Obstacle("balance-unknown", f"the wallet's {asset.symbol} could not be read"))
        elif balance == 0:
            text = f"the wallet holds no {asset.symbol}: {step.action.word} would add nothing"
            found.append(Obstacle("token-none", text, stops=False))
        elif step.maximum is not None and balance < step_cap(step, asset):
            text = f"the wallet holds {amount_text(balance, asset)}, less than the step's maximum"
            found.append(Obstacle("token-short", text, stops=False))
    there = prospect.at_trigger(rule, position)
    plan = prospect.plan(rule, there, snapshot, fees)
    if isinstance(plan, Refusal):
        code = GAS_IS_LOW if plan.code == "no-gas" else "would-not-act"
        return [*found, Obstacle(code, f"at its trigger it would not act: {plan.reason}")]
    if plan.shortfall is not None:
        found.append(Obstacle("shortfall", f"at its trigger it {plan.shortfall}"))
    wallet = snapshot.wallets[position.key.account]
    needed = plan.cost.gas_units * plan.fees.max_fee * (BUMPS_TO_PAY + 1)
    if wallet.native is not None and wallet.native < needed:
        text = (
            f"gas money is thin: {format_units(wallet.native, 18, 5)} of the native coin, "
            f"{format_units(needed, 18, 5)} would pay {BUMPS_TO_PAY} raised attempts"
        )
        found.append(Obstacle(GAS_IS_LOW, text))
    return found


def _unable(step: Step, asset: Asset, position: Position, prospect: Prospect) -> list[Obstacle]:
    """Why a step that lives off the position can do nothing, if it cannot."""
    market = prospect.market(position)
    collateral = None if step.collateral is None else market.find_asset(position, step.collateral)
    if step.collateral is not None and collateral is None:
        return [Obstacle("asset-unlisted", f"{market.key} lists no asset {step.collateral}", stops=False)]
    try:
        market.ceiling(position, step.action, asset, collateral)
    except ActionImpossible as impossible:
        return [Obstacle("step-impossible", f"{step.action.word}: {impossible}", stops=False)]
    terms = None if collateral is None else prospect.offers.known_terms(position, collateral)
    if terms is not None and terms.impossible is not None:
        return [Obstacle("step-impossible", f"{step.action.word}: {terms.impossible}", stops=False)]
    return []


def preview_position(rule: Rule, position: Position, prospect: Prospect) -> Position:
    """The position a preview plans for: as it is where the rule would fire now, else where its trigger lies."""
    if position.unknown is not None or position.health_factor is None:
        return position
    return prospect.at_trigger(rule, position)
