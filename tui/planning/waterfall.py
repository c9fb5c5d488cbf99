"""The waterfall: each step sized on the state that the earlier ones leave, until the target is met or means run out.

Pure and protocol-neutral: all arithmetic of health is asked of the market's adapter, in exact integers.
"""

from __future__ import annotations

from dataclasses import dataclass

from tui.model.plan import Action, PlannedStep
from tui.model.position import Asset, Position
from tui.model.rule import ActionKind, Rule, Step
from tui.model.text import clean_text
from tui.model.units import USD, format_units, parse_units, value_usd, whole
from tui.model.wallet import Wallet
from tui.protocols.base import ActionImpossible, LendingMarket
from tui.risk.sizing import size_action

INTEREST_ROOM = 5_000
"""A step aims above the target by this part of it (0.02%): until the transaction is in a block, and a while after,
interest eats into the health, which is to lie between the target and 0.1% above it.
"""


LEAST_USD = USD // 100
"""A step worth less than a cent is dust that a limit left over: it is no defence and costs gas and a nonce."""


@dataclass(frozen=True, slots=True)
class Waterfall:
    """What the steps come to. `position` is the exact state they leave; `skipped` says why steps add nothing."""

    steps: tuple[PlannedStep, ...]
    position: Position
    reaches_target: bool
    spend_usd: int
    skipped: tuple[str, ...]

    @property
    def actions(self) -> tuple[Action, ...]:
        """The actions that move something, in order."""
        return tuple(step.action for step in self.steps)


def meets(health_factor: int | None, target: int) -> bool:
    """Whether a health factor (None: no debt left) is at or above a target in wad."""
    return health_factor is None or health_factor >= target


def run_waterfall(
    rule: Rule, market: LendingMarket, position: Position, wallet: Wallet, spend_left_usd: int | None
) -> Waterfall:
    """Size the steps of `rule` against `position` with what `wallet` holds.

    `spend_left_usd` (8 decimals; None: no limit) caps the value moved over all steps. The result's health factor is
    at least the target and less than 0.1% above it where the means suffice; otherwise every step gives all it may.
    """
    steps: list[PlannedStep] = []
    actions: list[Action] = []
    skipped: list[str] = []
    balances = {token: holding.balance for token, holding in wallet.tokens.items()}
    spent = 0
    current = position
    aim = rule.target_health_factor + rule.target_health_factor // INTEREST_ROOM
    for step in rule.steps:
        if meets(current.health_factor, rule.target_health_factor):
            break
        asset = market.find_asset(position, step.asset)
        if asset is None:
            skipped.append(f"{step.action}: {market.key} lists no asset {clean_text(step.asset)}")
            continue
        left = None if spend_left_usd is None else spend_left_usd - spent
        most, why = _available(market, current, step, asset, balances.get(asset.address), left)
        amount = size_action(market, position, step.action, asset, most, aim, actions) if most > 0 else 0
        if amount <= 0:
            skipped.append(why or f"{step.action} {asset.symbol}: adds nothing")
            continue
        price = market.price_usd(position, asset)
        if price is not None and value_usd(amount, asset.decimals, price) < LEAST_USD:
            skipped.append(f"{step.action} {asset.symbol}: less than a cent is left for it")
            continue
        action = Action(step.action, asset, amount)
        try:
            after = market.after(position, (*actions, action))
        except ActionImpossible as refused:
            skipped.append(f"{step.action} {asset.symbol}: {refused}")
            continue
        if current.health_factor is not None and not _improves(after.health_factor, current.health_factor):
            skipped.append(f"{step.action} {asset.symbol}: would not raise the health factor")
            continue
        actions.append(action)
        balances[asset.address] = (balances[asset.address] or 0) - amount
        spent += value_usd(amount, asset.decimals, price or 0)
        current = after
        # What bounds a step is told only where it did bind: then it explains why the waterfall goes on.
        steps.append(PlannedStep(action, after.health_factor, why if amount == most else ""))
    return Waterfall(
        tuple(steps), current, meets(current.health_factor, rule.target_health_factor), spent, tuple(skipped)
    )


def _improves(after: int | None, before: int) -> bool:
    return after is None or after > before


def _available(
    market: LendingMarket, position: Position, step: Step, asset: Asset, balance: int | None, spend_left: int | None
) -> tuple[int, str]:
    """The most that a step may use, and what bounds it in words."""
    label = f"{step.action} {asset.symbol}"
    if balance is None:
        return 0, f"{label}: the wallet's balance could not be read"
    if balance == 0:
        return 0, f"{label}: the wallet holds none"
    try:
        ceiling = market.ceiling(position, step.action, asset)
    except ActionImpossible as refused:
        return 0, f"{label}: {refused}"
    price = market.price_usd(position, asset)
    if price is None or price <= 0:
        return 0, f"{label}: its price is not known"
    bounds = [(balance, f"the wallet holds {amount_text(balance, asset)}")]
    reason = "all that is owed" if step.action is ActionKind.REPAY else "all that the market takes"
    bounds.append((ceiling, f"{reason} is {amount_text(ceiling, asset)}"))
    if step.maximum is not None:
        try:
            bounds.append((parse_units(step.maximum, asset.decimals), f"the rule's maximum is {step.maximum}"))
        except ValueError as wrong:
            return 0, f"{label}: max {wrong}"
    if spend_left is not None:
        bounds.append((max(spend_left, 0) * whole(asset.decimals) // price, "the daily spend leaves no more"))
    amount, why = min(bounds, key=lambda bound: bound[0])
    return amount, why


def amount_text(amount: int, asset: Asset) -> str:
    """`5,214.20 USDC`, cut to what a reader needs: two digits for large amounts, six for small ones."""
    places = 2 if amount >= 100 * whole(asset.decimals) else 6
    text = format_units(amount, asset.decimals, min(places, asset.decimals))
    integer, point, fraction = text.partition(".")
    return f"{int(integer):,}{point}{fraction} {asset.symbol}"
