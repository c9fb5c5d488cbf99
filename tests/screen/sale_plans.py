"""Plans that sell collateral, with everything that a screen may say about them."""

from __future__ import annotations

from dataclasses import replace

from tests.support import views
from tests.support.views import POOL, USDC, WETH, usd, wad
from tui.model.plan import Action, Alternative, Plan, PlanCost, PlannedCall, PlannedStep, Sale, SaleTerms, SwapCost
from tui.model.rule import ActionKind
from tui.model.view import ViewState

COST = PlanCost(
    612_000,
    7_548_000_000_000_000,
    usd("2.31"),
    SwapCost(usd("2.60"), usd("1.87"), -usd("0.40"), usd("2.60")),
    usd("22.46"),
    usd("41.20"),
)
SALE = Sale(
    WETH,
    1_742_100_000_000_000_000,
    1_746_400_000_000_000_000,
    wad("1.324206"),
    b"\x01\x02",
    "Uniswap V3 0.05%",
    SaleTerms(POOL, "0x" + "d1" * 20, 5),
)
WAYS = (
    Alternative("repay 5,214.20 USDC", (0,), replace(COST, gas_usd=usd("0.41"), swap=SwapCost()), wad("1.5004"), True),
    Alternative("add 0.4000 WETH", (1,), None, wad("1.3110"), False),
    Alternative(
        "sell WBTC for USDC", (3,), None, None, False, "selling WBTC for USDC would lose 0.91% now, over 0.50%"
    ),
)


def sale_plan(sale: Sale = SALE, cost: PlanCost = COST) -> Plan:
    """Sell collateral for debt in one transaction."""
    action = Action(ActionKind.DELEVERAGE, USDC, 5_214_200_000, sale)
    words = "sell at most 1.7464 WETH for 5,214.20 USDC of debt in aave-v3 core"
    call = PlannedCall(POOL, bytes.fromhex("0badcafe") + bytes(64), 0, words, action, gas_limit=612_000)
    plan = views.plan()
    return replace(
        plan,
        steps=(PlannedStep(action, wad("1.500412")),),
        calls=(call,),
        cost=cost,
        spend_usd=0,
        expected_loss_usd=usd("130.20"),
        alternatives=WAYS,
    )


def confirming_sale(plan: Plan) -> ViewState:
    """A sale waits for a yes."""
    view = views.confirming()
    return replace(view, confirmations=(replace(view.confirmations[0], plan=plan),))
