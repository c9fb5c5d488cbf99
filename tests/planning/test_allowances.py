"""Whatever the state, a plan's calls leave no allowance behind, and none of them takes what nobody allowed.

The calls of the real adapter are played one after another on a book of allowances, wallets and permit nonces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.planning.test_on_aave import FLASH_LOANS, _quote
from tests.protocols import reference
from tests.support.plain_market import circumstances
from tests.support.plain_rules import burn, repay, rule_of, sell, supply
from tui.model.plan import Plan, PlannedCall, SaleTerms
from tui.model.position import Asset, Position
from tui.model.rule import FROM_WALLET, Order, StandingAllowance, Step
from tui.model.units import USD, WAD, whole
from tui.model.wallet import Allowance, PermitFacts, TokenHolding, Wallet
from tui.planning.calling import UNLIMITED
from tui.planning.plan import build_plan
from tui.planning.sales import offers_of, wanted_sales
from tui.protocols.aave_v3.calls import DEPOSIT
from tui.protocols.aave_v3.lens import RawReading
from tui.protocols.aave_v3.market import AaveV3Market
from tui.protocols.erc20 import APPROVE

POOL, ROUTER = "0x" + "0" * 40, "0x" + "2" * 40
REVISION = 11


def _positions() -> list[Position]:
    """Reference positions that may want defending, with a debt that is not their only collateral."""
    found = []
    for case in reference.CASES:
        position = reference.position_of(case, REVISION)
        health = position.health_factor
        if health is None or not 101 * WAD // 100 < health < 2 * WAD or (position.debt_usd or 0) < 1_000 * USD:
            continue
        if {one.asset for one in position.collateral if one.counts} - {one.asset for one in position.debt}:
            found.append(position)
    return found


@pytest.fixture(scope="module")
def positions() -> Iterable[list[Position]]:
    with pytest.MonkeyPatch.context() as patch:
        plain = reference._configuration
        patch.setattr(reference, "_configuration", lambda *facts: plain(*facts) | FLASH_LOANS)
        patch.setattr(reference, "raw_of", _with_receipts(reference.raw_of))
        yield _positions()


def _with_receipts(raw_of: Callable[[dict[str, Any], int], RawReading]) -> Callable[[dict[str, Any], int], RawReading]:
    """As `raw_of`, with aTokens of their own: there they are the tokens themselves."""

    def changed(case: dict[str, Any], revision: int) -> RawReading:
        raw = raw_of(case, revision)
        return replace(raw, reserves=tuple(replace(one, a_token="0xaa" + one.asset[4:]) for one in raw.reserves))

    return changed


def _market() -> AaveV3Market:
    market = AaveV3Market("core", "0x" + "1" * 40, router=ROUTER, chain_id=1)
    market._pool = POOL
    return market


@dataclass
class Book:
    """Who may take how much of what, and what the wallet and its permits come to."""

    allowed: dict[tuple[str, str], int]
    nonces: dict[str, int]
    balances: dict[str, int]

    def play(self, market: AaveV3Market, call: PlannedCall) -> None:
        """Do one call; fails where the chain would refuse it for want of an allowance, a balance or a right nonce."""
        if call.selector == APPROVE:
            spender, amount = "0x" + call.data[16:36].hex(), int.from_bytes(call.data[36:68], "big")
            # Some tokens refuse to change an allowance that stands into another one.
            assert amount == 0 or self.allowed.get((call.to, spender), 0) == 0, call.words
            self.allowed[call.to, spender] = amount
            return
        if call.selector == DEPOSIT:
            self.balances[call.to] += call.value
            return
        assert call.action is not None
        need, action = call.permit, call.action
        if need is not None:
            assert need.nonce == self.nonces[need.token], call.words
            self.nonces[need.token] += 1
            self.allowed[need.token, need.spender] = need.value
        if action.kind in FROM_WALLET:
            assert self.balances[action.asset.address] >= action.amount, call.words
            self.balances[action.asset.address] -= action.amount
            spender = market.spender(action.kind)
            assert spender is not None
            self._taken(action.asset.address, spender, action.amount, call)
        if action.sale is not None:
            assert call.to == action.sale.terms.helper
            self._taken(action.sale.terms.receipt, call.to, action.sale.most_sold, call)

    def _taken(self, token: str, spender: str, amount: int, call: PlannedCall) -> None:
        had = self.allowed.get((token, spender), 0)
        assert had >= amount, call.words
        if had < UNLIMITED:
            self.allowed[token, spender] = had - amount


def _part(asset: Asset, usd: int, price: int | None) -> int:
    return usd * whole(asset.decimals) // (price or USD)


def _standing(asset: Asset) -> st.SearchStrategy[int]:
    """Mostly none; else what suffices for one small step and not for two, a dust, or no limit."""
    unit = whole(asset.decimals)
    return st.sampled_from((0, 0, 0, 7, 3 * unit // 2, 150 * unit, 2**256 - 1))


_FACTS = PermitFacts("Token", "1", "0x" + "0" * 64, 5)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_plan_leaves_an_allowance(positions: list[Position], data: st.DataObject) -> None:
    draw = data.draw
    position = draw(st.sampled_from(positions))
    market = _market()
    assets = tuple(dict.fromkeys(one.asset for one in (*position.collateral, *position.debt)))
    counted = [one.asset for one in position.collateral if one.counts]
    owed = [one.asset for one in position.debt]
    tokens, allowed, nonces = {}, {}, {}
    for one in assets:
        held = _part(one, draw(st.sampled_from((0, 3_000, 10**6))) * USD, market.price_usd(position, one))
        stands, permit = draw(_standing(one)), draw(st.sampled_from((None, _FACTS)))
        tokens[one.address] = TokenHolding(one, held, {POOL: stands}, permit)
        allowed[one.address, POOL] = stands
        nonces[one.address] = _FACTS.nonce
    wrapped = draw(st.sampled_from((None, *(one.address for one in assets if one.decimals == 18))))
    wallet = Wallet(position.key.account, draw(st.sampled_from((WAD // 2, 50 * WAD))), 0, tokens)
    steps = _steps(draw, counted, owed)
    rule = rule_of(
        *steps,
        target=(position.health_factor or 0) * draw(st.integers(101, 150)) // 100,
        order=draw(st.sampled_from(tuple(Order))),
        standing_allowance=draw(st.sampled_from(tuple(StandingAllowance))),
    )
    pool = frozenset(Allowance(wallet.account, *pair, left) for pair, left in allowed.items() if left)
    around = circumstances(wrapped_native=wrapped, ours=draw(st.sampled_from((frozenset(), pool))))
    wanted = wanted_sales(rule, market, position, wallet, around)
    terms: list[SaleTerms] = []
    for one in wanted:
        shape = market.sale_shape(position, one.collateral)
        # One receipt has one allowance and one nonce, whatever it is sold for.
        stands = allowed.setdefault((shape.receipt, shape.helper), draw(_standing(one.collateral)))
        nonces.setdefault(shape.receipt, _FACTS.nonce)
        permit = draw(st.sampled_from((None, replace(_FACTS, nonce=nonces[shape.receipt]))))
        terms.append(replace(shape, premium_bps=5, allowed=stands, permit=permit))
    quotes = [[[_quote(request)] for request in one.requests] for one in wanted]
    plan = build_plan(rule, market, position, wallet, replace(around, offers=offers_of(wanted, terms, quotes)))
    if not isinstance(plan, Plan):
        event(plan.code)
        return
    before = dict(allowed)
    book = Book(allowed, nonces, {token: held.balance or 0 for token, held in tokens.items()})
    for call in plan.calls:
        book.play(market, call)
    for pair, left in book.allowed.items():
        assert left <= before.get(pair, 0), "the plan leaves an allowance that was not there"
        given_new = any(call.permit is not None or call.selector == APPROVE for call in plan.calls)
        touched = any(pair == _touched(market, call) for call in plan.calls)
        if touched and given_new and before.get(pair, 0) < UNLIMITED:
            event("an allowance was given")
        if touched and before.get(pair, 0) == 0:
            assert left == 0
    if rule.limits.standing_allowance is StandingAllowance.REFUSE:
        assert all(
            book.allowed.get(pair, 0) == 0
            for pair in {_touched(market, call) for call in plan.calls}
            if pair is not None and pair[1] == POOL
        ), "the pool may take more than was needed"


@pytest.mark.parametrize(("stands", "permit"), [(0, _FACTS), (0, None), (3, None), (3, _FACTS)])
def test_two_steps_of_one_token_share_its_nonce_and_what_stands(
    positions: list[Position], stands: int, permit: PermitFacts | None
) -> None:
    """`stands` in halves of what one step moves: enough for the first step, not for both."""
    seen = 0
    for position in positions:
        market = _market()
        asset = next(one.asset for one in position.collateral if one.counts)
        allowed = stands * whole(asset.decimals) // 200
        holding = TokenHolding(asset, 10**6 * whole(asset.decimals), {POOL: allowed}, permit)
        wallet = Wallet(position.key.account, 50 * WAD, 0, {asset.address: holding})
        rule = rule_of(
            supply(asset.address, "0.01"),
            supply(asset.address, "0.01"),
            target=3 * (position.health_factor or 0),
            standing_allowance=StandingAllowance.USE,
        )
        plan = build_plan(rule, market, position, wallet, circumstances())
        if not isinstance(plan, Plan) or len(plan.steps) < 2:
            continue
        book = Book(
            {(asset.address, POOL): allowed}, {asset.address: _FACTS.nonce}, {asset.address: holding.balance or 0}
        )
        for call in plan.calls:
            book.play(market, call)
        assert book.allowed[asset.address, POOL] == 0
        assert book.nonces[asset.address] == _FACTS.nonce + sum(call.permit is not None for call in plan.calls)
        seen += 1
    assert seen > 3


def _touched(market: AaveV3Market, call: PlannedCall) -> tuple[str, str] | None:
    if call.action is None:
        return None
    if call.action.sale is not None:
        return call.action.sale.terms.receipt, call.action.sale.terms.helper
    spender = market.spender(call.action.kind)
    return None if spender is None else (call.action.asset.address, spender)


def _steps(draw: st.DrawFn, counted: list[Asset], owed: list[Asset]) -> list[Step]:
    """Two to four steps of any kind on what is held and owed, often on the same asset; a pair is sold once."""
    steps: list[Step] = []
    sold: set[tuple[str, str]] = set()
    usual = draw(st.sampled_from(counted)), draw(st.sampled_from(owed))
    for _ in range(draw(st.integers(2, 4))):
        kind = draw(st.sampled_from(("repay", "supply", "burn", "sell", "sell")))
        collateral = draw(st.sampled_from((usual[0], usual[0], *counted))).address
        debt = draw(st.sampled_from((usual[1], usual[1], *owed))).address
        if kind == "repay":
            steps.append(repay(debt, draw(st.sampled_from((None, "100", "200")))))
        elif kind == "supply":
            steps.append(supply(collateral, draw(st.sampled_from((None, "1", "2")))))
        elif kind == "burn":
            steps.append(burn(debt))
        elif collateral != debt and (collateral, debt) not in sold:
            sold.add((collateral, debt))
            steps.append(sell(collateral, debt, draw(st.sampled_from((None, "1"))), draw(st.sampled_from((30, 100)))))
    return steps or [repay(owed[0].address)]
