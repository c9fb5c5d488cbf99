"""The table of usual gas against whole transactions on a real pool of 3.2, from small positions to wide ones."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.carry_out import carry_out, read_terms
from tests.protocols.reading import asset, read_one, selling_adapter, wallet
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, deploy
from tui.model.plan import Action, PlannedCall, Sale, SaleTerms
from tui.model.position import Position
from tui.model.rule import ActionKind
from tui.model.wallet import TokenHolding, Wallet
from tui.protocols.aave_v3.gas import TYPICAL_GAS, UNKNOWN_GAS, typical_gas
from tui.protocols.aave_v3.helper import DELEVERAGE as SELL
from tui.protocols.aave_v3.market import AaveV3Market
from tui.quotes.base import SwapOrder
from tui.quotes.router02 import Router02
from tui.quotes.uniswap_v3 import Route, encode_path

REPAY, SUPPLY = ActionKind.REPAY, ActionKind.ADD_COLLATERAL
OWN, DELEVERAGE = ActionKind.REPAY_WITH_ATOKENS, ActionKind.DELEVERAGE
DEADLINE = 2**40


Kind = tuple[bytes, int]


def _measured(chain: Chain, holder: Holder) -> dict[Kind, list[int]]:
    """Gas taken by (selector, gas booked) of everything that this holder can do, each from the same state."""
    aave = selling_adapter(chain)
    position = read_one(chain, holder.address, aave)
    usdc, weth, dai = (asset(aave, position, one) for one in ("USDC", "WETH", "DAI"))
    held = wallet(chain, holder.address, chain.market.pool.lower(), [usdc, weth, dai])
    actions = (
        Action(REPAY, usdc, 1_000 * 10**6),
        Action(SUPPLY, usdc, 500 * 10**6),
        Action(SUPPLY, weth, WAD, wrap=WAD),
        Action(OWN, usdc, 100 * 10**6),
    )
    plans = [aave.calls_for(position, action, held, DEADLINE) for action in actions]
    plans += [call.stand_in for plan in tuple(plans) for call in plan if call.permit is not None]
    terms = read_terms(chain, aave, position, weth, usdc)
    for between in ((500,), (100, "DAI", 500)):
        sale = Sale(weth, 0, 4 * WAD, WAD, holder.path(*between), "", terms)
        (call,) = aave.calls_for(position, Action(DELEVERAGE, usdc, 10_000 * 10**6, sale), held, DEADLINE)
        plans += [(call,), call.stand_in]
        for kind, loaned, paying, amount, most in (
            (ActionKind.SWITCH_COLLATERAL, usdc, weth, 10_000 * 10**6, 4 * WAD),
            (ActionKind.SWITCH_DEBT, usdc, weth, 10_000 * 10**6, 4 * WAD),
            (ActionKind.BOOST, usdc, weth, 100 * 10**6, WAD),
        ):
            its = read_terms(chain, aave, position, paying, loaned, kind)
            sale = Sale(paying, 0, most, WAD, holder.path(*between), "", its)
            (call,) = aave.calls_for(position, Action(kind, loaned, amount, sale), held, DEADLINE)
            plans += [(call,), call.stand_in]
    plans += _swapped(chain, position, aave)
    found: dict[Kind, list[int]] = defaultdict(list)
    for plan in plans:
        snapshot = chain.snapshot()
        done = carry_out(holder, plan)
        chain.revert(snapshot)
        for call, one in zip(plan, done, strict=True):
            assert one.ok, call.words
            found[call.selector, aave.typical_gas(call)].append(one.gas)
    return found


def _swapped(chain: Chain, position: Position, aave: AaveV3Market) -> list[tuple[PlannedCall, ...]]:
    """A WETH of the wallet wrapped and swapped, through one pool and through two."""
    usdc, weth = (asset(aave, position, one) for one in ("USDC", "WETH"))
    account, router, pool = position.key.account, chain.market.router02.lower(), chain.market.pool.lower()
    tokens = {weth.address: TokenHolding(weth, 0, {router: 0}), usdc.address: TokenHolding(usdc, 0, {pool: 0})}
    holding = Wallet(account, 10 * WAD, 0, tokens)
    swapper = Router02(router, (chain.token("DAI").address.lower(),))
    plans = []
    for route in (
        Route((weth.address, usdc.address), (500,)),
        Route((weth.address, chain.token("DAI").address.lower(), usdc.address), (500, 100)),
    ):
        swap = swapper.call(SwapOrder(account, weth, usdc, WAD, 2_000 * 10**6), encode_path(route), DEADLINE)
        sale = Sale(weth, WAD, WAD, 0, encode_path(route), swap.venue, SaleTerms("", "", 0), swap=swap)
        action = Action(ActionKind.SWAP_TO_REPAY, usdc, 2_000 * 10**6, sale, wrap=WAD)
        plans.append(aave.calls_for(position, action, holding, DEADLINE))
        # Withdrawn, it is a round of a deleverage.
        round_ = Action(ActionKind.DELEVERAGE, usdc, 2_000 * 10**6, replace(sale, withdrawn=WAD))
        plans.append(aave.calls_for(position, round_, holding, DEADLINE))
    return plans


@pytest.mark.node
def test_the_table_is_what_a_real_pool_takes(market_v32: Chain) -> None:
    deploy(market_v32)
    every: dict[Kind, list[int]] = defaultdict(list)
    for number, others in ((400, ()), (401, ("WBTC", "DAI", "USDT"))):
        holder = Holder(market_v32, number)
        market_v32.supply(holder.address, "USDC", 2_000 * 10**6)
        for symbol in others:
            unit, price = market_v32.token(symbol).unit, market_v32.price(symbol)
            market_v32.supply(holder.address, symbol, 3_000 * 10**8 * unit // price)
            market_v32.borrow(holder.address, symbol, 500 * 10**8 * unit // price)
        holder.borrow_to()
        market_v32.give("USDC", 5_000 * 10**6, holder.address)
        market_v32.advance(86_400)
        for kind, taken in _measured(market_v32, holder).items():
            every[kind] += taken
    assert {selector for selector, _ in every} == TYPICAL_GAS.keys()
    for (selector, booked), taken in every.items():
        assert max(taken) <= booked <= max(taken) * 115 // 100, (selector.hex(), booked, taken)


def test_what_was_not_measured_is_booked_dear() -> None:
    call = PlannedCall("0x" + "1" * 40, b"\1\2\3\4", 0, "", None)
    assert typical_gas(call) == UNKNOWN_GAS


@given(st.binary(max_size=300))
def test_no_calldata_makes_it_fail(data: bytes) -> None:
    for start in (b"", SELL):
        assert 0 < typical_gas(PlannedCall("0x" + "1" * 40, start + data, 0, "", None)) < 1_200_000
