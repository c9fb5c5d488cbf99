"""Steps that other accounts pay for: sized from the right wallet, signed by the right key, which can do no more."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning.test_allowances import _FACTS, POOL, Book, _market, _part
from tests.planning.test_allowances import positions as positions
from tests.planning.test_simulation import Scene
from tests.planning.test_waterfall import scenes
from tests.support.plain_market import (
    ACCOUNT,
    GWEI,
    USDC,
    WETH,
    PlainMarket,
    circumstances,
    wallet_of,
)
from tests.support.plain_market import POOL as PLAIN_POOL
from tests.support.plain_rules import asked, repay, rule_of, sell, supply
from tui.model.calls import CallResult, SimulatedCall, Simulation
from tui.model.plan import Plan, PlannedCall, Refusal
from tui.model.position import Asset, Position
from tui.model.rule import FROM_WALLET, Rule, StandingAllowance, Step, close
from tui.model.signing import SignerRefused, TransactionRequest
from tui.model.units import USD, WAD
from tui.model.wallet import PermitFacts, TokenHolding, Wallet
from tui.planning.circumstances import Circumstances
from tui.planning.payers import sender_of
from tui.planning.plan import balances_of, build_plan
from tui.planning.policy import ArmedScope, signing_policy
from tui.planning.simulation import judge, simulation_calls, simulation_reads
from tui.planning.waterfall import run_waterfall
from tui.protocols.aave_v3.calls import (
    DEPOSIT,
    REPAY,
    REPAY_WITH_PERMIT,
    SUPPLY,
    SUPPLY_WITH_PERMIT,
)
from tui.protocols.aave_v3.market import AaveV3Market
from tui.protocols.erc20 import APPROVE, word
from tui.vault.policy import Usage, check_transaction

HOT, VAULT = "0x" + "70" * 20, "0x" + "71" * 20
NOW = 1_700_000_000
_BENEFICIARY = {REPAY: 3, REPAY_WITH_PERMIT: 3, SUPPLY: 2, SUPPLY_WITH_PERMIT: 2}
"""Which argument word of each call names whose debt or collateral it is."""


def by(payer: str | None, step: Step) -> Step:
    return replace(step, wallet=payer)


def held_by(account: str, native: int = 10 * WAD, **balances: int) -> Wallet:
    return replace(wallet_of(native, **balances), account=account)


def paid(*wallets: Wallet, **changes: object) -> Circumstances:
    return circumstances(payers={one.account: one for one in wallets}, **changes)


def at_106(market: PlainMarket) -> Position:
    return market.position({WETH: 100 * WAD}, {USDC: 156_000 * 10**6})


def plan_of(rule: Rule, around: Circumstances, own: Wallet | None = None) -> Plan | Refusal:
    market = PlainMarket()
    return build_plan(rule, market, at_106(market), own or wallet_of(10 * WAD), around)


# --- sizes -----------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(scenes(), st.integers(0, 15))
def test_it_does_not_matter_whose_wallet_it_is_that_pays(
    scene: tuple[PlainMarket, Position, Wallet, Rule, Circumstances], which: int
) -> None:
    """The same means in another wallet come to the same amounts, whoever else has as much."""
    market, position, wallet, rule, around = scene
    wallet = replace(wallet, native=10**6 * WAD)
    steps = tuple(
        by(HOT, step) if step.action in FROM_WALLET and which >> number & 1 else step
        for number, step in enumerate(rule.steps)
    )
    wallets = {step.signer(ACCOUNT) for step in steps if step.action in FROM_WALLET}
    if len(wallets) != 1:
        return
    others = replace(rule, steps=steps)
    one = run_waterfall(rule, market, position, wallet, around)
    rich = replace(wallet, account=HOT)
    poor = wallet if ACCOUNT in wallets else replace(wallet, tokens={})
    two = run_waterfall(others, market, position, poor, replace(around, payers={HOT: rich}))
    assert [step.action.amount for step in one.steps] == [step.action.amount for step in two.steps]
    assert one.position.health_factor == two.position.health_factor
    payer = HOT if wallets == {HOT} else None
    assert all(step.action.payer == (payer if step.action.kind in FROM_WALLET else None) for step in two.steps)


@settings(max_examples=100, deadline=None)
@given(scenes(), st.lists(st.sampled_from([None, HOT, VAULT]), min_size=8, max_size=8), st.data())
def test_no_wallet_gives_more_than_it_has(
    scene: tuple[PlainMarket, Position, Wallet, Rule, Circumstances], payers: list[str | None], data: st.DataObject
) -> None:
    market, position, wallet, rule, around = scene
    steps = tuple(
        by(payer, step) if step.action in FROM_WALLET else step for step, payer in zip(rule.steps, payers, strict=False)
    )
    rule = replace(rule, steps=steps)
    some = st.integers(0, 50_000)
    others = {
        one: held_by(one, data.draw(some) * WAD // 1000, USDC=data.draw(some) * 10**6, WETH=data.draw(some) * 10**15)
        for one in (HOT, VAULT)
    }
    fall = run_waterfall(rule, market, position, wallet, replace(around, payers=others))
    purses = {None: wallet, **others}
    for payer, purse in purses.items():
        moved: dict[str, int] = {}
        for step in fall.steps:
            if step.action.kind in FROM_WALLET and step.action.payer == payer:
                token = step.action.asset.address
                moved[token] = moved.get(token, 0) + step.action.amount - step.action.wrap
        assert all(amount <= (purse.tokens[token].balance or 0) for token, amount in moved.items())
        wrapped = sum(step.action.wrap for step in fall.steps if step.action.payer == payer)
        assert wrapped <= (purse.native or 0)
    health = [position.health_factor, *(step.health_factor_after for step in fall.steps)]
    assert all(after is None or after > (before or 0) for before, after in pairwise(health))


def test_a_waterfall_goes_from_the_own_wallet_to_the_vault() -> None:
    rule = rule_of(repay(), by(VAULT, repay()))
    plan = plan_of(rule, paid(held_by(VAULT, USDC=80_000 * 10**6)), wallet_of(10 * WAD, USDC=2_000 * 10**6))
    assert isinstance(plan, Plan)
    assert (plan.steps[0].action.payer, plan.steps[0].action.amount) == (None, 2_000 * 10**6)
    assert [sender_of(call, ACCOUNT) for call in plan.calls] == [ACCOUNT, ACCOUNT, VAULT, VAULT]
    assert plan.reaches_target
    assert "the wallet holds" in plan.steps[0].note


def test_naming_the_own_account_changes_nothing() -> None:
    own = wallet_of(10 * WAD, USDC=80_000 * 10**6)
    named, plain = (plan_of(rule_of(one), circumstances(), own) for one in (by(ACCOUNT, repay()), repay()))
    assert isinstance(named, Plan)
    assert isinstance(plain, Plan)
    assert (named.steps, named.calls, named.cost) == (plain.steps, plain.calls, plain.cost)


# --- who cannot ------------------------------------------------------------------------------------------------------


def test_each_account_pays_its_own_gas_and_the_one_that_cannot_is_named() -> None:
    rule = rule_of(by(HOT, repay()))
    plan = plan_of(rule, paid(held_by(HOT, 10**12, USDC=80_000 * 10**6)))
    assert isinstance(plan, Refusal)
    assert (plan.code, plan.account) == ("no-gas", HOT)
    assert "0x7070…7070 has" in plan.reason
    own = plan_of(rule, paid(held_by(HOT, USDC=80_000 * 10**6)), wallet_of(0))
    assert isinstance(own, Plan), "the position's account signs nothing and needs no gas"


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda one: replace(one, native=10**12), "of the native coin for gas"),
        (lambda one: replace(one, native=None), "could not be read"),
        (lambda one: replace(one, has_code=True), "carries code"),
        (lambda one: replace(one, nonce=None), "nonce could not be read"),
    ],
)
def test_where_others_can_act_the_steps_of_one_that_cannot_are_passed_over(spoilt, said: str) -> None:
    hot = spoilt(held_by(HOT, USDC=80_000 * 10**6))
    both = rule_of(by(HOT, repay()), by(VAULT, repay(maximum="1000")))
    plan = plan_of(both, paid(hot, held_by(VAULT, USDC=80_000 * 10**6)))
    assert isinstance(plan, Plan)
    assert {step.action.payer for step in plan.steps} == {VAULT}
    assert plan.shortfall is not None
    assert "repay USDC from 0x7070…7070" in plan.shortfall
    assert said in plan.shortfall
    alone = plan_of(rule_of(by(HOT, repay())), paid(hot))
    assert isinstance(alone, Refusal), "where it is the only one it is refused, by name"
    assert "0x7070…7070" in alone.reason


def test_a_halted_account_is_passed_over_and_alone_it_is_the_reason() -> None:
    barred = {HOT: "account 0x7070…7070 is halted: look at it"}
    around = paid(held_by(HOT, USDC=80_000 * 10**6), barred=barred)
    own = wallet_of(10 * WAD, USDC=80_000 * 10**6)
    plan = plan_of(rule_of(by(HOT, repay()), repay()), around, own)
    assert isinstance(plan, Plan)
    assert {step.action.payer for step in plan.steps} == {None}
    alone = plan_of(rule_of(by(HOT, repay())), around, own)
    assert isinstance(alone, Refusal)
    assert (alone.code, alone.reason) == ("account-barred", barred[HOT])


def test_a_wallet_that_was_not_read_is_not_an_empty_one() -> None:
    found = plan_of(rule_of(by(HOT, repay())), circumstances())
    assert isinstance(found, Refusal)
    assert found.code == "wallet-unknown"


def test_the_positions_account_may_be_a_contract_where_it_signs_nothing() -> None:
    own = replace(wallet_of(0), has_code=True, nonce=None)
    assert isinstance(plan_of(rule_of(by(HOT, repay())), paid(held_by(HOT, USDC=80_000 * 10**6)), own), Plan)
    mixed = plan_of(rule_of(by(HOT, repay()), sell()), paid(held_by(HOT, USDC=80_000 * 10**6)), own)
    assert isinstance(mixed, Plan)


def test_a_standing_allowance_of_the_payer_counts_as_one_of_its_own() -> None:
    hot = held_by(HOT, USDC=80_000 * 10**6)
    standing = replace(hot.tokens[USDC.address], allowances={PLAIN_POOL: 2**256 - 1})
    loose = replace(hot, tokens={**hot.tokens, USDC.address: standing})
    refused = plan_of(rule_of(by(HOT, repay())), paid(loose))
    assert isinstance(refused, Refusal)
    assert refused.code == "standing-allowance"
    assert "0x7070…7070's USDC" in refused.reason
    used = plan_of(rule_of(by(HOT, repay()), standing_allowance=StandingAllowance.USE), paid(loose))
    assert isinstance(used, Plan)


# --- beside a sale ---------------------------------------------------------------------------------------------------


def test_a_sale_behind_another_accounts_step_keeps_its_floor_without_that_step() -> None:
    market = PlainMarket()
    position = at_106(market)
    rule = rule_of(by(VAULT, repay(maximum="30000")), sell(slippage=200))
    around = asked(rule, market, position, around=paid(held_by(VAULT, USDC=40_000 * 10**6)))
    plan = build_plan(rule, market, position, wallet_of(10 * WAD), around)
    assert isinstance(plan, Plan)
    (vault, sale) = (step.action for step in plan.steps)
    assert sale.sale is not None
    alone = market.after(position, (sale,)).health_factor
    assert alone is not None
    assert WAD <= sale.sale.min_health <= alone < (plan.health_factor_after or 0)
    other_way = market.after(market.after(position, (sale,)), (vault,))
    assert other_way.health_factor == plan.health_factor_after, "both orders come to the same"


@pytest.mark.parametrize("vault", [True, False])
def test_closing_all_behind_another_accounts_step_repays_an_exact_amount(vault: bool) -> None:
    """A sale of just what is owed repays "all of it", which would be more where it is mined first."""
    market = PlainMarket()
    position = at_106(market)
    first = [by(VAULT, repay(maximum="30000"))] if vault else []
    rule = replace(rule_of(*first, sell(slippage=200)), goal=close(10_000))
    around = asked(rule, market, position, around=paid(held_by(VAULT, USDC=40_000 * 10**6)))
    fall = run_waterfall(rule, market, position, wallet_of(10 * WAD), around)
    sale = fall.steps[-1].action
    owed = fall.befores[-1].debt[0].amount
    assert sale.amount == (126_000 if vault else 156_000) * 10**6
    assert (sale.amount < owed) is vault


# --- the simulation's word on both wallets ---------------------------------------------------------------------------


class PaidScene(Scene):
    """A plan that another account pays for, and a simulation of it; `lost` is what leaves the own wallet with it."""

    def __init__(self) -> None:
        super().__init__(rule_of(repay()), wallet_of(10 * WAD, USDC=90_000 * 10**6))
        market = PlainMarket()
        position = market.position({WETH: 100 * WAD, USDC: 9_000 * 10**6}, {USDC: 160_000 * 10**6})
        hot = held_by(HOT, USDC=90_000 * 10**6)
        plan = build_plan(rule_of(by(HOT, repay())), market, position, self.wallet, paid(hot))
        assert isinstance(plan, Plan)
        self.plan, self.hot = plan, hot
        self.lost = {HOT: plan.steps[0].action.amount, ACCOUNT: 0}

    def judged(self) -> Plan | Refusal:
        reads = simulation_reads(self.plan, self.market)
        answers = [CallResult(b"") for _ in self.market.read_calls((ACCOUNT,))]
        for call in reads[len(answers) :]:
            owner = "0x" + call.data[-20:].hex()
            answers.append(CallResult(word(90_000 * 10**6 - self.lost[owner])))
        calls = simulation_calls(self.plan)
        assert {call.sender for call in calls} == {HOT}
        self.market.reading = self.after
        done = Simulation(tuple(SimulatedCall(True, 100_000, b"") for _ in calls), tuple(answers), NOW + 12)
        held = {one.account: dict(balances_of(one)) for one in (self.wallet, self.hot)}
        return judge(self.plan, self.market, calls, done, held[ACCOUNT], held)


def test_a_simulation_is_held_against_both_wallets() -> None:
    assert isinstance(PaidScene().judged(), Plan)
    for owner, more, whose in ((HOT, 1, "of 0x7070…7070 instead"), (ACCOUNT, 1, "the wallet instead")):
        scene = PaidScene()
        scene.lost[owner] += more
        found = scene.judged()
        assert isinstance(found, Refusal)
        assert found.code == "simulation-disagrees"
        assert whose in found.reason


# --- what each key may sign ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("permit", [None, _FACTS], ids=["approvals", "permits"])
@pytest.mark.parametrize("whose", [(None, HOT, VAULT), (HOT, VAULT, None), (HOT, HOT, HOT), (VAULT, None, VAULT)])
def test_each_account_signs_its_own_calls_and_a_paying_one_nothing_else(
    positions: list[Position], whose: tuple[str | None, str | None, str | None], permit: PermitFacts | None
) -> None:
    """On the real adapter: every call of every plan passes its own signer, a payer's list has nothing but the four
    calls for that one position, approvals of the pool and wrapping.
    """
    planned = 0
    for number, position in enumerate(positions[:60]):
        market, owner = _market(), position.key.account
        assets = tuple(dict.fromkeys(one.asset for one in (*position.collateral, *position.debt)))
        held = next(one.asset for one in position.collateral if one.counts)
        steps = (
            repay(position.debt[0].asset.address, "100"),
            supply(held.address),
            repay(position.debt[-1].asset.address),
        )
        rule = rule_of(
            *(by(payer, step) for payer, step in zip(whose, steps, strict=True)),
            target=(position.health_factor or 0) * 13 // 10,
            standing_allowance=StandingAllowance.USE,
        )
        wrapped = held.address if held.decimals == 18 and number % 2 else None
        wallets = {
            one: _filled(one, assets, market, position, (0, 7, 2**256 - 1)[(number + place) % 3], permit)
            for place, one in enumerate((owner, HOT, VAULT))
        }
        payers = {one: wallets[one] for one in (HOT, VAULT)}
        plan = build_plan(rule, market, position, wallets[owner], circumstances(wrapped_native=wrapped, payers=payers))
        scope = ArmedScope(rule, market, position, wallets[owner], wrapped, payers=payers)
        policies = {one: signing_policy(1, one, [scope], 2_000 * USD, NOW) for one in wallets}
        for payer in payers:
            _only_pays(policies[payer].calls, owner, {one.address for one in assets})
            assert all(one.spender == POOL for one in policies[payer].permits)
            assert bool(policies[payer].calls) is (payer in whose)
        if not isinstance(plan, Plan):
            continue
        planned += 1
        books = {one: _book_of(wallet) for one, wallet in wallets.items()}
        for call in plan.calls:
            sender = sender_of(call, owner)
            books[sender].play(market, call)
            if call.action is not None:
                assert call.action.payer == call.sender
            check_transaction(policies[sender], _request(call, sender), "", Usage(), now=NOW, killed=False)
            for other in {HOT, VAULT} - {*whose, sender}:
                with pytest.raises(SignerRefused):
                    check_transaction(policies[other], _request(call, other), "", Usage(), now=NOW, killed=False)
    assert planned > 10


def _book_of(wallet: Wallet) -> Book:
    book = Book({}, {}, {})
    for token, held in wallet.tokens.items():
        book.allowed[token, POOL] = held.allowances[POOL]
        book.nonces[token] = _FACTS.nonce
        book.balances[token] = held.balance or 0
    return book


def _only_pays(calls, owner: str, tokens: set[str]) -> None:
    for call in calls:
        selector = bytes.fromhex(call.selector[2:])
        bound = {rule.index: rule.equals for rule in call.rules}
        if call.to == POOL:
            assert bound[_BENEFICIARY[selector]] == int(owner, 16)
            assert bound[0] in {int(token, 16) for token in tokens}
            assert (call.spend_token is not None, call.spend_word) == (True, 1)
        else:
            assert call.to in tokens
            assert selector == DEPOSIT or (selector == APPROVE and bound[0] == int(POOL, 16))


def _request(call: PlannedCall, account: str) -> TransactionRequest:
    return TransactionRequest("i", 1, account, 0, call.to, call.value, call.data, 400_000, 20 * GWEI, GWEI)


def _filled(
    account: str,
    assets: tuple[Asset, ...],
    market: AaveV3Market,
    position: Position,
    stands: int,
    permit: PermitFacts | None,
) -> Wallet:
    """A rich wallet in which so much stands allowed to the pool of every token."""
    tokens = {
        one.address: TokenHolding(one, _part(one, 10**6 * USD, market.price_usd(position, one)), {POOL: stands}, permit)
        for one in assets
    }
    return Wallet(account, 50 * WAD, 0, tokens)


def test_one_account_in_two_rules_has_one_policy_with_what_both_need() -> None:
    market = PlainMarket()
    position = at_106(market)
    pays = ArmedScope(rule_of(by(HOT, repay(maximum="500"))), market, position, wallet_of())
    own = ArmedScope(rule_of(supply()), market, position, replace(wallet_of(), account=ACCOUNT))
    hot, mine = (signing_policy(1, one, [pays, own], None, NOW) for one in (HOT, ACCOUNT))
    assert {call.spend_token for call in hot.calls} <= {USDC.address, None}
    assert {call.spend_token for call in mine.calls} <= {WETH.address, None}
    assert dict(hot.daily_caps).keys() == {USDC.address}
    assert dict(mine.daily_caps).keys() == {WETH.address}
