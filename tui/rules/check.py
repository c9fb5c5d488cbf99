"""Rules held against a live reading: what the file alone cannot tell. Errors cannot work; warnings will surprise.

Positions, wallets and market lists come in as values, and sizing as a callable, so nothing here reads a chain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tui.model.position import Asset, MarketKey, Position
from tui.model.rule import ActionKind, Mode, Rule, RuleFault, Severity, Step
from tui.model.text import clean_text, short_address
from tui.model.units import format_units
from tui.model.wallet import Wallet
from tui.rules.fields import choices, closest, plain_decimal
from tui.rules.load import RuleSet
from tui.rules.match import EVERYTHING, applies, overlap


@dataclass(frozen=True, slots=True)
class LiveMarket:
    """A market as read at one block: what it lists, what its adapter can do, and the positions watched in it.

    `error` is set where the market could not be read.
    """

    key: MarketKey
    actions: frozenset[ActionKind]
    assets: tuple[Asset, ...]
    positions: tuple[Position, ...]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """How far a rule's waterfall gets with present balances: health factor after it in wad (None: no debt left)."""

    reaches_target: bool
    health_factor_after: int | None
    shortfall: str | None = None


Forecast = Callable[[Rule, Position], Outlook | None]
"""Sizes a rule on a position as if it fired now; None where that says nothing (already above the target, unknown)."""


def check_live(
    rules: RuleSet,
    markets: Sequence[LiveMarket],
    wallets: Mapping[str, Wallet],
    forecast: Forecast | None = None,
) -> tuple[RuleFault, ...]:
    """What is wrong with the usable rules of a file, given the chain as it is. `wallets` by lower-case account."""
    found: list[RuleFault] = []
    for rule in rules.rules:
        _RuleCheck(rules, rule, markets, wallets, forecast, found).run()
    return tuple(sorted(found, key=lambda fault: fault.line))


@dataclass(slots=True)
class _RuleCheck:
    rules: RuleSet
    rule: Rule
    markets: Sequence[LiveMarket]
    wallets: Mapping[str, Wallet]
    forecast: Forecast | None
    found: list[RuleFault] = field(default_factory=list)

    def run(self) -> None:
        matching = [market for market in self.markets if overlap(self.rule.position, str(market.key))]
        if not matching:
            names = sorted(str(market.key) for market in self.markets)
            guess = closest(self.rule.position, names)
            fix = f'did you mean "{guess}"?' if guess else f"write {choices([*names, EVERYTHING])}"
            self.error("position", f"no market {clean_text(self.rule.position, 60)} is configured here", fix)
            return
        for market in matching:
            if market.error is not None:
                reason = clean_text(market.error, 160)
                self.warn("position", f"{market.key} could not be read ({reason})", "check again once it can be read")
        readable = [market for market in matching if market.error is None]
        if readable:
            for number, step in enumerate(self.rule.steps):
                self._step(number, step, readable)
        positions = [item for market in readable for item in market.positions if applies(self.rule, item.key)]
        if readable and not positions:
            self.warn("position", "no watched account matches it", "add the account to those you watch, or mend it")
        for position in positions:
            self._position(position)

    def error(self, dotted: str, what: str, fix: str) -> None:
        self._add(dotted, what, fix, Severity.ERROR)

    def warn(self, dotted: str, what: str, fix: str) -> None:
        self._add(dotted, what, fix, Severity.WARNING)

    def _add(self, dotted: str, what: str, fix: str, severity: Severity) -> None:
        name = self.rule.name
        line = self.rules.line_of(name, dotted)
        self.found.append(RuleFault(self.rules.file, line, f'rule "{name}": {what}', fix, name, dotted, severity))

    def _step(self, number: int, step: Step, markets: Sequence[LiveMarket]) -> None:
        """A step that works in none of the rule's markets is an error; in some of them, a warning."""
        lacking = [market for market in markets if not _named(market.assets, step.asset)]
        for market in markets:
            twins = _named(market.assets, step.asset)
            if len(twins) > 1:
                fix = f"write its address: {choices(asset.address for asset in twins)}"
                self.error(f"step.{number}.asset", f"{market.key} lists {len(twins)} assets called {step.asset}", fix)
            if step.action not in market.actions:
                what = f"{step.action.value} is not possible in {market.key}"
                self.error(f"step.{number}.action", what, f"write {choices(sorted(market.actions)) or 'no step'}")
        if not lacking:
            return
        say = self.error if len(lacking) == len(markets) else self.warn
        symbols = sorted({asset.symbol for market in lacking for asset in market.assets})
        same = next((symbol for symbol in symbols if symbol.casefold() == step.asset.casefold()), None)
        guess = same or closest(step.asset, symbols)
        listed = f"write one it lists: {', '.join(symbols[:12])}" if symbols else "write an asset that it lists"
        say(
            f"step.{number}.asset",
            f"{' and '.join(str(market.key) for market in lacking)} lists no {clean_text(step.asset)}",
            f'did you mean "{guess}"?' if guess else listed,
        )

    def _position(self, position: Position) -> None:
        called = f"{position.key.market}/{short_address(position.key.account)}"
        if position.unknown is not None:
            reason = clean_text(position.unknown, 160)
            self.warn("position", f"{called} is unknown now ({reason})", "nothing fires on it until it can be read")
            return
        health = position.health_factor
        if health is not None and health < self.rule.health_factor_below:
            self.warn(
                "when.health_factor_below",
                f"{called} is at {_short(health)} already, below the trigger: it fires at once",
                "write a lower trigger if that is not meant",
            )
        if self.rule.mode is Mode.NOTIFY:
            return
        self._funds(position, called)
        outlook = self.forecast(self.rule, position) if self.forecast is not None else None
        if outlook is not None and not outlook.reaches_target:
            reach = "no debt" if outlook.health_factor_after is None else _short(outlook.health_factor_after)
            because = f" ({clean_text(outlook.shortfall, 160)})" if outlook.shortfall else ""
            self.warn(
                "target.health_factor",
                f"{called} gets to {reach} only, not {plain_decimal(self.rule.target_health_factor, 18)}{because}",
                "fund the wallet, raise a max or add a step",
            )

    def _funds(self, position: Position, called: str) -> None:
        wallet = self.wallets.get(position.key.account.lower())
        for number, step in enumerate(self.rule.steps):
            dotted = f"step.{number}.asset"
            shown = clean_text(step.asset)
            owed = [debt for debt in position.debt if _is_named(debt.asset, step.asset)]
            if step.action is ActionKind.REPAY and position.debt and not any(debt.amount for debt in owed):
                owes = ", ".join(sorted(debt.asset.symbol for debt in position.debt if debt.amount))
                self.warn(
                    dotted, f"{called} owes no {shown}: the step does nothing there", f"it owes {owes or 'nothing'}"
                )
            held = [item for item in wallet.tokens.values() if _is_named(item.asset, step.asset)] if wallet else []
            if wallet is None or not held or any(item.balance is None for item in held):
                self.warn(dotted, f"the {shown} in the wallet of {called} could not be read", "check again later")
            elif not any(item.balance for item in held):
                self.warn(
                    dotted, f"the wallet of {called} holds no {shown}", f"send {shown} to it before you arm the rule"
                )


def _is_named(asset: Asset, name: str) -> bool:
    return name in (asset.symbol, asset.address)


def _named(assets: Sequence[Asset], name: str) -> tuple[Asset, ...]:
    return tuple(asset for asset in assets if _is_named(asset, name))


def _short(health_factor: int) -> str:
    return format_units(health_factor, 18, 4)
