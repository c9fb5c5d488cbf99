"""Rules, and the offers that asking exchanges gives, for planning without a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.support.plain_market import ROUTER, Exchange, PlainMarket, Routed, circumstances, wallet_of
from tui.model.position import Position
from tui.model.rule import ActionKind, Limits, Mode, Order, Rule, Step, health_below, restore
from tui.model.units import WAD
from tui.model.wallet import Wallet
from tui.planning.circumstances import Circumstances
from tui.planning.sales import offers_of, wanted_sales
from tui.planning.waterfall import Waterfall, run_waterfall
from tui.quotes.router02 import Router02

SWAPPER = Router02(ROUTER)


def repay(asset: str = "USDC", maximum: str | None = None) -> Step:
    return Step(ActionKind.REPAY, asset, maximum)


def supply(asset: str = "WETH", maximum: str | None = None) -> Step:
    return Step(ActionKind.ADD_COLLATERAL, asset, maximum)


def burn(asset: str = "USDC", maximum: str | None = None) -> Step:
    return Step(ActionKind.REPAY_WITH_ATOKENS, asset, maximum)


def sell(collateral: str = "WETH", debt: str = "USDC", maximum: str | None = None, slippage: int = 50) -> Step:
    return Step(ActionKind.DELEVERAGE, debt, maximum, collateral, slippage)


def swap(sold: str = "WETH", debt: str = "USDC", maximum: str | None = None, slippage: int = 50) -> Step:
    return Step(ActionKind.SWAP_TO_REPAY, debt, maximum, sold, slippage)


def rule_of(*steps: Step, target: int = 15 * WAD // 10, order: Order = Order.WRITTEN, **limits) -> Rule:
    trigger = health_below(12 * WAD // 10)
    return Rule("guard", "*", Mode.AUTO, trigger, 1, restore(target), steps, Limits(**limits), "digest", order=order)


def asked(
    rule: Rule,
    market: PlainMarket,
    position: Position,
    wallet: Wallet | None = None,
    exchanges: Sequence[Exchange] = (Exchange(),),
    around: Circumstances | None = None,
) -> Circumstances:
    """Circumstances with the offers that asking `exchanges` gives, as the engine does it."""
    around = around or circumstances()
    wanted = wanted_sales(rule, market, position, wallet or wallet_of(), around)
    terms = [market.sale_terms(position, one.collateral, (), one.debt, one.kind) for one in wanted]
    quotes = [
        [[quote for exchange in exchanges if (quote := exchange.quote(request))] for request in one.requests]
        for one in wanted
    ]
    return replace(around, offers=offers_of(wanted, terms, quotes))


def routed_fall(
    rule: Rule,
    market: PlainMarket,
    position: Position,
    wallet: Wallet | None = None,
    exchange: Exchange | None = None,
    order: Sequence[int] | None = None,
    **around,
) -> Waterfall:
    """The waterfall of an account that may swap by a router of its own; `around` are its circumstances."""
    wallet = wallet or wallet_of()
    given_now = circumstances(swapper=SWAPPER, **around)
    offered = asked(rule, market, position, wallet, (exchange or Routed(),), given_now)
    return run_waterfall(rule, market, position, wallet, offered, order)
