"""Previews against what the contracts do: the same calls mined at the very time that was read, compared to the wei."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.protocols.random_positions import SYMBOLS, open_position
from tests.protocols.reading import UINT256_MAX, adapter, asset, contract_health, read_one
from tests.support.chain import Chain
from tui.model.plan import Action
from tui.model.position import Position
from tui.model.rule import ActionKind
from tui.model.units import RAY
from tui.model.wallet import TokenHolding, Wallet
from tui.practice.accounts import OWNER
from tui.practice.deploy import Deployer
from tui.practice.errors import PracticeError
from tui.protocols.aave_v3 import lens
from tui.protocols.aave_v3.actions import after_action
from tui.protocols.aave_v3.market import AaveV3Market
from tui.protocols.aave_v3.state import AccountState, Holding, PositionState, market_state
from tui.protocols.base import ActionImpossible

pytestmark = [pytest.mark.node]

REPAY, SUPPLY = ActionKind.REPAY, ActionKind.ADD_COLLATERAL
OWN = ActionKind.REPAY_WITH_ATOKENS


def _at(chain: Chain, timestamp: int) -> None:
    chain.rpc("evm_setNextBlockTimestamp", timestamp)


def _read_at(chain: Chain, account: str, timestamp: int, market: AaveV3Market) -> Position:
    _at(chain, timestamp)
    chain.mine()
    return read_one(chain, account, market)


def _wallet(chain: Chain, account: str, actions: Sequence[Action]) -> Wallet:
    pool = chain.market.pool.lower()
    tokens = {one.asset.address: TokenHolding(one.asset, None, {pool: UINT256_MAX}) for one in actions}
    return Wallet(account.lower(), None, None, tokens)


def _execute_at(
    chain: Chain, account: str, timestamp: int, market: AaveV3Market, position: Position, actions: Sequence[Action]
) -> Position:
    """Mine `actions` in one block of that time, by the adapter's own calldata, and read what they left."""
    wallet = _wallet(chain, account, actions)
    deployer = Deployer(chain.node.rpc, account)
    for action in actions:
        (call,) = market.calls_for(position, action, wallet, 0)
        deployer.send(call.to, "0x" + call.data.hex())
    _at(chain, timestamp)
    deployer.flush()
    return read_one(chain, account, market)


def _prepare(chain: Chain, account: str, symbols: Sequence[str]) -> None:
    for symbol in symbols:
        chain.approve(account, symbol, chain.market.pool)
        chain.give(symbol, chain.units(symbol, 3_000_000 if chain.price(symbol) < 10**9 else 3_000), account)


def _compare(foreseen: Position, done: Position) -> None:
    assert done.unknown is None
    assert foreseen.health_factor == done.health_factor
    assert (foreseen.collateral_usd, foreseen.debt_usd) == (done.collateral_usd, done.debt_usd)
    for ours, theirs in ((foreseen.collateral, done.collateral), (foreseen.debt, done.debt)):
        assert [(one.asset, one.amount) for one in ours] == [(one.asset, one.amount) for one in theirs]
    assert isinstance(foreseen.state, PositionState)
    assert isinstance(done.state, PositionState)
    assert foreseen.state.account is not None
    assert done.state.account is not None
    assert foreseen.state.account.configuration == done.state.account.configuration
    assert [one.liquidation_price_usd for one in foreseen.collateral] == [
        one.liquidation_price_usd for one in done.collateral
    ]


def _random_action(rng: random.Random, market: AaveV3Market, position: Position) -> Action | None:
    kind = rng.choice((REPAY, SUPPLY)) if position.debt else SUPPLY
    symbol = rng.choice([one.asset.symbol for one in position.debt]) if kind is REPAY else rng.choice(SYMBOLS)
    chosen = asset(market, position, symbol)
    if kind is REPAY:
        owed = market.ceiling(position, kind, chosen)
        return Action(kind, chosen, rng.choice((owed, owed - 1, 1, 2, rng.randint(1, owed))) or 1)
    unit = 10**chosen.decimals
    return Action(kind, chosen, rng.choice((1, 3, rng.randint(1, 2_000 * unit))))


@pytest.mark.timeout(300)
def test_a_preview_is_what_the_contracts_leave(market: Chain) -> None:
    rng = random.Random(4242)
    aave = adapter(market)
    done_kinds: dict[ActionKind, int] = {REPAY: 0, SUPPLY: 0}
    impossible = 0
    for _ in range(22):
        account = market.new_account()
        open_position(market, rng, account)
        _prepare(market, account, SYMBOLS)
        market.advance(rng.randint(3_600, 20 * 86_400))
        snapshot = market.snapshot()
        timestamp = int(market.block()["timestamp"], 16) + rng.randint(2, 10_000)
        position = _read_at(market, account, timestamp, aave)
        actions: list[Action] = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            action = _random_action(rng, aave, aave.after(position, actions))
            if action is not None:
                actions.append(action)
        try:
            foreseen: Position | None = aave.after(position, actions)
        except ActionImpossible:
            foreseen = None
        market.revert(snapshot)
        if foreseen is None:
            impossible += 1
            with pytest.raises(PracticeError):
                _execute_at(market, account, timestamp, aave, position, actions)
            continue
        _compare(foreseen, _execute_at(market, account, timestamp, aave, position, actions))
        for action in actions:
            done_kinds[action.kind] += 1
    assert min(done_kinds.values()) >= 6, (done_kinds, impossible)


@pytest.mark.timeout(300)
def test_own_supply_against_own_debt_is_what_the_contracts_leave(market: Chain) -> None:
    """A part, all of the debt, all of the supply, a unit: balances, bits and health to the wei; nothing approved."""
    rng, aave = random.Random(99), adapter(market)
    ends: dict[str, int] = {"part": 0, "debt cleared": 0, "supply emptied": 0, "refused": 0}
    for number in range(16):
        account = market.new_account()
        market.supply(account, "WETH", market.units("WETH", rng.randint(5, 50)))
        symbol = rng.choice(("USDC", "DAI", "WBTC"))
        dollars = rng.randint(1_000, 8_000)
        held, owed = (dollars, dollars // 3) if number % 2 else (dollars // 3, dollars)
        market.supply(account, symbol, held * 10**8 * market.token(symbol).unit // market.price(symbol))
        market.borrow(account, symbol, owed * 10**8 * market.token(symbol).unit // market.price(symbol))
        if rng.random() < 0.3:
            market.set_collateral(account, symbol, False)
        market.advance(rng.randint(3_600, 90 * 86_400))
        snapshot = market.snapshot()
        timestamp = int(market.block()["timestamp"], 16) + rng.randint(2, 10_000)
        position = _read_at(market, account, timestamp, aave)
        chosen = asset(aave, position, symbol)
        most = aave.ceiling(position, OWN, chosen)
        action = Action(OWN, chosen, rng.choice((most, most, most - 1, most // 3, 1)))
        try:
            foreseen: Position | None = aave.after(position, [action])
        except ActionImpossible:
            foreseen = None
        market.revert(snapshot)
        if foreseen is None:
            ends["refused"] += 1
            with pytest.raises(PracticeError):
                _execute_at(market, account, timestamp, aave, position, [action])
            continue
        wallet = market.balance(symbol, account)
        done = _execute_at(market, account, timestamp, aave, position, [action])
        _compare(foreseen, done)
        assert done.health_factor == contract_health(market, account)
        assert market.balance(symbol, account) == wallet
        cleared = not any(one.asset == chosen for one in done.debt)
        emptied = not any(one.asset == chosen for one in done.collateral)
        ends["debt cleared" if cleared else "supply emptied" if emptied else "part"] += 1
    assert min(ends["part"], ends["debt cleared"], ends["supply emptied"]) >= 2, ends


def test_own_supply_that_is_not_there(market_v32: Chain) -> None:
    account = market_v32.new_account()
    market_v32.supply(account, "WETH", market_v32.units("WETH", 10))
    market_v32.borrow(account, "USDC", market_v32.units("USDC", 9_000))
    aave = adapter(market_v32)
    position = read_one(market_v32, account, aave)
    usdc, weth = asset(aave, position, "USDC"), asset(aave, position, "WETH")
    for chosen, reason in ((usdc, "no USDC is supplied"), (weth, "no WETH is owed")):
        with pytest.raises(ActionImpossible, match=reason):
            aave.ceiling(position, OWN, chosen)
    with pytest.raises(ActionImpossible, match="more USDC than is supplied"):
        aave.after(position, [Action(OWN, usdc, 1)])


def test_since_3_5_own_supply_must_leave_the_account_healthy() -> None:
    """Under water a part does not help enough and the pool refuses it; before 3.5 it lets it through."""
    account = AccountState("0x" + "1" * 40, 0b1011, 0, {0: Holding(10**8, 2 * 10**8), 1: Holding(10**8, 0)})
    seen = {}
    for revision in (8, 9):
        reserves = tuple(_plain_reserve(number) for number in range(2))
        zero = "0x" + "0" * 40
        raw = lens.RawReading(1_000, 1, zero, zero, revision, 10**8, 0, True, 0, reserves, (), ())
        market = market_state(raw)
        asset_ = market.reserves[0].asset
        try:
            _, left = after_action(market, account, OWN, asset_, 10**6)
            seen[revision] = left.holdings[0]
        except ActionImpossible as impossible:
            seen[revision] = str(impossible)
        _, whole = after_action(market, replace(account, holdings={**account.holdings, 1: Holding(10**10, 0)}), OWN,
                                asset_, 10**8)  # fmt: skip
        assert whole.holdings[0] == Holding(0, 10**8)
        assert whole.configuration == 0b1001
    assert seen[8] == Holding(99 * 10**6, 199 * 10**6)
    assert "would be liquidatable" in str(seen[9])


def _plain_reserve(number: int) -> lens.RawReserve:
    address, configuration = f"0x{number + 1:040x}", 7_500 | 8_000 << 16 | 10_500 << 32 | 6 << 48 | 1 << 56
    return lens.RawReserve(
        0, address, configuration, RAY, 0, RAY, 0, 1_000, number, address, address, address, 0, 10**8, address, 1_000,
        10**12, 10**12, 6, b"T".ljust(32, b"\0"), 1,
    )  # fmt: skip


def test_repaying_all_clears_the_debt_and_its_bit(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", 10))
    market.borrow(account, "USDC", market.units("USDC", 9_000))
    _prepare(market, account, ["USDC"])
    market.advance(86_400)
    aave = adapter(market)
    snapshot = market.snapshot()
    timestamp = int(market.block()["timestamp"], 16) + 77
    position = _read_at(market, account, timestamp, aave)
    usdc = asset(aave, position, "USDC")
    action = Action(REPAY, usdc, aave.ceiling(position, REPAY, usdc))
    foreseen = aave.after(position, [action])
    assert foreseen.debt == ()
    assert foreseen.health_factor is None
    assert foreseen.status == "no-debt"
    market.revert(snapshot)
    done = _execute_at(market, account, timestamp, aave, position, [action])
    _compare(foreseen, done)
    with pytest.raises(ActionImpossible, match="owed"):
        aave.ceiling(done, REPAY, usdc)


def test_more_than_is_owed_is_refused(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", 10))
    market.borrow(account, "USDC", market.units("USDC", 9_000))
    aave = adapter(market)
    position = read_one(market, account, aave)
    usdc, dai = asset(aave, position, "USDC"), asset(aave, position, "DAI")
    owed = position.debt[0].amount
    assert aave.ceiling(position, REPAY, usdc) == owed
    with pytest.raises(ActionImpossible, match="more USDC than is owed"):
        aave.after(position, [Action(REPAY, usdc, owed + 1)])
    with pytest.raises(ActionImpossible, match="no DAI is owed"):
        aave.after(position, [Action(REPAY, dai, 1)])
    for amount in (0, -1):
        with pytest.raises(ActionImpossible):
            aave.after(position, [Action(REPAY, usdc, amount)])


def test_a_supply_that_would_not_count_is_refused_beforehand(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", 10))
    market.supply(account, "WBTC", market.units("WBTC", 1))
    market.borrow(account, "USDC", market.units("USDC", 9_000))
    market.set_collateral(account, "WBTC", False)
    configure = "configureReserveAsCollateral(address,uint256,uint256,uint256)"
    market.send(OWNER, market.market.configurator, configure, market.token("DAI").address, 0, 7_700, 10_500)
    aave = adapter(market)
    position = read_one(market, account, aave)
    with pytest.raises(ActionImpossible, match="switched off"):
        aave.ceiling(position, SUPPLY, asset(aave, position, "WBTC"))
    with pytest.raises(ActionImpossible, match="LTV is 0"):
        aave.ceiling(position, SUPPLY, asset(aave, position, "DAI"))
    assert aave.ceiling(position, SUPPLY, asset(aave, position, "wstETH")) > 10**30


def test_the_supply_cap_is_kept_to_the_unit(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", 10))
    market.borrow(account, "DAI", market.units("DAI", 9_000))
    _prepare(market, account, ["USDC"])
    market.advance(50 * 86_400)
    supplied = market.call(market.token("USDC").a_token, "totalSupply()", ["uint256"])
    cap = supplied // 10**6 + 100_000
    set_cap = "setSupplyCap(address,uint256)"
    market.send(OWNER, market.market.configurator, set_cap, market.token("USDC").address, cap)
    aave = adapter(market)
    snapshot = market.snapshot()
    timestamp = int(market.block()["timestamp"], 16) + 500
    position = _read_at(market, account, timestamp, aave)
    usdc = asset(aave, position, "USDC")
    room = aave.ceiling(position, SUPPLY, usdc)
    assert 0 < room < 100_000 * 10**6
    with pytest.raises(ActionImpossible, match="supply cap"):
        aave.after(position, [Action(SUPPLY, usdc, room + 1)])
    foreseen = aave.after(position, [Action(SUPPLY, usdc, room)])
    with suppress(ActionImpossible):
        # Scaled balances round: a unit may seem to be left.
        assert aave.ceiling(foreseen, SUPPLY, usdc) <= 2
    market.revert(snapshot)
    snapshot = market.snapshot()
    with pytest.raises(PracticeError):
        _execute_at(market, account, timestamp, aave, position, [Action(SUPPLY, usdc, room + 1)])
    market.revert(snapshot)
    _compare(foreseen, _execute_at(market, account, timestamp, aave, position, [Action(SUPPLY, usdc, room)]))


@pytest.mark.parametrize(
    ("signature", "repay", "supply", "note"),
    [
        ("setReserveFreeze(address,bool)", None, "frozen", "USDC is frozen"),
        ("setReservePause(address,bool)", "paused", "paused", "USDC is paused"),
    ],
)
def test_frozen_and_paused_reserves_say_so(
    market: Chain, signature: str, repay: str | None, supply: str, note: str
) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", 10))
    market.borrow(account, "USDC", market.units("USDC", 9_000))
    market.send(OWNER, market.market.configurator, signature, market.token("USDC").address, True)
    aave = adapter(market)
    position = read_one(market, account, aave)
    assert position.unknown is None
    assert position.health_factor == contract_health(market, account)
    assert any(one.startswith(note) for one in position.notes)
    usdc = asset(aave, position, "USDC")
    with pytest.raises(ActionImpossible, match=supply):
        aave.ceiling(position, SUPPLY, usdc)
    if repay is None:
        assert aave.ceiling(position, REPAY, usdc) == position.debt[0].amount
    else:
        with pytest.raises(ActionImpossible, match=repay):
            aave.ceiling(position, REPAY, usdc)


def test_other_prices_give_the_contracts_other_health(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", 10))
    market.supply(account, "WBTC", market.units("WBTC", "0.3"))
    market.borrow(account, "USDC", market.units("USDC", 20_000))
    aave = adapter(market)
    snapshot = market.snapshot()
    timestamp = int(market.block()["timestamp"], 16) + 31
    position = _read_at(market, account, timestamp, aave)
    weth = asset(aave, position, "WETH")
    foreseen = aave.repriced(position, {weth.address: 2_345_67890123, "0x" + "9" * 40: 5})
    market.revert(snapshot)
    _at(market, timestamp)
    market.set_answer("WETH", 2_345_67890123)
    done = read_one(market, account, aave)
    assert foreseen.health_factor == done.health_factor
    assert (foreseen.collateral_usd, foreseen.debt_usd) == (done.collateral_usd, done.debt_usd)
    assert aave.price_usd(foreseen, weth) == 2_345_67890123
    assert aave.price_usd(position, weth) == position.collateral[0].price_usd


def test_an_unknown_position_lets_nothing_be_planned(market_v32: Chain) -> None:
    aave = adapter(market_v32)
    position = read_one(market_v32, market_v32.new_account(), aave)
    lost = replace(position, unknown="the balance cannot be read")
    weth = asset(aave, position, "WETH")
    action = Action(SUPPLY, weth, 1)
    for attempt in (
        lambda: aave.after(lost, [action]),
        lambda: aave.repriced(lost, {}),
        lambda: aave.ceiling(lost, SUPPLY, weth),
        lambda: aave.calls_for(lost, action, Wallet("0x" + "1" * 40, None, None), 0),
    ):
        with pytest.raises(ActionImpossible, match="the balance cannot be read"):
            attempt()
