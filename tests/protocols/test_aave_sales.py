"""Sales of collateral through the adapter, for real: seeded positions, previews to the wei, nothing left behind."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.contracts.test_deleverage import check_nothing_left, told
from tests.contracts.test_sizing import PAIRS, open_holder, size, state_of
from tests.protocols.carry_out import carry_out, read_terms
from tests.protocols.reading import UINT256_MAX, adapter, asset, contract_health, read_one, selling_adapter
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, deploy, the_helper
from tui.model.plan import Action, PlannedCall, Sale
from tui.model.position import Position
from tui.model.rule import ActionKind
from tui.model.signing import WordRule
from tui.model.wallet import Wallet
from tui.practice.accounts import OWNER
from tui.protocols.aave_v3.helper import ALL_OF_IT, Helper
from tui.protocols.aave_v3.market import AaveV3Market
from tui.protocols.base import ActionImpossible

pytestmark = [pytest.mark.node]

DELEVERAGE, SWAP_OWN = ActionKind.DELEVERAGE, ActionKind.REPAY_WITH_ATOKENS
BLOCK_SECONDS = 12


@pytest.fixture
def helper(market: Chain) -> Helper:
    """The helper, deployed on both Aave versions in turn."""
    return deploy(market)


def _wallet(holder: Holder) -> Wallet:
    return Wallet(holder.address.lower(), None, None)


def _soon(chain: Chain) -> int:
    return int(chain.block()["timestamp"], 16) + BLOCK_SECONDS


def _at(chain: Chain, at: int, aave: AaveV3Market, account: str) -> Position:
    """The position as it will be at `at`, on a chain that is put back."""
    snapshot = chain.snapshot()
    chain.rpc("evm_setNextBlockTimestamp", at)
    chain.mine()
    position = read_one(chain, account, aave)
    chain.revert(snapshot)
    return position


def _sale(
    chain: Chain,
    aave: AaveV3Market,
    holder: Holder,
    position: Position,
    repaid: int,
    most_sold: int,
    **changes: object,
) -> Action:
    """A sale as a planner would make it, on the terms that the chain tells."""
    debt, collateral = (asset(aave, position, one) for one in (holder.debt, holder.collateral))
    terms = read_terms(chain, aave, position, collateral, debt)
    assert terms.impossible is None
    assert terms.permit is not None
    sale = Sale(collateral, most_sold * 995 // 1000, most_sold, WAD, holder.path(), "Uniswap V3 0.05%", terms)
    return Action(DELEVERAGE, debt, repaid, replace(sale, **changes))


def _changed(action: Action, **changes: object) -> Action:
    assert action.sale is not None
    return replace(action, sale=replace(action.sale, terms=replace(action.sale.terms, **changes)))


def _balances(chain: Chain, account: str) -> dict[str, int]:
    return {symbol: chain.balance(symbol, account) for symbol in chain.market.tokens}


@pytest.mark.timeout(240)
def test_seeded_positions_sell_as_foreseen(market: Chain, helper: Helper) -> None:
    """By permit, by approval, and over an allowance that is too small: the contracts leave what was foreseen."""
    rng, aave = random.Random(20), selling_adapter(market)
    for number, pair in enumerate(PAIRS):
        holder = open_holder(market, rng, 300 + number, pair)
        market.give(holder.debt, 777, holder.address)
        before = holder.health
        target = before + rng.randint(2, 45) * WAD // 100
        sized = size(market, aave, holder, target, delegated=False)
        assert sized.size.reaches, pair
        way = ("permit", "approval", "small allowance")[number % 3]
        if way == "small allowance":
            holder.approve(helper, sized.max_sold // 2)
        position = read_one(market, holder.address, aave)
        changes = {"sold": sized.size.sold, "path": sized.path, "min_health": (before + target) // 2}
        action = _sale(market, aave, holder, position, sized.size.repaid, sized.max_sold, **changes)
        if way != "permit":
            action = _changed(action, permit=None)
        at = _soon(market)
        calls = aave.calls_for(position, action, _wallet(holder), at + 60)
        assert len(calls) == {"permit": 1, "approval": 2, "small allowance": 3}[way]
        snapshot, wallet = market.snapshot(), _balances(market, holder.address)
        done = carry_out(holder, calls, at)
        assert all(one.ok for one in done), (pair, way)
        repaid, sold, _, health = told(done[-1].logs, helper.address)
        after = read_one(market, holder.address, aave)
        contracts_own = contract_health(market, holder.address)
        assert _balances(market, holder.address) == wallet
        check_nothing_left(market, helper, holder)
        market.revert(snapshot)
        position = _at(market, at, aave, holder.address)
        exact = aave.after(position, [_changed_sale(action, sold=sold)])
        assert repaid == action.amount
        assert after.unknown is None
        assert exact.health_factor == after.health_factor == contracts_own == health
        assert state_of(exact)[1] == state_of(after)[1]
        expected = aave.after(position, [action]).health_factor
        assert expected is not None
        assert 0 <= health - expected <= expected // 1000
        assert abs(health - target) <= target // 1000


def test_all_of_a_debt(market: Chain, helper: Helper) -> None:
    """What is owed when the transaction runs is repaid to the last unit, interest since the plan included."""
    holder, aave = Holder(market, 320).borrow_to(), selling_adapter(market)
    position = read_one(market, holder.address, aave)
    usdc, weth = asset(aave, position, "USDC"), asset(aave, position, "WETH")
    owed = aave.ceiling(position, DELEVERAGE, usdc, weth)
    assert owed == holder.owed()
    action = _sale(market, aave, holder, position, owed, holder.supplied() * 81 // 100)
    (call,) = aave.calls_for(position, action, _wallet(holder), _soon(market) + 86_400)
    assert "all the USDC owed by then" in call.words
    assert _word(call, 2) == ALL_OF_IT
    foreseen = aave.after(position, [action])
    assert foreseen.debt == ()
    assert foreseen.health_factor is None
    (done,) = carry_out(holder, [call], _soon(market) + 3_600)
    assert done.ok
    assert told(done.logs, helper.address)[0] > owed
    after = read_one(market, holder.address, aave)
    assert after.debt == ()
    assert after.status == "no-debt"
    check_nothing_left(market, helper, holder)
    (part,) = aave.calls_for(position, replace(action, amount=owed - 1), _wallet(holder), 0)
    assert _word(part, 2) == owed - 1


def test_several_debts_and_collaterals_in_one_plan(market: Chain, helper: Helper) -> None:
    """Own supply against own debt, then two sales, one after the other in one block."""
    holder, aave = Holder(market, 321), selling_adapter(market)
    market.supply(holder.address, "WBTC", market.units("WBTC", 1))
    market.supply(holder.address, "USDT", market.units("USDT", 3_000))
    market.borrow(holder.address, "USDT", market.units("USDT", 10_000))
    market.borrow(holder.address, "DAI", market.units("DAI", 40_000))
    holder.borrow_to()
    market.advance(5 * 86_400)
    position = read_one(market, holder.address, aave)
    usdt = asset(aave, position, "USDT")
    own = Action(SWAP_OWN, usdt, 2_500 * 10**6)
    first = _sale(market, aave, holder, position, 20_000 * 10**6, 7 * WAD)
    holder.collateral, holder.debt = "WBTC", "DAI"
    path = holder.path(100, "USDC", 500)
    most = market.units("WBTC", 15_000) * 102 // 100 * 10**8 // market.price("WBTC")
    second = _sale(market, aave, holder, position, 15_000 * WAD, most, path=path)
    at = _soon(market)
    actions = [own, first, second]
    calls = [one for action in actions for one in aave.calls_for(position, action, _wallet(holder), at + 60)]
    snapshot, before = market.snapshot(), holder.health
    done = carry_out(holder, calls, at)
    assert all(one.ok for one in done)
    sold = [told(one.logs, helper.address)[1] for one in done[1:]]
    after = read_one(market, holder.address, aave)
    assert holder.health > before
    check_nothing_left(market, helper, holder)
    market.revert(snapshot)
    position = _at(market, at, aave, holder.address)
    actions = [own, _changed_sale(first, sold=sold[0]), _changed_sale(second, sold=sold[1])]
    exact = aave.after(position, actions)
    assert exact.health_factor == after.health_factor
    assert state_of(exact)[1] == state_of(after)[1]


def test_a_sale_under_water(market: Chain, helper: Helper) -> None:
    """What may be liquidated already is saved, and the preview says so to the wei."""
    holder, aave = Holder(market, 322).borrow_to(), selling_adapter(market)
    market.set_price("WETH", 2_850)
    position = read_one(market, holder.address, aave)
    assert position.status == "liquidatable"
    action = _sale(market, aave, holder, position, 60_000 * 10**6, market.units("WETH", 22), min_health=WAD)
    at = _soon(market)
    (call,) = aave.calls_for(position, action, _wallet(holder), at)
    snapshot = market.snapshot()
    (done,) = carry_out(holder, [call], at)
    assert done.ok
    _, sold, _, health = told(done.logs, helper.address)
    market.revert(snapshot)
    exact = aave.after(_at(market, at, aave, holder.address), [_changed_sale(action, sold=sold)])
    assert exact.health_factor == health > WAD


def test_the_allowance_that_stands_is_used_and_said(market: Chain, helper: Helper) -> None:
    holder, aave = Holder(market, 323).borrow_to(), selling_adapter(market)
    holder.approve(helper, 6 * WAD)
    position = read_one(market, holder.address, aave)
    action = _sale(market, aave, holder, position, 10_000 * 10**6, 4 * WAD)
    assert action.sale is not None
    assert action.sale.terms.allowed == 6 * WAD
    (call,) = aave.calls_for(position, action, _wallet(holder), _soon(market) + 60)
    assert call.permit is None
    assert "with the allowance that stands (6 WETH)" in call.words
    (done,) = carry_out(holder, [call])
    assert done.ok


def test_a_deadline_that_has_passed_sells_nothing(market: Chain, helper: Helper) -> None:
    holder, aave = Holder(market, 324).borrow_to(), selling_adapter(market)
    position = read_one(market, holder.address, aave)
    action = _changed(_sale(market, aave, holder, position, 10_000 * 10**6, 4 * WAD), permit=None)
    at = _soon(market)
    done = carry_out(holder, aave.calls_for(position, action, _wallet(holder), at - 1), at)
    assert [one.ok for one in done] == [True, False]


def test_a_permit_call_is_the_plain_one_and_a_signature(market: Chain, helper: Helper) -> None:
    """The stand-in does the same without a signature, and every word that the signer must see to is bound."""
    holder, aave = Holder(market, 325).borrow_to(), selling_adapter(market)
    position = read_one(market, holder.address, aave)
    action = _sale(market, aave, holder, position, 10_000 * 10**6, 4 * WAD)
    (call,) = aave.calls_for(position, action, _wallet(holder), _soon(market) + 60)
    approve, plain = call.stand_in
    assert call.data[4:-96] == plain.data[4:]
    assert call.permit is not None
    weth, usdc = market.token("WETH"), market.token("USDC")
    assert (call.permit.token, call.permit.spender, call.permit.value) == (
        weth.a_token.lower(),
        helper.address,
        4 * WAD,
    )
    assert (approve.to, approve.spend_token) == (weth.a_token.lower(), None)
    for one in (call, plain):
        assert (one.to, one.value, one.action) == (helper.address, 0, action)
        assert (one.spend_token, one.spend_word) == (weth.address.lower(), 3)
        assert one.rules == (
            WordRule(0, equals=int(usdc.address, 16)),
            WordRule(1, equals=int(weth.address, 16)),
            WordRule(3, maximum=4 * WAD),
            WordRule(4, minimum=WAD),
            WordRule(6, maximum=3),
        )
    done = carry_out(holder, call.stand_in)
    assert all(one.ok for one in done)
    check_nothing_left(market, helper, holder)


def test_terms_are_read_from_the_chain(market: Chain) -> None:
    """What a flash loan costs, what can be lent, and that the helper stands: before it does, the way to mend it."""
    holder, aave = Holder(market, 326).borrow_to(), selling_adapter(market)
    position = read_one(market, holder.address, aave)
    usdc, weth = asset(aave, position, "USDC"), asset(aave, position, "WETH")
    helper = deploy(market)
    market.rpc("anvil_setCode", helper.address, "0x")
    assert "trimtab helper deploy" in (read_terms(market, aave, position, weth, usdc).impossible or "")
    market.rpc("anvil_setCode", helper.address, "0x" + helper.code.hex())
    terms = read_terms(market, aave, position, weth)
    assert terms == read_terms(market, aave, position, weth, usdc)
    assert (terms.helper, terms.receipt) == (helper.address, market.token("WETH").a_token.lower())
    assert terms.premium_bps == market.call(market.market.pool, "FLASHLOAN_PREMIUM_TOTAL()", ["uint128"])
    assert terms.permit is not None
    assert terms.permit.version == "1"
    assert terms.available == market.balance("USDC", market.token("USDC").a_token)
    assert terms.withdrawable == market.balance("WETH", market.token("WETH").a_token)
    market.give("USDC", 10**6, market.token("USDC").a_token)
    given = read_terms(market, aave, position, weth).available
    virtual = market.market.version.value == "v3.2"
    assert given == terms.available + (0 if virtual else 10**6), "since 3.1 what is sent to the pool is not its own"
    market.borrow(holder.address, "DAI", 10**18)
    position = read_one(market, holder.address, aave)
    assert read_terms(market, aave, position, weth).available is None, "of two debts one must be named"
    assert read_terms(market, aave, position, weth, usdc).available is not None


def test_more_than_the_pool_can_lend_is_refused_by_it(market: Chain, helper: Helper) -> None:
    """`available` is to the unit what a flash loan can be."""
    holder, aave = Holder(market, 327, dollars=3_000_000).borrow_to(), selling_adapter(market)
    position = read_one(market, holder.address, aave)
    usdc, weth = asset(aave, position, "USDC"), asset(aave, position, "WETH")
    available = read_terms(market, aave, position, weth, usdc).available
    assert available is not None
    left = 1_000 * 10**6
    whale = Holder(market, 328, "WBTC", dollars=400_000_000)
    market.borrow(whale.address, "USDC", available - left)
    available = read_terms(market, aave, position, weth, usdc).available
    assert available == left
    for amount, fits in ((left + 1, False), (left, True)):
        action = _changed(_sale(market, aave, holder, position, amount, WAD, min_health=0), permit=None)
        done = carry_out(holder, aave.calls_for(position, action, _wallet(holder), 2**40))
        assert done[-1].ok is fits


def test_a_helper_said_to_stand_elsewhere_is_not_used(market_v32: Chain) -> None:
    holder = Holder(market_v32, 329).borrow_to()
    right = the_helper(market_v32).address
    for named, sells in ((right, True), (right.upper().replace("0X", "0x"), True), ("0x" + "12" * 20, False)):
        aave = selling_adapter(market_v32, {"deleverage": named})
        position = read_one(market_v32, holder.address, aave)
        usdc, weth = asset(aave, position, "USDC"), asset(aave, position, "WETH")
        assert (DELEVERAGE in aave.actions) is sells
        if sells:
            assert aave.ceiling(position, DELEVERAGE, usdc, weth) > 0
            assert aave.sale_shape(position, weth).helper == right
            continue
        for attempt in (
            lambda: aave.ceiling(position, DELEVERAGE, usdc, weth),  # noqa: B023
            lambda: aave.sale_shape(position, weth),  # noqa: B023
        ):
            with pytest.raises(ActionImpossible, match=f"stands at {right}; take the line out"):
                attempt()
        assert aave.sale_calls(position, weth) == ()
        assert "take the line out" in (aave.sale_terms(position, weth, []).impossible or "")


def test_what_answers_with_another_address_in_a_helpers_place_is_no_helper(market_v32: Chain) -> None:
    holder, aave = Holder(market_v32, 331).borrow_to(), selling_adapter(market_v32)
    there = the_helper(market_v32).address
    position = read_one(market_v32, holder.address, aave)
    usdc, weth = asset(aave, position, "USDC"), asset(aave, position, "WETH")
    assert read_terms(market_v32, aave, position, weth, usdc).impossible is None
    snapshot = market_v32.snapshot()
    try:
        # Whatever it is asked, it answers with an address that is not its own.
        market_v32.rpc("anvil_setCode", there, f"0x7f{int(there, 16) ^ 1:064x}60005260206000f3")
        terms = read_terms(market_v32, aave, position, weth, usdc)
    finally:
        market_v32.revert(snapshot)
    assert "the helper contract is not deployed" in (terms.impossible or "")
    assert terms.absent


def test_without_a_router_it_says_what_to_add(market_v32: Chain) -> None:
    holder, aave = Holder(market_v32, 330).borrow_to(), adapter(market_v32)
    position = read_one(market_v32, holder.address, aave)
    assert DELEVERAGE not in aave.actions
    with pytest.raises(ActionImpossible, match=r"\[\[swap\]\] table of kind .uniswap-v3. with router02; add one"):
        aave.ceiling(position, DELEVERAGE, asset(aave, position, "USDC"), asset(aave, position, "WETH"))


def _configured(chain: Chain, signature: str, symbol: str, *arguments: object) -> None:
    chain.send(OWNER, chain.market.configurator, signature, chain.token(symbol).address, *arguments)


COLLATERAL = "configureReserveAsCollateral(address,uint256,uint256,uint256)"


@pytest.mark.parametrize(
    ("signature", "symbol", "arguments", "reason"),
    [
        ("setReservePause(address,bool)", "USDC", (True,), "USDC is paused"),
        ("setReservePause(address,bool)", "WETH", (True,), "WETH is paused"),
        ("setReserveFlashLoaning(address,bool)", "USDC", (False,), "flash loans of USDC are switched off"),
        (COLLATERAL, "WBTC", (0, 7_800, 10_500), "WBTC has LTV 0: it must be withdrawn"),
    ],
)
def test_what_keeps_a_sale_from_being_made(
    market: Chain, signature: str, symbol: str, arguments: tuple[object, ...], reason: str
) -> None:
    """The adapter says it, and the contracts refuse it."""
    helper = deploy(market)
    holder, aave = Holder(market, 331), selling_adapter(market)
    market.supply(holder.address, "WBTC", market.units("WBTC", "0.1"))
    holder.borrow_to()
    position = read_one(market, holder.address, aave)
    action = _changed(_sale(market, aave, holder, position, 10_000 * 10**6, 4 * WAD), permit=None)
    calls = aave.calls_for(position, action, _wallet(holder), 2**40)
    _configured(market, signature, symbol, *arguments)
    position = read_one(market, holder.address, aave)
    usdc, weth = asset(aave, position, "USDC"), asset(aave, position, "WETH")
    with pytest.raises(ActionImpossible, match=reason):
        aave.ceiling(position, DELEVERAGE, usdc, weth)
    with pytest.raises(ActionImpossible):
        aave.after(position, [action])
    assert not carry_out(holder, calls)[-1].ok
    assert holder.supplied("WETH") > 0
    check_nothing_left_but_the_allowance(market, helper, holder)


def check_nothing_left_but_the_allowance(chain: Chain, helper: Helper, holder: Holder) -> None:
    holder.approve(helper, 0)
    check_nothing_left(chain, helper, holder)


def test_what_cannot_be_sold_for_what(market_v32: Chain) -> None:
    holder, aave = Holder(market_v32, 332).borrow_to(), selling_adapter(market_v32)
    position = read_one(market_v32, holder.address, aave)
    usdc, weth, dai = (asset(aave, position, one) for one in ("USDC", "WETH", "DAI"))
    for debt, collateral, reason in (
        (usdc, usdc, "repay-with-atokens"),
        (dai, weth, "no DAI is owed"),
        (usdc, dai, "no DAI is supplied"),
        (usdc, replace(weth, address="0x" + "5" * 40), "not listed"),
        (usdc, None, "needs the collateral"),
    ):
        with pytest.raises(ActionImpossible, match=reason):
            aave.ceiling(position, DELEVERAGE, debt, collateral)
    with pytest.raises(ActionImpossible, match="not said"):
        aave.after(position, [Action(DELEVERAGE, usdc, 1)])
    shape = aave.sale_shape(position, weth)
    sale = Sale(weth, 1, 2, WAD, b"", "", replace(shape, helper="0x" + "6" * 40))
    with pytest.raises(ActionImpossible, match="not this market's"):
        aave.calls_for(position, Action(DELEVERAGE, usdc, 1, sale), _wallet(holder), 0)
    broken = Sale(weth, 1, 2, WAD, b"\1" * 43, "Uniswap V3", shape)
    with pytest.raises(ActionImpossible, match="does not lead"):
        aave.calls_for(position, Action(DELEVERAGE, usdc, 1, broken), _wallet(holder), 0)
    barred = Sale(weth, 1, 2, WAD, b"", "", replace(shape, impossible="the sky is falling"))
    with pytest.raises(ActionImpossible, match="sky"):
        aave.calls_for(position, Action(DELEVERAGE, usdc, 1, barred), _wallet(holder), 0)


def test_stable_debt_is_not_sold_for(market_v30: Chain) -> None:
    market = market_v30
    holder, aave = Holder(market, 333), selling_adapter(market)
    market.borrow(holder.address, "DAI", market.units("DAI", 100))
    _configured(market, "setReserveStableRateBorrowing(address,bool)", "USDC", True)
    signature = "borrow(address,uint256,uint256,uint16,address)"
    usdc_token = market.token("USDC").address
    market.send(holder.address, market.market.pool, signature, usdc_token, 5_000 * 10**6, 1, 0, holder.address)
    position = read_one(market, holder.address, aave)
    usdc, weth = asset(aave, position, "USDC"), asset(aave, position, "WETH")
    assert position.unknown is None
    with pytest.raises(ActionImpossible, match="stable rate"):
        aave.ceiling(position, DELEVERAGE, usdc, weth)


def test_a_shape_without_route_and_limit_still_packs(market_v32: Chain) -> None:
    """Previews and what a signer may be asked are made of shapes: nothing of them raises."""
    holder, aave = Holder(market_v32, 334).borrow_to(), selling_adapter(market_v32)
    position = read_one(market_v32, holder.address, aave)
    usdc, weth = asset(aave, position, "USDC"), asset(aave, position, "WETH")
    shape = aave.sale_shape(position, weth)
    assert (shape.premium_bps, shape.allowed, shape.permit, shape.impossible) == (9, 0, None, None)
    for most in (5 * WAD, UINT256_MAX):
        action = Action(DELEVERAGE, usdc, 10**9, Sale(weth, 1, most, WAD, b"", "", shape))
        approve, call = aave.calls_for(position, action, _wallet(holder), 0)
        assert _word(call, 6) == 0
        assert _word(call, 3) == _word(approve, 1) == min(most, UINT256_MAX - 1)
    assert (
        aave.after(position, [_changed_sale(action, most_sold=WAD // 2, sold=WAD * 35 // 100)]).health_factor
        is not None
    )


def _word(call: PlannedCall, index: int) -> int:
    return int.from_bytes(call.data[4 + 32 * index : 36 + 32 * index], "big")


def _changed_sale(action: Action, **changes: object) -> Action:
    assert action.sale is not None
    return replace(action, sale=replace(action.sale, **changes))
