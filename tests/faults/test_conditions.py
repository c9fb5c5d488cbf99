"""The rules of stale and strange markets by themselves: whatever differs disarms, whatever is not told holds back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import plain_market as plain
from tui.engine.conditions import Baseline, Condition, Consequence, acting_rule, baseline_of, conditions_of
from tui.engine.guard import Guard
from tui.engine.prospect import Prospect
from tui.engine.rulebook import RuleBook
from tui.engine.watch import by_its_code
from tui.model.block import BlockRef
from tui.model.calls import CallResult
from tui.model.network import Network
from tui.model.pinned import PinnedCode
from tui.model.position import Asset, Collateral, Debt, MarketKey, Position, PositionKey, unknown_position
from tui.model.rule import (
    ActionKind,
    Limits,
    Mode,
    Rule,
    StalePrice,
    Step,
    Trigger,
    TriggerKind,
    close,
    health_above,
    health_below,
    restore,
)
from tui.model.snapshot import Listing, MarketFacts, Snapshot
from tui.model.units import WAD
from tui.model.wallet import Wallet
from tui.protocols.codes import stands
from tui.rules.prices import PriceSeen

KEY = PositionKey(MarketKey("aave-v3", "core"), "0x" + "ab" * 20)
WETH, USDC, DAI = (
    Asset("0x" + f"{number:02x}" * 20, symbol, decimals)
    for number, (symbol, decimals) in enumerate([("WETH", 18), ("USDC", 6), ("DAI", 18)], 1)
)
NOW = 1_700_000_000
BLOCK = BlockRef(1, "0x01", "0x00", NOW, 1)
POOL, ORACLE, CODE = "0x" + "a1" * 20, "0x" + "a2" * 20, "0x" + "a3" * 20
REPAY = (Step(ActionKind.REPAY, "USDC"),)


def listing(asset: Asset) -> Listing:
    return Listing(asset, "0x" + "fe" * 19 + asset.address[-2:], 10**8, NOW, asset.decimals)


FACTS = MarketFacts(
    KEY.market,
    "3.2",
    "fingerprint",
    (WETH, USDC, DAI),
    identity=(("pool", POOL), ("revision", "4"), ("oracle", ORACLE)),
    listings=(listing(WETH), listing(USDC), listing(DAI)),
    implementations=MappingProxyType({POOL: CODE}),
)


def rule_with(steps: tuple[Step, ...] = (), limits: Limits | None = None) -> Rule:
    return Rule("guard", "*", Mode.AUTO, health_below(WAD), 1, restore(2 * WAD), steps, limits or Limits(), "d")


def position_at(updated_at: int | None = NOW, health: int | None = None) -> Position:
    held = Collateral(WETH, 10**18, 10**8, 10**8, WAD, True, price_updated_at=updated_at)
    return Position(KEY, BLOCK, (held,), (Debt(USDC, 10**6, 10**8, 10**8, price_updated_at=NOW),), health, 0, 0)


def judged(
    facts: MarketFacts = FACTS,
    position: Position | None = None,
    rule: Rule | None = None,
    wallet: Wallet | None = None,
    baseline: bool = True,
    heartbeat: int = 3_600,
    armed_by: str | None = None,
) -> tuple[Condition, ...]:
    """Conditions against the baseline of FACTS. Without health nothing is asked of the market's adapter."""
    rule = rule or rule_with(REPAY)
    wallets = {KEY.account: wallet or Wallet(KEY.account, 1, 1)}
    snapshot = Snapshot(BLOCK, (), MappingProxyType(wallets), (facts,))
    began = baseline_of(rule, position_at(), Snapshot(BLOCK, (), MappingProxyType({}), (FACTS,)))
    assert began is not None
    began = replace(began, delegate=armed_by)
    adapter: Any = None
    return conditions_of(rule, position or position_at(), snapshot, adapter, heartbeat, began if baseline else None)


def consequences(found: Iterable[Condition]) -> set[Consequence]:
    return {one.consequence for one in found}


def with_listing(index: int, **changes: Any) -> MarketFacts:
    listings = list(FACTS.listings)
    listings[index] = replace(listings[index], **changes)
    return replace(FACTS, listings=tuple(listings), assets=tuple(one.asset for one in listings))


def test_what_is_as_it_was_is_no_condition() -> None:
    assert judged() == ()


@given(st.sampled_from(["pool", "revision", "oracle"]), st.one_of(st.none(), st.text(max_size=60)))
def test_53_any_change_of_identity_disarms(what: str, value: str | None) -> None:
    was = dict(FACTS.identity)
    now = {name: told for name, told in {**was, what: value}.items() if told is not None}
    found = judged(replace(FACTS, identity=tuple(now.items())))
    assert (Consequence.DISARM in consequences(found)) == (now != was)
    assert all(one.text.isprintable() for one in found)


@given(st.sampled_from([0, 1]), st.integers(0, 255))
def test_54_any_other_decimals_of_token_or_market_disarm(index: int, decimals: int) -> None:
    was = FACTS.listings[index]
    said = judged(with_listing(index, token_decimals=decimals))
    assert (Consequence.DISARM in consequences(said)) == (decimals != was.token_decimals)
    listed = judged(with_listing(index, asset=replace(was.asset, decimals=decimals)))
    assert (Consequence.DISARM in consequences(listed)) == (decimals != was.asset.decimals)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (replace(FACTS, implementations=MappingProxyType({POOL: ORACLE})), Consequence.DISARM),
        (replace(FACTS, implementations=MappingProxyType({POOL: None})), Consequence.HOLD_BACK),
        (replace(FACTS, implementations=MappingProxyType({})), Consequence.HOLD_BACK),
        (with_listing(0, price_source="0x" + "99" * 20), Consequence.DISARM),
        (with_listing(0, price_source=None), Consequence.HOLD_BACK),
        (with_listing(1, token_decimals=None), Consequence.HOLD_BACK),
        (with_listing(1, asset=replace(USDC, symbol="USDX")), Consequence.DISARM),
        (with_listing(2, asset=replace(DAI, symbol="USDC")), Consequence.DISARM),
        (replace(FACTS, listings=FACTS.listings[1:], assets=FACTS.assets[1:]), Consequence.DISARM),
        (replace(FACTS, error="no answer"), Consequence.HOLD_BACK),
    ],
    ids=["code", "code-untold", "code-unread", "source", "source-untold", "decimals-untold", "symbol", "two-symbols",
         "delisted", "unread"],
)  # fmt: skip
def test_53_54_changes_disarm_and_what_is_not_told_holds_back(facts: MarketFacts, expected: Consequence) -> None:
    found = judged(facts)
    assert found
    assert found[0].consequence is expected
    if expected is Consequence.HOLD_BACK:
        assert Consequence.DISARM not in consequences(found), "a read that failed is no change"


@pytest.mark.parametrize("changes", [{"price_source": "0x" + "99" * 20}, {"token_decimals": 2}, {"price_source": None}])
def test_what_the_rule_has_nothing_to_do_with_is_no_condition(changes: dict[str, Any]) -> None:
    assert judged(with_listing(2, **changes)) == ()


def test_an_implementation_never_seen_is_noted() -> None:
    unseen = replace(FACTS, implementations=MappingProxyType({POOL: None}))
    (note,) = judged(unseen, baseline=False)
    assert (note.consequence, note.code) == (Consequence.NOTE, "implementation-unseen")
    began = Baseline(unseen, frozenset())
    adapter: Any = None
    snapshot = Snapshot(BLOCK, (), MappingProxyType({KEY.account: Wallet(KEY.account, 1, 1)}), (unseen,))
    (note,) = conditions_of(rule_with(), position_at(), snapshot, adapter, 60, began)
    assert note.consequence is Consequence.NOTE


@given(st.integers(0, 2 * NOW), st.integers(1, 10**8), st.sampled_from(StalePrice))
def test_52_a_price_holds_back_exactly_where_it_is_too_old_or_ahead(
    updated_at: int, heartbeat: int, choice: StalePrice
) -> None:
    rule = rule_with((), Limits(stale_price=choice))
    found = judged(position=position_at(updated_at, 2 * WAD), rule=rule, heartbeat=heartbeat)
    strange = updated_at > NOW or NOW - updated_at > heartbeat
    assert bool(found) == strange
    expected = Consequence.NOTE if choice is StalePrice.ACT else Consequence.HOLD_BACK
    assert all(one.consequence is expected for one in found)


@given(st.integers(0, 2 * NOW), st.integers(1, 10**8), st.sampled_from(StalePrice), st.booleans())
def test_52_high_health_at_a_strange_price_holds_back_whatever_the_rule_says_of_stale_prices(
    updated_at: int, heartbeat: int, choice: StalePrice, owed: bool
) -> None:
    """A price that is too high makes health high: nothing is paid back, and nothing borrowed, on an old one."""
    position = position_at(NOW if owed else updated_at, 3 * WAD)
    if owed:
        position = replace(position, debt=tuple(replace(one, price_updated_at=updated_at) for one in position.debt))
    strange = updated_at > NOW or NOW - updated_at > heartbeat
    for goal in (close(5_000), restore(2 * WAD)):
        high = replace(rule_with((), Limits(stale_price=choice)), trigger=health_above(2 * WAD), goal=goal)
        found = judged(position=position, rule=high, heartbeat=heartbeat)
        assert consequences(found) == ({Consequence.HOLD_BACK} if strange else set())


@pytest.mark.parametrize("price", [None, 0, -1])
def test_52_high_health_beside_a_price_that_is_missing_holds_back(price: int | None) -> None:
    high = replace(rule_with((), Limits(stale_price=StalePrice.ACT)), trigger=health_above(2 * WAD), goal=close(5_000))
    position = position_at(NOW, 9 * WAD)
    position = replace(position, debt=tuple(replace(one, price_usd=price) for one in position.debt))
    (found,) = judged(position=position, rule=high)
    assert (found.consequence, found.code, found.about) == (Consequence.HOLD_BACK, "price-missing", "USDC")


@pytest.mark.parametrize(("age", "doubted"), [(0, False), (-1, True), (10**6, True)])
def test_a_price_of_a_strange_age_is_in_doubt_for_what_trails_it(age: int, doubted: bool) -> None:
    class Prices:
        """All that is asked of the prospect here."""

        def price_of(self, rule: Rule, position: Position) -> PriceSeen:
            return PriceSeen(10**8)

    network = Network("test", 1, 12.0, 2, ())
    guard = Guard(RuleBook((), None), cast(Prospect, Prices()), network)
    rule = replace(rule_with(), trigger=Trigger(TriggerKind.TRAILING, 0, "WETH", None, 1_000))
    guard.look(Snapshot(BLOCK, (position_at(),), markets=(with_listing(0, price_updated_at=NOW - age),)))
    assert guard.price_of(rule, position_at()) == PriceSeen(10**8, doubted=doubted)


def test_52_a_price_that_tells_no_time_is_noted() -> None:
    (found,) = judged(position=position_at(None, 2 * WAD), rule=rule_with())
    assert (found.consequence, found.about) == (Consequence.NOTE, "WETH")


@pytest.mark.parametrize(
    ("wallet", "expected"),
    [
        (Wallet(KEY.account, 1, 1, has_code=True), Consequence.DISARM),
        (Wallet(KEY.account, 1, 1, has_code=True, code_read=False), Consequence.HOLD_BACK),
    ],
)
def test_59_code_on_the_account_disarms_and_unread_code_holds_back(wallet: Wallet, expected: Consequence) -> None:
    assert consequences(judged(wallet=wallet)) == {expected}


OURS = "0x" + "7e" * 20


@pytest.mark.parametrize(
    ("armed_by", "now", "expected"),
    [
        (None, OURS, {Consequence.DISARM}),
        (OURS, OURS, {Consequence.NOTE}),
        (OURS, None, {Consequence.NOTE}),
        (OURS, "0x" + "7f" * 20, {Consequence.DISARM}),
        (None, None, set()),
    ],
)
def test_59_our_own_code_is_part_of_what_a_rule_was_armed_on(
    armed_by: str | None, now: str | None, expected: set[Consequence]
) -> None:
    """It may stay and it may go, for the signer knows both ways then; what comes later was not agreed to."""
    wallet = Wallet(KEY.account, 1, 1, has_code=now is not None, delegate=now, own_code=now is not None)
    assert not wallet.is_foreign
    assert consequences(judged(wallet=wallet, armed_by=armed_by)) == expected


@pytest.mark.parametrize(
    "wallet",
    [
        Wallet(KEY.account, 1, 1, has_code=True, delegate=OURS),
        Wallet(KEY.account, 1, 1, has_code=True, own_code=True),
        Wallet(KEY.account, 1, 1, has_code=True, delegate=None, own_code=False),
    ],
)
def test_59_a_delegate_is_ours_by_its_hash_and_never_by_its_address(wallet: Wallet) -> None:
    assert wallet.is_foreign
    assert not wallet.acts_by(OURS)
    assert consequences(judged(wallet=wallet, armed_by=OURS)) == {Consequence.DISARM}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (CallResult(bytes.fromhex("ab" * 32)), Consequence.NOTE),
        (CallResult(bytes.fromhex("ac" * 32)), Consequence.DISARM),
        (CallResult(bytes(32)), Consequence.DISARM),
        (CallResult(b""), Consequence.HOLD_BACK),
        (CallResult(None, "beyond the node's limits"), Consequence.HOLD_BACK),
    ],
)
def test_59_what_stands_at_our_address_is_ours_another_or_not_known(answer: CallResult, expected: Consequence) -> None:
    pinned = PinnedCode(OURS, "0x" + "ab" * 32, "0x" + "00" * 32, "0x" + "00" * 32)
    wallet = by_its_code(Wallet(KEY.account, 1, 1, has_code=True, delegate=OURS), {OURS: stands(pinned, answer)})
    assert consequences(judged(wallet=wallet, armed_by=OURS)) == {expected}
    assert wallet.acts_by(OURS) is (expected is Consequence.NOTE)


def test_59_the_baseline_holds_whom_the_account_was_delegated_to() -> None:
    wallet = Wallet(KEY.account, 1, 1, has_code=True, delegate=OURS, own_code=True)
    snapshot = Snapshot(BLOCK, (), MappingProxyType({KEY.account: wallet}), markets=(FACTS,))
    baseline = baseline_of(rule_with(), position_at(), snapshot)
    assert baseline is not None
    assert baseline.delegate == OURS


def test_an_unknown_position_holds_back_and_gives_no_baseline() -> None:
    position = unknown_position(KEY, BLOCK, "strange")
    found = judged(position=position)
    assert consequences(found) == {Consequence.HOLD_BACK}
    assert baseline_of(rule_with(), position, Snapshot(BLOCK, (), markets=(FACTS,))) is None


def test_54_a_change_disarms_although_the_position_is_unknown() -> None:
    found = judged(with_listing(1, token_decimals=8), unknown_position(KEY, BLOCK, "its decimals"))
    assert found[0].consequence is Consequence.DISARM


@pytest.mark.parametrize(
    ("kind", "asset", "paying", "watched"),
    [
        (ActionKind.SWITCH_DEBT, plain.USDC, plain.DAI, plain.DAI),
        (ActionKind.SWITCH_COLLATERAL, plain.WBTC, plain.WETH, plain.WBTC),
        (ActionKind.BOOST, plain.WETH, plain.DAI, plain.DAI),
        (ActionKind.BOOST, plain.WBTC, plain.USDC, plain.WBTC),
    ],
)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"price_updated_at": NOW - 7_200}, "is 2 h old"),
        ({"price_updated_at": NOW + 60}, "says it is from the future"),
        ({"price_usd": None}, "is not known"),
        ({"price_usd": 0}, "is not known"),
    ],
    ids=["good", "old", "ahead", "none", "zero"],
)
def test_52_a_step_whose_other_asset_is_not_held_is_out_while_its_price_is_strange(
    kind: ActionKind, asset: Asset, paying: Asset, watched: Asset, changes: dict[str, Any], words: str | None
) -> None:
    market: Any = plain.PlainMarket()
    position = market.position({plain.WETH: 100 * WAD}, {plain.USDC: 100_000 * 10**6})
    rule = rule_with((*REPAY, Step(kind, asset.symbol, None, paying.symbol)))
    listings = (replace(listing(one), **(changes if one == watched else {})) for one in plain.ASSETS)
    facts = MarketFacts(market.key, "1", "", plain.ASSETS, listings=tuple(listings))
    wallets = MappingProxyType({position.key.account: plain.wallet_of()})
    found = conditions_of(rule, position, Snapshot(position.block, (), wallets, (facts,)), market, 3_600)
    out = [one for one in found if one.consequence is Consequence.STEP_OUT]
    if words is None:
        assert out == []
        return
    (one,) = out
    assert (one.code, one.step, one.about) == ("step-price", 1, watched.symbol)
    assert f"the price of {watched.symbol} {words}" in one.text
    assert acting_rule(rule, found).steps == REPAY
