"""Switches and boosts through the adapter, for real: previews to the wei, credit by signature, and what stops them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.contracts.reshaping import BOOST, COLLATERAL, DEBT, KINDS, Move, quote, told, usual
from tests.contracts.test_deleverage import check_nothing_left
from tests.contracts.test_reshaping import _random_move as random_move
from tests.contracts.test_sizing import state_of
from tests.protocols.carry_out import carry_out, read_terms
from tests.protocols.reading import asset, contract_health, read_one, selling_adapter
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, deploy
from tui.model.plan import Action, PlannedCall, Sale
from tui.model.position import Position
from tui.model.rule import ActionKind
from tui.model.signing import PermitKind, WordRule
from tui.model.wallet import Wallet
from tui.practice.abi import calldata
from tui.practice.accounts import OWNER
from tui.practice.rpc import RpcError
from tui.protocols.aave_v3.helper import ALL_OF_IT, Helper
from tui.protocols.aave_v3.market import AaveV3Market
from tui.protocols.aave_v3.reshape import after_borrow, require_borrowable
from tui.protocols.aave_v3.state import MarketState, Reserve
from tui.protocols.base import ActionImpossible
from tui.risk.search import last_true

pytestmark = [pytest.mark.node]

KIND = {COLLATERAL: ActionKind.SWITCH_COLLATERAL, DEBT: ActionKind.SWITCH_DEBT, BOOST: ActionKind.BOOST}
WAYS = ("signature", "approval", "too little", "enough")
FOR_EVER = 2**40


@pytest.fixture
def helper(market: Chain) -> Helper:
    """The helper, deployed on both Aave versions in turn."""
    return deploy(market)


def _wallet(holder: Holder) -> Wallet:
    return Wallet(holder.address.lower(), None, None)


def _soon(chain: Chain) -> int:
    return int(chain.block()["timestamp"], 16) + 12


def _at(chain: Chain, at: int, aave: AaveV3Market, account: str) -> Position:
    snapshot = chain.snapshot()
    chain.rpc("evm_setNextBlockTimestamp", at)
    chain.mine()
    position = read_one(chain, account, aave)
    chain.revert(snapshot)
    return position


def _action(aave: AaveV3Market, asked: Move, position: Position, **changes: object) -> Action:
    """A sale as a planner would make it, on the terms that the chain tells."""
    chain, kind = asked.chain, KIND[asked.kind]
    loaned, given = (asset(aave, position, one) for one in (asked.loaned, asked.given))
    terms = read_terms(chain, aave, position, given, loaned, kind)
    assert terms.impossible is None
    amount = asked.amount
    if amount == ALL_OF_IT:
        amount = aave.ceiling(position, kind, loaned, given)
    sold = asked.most * 995 // 1000
    sale = Sale(given, sold, asked.most, asked.min_health, asked.path, "Uniswap V3 0.05%", terms)
    return Action(kind, loaned, amount, replace(sale, **changes))


def _told_sold(action: Action, **changes: object) -> Action:
    assert action.sale is not None
    return replace(action, sale=replace(action.sale, **changes))


def _on_terms(action: Action, **changes: object) -> Action:
    assert action.sale is not None
    return _told_sold(action, terms=replace(action.sale.terms, **changes))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
def test_seeded_positions_are_left_as_foreseen(market: Chain, helper: Helper, kind: str) -> None:
    """By signature, by approval, over too little and over enough that stands: the state is the one foreseen."""
    rng, aave = random.Random(f"adapter {kind}"), selling_adapter(market)
    for number in range(8):
        asked, way = random_move(rng, kind, market, 360 + number), WAYS[number % 4]
        holder = asked.holder
        if way in ("too little", "enough"):
            asked.let(helper, asked.most // 2 if way == "too little" else asked.most)
        position = read_one(market, holder.address, aave)
        action = _action(aave, asked, position)
        assert action.sale is not None
        assert action.sale.terms.permit is not None
        if way in ("approval", "too little"):
            action = _on_terms(action, permit=None)
        at = _soon(market)
        calls = aave.calls_for(position, action, _wallet(holder), at + 60)
        wanted = {"signature": 1, "approval": 2, "too little": 3 if kind == COLLATERAL else 2, "enough": 1}
        assert len(calls) == wanted[way]
        snapshot = market.snapshot()
        done = carry_out(holder, calls, at)
        assert all(one.ok for one in done), (asked, way)
        outcome = told(kind, done[-1].logs, helper.address)
        after, contracts_own = read_one(market, holder.address, aave), contract_health(market, holder.address)
        assert asked.left(helper) == (0 if kind == COLLATERAL else asked.most - outcome.paid)
        check_nothing_left(market, helper, holder)
        market.revert(snapshot)
        assert after.unknown is None
        foreseen = aave.after(_at(market, at, aave, holder.address), [_told_sold(action, sold=outcome.paid)])
        if asked.amount == ALL_OF_IT:
            owed_then = {one.asset.symbol for one in foreseen.debt}
            assert owed_then >= {one.asset.symbol for one in after.debt}
            continue
        assert state_of(foreseen)[1] == state_of(after)[1], (asked, way)
        assert after.health_factor == contracts_own == outcome.health_factor
        assert foreseen.health_factor is not None
        # Suppliers share the loan's premium, and what is supplied shares in it: that much is never promised.
        gain = outcome.health_factor - foreseen.health_factor
        assert gain == 0 if kind == DEBT else 0 <= gain <= foreseen.health_factor // 10_000
        expected = aave.after(position, [_told_sold(action, sold=outcome.paid)]).health_factor
        assert expected is not None
        assert abs(outcome.health_factor - expected) <= expected // 100_000


@pytest.mark.parametrize("kind", [DEBT, BOOST])
def test_credit_by_signature_is_bound_word_by_word(market: Chain, helper: Helper, kind: str) -> None:
    """The stand-in does the same without a signature; the signer is told every word; what is left is said."""
    asked, aave = usual(kind, market, 380), selling_adapter(market)
    position = read_one(market, asked.holder.address, aave)
    action = _action(aave, asked, position, min_health=11 * WAD // 10)
    (call,) = aave.calls_for(position, action, _wallet(asked.holder), FOR_EVER)
    delegate, plain = call.stand_in
    assert call.data[4:-96] == plain.data[4:]
    assert call.permit is not None
    assert call.permit.kind is PermitKind.DELEGATION
    loaned, given = (market.token(one) for one in (asked.loaned, asked.given))
    assert (call.permit.token, call.permit.spender, call.permit.value) == (
        given.v_token.lower(),
        helper.address,
        asked.most,
    )
    assert delegate.to == given.v_token.lower()
    assert delegate.rules == (WordRule(0, equals=int(helper.address, 16)), WordRule(1, maximum=asked.most))
    assert "stays delegated to the helper, which acts for you alone" in call.words
    assert "stays delegated to the helper, which acts for you alone" in delegate.words
    first, second = (given, loaned) if kind == BOOST else (loaned, given)
    for one in (call, plain):
        assert (one.to, one.value, one.action) == (helper.address, 0, action)
        assert (one.spend_token, one.spend_word) == (given.address.lower(), 3)
        assert one.rules == (
            WordRule(0, equals=int(first.address, 16)),
            WordRule(1, equals=int(second.address, 16)),
            WordRule(3, maximum=asked.most),
            WordRule(4, minimum=11 * WAD // 10 if kind == BOOST else WAD),
            WordRule(6, maximum=3),
        )
    assert all(one.ok for one in carry_out(asked.holder, call.stand_in))


def test_the_floor_of_a_boost_is_held_on_chain(market: Chain, helper: Helper) -> None:
    asked, aave = usual(BOOST, market, 381), selling_adapter(market)
    position = read_one(market, asked.holder.address, aave)
    action = _action(aave, asked, position)
    reached = aave.after(position, [action]).health_factor
    assert reached is not None
    assert position.health_factor is not None
    for floor, passes in ((reached + WAD // 100, False), (reached - WAD // 100, True)):
        calls = aave.calls_for(position, _told_sold(action, min_health=floor), _wallet(asked.holder), FOR_EVER)
        assert carry_out(asked.holder, calls)[-1].ok is passes


def test_credit_that_stands_is_used_and_said(market: Chain, helper: Helper) -> None:
    asked, aave = usual(BOOST, market, 382), selling_adapter(market)
    asked.let(helper, 2 * asked.most)
    position = read_one(market, asked.holder.address, aave)
    (call,) = aave.calls_for(position, _action(aave, asked, position), _wallet(asked.holder), FOR_EVER)
    assert call.permit is None
    assert "with the credit that stands delegated" in call.words
    (done,) = carry_out(asked.holder, [call])
    assert done.ok
    assert asked.left(helper) == 2 * asked.most - told(BOOST, done.logs, helper.address).paid


def test_terms_tell_what_can_be_borrowed_and_lent(market: Chain, helper: Helper) -> None:
    asked, aave = usual(DEBT, market, 383), selling_adapter(market)
    position = read_one(market, asked.holder.address, aave)
    usdc, dai = asset(aave, position, "USDC"), asset(aave, position, "DAI")
    terms = read_terms(market, aave, position, dai, usdc, ActionKind.SWITCH_DEBT)
    assert (terms.helper, terms.receipt) == (helper.address, market.token("DAI").v_token.lower())
    assert terms.allowed == 0
    assert terms.permit is not None
    assert terms.available == market.balance("USDC", market.token("USDC").a_token)
    assert terms.withdrawable == market.balance("DAI", market.token("DAI").a_token)
    asked.let(helper, 1_234)
    assert read_terms(market, aave, position, dai, usdc, ActionKind.SWITCH_DEBT).allowed == 1_234
    assert read_terms(market, aave, position, dai, None, ActionKind.BOOST).available is None


def _configured(chain: Chain, signature: str, symbol: str, *arguments: object) -> None:
    chain.send(OWNER, chain.market.configurator, signature, chain.token(symbol).address, *arguments)


@pytest.mark.parametrize(
    ("kind", "signature", "side", "arguments", "reason"),
    [
        (DEBT, "setReserveFreeze(address,bool)", "given", (True,), "is frozen in this market: nothing can be borrowed"),
        (BOOST, "setReserveBorrowing(address,bool)", "given", (False,), "borrowing of USDC is switched off"),
        (BOOST, "setBorrowCap(address,uint256)", "given", (1,), "than its borrow cap leaves"),
        (BOOST, "setReserveFreeze(address,bool)", "loaned", (True,), "WETH is frozen"),
        (BOOST, "setSupplyCap(address,uint256)", "loaned", (1,), "supply cap"),
        (BOOST, "setReserveFlashLoaning(address,bool)", "loaned", (False,), "flash loans of WETH are switched off"),
        (COLLATERAL, "setReservePause(address,bool)", "loaned", (True,), "WBTC is paused"),
        (
            COLLATERAL,
            "configureReserveAsCollateral(address,uint256,uint256,uint256)",
            "loaned",
            (0, 7_800, 10_500),
            "would not",
        ),
    ],
)
def test_what_keeps_it_from_being_done(
    market: Chain, helper: Helper, kind: str, signature: str, side: str, arguments: tuple[object, ...], reason: str
) -> None:
    """The adapter says it; where it is the pool that stops it, so does the pool."""
    asked, aave = usual(kind, market, 384), selling_adapter(market)
    position = read_one(market, asked.holder.address, aave)
    action = _on_terms(_action(aave, asked, position, min_health=0), permit=None)
    calls = aave.calls_for(position, action, _wallet(asked.holder), FOR_EVER)
    _configured(market, signature, asked.given if side == "given" else asked.loaned, *arguments)
    position = read_one(market, asked.holder.address, aave)
    with pytest.raises(ActionImpossible, match=reason):
        aave.after(position, [action])
    if reason != "would not":
        assert not carry_out(asked.holder, calls)[-1].ok


def test_what_is_borrowed_is_bound_by_loan_to_value(market: Chain) -> None:
    """To the unit: what the adapter allows is borrowed, one unit more is refused by both."""
    holder = Holder(market, 385).borrow_to(2 * WAD)
    market.advance(86_400)
    position = read_one(market, holder.address, selling_adapter(market))
    at = position.block.timestamp
    state, account = state_of(position)
    reserve = state.reserve(market.token("USDC").address.lower())
    assert reserve is not None

    def refusal(amount: int) -> str | None:
        try:
            after_borrow(state, account, reserve, amount)
        except ActionImpossible as refused:
            return str(refused)
        return None

    most = last_true(lambda amount: refusal(amount) is None, 1, market.units("USDC", 10_000_000))
    assert most is not None
    assert "loan to value" in (refusal(most + 1) or "")
    signature = "borrow(address,uint256,uint256,uint16,address)"
    data = calldata(signature, market.token("USDC").address, most, 2, 0, holder.address)
    more = calldata(signature, market.token("USDC").address, most + 1, 2, 0, holder.address)
    for one, passes in ((more, False), (data, True)):
        request = {"from": holder.address, "to": market.market.pool, "data": one}
        try:
            market.rpc("eth_call", request, hex(position.block.number), {}, {"time": hex(at)})
            went = True
        except RpcError:
            went = False
        assert went is passes


def test_siloed_and_isolated_assets_are_borrowed_alone(market_v32: Chain) -> None:
    """As validateBorrow has it, on a state with other terms: a market sets them before anybody owes anything."""
    holder = Holder(market_v32, 391).borrow_to()
    state, account = state_of(read_one(market_v32, holder.address, selling_adapter(market_v32)))
    dai, usdc, weth = (state.reserve(market_v32.token(one).address.lower()) for one in ("DAI", "USDC", "WETH"))
    assert dai is not None
    assert usdc is not None
    assert weth is not None

    def on(reserve: Reserve, **terms: object) -> MarketState:
        changed = replace(reserve, terms=replace(reserve.terms, **terms))
        return replace(state, reserves={**state.reserves, reserve.id: changed})

    require_borrowable(state, account, dai)
    for market, asked, reason in (
        (on(dai, siloed=True), dai, "only be borrowed where nothing else is owed"),
        (on(usdc, siloed=True), dai, "USDC is owed, beside which nothing else"),
        (on(weth, debt_ceiling=10_000), usdc, "WETH is isolated"),
        (on(dai, borrowing=False), dai, "switched off"),
    ):
        with pytest.raises(ActionImpossible, match=reason):
            require_borrowable(market, account, market.reserves[asked.id])
    require_borrowable(on(usdc, siloed=True), account, on(usdc, siloed=True).reserves[usdc.id])


def test_what_cannot_be_switched_into_what(market_v32: Chain) -> None:
    deploy(market_v32)
    asked, aave = usual(DEBT, market_v32, 387), selling_adapter(market_v32)
    position = read_one(market_v32, asked.holder.address, aave)
    usdc, weth, dai = (asset(aave, position, one) for one in ("USDC", "WETH", "DAI"))
    for kind, loaned, paying, reason in (
        (ActionKind.SWITCH_DEBT, usdc, usdc, "for itself"),
        (ActionKind.SWITCH_DEBT, dai, usdc, "no DAI is owed"),
        (ActionKind.SWITCH_COLLATERAL, usdc, dai, "no DAI is supplied"),
        (ActionKind.BOOST, replace(weth, address="0x" + "5" * 40), usdc, "not listed"),
        (ActionKind.BOOST, weth, None, "needs the collateral"),
    ):
        with pytest.raises(ActionImpossible, match=reason):
            aave.ceiling(position, kind, loaned, paying)
    assert aave.ceiling(position, ActionKind.SWITCH_DEBT, usdc, dai) > 0
    assert aave.ceiling(position, ActionKind.BOOST, weth, usdc) > 0


def test_shapes_without_route_and_limit_still_pack(market_v32: Chain) -> None:
    deploy(market_v32)
    aave = selling_adapter(market_v32)
    for kind in KINDS:
        asked = usual(kind, market_v32, 388)
        position = read_one(market_v32, asked.holder.address, aave)
        loaned, given = (asset(aave, position, one) for one in (asked.loaned, asked.given))
        shape = aave.sale_shape(position, given, KIND[kind])
        for most in (5 * WAD, 2**256 - 1):
            sale = Sale(given, 1, most, WAD, b"", "", shape)
            let, call = aave.calls_for(position, Action(KIND[kind], loaned, 10**6, sale), _wallet(asked.holder), 0)
            assert _word(call, 6) == 0
            assert _word(call, 3) == _word(let, 1) == min(most, 2**256 - 2)


def test_an_exact_quote_is_what_is_borrowed(market: Chain, helper: Helper) -> None:
    """Borrowed is what the swap takes and nothing else: the wallet is left as it was."""
    asked, aave = usual(BOOST, market, 389), selling_adapter(market)
    holder = asked.holder
    position = read_one(market, holder.address, aave)
    calls = aave.calls_for(position, _action(aave, asked, position), _wallet(holder), FOR_EVER)
    before = {symbol: market.balance(symbol, holder.address) for symbol in market.market.tokens}
    premium = int(market.call(market.market.pool, "FLASHLOAN_PREMIUM_TOTAL()", ["uint128"]))
    wanted = quote(market, asked.path, asked.amount + (asked.amount * premium + 5_000) // 10_000)
    (done,) = carry_out(holder, calls)
    assert told(BOOST, done.logs, helper.address).paid == wanted
    assert {symbol: market.balance(symbol, holder.address) for symbol in market.market.tokens} == before


def _word(call: PlannedCall, index: int) -> int:
    return int.from_bytes(call.data[4 + 32 * index : 36 + 32 * index], "big")
