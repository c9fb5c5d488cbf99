"""Rules held against a live reading: what the file alone cannot tell. Errors cannot work; warnings will surprise.

Positions, wallets and market lists come in as values, and sizing as a callable, so nothing here reads a chain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tui.model.position import Asset, Collateral, MarketKey, Position
from tui.model.rule import (
    BORROWING,
    FROM_WALLET,
    SALES,
    SUPPLYING,
    ActionKind,
    Mode,
    Rule,
    RuleFault,
    Severity,
    Step,
    TriggerKind,
)
from tui.model.text import clean_text, short_address
from tui.model.units import BPS, USD, WAD, format_units
from tui.model.wallet import Wallet
from tui.rules.fields import choices, closest, percent_text, plain_decimal
from tui.rules.load import RuleSet
from tui.rules.match import EVERYTHING, applies, overlap
from tui.rules.prices import PriceSeen, fact, has_crossed, level_of, level_text, pair_text, price_text
from tui.rules.steps import SALE_KEYS


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
            self._priced(readable)
            for number, step in enumerate(self.rule.steps):
                self._step(number, step, readable)
        positions = [item for market in readable for item in market.positions if applies(self.rule, item.key)]
        if readable and not positions:
            self.warn("position", "no watched account matches it", "add the account to those you watch, or mend it")
        for position in positions:
            self._position(position)
        self._beyond_liquidation(positions)
        if self.rule.mode is not Mode.NOTIFY:
            for number, step in enumerate(self.rule.steps):
                self._reach(number, step, positions)

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
        for key, name in _names(step):
            self._asset(f"step.{number}.{key}", name, markets)
        without = [market for market in markets if step.action not in market.actions]
        if without:
            possible = frozenset.intersection(*(market.actions for market in markets))
            fix = (
                f"write {choices(sorted({one.word for one in possible}))}"
                if possible
                else "remove the step, or name another market"
            )
            if step.action is ActionKind.SWAP_TO_REPAY:
                fix += "; a swap wants router02 in the network file's [[swap]] table"
            elif step.action in SALES:
                fix += (
                    "; sales want router02 in the network file's [[swap]] table, and no other helper than this "
                    "market's under [helpers]: `trimtab helper verify` tells"
                )
            say = self.error if len(without) == len(markets) else self.warn
            where = " and ".join(str(market.key) for market in without)
            swaps = step.action is ActionKind.SWAP_TO_REPAY
            named = f"{step.action.word} with {SALE_KEYS[step.action].pays}" if swaps else step.action.word
            say(f"step.{number}.action", f"{named} is not possible in {where}", fix)
        if step.collateral is not None:
            self._pair(number, step, step.collateral, markets)

    def _priced(self, markets: Sequence[LiveMarket]) -> None:
        """The assets whose prices it waits for, as the markets list them."""
        trigger = self.rule.trigger
        for key, name in (("price_of", trigger.asset), ("in", trigger.quote)):
            if name is not None:
                self._asset(f"when.{key}", name, markets)
        for market in markets:
            asset = _one(market.assets, trigger.asset or "")
            if asset is not None and trigger.quote is not None and asset == _one(market.assets, trigger.quote):
                what = f"in {market.key} {pair_text(trigger)} is the price of an asset in itself"
                self.error("when.in", what, "name another asset, or take it out for dollars")
                return

    def _asset(self, dotted: str, name: str, markets: Sequence[LiveMarket]) -> None:
        lacking = [market for market in markets if not _named(market.assets, name)]
        for market in markets:
            twins = _named(market.assets, name)
            if len(twins) > 1:
                fix = f"write its address: {choices(asset.address for asset in twins)}"
                self.error(dotted, f"{market.key} lists {len(twins)} assets called {name}", fix)
        if not lacking:
            return
        say = self.error if len(lacking) == len(markets) else self.warn
        symbols = sorted({asset.symbol for market in lacking for asset in market.assets})
        same = next((symbol for symbol in symbols if symbol.casefold() == name.casefold()), None)
        guess = same or closest(name, symbols)
        listed = f"write one it lists: {', '.join(symbols[:12])}" if symbols else "write an asset that it lists"
        say(
            dotted,
            f"{' and '.join(str(market.key) for market in lacking)} lists no {clean_text(name)}",
            f'did you mean "{guess}"?' if guess else listed,
        )

    def _pair(self, number: int, step: Step, collateral: str, markets: Sequence[LiveMarket]) -> None:
        """What the file alone cannot see: a symbol and an address may be the same asset."""
        for market in markets:
            pair = _one(market.assets, collateral), _one(market.assets, step.asset)
            if None in pair:
                continue
            if pair[0] == pair[1]:
                what = f"in {market.key} the step sells {clean_text(step.asset)} for itself"
                self.error(f"step.{number}.{SALE_KEYS[step.action].buys}", what, "name another asset to sell")
                return
            for earlier, other in enumerate(self.rule.steps[:number]):
                if other.collateral is None or other.action is not step.action:
                    continue  # what is in the wallet and what is supplied are sold apart
                if pair == (_one(market.assets, other.collateral), _one(market.assets, other.asset)):
                    what = f"in {market.key} the step sells what step {earlier + 1} sells, for the same debt"
                    self.error(f"step.{number}.{SALE_KEYS[step.action].pays}", what, "keep one of the two")
                    return

    def _reach(self, number: int, step: Step, positions: Sequence[Position]) -> None:
        """A sale at the loss that it may take moves health towards LT / (1 - loss): a target not above that is out of
        its reach, and under it every such sale makes things worse. An error where it is so for all positions.
        """
        target = self.rule.target_health_factor
        if step.collateral is None or step.max_slippage_bps is None or target is None:
            return
        if step.action is not ActionKind.DELEVERAGE:
            return
        kept = BPS - step.max_slippage_bps
        held = [found for one in positions if (found := _supplied(one, step.collateral)) is not None]
        limits = [one.liquidation_threshold if one.counts else 0 for one in held]
        worst = max(limits, default=0)
        if not held or target * kept > worst * BPS:
            return
        say = self.error if all(target * kept <= limit * BPS for limit in limits) else self.warn
        cents = WAD // 100
        reachable = (worst * BPS // kept // cents + 1) * cents
        most = BPS - worst * BPS // target - 1
        fix = f'write a target of "{plain_decimal(reachable, 18)}" or more'
        if most > 0:
            fix += f', or a max_slippage of "{percent_text(most)}" or less'
        share = percent_text(step.max_slippage_bps)
        say(
            f"step.{number}.max_slippage",
            f"sold at a loss of {share}, {clean_text(step.collateral)} (liquidation threshold "
            f"{plain_decimal(worst, 16)}%) cannot raise health to {plain_decimal(target, 18)}",
            fix,
        )

    def _position(self, position: Position) -> None:
        called = f"{position.key.market}/{short_address(position.key.account)}"
        if position.unknown is not None:
            reason = clean_text(position.unknown, 160)
            self.warn("position", f"{called} is unknown now ({reason})", "nothing fires on it until it can be read")
            return
        self._already(position, called)
        if self.rule.mode is Mode.NOTIFY:
            return
        self._funds(position, called)
        outlook = self.forecast(self.rule, position) if self.forecast is not None else None
        if outlook is None or outlook.reaches_target:
            return
        because = f" ({clean_text(outlook.shortfall, 160)})" if outlook.shortfall else ""
        reach = "no debt" if outlook.health_factor_after is None else _short(outlook.health_factor_after)
        target = self.rule.target_health_factor
        short = f"gets to {reach} only, not {plain_decimal(target, 18)}" if target is not None else "falls short"
        self.warn(
            f"target.{self.rule.goal.kind.value}",
            f"{called} {short}{because}",
            "fund the wallet, raise a max or add a step",
        )

    # -- what it waits for

    def _already(self, position: Position, called: str) -> None:
        """A trigger that is crossed already, or that liquidation comes before."""
        level, health = self.rule.health_factor_below, position.health_factor
        if level is not None:
            if health is not None and health < level:
                self.warn(
                    "when.health_factor_below",
                    f"{called} is at {_short(health)} already, below the trigger: it fires at once",
                    "write a lower trigger if that is not meant",
                )
            return
        trigger = self.rule.trigger
        if self.rule.closes_when_high and health is not None and health > trigger.level:
            self.warn(
                trigger.field,
                f"{called} is at {_short(health)} already, above the trigger: it fires at once",
                "write a higher trigger if that is not meant",
            )
        if not trigger.is_price:
            return
        price = self._price_in(position)
        other = "higher" if trigger.kind is TriggerKind.PRICE_ABOVE else "lower"
        if price is not None and has_crossed(trigger, price):
            self.warn(
                trigger.field,
                f"{called}: {fact(trigger, price)} already: it fires at once",
                f"write a {other} price if that is not meant",
            )

    def _beyond_liquidation(self, positions: Sequence[Position]) -> None:
        """A stop that liquidation comes before. An error where it is so for every position that owes anything."""
        trigger = self.rule.trigger
        level = level_of(trigger)
        if self.rule.mode is Mode.NOTIFY or level is None:
            return
        owing = [one for one in positions if one.unknown is None and one.health_factor is not None]
        late = [(one, at) for one in owing if (at := self._liquidated_first(one, level)) is not None]
        for position, at in late:
            say = self.error if len(late) == len(owing) else self.warn
            called = f"{position.key.market}/{short_address(position.key.account)}"
            word = "below" if trigger.kind is TriggerKind.PRICE_BELOW else "above"
            other = "above" if word == "below" else "below"
            say(
                trigger.field,
                f"{called} is liquidated at {pair_text(trigger)} {price_text(at)}, before it is {word} "
                f"{level_text(level)}: the rule would come too late",
                f"write a price {other} {price_text(at)}, with room to act in",
            )

    def _liquidated_first(self, position: Position, level: int) -> int | None:
        """The price (wad) at which a position is liquidated, where the trigger's level is at it or beyond."""
        trigger, price = self.rule.trigger, self._price_in(position)
        held = next(
            (one for one in position.holdings if one.amount and _is_named(one.asset, trigger.asset or "")), None
        )
        at_usd = None if held is None else held.liquidation_price_usd
        if price is None or at_usd is None or held is None or not held.price_usd:
            return None
        at = PriceSeen(at_usd, price.unit_usd)
        if trigger.kind is TriggerKind.PRICE_BELOW and at_usd <= held.price_usd and not at.is_below(level):
            return at.wad
        if trigger.kind is TriggerKind.PRICE_ABOVE and at_usd >= held.price_usd and not at.is_above(level):
            return at.wad
        return None

    def _price_in(self, position: Position) -> PriceSeen | None:
        """The price that the rule waits for, as far as the position itself holds the assets."""
        trigger = self.rule.trigger
        price = _held_price(position, trigger.asset)
        unit = USD if trigger.quote is None else _held_price(position, trigger.quote)
        return None if price is None or unit is None else PriceSeen(price, unit)

    # -- what the steps need

    def _funds(self, position: Position, called: str) -> None:
        for number, step in enumerate(self.rule.steps):
            if self._is_refused(number):
                continue
            if step.action is not ActionKind.ADD_COLLATERAL and step.action not in SUPPLYING:
                self._owed(number, step, position, called)
            if step.action in BORROWING:
                continue
            if step.action is ActionKind.SWAP_TO_REPAY:
                self._held(
                    f"step.{number}.{SALE_KEYS[step.action].pays}", step.collateral or "", step, position, called
                )
            elif step.action not in FROM_WALLET:
                self._supply(number, step, position, called)
            else:
                self._held(f"step.{number}.asset", step.asset, step, position, called)

    def _is_refused(self, number: int) -> bool:
        """Whether something worse than a surprise was found in a step already."""
        return any(
            fault.rule == self.rule.name
            and fault.severity is Severity.ERROR
            and (fault.field or "").startswith(f"step.{number}.")
            for fault in self.found
        )

    def _owed(self, number: int, step: Step, position: Position, called: str) -> None:
        owed = [debt for debt in position.debt if _is_named(debt.asset, step.asset)]
        if not position.debt or any(debt.amount for debt in owed):
            return
        owes = ", ".join(sorted(debt.asset.symbol for debt in position.debt if debt.amount))
        self.warn(
            f"step.{number}.{'asset' if step.collateral is None else SALE_KEYS[step.action].buys}",
            f"{called} owes no {clean_text(step.asset)}: the step does nothing there",
            f"it owes {owes or 'nothing'}",
        )

    def _supply(self, number: int, step: Step, position: Position, called: str) -> None:
        name = step.asset if step.collateral is None else step.collateral
        if not position.debt or _supplied(position, name) is not None:
            return
        has = ", ".join(sorted(one.asset.symbol for one in position.collateral if one.amount))
        self.warn(
            f"step.{number}.{'asset' if step.collateral is None else SALE_KEYS[step.action].pays}",
            f"{called} has supplied no {clean_text(name)}: the step does nothing there",
            f"it has supplied {has or 'nothing'}",
        )

    def _held(self, dotted: str, name: str, step: Step, position: Position, called: str) -> None:
        shown = clean_text(name)
        payer = step.signer(position.key.account).lower()
        wallet = self.wallets.get(payer)
        whose = f"the wallet of {called}" if step.wallet is None else f"the wallet of {short_address(payer)}"
        held = [item for item in wallet.tokens.values() if _is_named(item.asset, name)] if wallet else []
        if wallet is None or not held or any(item.balance is None for item in held):
            self.warn(dotted, f"the {shown} in {whose} could not be read", "check again later")
        elif not any(item.balance for item in held):
            self.warn(dotted, f"{whose} holds no {shown}", f"send {shown} to it before you arm the rule")


def _names(step: Step) -> tuple[tuple[str, str], ...]:
    """The keys under which a step names assets, and the names."""
    if step.collateral is None:
        return (("asset", step.asset),)
    keys = SALE_KEYS[step.action]
    return ((keys.pays, step.collateral), (keys.buys, step.asset))


def _supplied(position: Position, name: str) -> Collateral | None:
    """What of an asset a position has supplied; None where that is nothing, or nothing is known."""
    if position.unknown is not None:
        return None
    return next((one for one in position.collateral if one.amount and _is_named(one.asset, name)), None)


def _held_price(position: Position, name: str | None) -> int | None:
    if name is None or position.unknown is not None:
        return None
    return next((one.price_usd for one in position.holdings if _is_named(one.asset, name)), None)


def _one(assets: Sequence[Asset], name: str) -> Asset | None:
    found = _named(assets, name)
    return found[0] if len(found) == 1 else None


def _is_named(asset: Asset, name: str) -> bool:
    return name in (asset.symbol, asset.address)


def _named(assets: Sequence[Asset], name: str) -> tuple[Asset, ...]:
    return tuple(asset for asset in assets if _is_named(asset, name))


def _short(health_factor: int) -> str:
    return format_units(health_factor, 18, 4)
