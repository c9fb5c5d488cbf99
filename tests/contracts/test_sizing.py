"""Seeded positions sized, quoted and deleveraged for real: the target is met, the preview is right to the wei."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from tests.contracts.test_deleverage import told
from tests.protocols.reading import adapter, asset, contract_health, eth_call, head, read_one
from tests.support.chain import Chain
from tests.support.deleverage import FAR, WAD, Holder, Receipt
from tui.model.position import Position
from tui.model.units import BPS
from tui.practice.accounts import OWNER
from tui.protocols.aave_v3.actions import Deleverage, after_deleverage
from tui.protocols.aave_v3.health import figures, lines_of
from tui.protocols.aave_v3.helper import Helper, Order, deleverage_data
from tui.protocols.aave_v3.market import AaveV3Market
from tui.protocols.aave_v3.state import NOTHING, AccountState, MarketState, PositionState
from tui.protocols.base import ActionImpossible
from tui.quotes.base import SwapRequest
from tui.quotes.uniswap_v3 import UniswapV3
from tui.risk.deleverage import (
    SaleCurve,
    SaleSize,
    kept_share,
    sale_value,
    size_deleverage,
    weighted_collateral,
    with_premium,
)

pytestmark = [pytest.mark.node]

PAIRS = (
    ("WETH", "USDC"),
    ("WETH", "DAI"),
    ("WETH", "USDT"),
    ("wstETH", "USDC"),
    ("wstETH", "WETH"),
    ("WBTC", "USDC"),
    ("WBTC", "DAI"),
    ("USDC", "WETH"),
    ("DAI", "USDC"),
)
SLIPPAGE_BPS = 50
BLOCK_SECONDS = 12


@dataclass(frozen=True)
class Sized:
    """What was found for a position: the size, the most to sell, the route."""

    size: SaleSize
    max_sold: int
    path: bytes


def state_of(position: Position) -> tuple[MarketState, AccountState]:
    state = position.state
    assert isinstance(state, PositionState)
    assert state.account is not None
    return state.market, state.account


def _health(market: MarketState, account: AccountState) -> int | None:
    return figures(market.rules, lines_of(market, account)).health_factor


def _most(sold: int) -> int:
    return sold * (BPS + SLIPPAGE_BPS) // BPS


def size(chain: Chain, aave: AaveV3Market, holder: Holder, target: int, delegated: bool) -> Sized:
    """As a planner would: closed form, quotes around it, then the exact size on what the quotes say."""
    position = read_one(chain, holder.address, aave)
    market, account = state_of(position)
    debt, collateral = (asset(aave, position, one) for one in (holder.debt, holder.collateral))
    prices = {one.address: chain.price(one.symbol) for one in (debt, collateral)}
    (held,) = (one for one in position.collateral if one.asset == collateral)
    (owed,) = (one for one in position.debt if one.asset == debt)
    premium = int(chain.call(chain.market.pool, "FLASHLOAN_PREMIUM_TOTAL()", ["uint128"]))
    bases = tuple(chain.token(one).address.lower() for one in ("WETH", "USDC"))
    quoter = UniswapV3(chain.market.uniswap_factory.lower(), chain.market.quoter_v2.lower(), bases)

    kept = kept_share(WAD // 200, premium)
    weighted = weighted_collateral(position)
    assert weighted is not None
    assert position.debt_usd is not None
    value = sale_value(weighted, position.debt_usd, target, held.liquidation_threshold, kept)
    assert value is not None
    guess = min(value * kept // WAD * 10**debt.decimals // prices[debt.address], owed.amount)
    points, path = [], b""
    for share in (50, 100, 110):
        wanted = with_premium(min(guess * share // 100, owed.amount), premium)
        request = SwapRequest(collateral, debt, wanted, prices)
        block = head(chain)
        quotes = quoter.decode(request, [eth_call(chain, block, call) for call in quoter.calls(request)])
        quote = next((one for one in quotes if one.path == path), None) if path else quotes[0]
        assert quote is not None
        points.append((wanted, quote.amount_in))
        path = quote.path
    curve = SaleCurve.through(points)

    def health_after(repaid: int, sold: int) -> int | None:
        deal = Deleverage(debt, collateral, repaid, min(_most(sold), held.amount), sold, delegated)
        return _health(*after_deleverage(market, account, deal)) if repaid else position.health_factor

    def sold_for(repaid: int) -> int | None:
        return curve.sold_for(with_premium(repaid, premium))

    found = size_deleverage(health_after, sold_for, owed.amount, target, guess)
    return Sized(found, min(_most(found.sold), held.amount), path)


def open_holder(chain: Chain, rng: random.Random, number: int, pair: tuple[str, str] | None = None) -> Holder:
    """A leveraged position of random size and health, some with more collateral beside it, some in an e-mode."""
    collateral, debt = pair or rng.choice(PAIRS)
    holder = Holder(chain, number, collateral, debt, rng.randint(2_000, 400_000))
    if rng.random() < 0.3:
        other = rng.choice([one for one in ("WETH", "WBTC", "DAI") if one not in (collateral, debt)])
        chain.supply(
            holder.address, other, rng.randint(100, 50_000) * 10**8 * chain.token(other).unit // chain.price(other)
        )
    if (collateral, debt) == ("wstETH", "WETH"):
        chain.set_emode(holder.address, 1)
    elif (collateral, debt) == ("DAI", "USDC"):
        chain.set_emode(holder.address, 2)
    data = chain.account_data(holder.address)
    least = data[3] * WAD // data[4]
    holder.borrow_to(max(least * 1005 // 1000, rng.randint(104, 125) * WAD // 100))
    chain.advance(rng.randint(60, 10 * 86_400))
    return holder


def _run(chain: Chain, holder: Holder, helper: Helper, order: Order, delegated: bool) -> Receipt:
    if delegated:
        return holder.signed(deleverage_data(order))
    return holder.call(helper, order)


def _foreseen(chain: Chain, aave: AaveV3Market, holder: Holder, deal: Deleverage, at: int) -> tuple[AccountState, int]:
    """The state at the very time of the transaction, and what the preview makes of it."""
    snapshot = chain.snapshot()
    chain.rpc("evm_setNextBlockTimestamp", at)
    chain.mine()
    market, account = state_of(read_one(chain, holder.address, aave))
    chain.revert(snapshot)
    market, account = after_deleverage(market, account, deal)
    return account, _health(market, account) or 2**256 - 1


@pytest.mark.timeout(240)
def test_the_target_is_met_and_the_preview_is_exact(market: Chain, helper: Helper) -> None:
    rng, aave = random.Random(77), adapter(market)
    seen: set[bool] = set()
    for number in range(9):
        holder = open_holder(market, rng, 200 + number)
        delegated = rng.random() < 0.4
        before = holder.health
        target = before + rng.randint(2, 45) * WAD // 100
        if delegated:
            assert holder.delegated(helper.address).ok
        sized = size(market, aave, holder, target, delegated)
        assert sized.size.reaches, (holder.collateral, holder.debt, before, target)
        position = read_one(market, holder.address, aave)
        debt, collateral = (asset(aave, position, one) for one in (holder.debt, holder.collateral))
        order = Order(
            debt.address,
            collateral.address,
            sized.size.repaid,
            sized.max_sold,
            target * 999 // 1000,
            FAR,
            sized.path,
        )
        if not delegated:
            holder.approve(helper, order.max_sold)
        at = int(market.block()["timestamp"], 16) + BLOCK_SECONDS
        snapshot = market.snapshot()
        market.rpc("evm_setNextBlockTimestamp", at)
        done = _run(market, holder, helper, order, delegated)
        assert done.ok, (holder.collateral, holder.debt, done.reason)
        repaid, sold, _, health = told(done.logs, holder.address if delegated else helper.address)
        after = read_one(market, holder.address, aave)
        told_health = contract_health(market, holder.address)
        market.revert(snapshot)
        deal = Deleverage(debt, collateral, repaid, order.max_sold, sold, delegated)
        account, foreseen = _foreseen(market, aave, holder, deal, at)
        assert after.unknown is None
        assert after.health_factor == told_health == health == foreseen
        assert state_of(after)[1] == account
        assert abs(health - target) <= target // 1000
        assert sold <= sized.size.sold + sized.size.sold // 10**4
        seen.add(delegated)
    assert seen == {True, False}


def _deal(chain: Chain, aave: AaveV3Market, holder: Holder, **changes: int) -> tuple[Position, Deleverage]:
    position = read_one(chain, holder.address, aave)
    debt, collateral = (asset(aave, position, one) for one in (holder.debt, holder.collateral))
    numbers = {"repaid": 10_000 * 10**debt.decimals, "taken": 4 * WAD, "sold": 35 * WAD // 10, **changes}
    return position, Deleverage(debt, collateral, **numbers)


def test_the_preview_of_a_frozen_collateral(market: Chain, helper: Helper) -> None:
    """What is not sold cannot go back: the preview counts it out as the pool does."""
    holder, aave = Holder(market, 230).borrow_to(), adapter(market)
    market.send(OWNER, market.market.configurator, "setReserveFreeze(address,bool)", market.token("WETH").address, True)
    order = holder.order(130, min_health=0)
    holder.approve(helper, order.max_sold)
    at = int(market.block()["timestamp"], 16) + BLOCK_SECONDS
    snapshot = market.snapshot()
    market.rpc("evm_setNextBlockTimestamp", at)
    done = holder.call(helper, order)
    repaid, sold, _, health = told(done.logs, helper.address)
    after = read_one(market, holder.address, aave)
    market.revert(snapshot)
    _, deal = _deal(market, aave, holder, repaid=repaid, taken=order.max_sold, sold=sold)
    account, foreseen = _foreseen(market, aave, holder, deal, at)
    assert state_of(after)[1] == account
    assert foreseen == health
    assert market.balance("WETH", holder.address) == 0


def test_the_preview_of_all_collateral_and_all_debt(market: Chain, helper: Helper) -> None:
    """Everything taken: the pool forgets that it was collateral, and makes it so again when the rest comes back."""
    holder, aave = Holder(market, 231).borrow_to(), adapter(market)
    at = int(market.block()["timestamp"], 16) + BLOCK_SECONDS
    snapshot = market.snapshot()
    market.rpc("evm_setNextBlockTimestamp", at + BLOCK_SECONDS)
    market.mine()
    taken, owed = holder.supplied(), holder.owed()
    market.revert(snapshot)
    market.rpc("evm_setNextBlockTimestamp", at)
    holder.approve(helper, taken)
    snapshot = market.snapshot()
    market.rpc("evm_setNextBlockTimestamp", at + BLOCK_SECONDS)
    order = Order(
        market.token("USDC").address.lower(),
        market.token("WETH").address.lower(),
        2**256 - 1,
        taken,
        WAD,
        FAR,
        holder.path(),
    )
    done = holder.call(helper, order)
    assert done.ok, done.reason
    repaid, sold, _, health = told(done.logs, helper.address)
    assert repaid == owed
    after = read_one(market, holder.address, aave)
    market.revert(snapshot)
    _, deal = _deal(market, aave, holder, repaid=repaid, taken=taken, sold=sold)
    account, foreseen = _foreseen(market, aave, holder, deal, at + BLOCK_SECONDS)
    left = state_of(after)[1]
    assert left.configuration == account.configuration
    assert left.holdings == {one: holding for one, holding in account.holdings.items() if holding != NOTHING}
    assert sum(one.counts for one in after.collateral) == 1
    assert foreseen == health == 2**256 - 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"taken": 1_000 * WAD}, "more WETH than is supplied"),
        ({"sold": 5 * WAD}, "more WETH sold than taken"),
        ({"repaid": 10**15}, "more USDC than is owed"),
        ({"taken": 40 * WAD}, "would be liquidatable"),
        ({"taken": 0, "sold": 0}, "rounds to nothing"),
        ({"repaid": 0}, "rounds to nothing"),
    ],
)
def test_what_the_pool_would_refuse(market: Chain, changes: dict[str, int], reason: str) -> None:
    position, deal = _deal(market, adapter(market), Holder(market, 232).borrow_to(), **changes)
    with pytest.raises(ActionImpossible, match=reason):
        after_deleverage(*state_of(position), deal)


def test_a_paused_collateral_cannot_be_taken(market: Chain) -> None:
    holder, aave = Holder(market, 233).borrow_to(), adapter(market)
    weth = market.token("WETH").address
    market.send(OWNER, market.market.configurator, "setReservePause(address,bool)", weth, True)
    position, deal = _deal(market, aave, holder)
    with pytest.raises(ActionImpossible, match="paused"):
        after_deleverage(*state_of(position), deal)


def test_collateral_without_ltv_goes_first(market: Chain, helper: Helper) -> None:
    holder, aave = Holder(market, 234), adapter(market)
    market.supply(holder.address, "WBTC", market.units("WBTC", "0.1"))
    holder.borrow_to()
    market.send(
        OWNER,
        market.market.configurator,
        "configureReserveAsCollateral(address,uint256,uint256,uint256)",
        market.token("WBTC").address,
        0,
        7800,
        10500,
    )
    order = holder.order(120, min_health=0)
    holder.approve(helper, order.max_sold)
    assert not holder.call(helper, order).ok
    position, deal = _deal(market, aave, holder)
    with pytest.raises(ActionImpossible, match="LTV 0"):
        after_deleverage(*state_of(position), deal)
