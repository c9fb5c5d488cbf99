"""What arming a rule means, before and when it is done: which account, what it may spend, what would stop it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tui.engine.facade import ArmingReport, KeyUse
from tui.engine.prospect import Prospect
from tui.model.block import BlockRef
from tui.model.plan import FeeQuote, Plan, Refusal
from tui.model.position import Asset, Position
from tui.model.rule import (
    BORROWING,
    FROM_WALLET,
    SALES,
    ActionKind,
    Mode,
    RoundsUse,
    Rule,
    RuleProblem,
    Step,
)
from tui.model.snapshot import Snapshot
from tui.model.text import short_address
from tui.model.units import format_units, group_digits
from tui.model.wallet import Wallet
from tui.planning.costs import gas_of
from tui.planning.fee_caps import cap_words
from tui.planning.payers import sender_of, senders_of
from tui.planning.policy import ArmedScope, step_cap
from tui.planning.texts import amount_text, step_text
from tui.planning.validate import OUT_OF_REACH, STANDING_ALLOWANCE
from tui.protocols.base import ActionImpossible, LendingMarket
from tui.rules.match import applies, may_defend
from tui.rules.prices import level_words, pair_text, price_text

BUMPS_TO_PAY = 3
"""Gas for this many raised attempts should be at hand before a rule is called well armed."""
GAS_IS_LOW = "gas-low"
"""The code of the obstacle that an account has too little of the native coin."""
SHORTFALL, NOTHING_TO_DO = "shortfall", "nothing-to-do"
"""Codes of the obstacles that a plan falls short of its goal, and that it has no step at all."""
_REFUSED_AS = {
    "no-gas": GAS_IS_LOW,
    "nothing-available": NOTHING_TO_DO,
    STANDING_ALLOWANCE: STANDING_ALLOWANCE,
}
"""Obstacles by the code of the refusal of a plan."""


def positions_for(rule: Rule, snapshot: Snapshot, accounts: Sequence[str]) -> tuple[Position, ...]:
    """The positions of a snapshot that a rule watches and that one of `accounts` owns."""
    return tuple(
        position for position in snapshot.positions if position.key.account in accounts and applies(rule, position.key)
    )


def candidates_for(rule: Rule, snapshot: Snapshot, own: Container[str]) -> tuple[Position, ...]:
    """The positions of a snapshot that a rule could be armed for by an owner of the accounts `own`: of these, and of an
    account that it names itself while others pay. Whether every key is here is not looked at.
    """
    return tuple(position for position in snapshot.positions if may_defend(rule, position.key, own))


@dataclass(frozen=True, slots=True)
class Target:
    """What a rule would be armed for: the positions of one account, and whose keys that it needs are `missing`."""

    account: str
    positions: tuple[Position, ...]
    missing: tuple[str, ...]


def target_of(rule: Rule, snapshot: Snapshot, own: Container[str]) -> Target | None:
    """What a rule would be armed for by an owner of the accounts `own`: the first account of which it watches a
    position and every key that its steps need is here; else the first of all. None: there is none.
    """
    found = candidates_for(rule, snapshot, own)
    accounts = dict.fromkeys(position.key.account for position in found)
    missing = {one: tuple(key for key in rule.signers(one) if key not in own) for one in accounts}
    account = min(accounts, key=lambda one: bool(missing[one]), default=None)
    if account is None:
        return None
    return Target(account, tuple(one for one in found if one.key.account == account), missing[account])


def scope_of(rule: Rule, position: Position, snapshot: Snapshot, prospect: Prospect) -> ArmedScope:
    """A rule on a position, as the signer's policy wants it."""
    wallet = snapshot.wallets.get(position.key.account) or Wallet(position.key.account, None, None)
    market = prospect.market(position)
    by_rounds = frozenset(
        asset.address
        for step in rule.steps
        if step.action is ActionKind.DELEVERAGE and (asset := market.find_asset(position, step.collateral or ""))
        # What was never asked may turn out not to be there.
        if (terms := prospect.offers.known_terms(position, asset)) is None or terms.absent
    )
    payers = {one: snapshot.wallets[one] for one in rule.wallets if one in snapshot.wallets}
    return ArmedScope(
        rule,
        market,
        position,
        wallet,
        prospect.wrapped_native,
        prospect.swapper,
        prospect.dialects,
        MappingProxyType(payers),
        by_rounds,
    )


def arming_report(
    rule: Rule,
    snapshot: Snapshot | None,
    fees: FeeQuote | None,
    keystores: Mapping[str, Path],
    prospect: Prospect,
    problems: Sequence[str],
    wrong: Sequence[RuleProblem] = (),
    rests: Callable[[Rule, Position, BlockRef], str | None] = lambda _rule, _position, _block: None,
) -> ArmingReport:
    """The report for one rule. `keystores` maps own accounts to their key files; `problems` are known already, and of
    `wrong` nothing is told a second time. `rests`: why it would do nothing by what it remembers.
    """
    found = list(problems)
    warnings: list[str] = []
    if rule.mode is Mode.NOTIFY:
        found.append('mode "notify" needs no arming: it never signs; write mode = "confirm" or "auto" to let it act')
    if not keystores:
        found.append("no keystore is open to this engine; make one with `trimtab keystore new`, or name one")
    if snapshot is None:
        found.append("nothing has been read from the chain yet")
        return ArmingReport(rule.name, None, None, spends_of(rule), (), tuple(found))
    target = target_of(rule, snapshot, keystores)
    if target is None:
        if keystores:
            found.append(_no_target(rule, snapshot, keystores))
        return ArmingReport(rule.name, None, None, spends_of(rule), (), tuple(found))
    found.extend(_missing_key(rule, target, account) for account in target.missing)
    for position in target.positions:
        found.extend(_too_late(rule, position, prospect))
        resting = rests(rule, position, snapshot.block)
        warnings.extend(_at_once(rule, position, prospect) if resting is None else [resting])
        found_there = find_obstacles(rule, position, snapshot, fees, prospect)
        warnings.extend(one.text for one in not_told(found_there, wrong))
    spends = spends_of(rule)
    cap = prospect.signer_fees(rule, snapshot)
    if rule.steps and cap is not None:
        spends = (*spends, cap_words(cap, snapshot.native_price_usd))
    own = keystores.get(target.account)
    return ArmingReport(
        rule.name,
        target.account,
        None if own is None else str(own),
        spends,
        tuple(dict.fromkeys(warnings)),
        tuple(found),
        tuple(
            KeyUse(signer, str(keystores[signer]), _signed_steps(rule, target.account, signer))
            for signer in rule.signers(target.account)
            if signer in keystores
        ),
    )


def _no_target(rule: Rule, snapshot: Snapshot, own: Mapping[str, Path]) -> str:
    """Why there is nothing that a rule could be armed for."""
    accounts = ", ".join(short_address(account) for account in own)
    others = [one.key for one in snapshot.positions if applies(rule, one.key)]
    if rule.wallets and others:
        return (
            f"the rule watches {rule.position} and lets other accounts pay, but for an account without its key here "
            f'only if the rule names it: write position = "{others[0]}"'
        )
    return f"the rule watches {rule.position}, where the account of the key ({accounts}) is not watched"


def _missing_key(rule: Rule, target: Target, account: str) -> str:
    """That a key is not here, with the steps that need it."""
    steps = ", ".join(_signed_steps(rule, target.account, account))
    return (
        f"the key of {account}, which signs {steps}, is not here: import its key file (`trimtab keystore import`) or "
        "give it with --keystore"
    )


def _signed_steps(rule: Rule, account: str, signer: str) -> tuple[str, ...]:
    """The steps that an account signs on a position of `account`, in words."""
    return tuple(
        f"step {number} ({step_text(step)})"
        for number, step in enumerate(rule.steps, start=1)
        if step.signer(account) == signer
    )


def _too_late(rule: Rule, position: Position, prospect: Prospect) -> list[str]:
    """That a trailing stop lies beyond liquidation as things are; fixed levels are judged with the file."""
    late = prospect.liquidated_first(rule, position) if rule.trigger.trails else None
    if late is None:
        return []
    level, at = late
    pair = pair_text(rule.trigger)
    return [
        f"it fires at {pair} {level_words(rule.trigger, level)}, but the position is liquidated at {price_text(at)} "
        f"before that: write a smaller {rule.trigger.kind.value}"
    ]


def _at_once(rule: Rule, position: Position, prospect: Prospect) -> list[str]:
    """That the price or the high health that a rule waits for is there already."""
    said = prospect.beyond_words(rule, position)
    return [] if said is None else [f"it fires at once: {said}"]


def spends_of(rule: Rule) -> tuple[str, ...]:
    """What a rule may spend, in words."""
    lines = [f"{step.action.word}{_payer_of(step)}: {_most_of(step)} each time it fires" for step in rule.steps]
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


def _payer_of(step: Step) -> str:
    return "" if step.wallet is None else f", paid by {short_address(step.wallet)}"


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
    worth knowing all the same, because the steps of the waterfall may still make up for it. `account`: whose it is,
    where it is money for gas.
    """

    code: str
    text: str
    stops: bool = True
    account: str | None = None


_TOLD_BY = {
    SHORTFALL: OUT_OF_REACH,
    NOTHING_TO_DO: OUT_OF_REACH,
    STANDING_ALLOWANCE: STANDING_ALLOWANCE,
}
"""Obstacles by the code of the problem that says the same, and how far it gets."""


def not_told(found: Sequence[Obstacle], wrong: Sequence[RuleProblem]) -> list[Obstacle]:
    """The obstacles that no problem tells: everywhere the same thing is told in the problem's words. One that stops the
    rule is told by nothing less.
    """
    return [
        one
        for one in found
        if not any(_TOLD_BY.get(one.code) == told.code and (told.decisive or not one.stops) for told in wrong)
    ]


def find_obstacles(
    rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote | None, prospect: Prospect
) -> list[Obstacle]:
    """What would stop a defence of `position`, or keep it from its target, were it to fire where its trigger lies."""
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
        held = snapshot.wallets.get(step.signer(position.key.account))
        whose = "the wallet" if step.wallet is None else short_address(step.wallet)
        holding = None if held is None else held.holding(asset.address)
        balance = None if holding is None else holding.balance
        if balance is None:
            found.append(Obstacle("balance-unknown", f"{whose}'s {asset.symbol} could not be read"))
        elif balance == 0:
            text = f"{whose} holds no {asset.symbol}: {step.action.word} would add nothing"
            found.append(Obstacle("token-none", text, stops=False))
        elif step.maximum is not None and balance < step_cap(step, asset):
            text = f"{whose} holds {amount_text(balance, asset)}, less than the step's maximum"
            found.append(Obstacle("token-short", text, stops=False))
    there = prospect.at_trigger(rule, position)
    plan = prospect.plan(rule, there, snapshot, fees)
    if isinstance(plan, Refusal):
        code = _REFUSED_AS.get(plan.code, "would-not-act")
        return [*found, Obstacle(code, f"at its trigger it would not act: {plan.reason}", account=plan.account)]
    if plan.rounds is not None:
        found.append(Obstacle("in-rounds", f"deleverage goes {plan.rounds.why}", stops=False))
    if plan.shortfall is not None:
        found.append(Obstacle(SHORTFALL, f"at its trigger it {plan.shortfall}", stops=not rule.partial))
    found.extend(_thin_gas(plan, snapshot, market))
    return found


def _thin_gas(plan: Plan, snapshot: Snapshot, market: LendingMarket) -> Iterator[Obstacle]:
    """Each account that signs a part of a plan and could not pay for raised attempts of it."""
    account = plan.position.account
    senders = senders_of(plan.calls, account)
    for sender in senders:
        wallet = snapshot.wallets.get(sender)
        gas = gas_of(market, (call for call in plan.calls if sender_of(call, account) == sender))
        if plan.rounds is not None and sender == account:
            gas *= 1 + plan.rounds.ahead
        needed = (
            (gas if len(senders) > 1 or plan.rounds is not None else plan.cost.gas_units)
            * plan.fees.max_fee
            * (BUMPS_TO_PAY + 1)
        )
        if wallet is None or wallet.native is None or wallet.native >= needed:
            continue
        whose = "gas money" if sender == account else f"gas money of {short_address(sender)}"
        text = (
            f"{whose} is thin: {format_units(wallet.native, 18, 5)} of the native coin, "
            f"{format_units(needed, 18, 5)} would pay {BUMPS_TO_PAY} raised attempts"
        )
        yield Obstacle(GAS_IS_LOW, text, account=sender)


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
    if terms is not None and terms.absent and step.rounds is not RoundsUse.NEVER:
        return []  # it goes in rounds then, which the plan tells
    if terms is not None and terms.impossible is not None:
        return [Obstacle("step-impossible", f"{step.action.word}: {terms.impossible}", stops=False)]
    return []


def preview_position(rule: Rule, position: Position, prospect: Prospect) -> Position:
    """The position a preview plans for: as it is where the rule would fire now, else where its trigger lies."""
    if position.unknown is not None or position.health_factor is None:
        return position
    return prospect.at_trigger(rule, position)
