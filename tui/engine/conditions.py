"""What is stale, strange or changed in a market under a rule, and what follows: disarm, hold back, pass a step over.

Pure: two sights of a market in, conditions out. What cannot be told counts against acting, never for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from tui.model.impossible import ActionImpossible
from tui.model.position import Collateral, Position
from tui.model.rule import ActionKind, Rule, StalePrice, Step
from tui.model.snapshot import Listing, MarketFacts, Snapshot
from tui.model.text import clean_text, short_address
from tui.model.wallet import Wallet
from tui.protocols.base import LendingMarket


class Consequence(StrEnum):
    """What a condition does to an armed rule."""

    DISARM = "disarm"
    HOLD_BACK = "hold-back"
    STEP_OUT = "step-out"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is not as it should be, in words for a person. `step`: the step of the rule that it takes out,
    counted from 0. `code` and `about` stay the same while the words and their figures change.
    """

    consequence: Consequence
    code: str
    text: str
    step: int | None = None
    about: str = ""


_BY_PRICE = ("price-stale", "step-price")
DELEGATED = "delegated"
"""The code of what is said of an account that runs our code as its own, or does no longer."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a rule was armed on, for one position: its market as it was, the assets that mattered then, and whom the
    account was delegated to (None: nobody).
    """

    facts: MarketFacts
    assets: frozenset[str]
    delegate: str | None = None


def baseline_of(rule: Rule, position: Position, snapshot: Snapshot) -> Baseline | None:
    """The market under a rule as it is at a snapshot; None where it cannot be read."""
    facts = snapshot.market(position.key.market)
    if facts is None or facts.error is not None or position.unknown is not None:
        return None
    wallet = snapshot.wallets.get(position.key.account)
    return Baseline(facts, _assets_of(rule, position, facts), None if wallet is None else wallet.delegate)


def conditions_of(
    rule: Rule,
    position: Position,
    snapshot: Snapshot,
    market: LendingMarket,
    heartbeat: int,
    baseline: Baseline | None = None,
) -> tuple[Condition, ...]:
    """Everything about a rule on a position that is not as it should be at a snapshot, the gravest first.

    `heartbeat` in seconds: prices older than that are stale. Without a `baseline` nothing can have changed.
    """
    account = position.key.account
    found: list[Condition] = []
    for signer in rule.signers(account) or (account,):
        pays = signer != account
        found.extend(_account(signer, snapshot.wallets.get(signer), baseline, pays))
    facts = snapshot.market(position.key.market)
    if facts is None or facts.error is not None:
        reason = "it was not read" if facts is None else facts.error
        found.append(_hold("market-unknown", f"the market {position.key.market} cannot be read: {reason}"))
    else:
        if baseline is not None:
            found.extend(_changes(rule, position, baseline, facts))
        found.extend(_unseen(facts, baseline))
        if position.unknown is not None:
            found.append(_hold("position-unknown", f"the position is unknown now: {position.unknown}"))
        else:
            found.extend(health_prices(rule, position, heartbeat))
            found.extend(trigger_prices(rule, position, facts, heartbeat))
            found.extend(_steps(rule, position, facts, market, heartbeat))
    order = list(Consequence)
    return tuple(sorted(dict.fromkeys(found), key=lambda one: order.index(one.consequence)))


def first(conditions: Iterable[Condition], consequence: Consequence) -> str | None:
    """The words of the first condition of a consequence, or None."""
    return next((one.text for one in conditions if one.consequence is consequence), None)


def acting_rule(rule: Rule, conditions: Iterable[Condition]) -> Rule:
    """The rule as far as it may act. Its digest stays, it means the same rule.

    Steps that the market itself makes impossible stay: the waterfall passes them over and says so in its plan.
    """
    out = {one.step for one in conditions if one.consequence is Consequence.STEP_OUT and one.code in _BY_PRICE}
    if not out:
        return rule
    return replace(rule, steps=tuple(step for number, step in enumerate(rule.steps) if number not in out))


def _hold(code: str, text: str, about: str = "") -> Condition:
    return Condition(Consequence.HOLD_BACK, code, text, about=about)


def _disarm(code: str, text: str) -> Condition:
    return Condition(Consequence.DISARM, code, text)


def _account(account: str, wallet: Wallet | None, baseline: Baseline | None, pays: bool) -> Iterable[Condition]:
    """Whether an account that signs is a plain one. `pays`: it is not the position's own, and is named in the words."""
    called = f"the account {short_address(account)}, which pays," if pays else "the account"
    if wallet is None:
        whose = f"the wallet of {short_address(account)}, which pays," if pays else "the account's wallet"
        yield _hold("wallet-unknown", f"{whose} was not read", account if pays else "")
    elif not wallet.code_read:
        yield _hold("code-unknown", f"whether {called} carries code could not be read", account if pays else "")
    elif wallet.is_foreign:
        named = called if pays else f"the account {short_address(account)}"
        yield _disarm(
            "account-has-code",
            f"{named} carries code (a delegation, or a contract): "
            "others may move what it holds; take the delegation back (`trimtab helper undelegate`)",
        )
    elif not pays:  # an account that only pays sells nothing through the helper, whatever it runs
        yield from _own_code(wallet, baseline)


def _own_code(wallet: Wallet, baseline: Baseline | None) -> Iterable[Condition]:
    """What the account runs as its own, beside what it ran when the rule was armed. The signer was told the ways of a
    plain account in any case, those of a delegated one only where it was one then.
    """
    account, before = short_address(wallet.account), None if baseline is None else baseline.delegate
    if wallet.delegate is not None and baseline is not None and before != wallet.delegate:
        yield _disarm(
            "account-delegated",
            f"the account {account} was delegated to Trimtab's helper after the rule was armed: look, then arm again",
        )
    elif wallet.delegate is not None:
        text = f"the account {account} is delegated to Trimtab's helper: it sells by itself, and approves nothing"
        yield Condition(Consequence.NOTE, DELEGATED, text)
    elif before is not None:
        text = f"the account {account} is not delegated to Trimtab's helper any more: it sells through the helper again"
        yield Condition(Consequence.NOTE, DELEGATED, text, about="gone")


# --- what changed under the rule -----------------------------------------------------------------------------------


def _changes(rule: Rule, position: Position, baseline: Baseline, now: MarketFacts) -> Iterable[Condition]:
    before, key = baseline.facts, now.key
    named = dict(now.identity)
    for what, was in before.identity:
        if named.get(what) != was:
            yield _disarm(f"{what}-changed", f"{key}: the {what} was {_shown(was)}, now {_shown(named.get(what))}")
    for proxy, code in before.implementations.items():
        told = now.implementations.get(proxy)
        if told is None and code is not None:
            yield _hold(
                "implementation-unknown", f"{key}: the code behind {short_address(proxy)} cannot be read", proxy
            )
        elif code is not None and told != code:
            yield _disarm(
                "implementation-changed",
                f"{key}: the code behind {short_address(proxy)} was replaced: {_shown(code)} became {_shown(told)}",
            )
    for address in sorted(baseline.assets | _assets_of(rule, position, now)):
        yield from _asset_changes(now, before.listing(address), now.listing(address))
    for name in dict.fromkeys((*(name for step in rule.steps for name in step.names), *rule.trigger.names)):
        then, current = before.named(name), now.named(name)
        if then is not None and (current is None or current.address != then.address):
            yield _disarm("token-changed", f"{key}: {clean_text(name)} is another token than when it was armed")


def _unseen(facts: MarketFacts, baseline: Baseline | None) -> Iterable[Condition]:
    """What a node never let us look at: a change of it would go by unseen."""
    for proxy, code in facts.implementations.items():
        if code is None and (baseline is None or baseline.facts.implementations.get(proxy) is None):
            text = (
                f"{facts.key}: this node does not tell which code stands behind {short_address(proxy)}: "
                "only an upgrade with another revision would be noticed"
            )
            yield Condition(Consequence.NOTE, "implementation-unseen", text, about=proxy)


def _asset_changes(facts: MarketFacts, before: Listing | None, now: Listing | None) -> Iterable[Condition]:
    if before is None:
        if now is not None:
            symbol = now.asset.symbol
            yield _disarm("asset-new", f"{facts.key} did not list {symbol} when the rule was armed; arm it again")
        return
    symbol = before.asset.symbol
    if now is None:
        yield _disarm("asset-gone", f"{facts.key} lists {symbol} no more")
        return
    if now.asset.decimals != before.asset.decimals:
        were, are = before.asset.decimals, now.asset.decimals
        yield _disarm("decimals-changed", f"{symbol} had {were} decimals in {facts.key}, now {are}")
    if before.token_decimals is not None and now.token_decimals != before.token_decimals:
        if now.token_decimals is None:
            yield _hold("decimals-unknown", f"{symbol} does not tell its decimals any more", symbol)
        else:
            yield _disarm(
                "decimals-changed",
                f"the token {symbol} said it has {before.token_decimals} decimals, now {now.token_decimals}",
            )
    if before.price_source is not None and now.price_source != before.price_source:
        if now.price_source is None:
            yield _hold("source-unknown", f"{facts.key} does not tell who prices {symbol} any more", symbol)
        else:
            yield _disarm(
                "source-changed",
                f"{symbol} was priced by {_shown(before.price_source)}, now by {_shown(now.price_source)}",
            )


def _assets_of(rule: Rule, position: Position, facts: MarketFacts) -> frozenset[str]:
    """The assets that matter to a rule on a position: held, owed, or named by a step or by the trigger."""
    names = (*(name for step in rule.steps for name in step.names), *rule.trigger.names)
    steps = (facts.named(name) for name in names)
    held = (one.asset.address for one in position.holdings if one.amount)
    return frozenset((*held, *(asset.address for asset in steps if asset is not None)))


def _shown(text: str | None) -> str:
    return "none" if text is None else short_address(clean_text(text)) if text.startswith("0x") else clean_text(text)


# --- prices --------------------------------------------------------------------------------------------------------


def health_prices(rule: Rule, position: Position, heartbeat: int) -> Iterable[Condition]:
    """Prices that the position's health stands on, as to their age. Where a rule waits for high health, or trails it,
    its trigger waits for all of them: none may be old, whatever it says of stale prices.
    """
    if position.health_factor is None:
        return
    acts = rule.limits.stale_price is StalePrice.ACT and not rule.trigger.stands_on_all
    for one in position.holdings:
        if not one.amount or (isinstance(one, Collateral) and not one.counts):
            continue
        symbol = one.asset.symbol
        if one.price_usd is None or one.price_usd <= 0:
            yield _hold("price-missing", f"{symbol} has no price", symbol)
            continue
        strange = _strange_age(one.price_updated_at, position.block.timestamp, heartbeat)
        if strange is not None and acts:
            text = f"the price of {symbol} {strange}: the rule repays all the same, as it says"
            yield Condition(Consequence.NOTE, "price-stale", text, about=symbol)
            for number, step in enumerate(rule.steps):
                if step.action is not ActionKind.REPAY:
                    why = _out(number, step, f"the price of {symbol} {strange}")
                    yield Condition(Consequence.STEP_OUT, "price-stale", why, number, symbol)
        elif strange is not None:
            yield _hold("price-stale", f"the price of {symbol} {strange}", symbol)
        elif one.price_updated_at is None:
            text = f"who prices {symbol} does not tell when: its age cannot be checked"
            yield Condition(Consequence.NOTE, "price-age-unknown", text, about=symbol)


def trigger_prices(rule: Rule, position: Position, facts: MarketFacts, heartbeat: int) -> Iterable[Condition]:
    """Prices that the trigger itself waits for: none of them may be old, whatever the rule says of stale prices."""
    for name in rule.trigger.names:
        asset = facts.named(name)
        listing = None if asset is None else facts.listing(asset.address)
        if listing is None or listing.price_usd is None:
            yield _hold("trigger-price", f"the price of {clean_text(name)}, which it waits for, is not known", name)
            continue
        strange = _strange_age(listing.price_updated_at, position.block.timestamp, heartbeat)
        if strange is not None:
            yield _hold("trigger-price", f"the price of {clean_text(name)}, which it waits for, {strange}", name)


def _strange_age(updated_at: int | None, now: int, heartbeat: int) -> str | None:
    """What is strange about when a price was set, or None. Times in unix seconds by the chain."""
    if updated_at is None or 0 <= now - updated_at <= heartbeat:
        return None
    if updated_at > now:
        return "says it is from the future"
    age, most = _time(now - updated_at), _time(heartbeat)
    return f"is {age} old, and may be {most}"


def _time(seconds: int) -> str:
    if seconds >= 2 * 3600:
        return f"{seconds // 3600} h"
    return f"{seconds // 60} min" if seconds >= 120 else f"{seconds} s"


# --- steps ---------------------------------------------------------------------------------------------------------


def _steps(
    rule: Rule, position: Position, facts: MarketFacts, market: LendingMarket, heartbeat: int
) -> Iterable[Condition]:
    """Steps that can do nothing now: the waterfall passes them over."""
    if position.health_factor is None:
        return
    # Their prices are judged already, with the health that stands on them.
    judged = {
        one.asset.address
        for one in position.holdings
        if one.amount and not (isinstance(one, Collateral) and not one.counts)
    }
    for number, step in enumerate(rule.steps):
        asset = market.find_asset(position, step.asset)
        if asset is None or step.action not in market.actions:
            why = f"{market.key} lists no such asset" if asset is None else "this version cannot do it"
            yield Condition(Consequence.STEP_OUT, "step-impossible", _out(number, step, why), number)
            continue
        collateral = None if step.collateral is None else market.find_asset(position, step.collateral)
        if step.collateral is not None and collateral is None:
            why = f"{market.key} lists no {clean_text(step.collateral)}"
            yield Condition(Consequence.STEP_OUT, "step-impossible", _out(number, step, why), number)
            continue
        try:
            market.ceiling(position, step.action, asset, collateral)
        except ActionImpossible as impossible:
            yield Condition(Consequence.STEP_OUT, "step-impossible", _out(number, step, str(impossible)), number)
            continue
        for one in (asset,) if collateral is None else (collateral, asset):
            listing = facts.listing(one.address)
            if listing is None or one.address in judged:
                continue
            strange = _strange_age(listing.price_updated_at, position.block.timestamp, heartbeat)
            if listing.price_usd is None or listing.price_usd <= 0:
                strange = "is not known"
            if strange is not None:
                why = _out(number, step, f"the price of {one.symbol} {strange}")
                yield Condition(Consequence.STEP_OUT, "step-price", why, number, one.symbol)


def _out(number: int, step: Step, why: str) -> str:
    return f"step {number + 1} ({step.action.word} {clean_text(step.asset)}) is out: {why}"


Conditions = Mapping[tuple[str, str], tuple[Condition, ...]]
"""By rule name and position id."""
