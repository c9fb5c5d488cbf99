"""The planned transactions, carried out for real: permits signed by a key, approvals exact, every word bound."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

from tests.protocols.reading import UINT256_MAX, adapter, asset, read_one, selling_adapter, wallet
from tests.support.chain import Chain, keyed_account
from tui.model.plan import Action, PermitNeed, PlannedCall
from tui.model.position import Position
from tui.model.rule import ActionKind
from tui.model.signing import WordRule
from tui.model.wallet import TokenHolding, Wallet
from tui.practice.deploy import Deployer
from tui.practice.errors import PracticeError
from tui.protocols import erc20
from tui.protocols.aave_v3 import calls as aave_calls
from tui.protocols.aave_v3 import sales
from tui.protocols.base import ActionImpossible

pytestmark = [pytest.mark.node]

REPAY, SUPPLY = ActionKind.REPAY, ActionKind.ADD_COLLATERAL
OWN = ActionKind.REPAY_WITH_ATOKENS
ACCOUNT, KEY = keyed_account(501)


def _borrower(chain: Chain) -> None:
    chain.set_ether(ACCOUNT, 10**21)
    chain.supply(ACCOUNT, "WETH", chain.units("WETH", 10))
    for symbol, amount in (("USDC", 9_000), ("DAI", 2_000)):
        chain.borrow(ACCOUNT, symbol, chain.units(symbol, amount))


def _sign(call: PlannedCall, need: PermitNeed, chain_id: int) -> bytes:
    """The calldata with its three signature words filled in."""
    message = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Permit": [
                {"name": "owner", "type": "address"},
                {"name": "spender", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "nonce", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ],
        },
        "primaryType": "Permit",
        "domain": {
            "name": need.name,
            "version": need.version,
            "chainId": chain_id,
            "verifyingContract": need.token,
        },
        "message": {
            "owner": ACCOUNT,
            "spender": need.spender,
            "value": need.value,
            "nonce": need.nonce,
            "deadline": need.deadline,
        },
    }
    signed = Account.from_key(KEY).sign_message(encode_typed_data(full_message=message))
    assert call.data[-96:] == bytes(96)
    return call.data[:-96] + b"".join(part.to_bytes(32, "big") for part in (signed.v, signed.r, signed.s))


def _do(chain: Chain, to: str, data: bytes) -> None:
    chain.rpc("anvil_impersonateAccount", ACCOUNT)
    deployer = Deployer(chain.node.rpc, ACCOUNT)
    deployer.send(to, "0x" + data.hex())
    deployer.flush()


def _respects(call: PlannedCall, rules: tuple[WordRule, ...]) -> bool:
    for rule in rules:
        value = int.from_bytes(call.data[4 + 32 * rule.index : 36 + 32 * rule.index], "big")
        if rule.equals is not None and value != rule.equals:
            return False
        if rule.maximum is not None and value > rule.maximum:
            return False
    return True


def _allowance(chain: Chain, symbol: str) -> int:
    token = chain.token(symbol).address
    return int(chain.call(token, "allowance(address,address)", ["uint256"], ACCOUNT, chain.market.pool))


def test_a_permit_carries_a_repayment_in_one_transaction(market: Chain) -> None:
    _borrower(market)
    aave = adapter(market)
    symbol = "USDC" if market.market.version.value == "v3.2" else "DAI"
    position = read_one(market, ACCOUNT, aave)
    debt = asset(aave, position, symbol)
    pool = aave.spender(REPAY)
    assert pool == market.market.pool.lower()
    held = wallet(market, ACCOUNT, pool, [debt])
    permit = held.tokens[debt.address].permit
    assert permit is not None
    action = Action(REPAY, debt, 876 * 10**debt.decimals)
    deadline = position.block.timestamp + 600
    (call,) = aave.calls_for(position, action, held, deadline)
    assert call.permit == PermitNeed(
        debt.address, permit.name, permit.version, permit.domain_separator, pool, action.amount, permit.nonce, deadline
    )
    assert _respects(call, call.rules)
    before = market.balance(symbol, ACCOUNT)
    _do(market, call.to, _sign(call, call.permit, market.market.chain_id))
    assert before - market.balance(symbol, ACCOUNT) == action.amount
    assert _allowance(market, symbol) == 0
    # The stand-ins do the same without a signature.
    assert [one.to for one in call.stand_in] == [debt.address, pool]
    before = market.balance(symbol, ACCOUNT)
    for one in call.stand_in:
        _do(market, one.to, one.data)
    assert before - market.balance(symbol, ACCOUNT) == action.amount
    assert _allowance(market, symbol) == 0


def test_a_permit_carries_a_supply(market_v32: Chain) -> None:
    _borrower(market_v32)
    aave = adapter(market_v32)
    position = read_one(market_v32, ACCOUNT, aave)
    usdc = asset(aave, position, "USDC")
    held = wallet(market_v32, ACCOUNT, market_v32.market.pool.lower(), [usdc])
    action = Action(SUPPLY, usdc, 500 * 10**6)
    (call,) = aave.calls_for(position, action, held, position.block.timestamp + 600)
    assert call.permit is not None
    _do(market_v32, call.to, _sign(call, call.permit, market_v32.market.chain_id))
    after = read_one(market_v32, ACCOUNT, aave)
    assert any(one.asset == usdc and one.counts and one.amount >= action.amount - 1 for one in after.collateral)


def test_without_a_permit_the_approval_is_exact(market: Chain) -> None:
    _borrower(market)
    aave = adapter(market)
    position = read_one(market, ACCOUNT, aave)
    weth = asset(aave, position, "WETH")
    market.give("WETH", market.units("WETH", 5), ACCOUNT)
    held = wallet(market, ACCOUNT, market.market.pool.lower(), [weth])
    # WETH9 answers nothing that could pass for a permit.
    assert held.tokens[weth.address].permit is None
    action = Action(SUPPLY, weth, market.units("WETH", "1.5"))
    approve, supply = aave.calls_for(position, action, held, 0)
    assert approve.data == erc20.approve_data(market.market.pool, action.amount)
    assert approve.action is None
    assert supply.action == action
    for call in (approve, supply):
        assert _respects(call, call.rules)
        _do(market, call.to, call.data)
    assert _allowance(market, "WETH") == 0


def test_a_smaller_allowance_is_taken_back_first(market: Chain) -> None:
    _borrower(market)
    market.approve(ACCOUNT, "WETH", market.market.pool, 7)
    market.give("WETH", market.units("WETH", 5), ACCOUNT)
    aave = adapter(market)
    position = read_one(market, ACCOUNT, aave)
    weth = asset(aave, position, "WETH")
    held = wallet(market, ACCOUNT, market.market.pool.lower(), [weth])
    action = Action(SUPPLY, weth, market.units("WETH", 2))
    reset, approve, supply = aave.calls_for(position, action, held, 0)
    assert reset.data == erc20.approve_data(market.market.pool, 0)
    assert WordRule(1, equals=0) in reset.rules
    for call in (reset, approve, supply):
        _do(market, call.to, call.data)
    assert _allowance(market, "WETH") == 0


@pytest.mark.parametrize("allowed", [10**18, 5 * 10**18, UINT256_MAX])
def test_a_standing_allowance_is_used_and_said(market_v32: Chain, allowed: int) -> None:
    _borrower(market_v32)
    aave = adapter(market_v32)
    position = read_one(market_v32, ACCOUNT, aave)
    weth = asset(aave, position, "WETH")
    pool = market_v32.market.pool.lower()
    held = Wallet(ACCOUNT.lower(), 0, 0, {weth.address: TokenHolding(weth, 0, {pool: allowed})})
    (call,) = aave.calls_for(position, Action(SUPPLY, weth, 10**18), held, 0)
    assert "allowance that stands" in call.words
    assert ("without limit" in call.words) is (allowed == UINT256_MAX)


def test_native_coin_is_wrapped_first(market: Chain) -> None:
    """Wei for wei, before the approval, of which nothing is different."""
    _borrower(market)
    aave = selling_adapter(market)
    position = read_one(market, ACCOUNT, aave)
    weth, usdc = asset(aave, position, "WETH"), asset(aave, position, "USDC")
    held = wallet(market, ACCOUNT, market.market.pool.lower(), [weth])
    action = Action(SUPPLY, weth, 2 * 10**18, wrap=15 * 10**17)
    market.give("WETH", 5 * 10**17, ACCOUNT)
    wrap, *rest = aave.calls_for(position, action, held, 0)
    assert wrap.words == "Wrap 1.5 of the native coin"
    assert (wrap.to, wrap.data, wrap.value) == (weth.address, keccak(text="deposit()")[:4], 15 * 10**17)
    assert (wrap.spend_token, wrap.action, wrap.rules) == (None, None, ())
    assert tuple(rest) == tuple(
        replace(call, action=call.action and action)
        for call in aave.calls_for(position, replace(action, wrap=0), held, 0)
    )
    before = market.ether(ACCOUNT)
    for call in (wrap, *rest):
        market.send(ACCOUNT, call.to, "deposit()", value=call.value) if call is wrap else _do(
            market, call.to, call.data
        )
    assert before - market.ether(ACCOUNT) >= wrap.value
    assert market.balance("WETH", ACCOUNT) == 0
    assert _allowance(market, "WETH") == 0
    held = wallet(market, ACCOUNT, market.market.pool.lower(), [usdc])
    with pytest.raises(ActionImpossible, match="USDC is not this network's wrapped native coin"):
        aave.calls_for(position, Action(SUPPLY, usdc, 10**6, wrap=1), held, 0)


def test_an_allowance_that_was_not_read_is_no_allowance(market_v32: Chain) -> None:
    aave = adapter(market_v32)
    position = read_one(market_v32, market_v32.new_account(), aave)
    weth = asset(aave, position, "WETH")
    for held in (Wallet(ACCOUNT, 0, 0), Wallet(ACCOUNT, 0, 0, {weth.address: TokenHolding(weth, 5)})):
        with pytest.raises(ActionImpossible, match="could not be read"):
            aave.calls_for(position, Action(SUPPLY, weth, 1), held, 0)


def _bad_variants(position: Position, call: PlannedCall) -> list[PlannedCall]:
    """The call with each argument word changed in turn."""
    words = len(call.rules)
    return [
        replace(call, data=call.data[: 4 + 32 * index] + b"\xff" * 32 + call.data[36 + 32 * index :])
        for index in range(words)
    ]


def test_every_argument_word_is_bound(market_v32: Chain) -> None:
    _borrower(market_v32)
    aave = adapter(market_v32)
    position = read_one(market_v32, ACCOUNT, aave)
    pool = market_v32.market.pool.lower()
    for kind, symbol in ((REPAY, "USDC"), (SUPPLY, "WETH"), (OWN, "USDC")):
        one = asset(aave, position, symbol)
        for allowed in (0, 1, UINT256_MAX):
            held = Wallet(ACCOUNT, 0, 0, {one.address: TokenHolding(one, 0, MappingProxyType({pool: allowed}))})
            for call in aave.calls_for(position, Action(kind, one, 10_000), held, 0):
                assert len(call.data) == 4 + 32 * len(call.rules)
                moves = call.to == pool
                assert (call.spend_token, call.spend_word) == ((one.address, 1) if moves else (None, None))
                assert _respects(call, call.rules)
                assert not any(_respects(bad, call.rules) for bad in _bad_variants(position, call))


def test_selectors_are_those_of_the_signatures() -> None:
    for selector, signature in (
        (aave_calls.REPAY, "repay(address,uint256,uint256,address)"),
        (
            aave_calls.REPAY_WITH_PERMIT,
            "repayWithPermit(address,uint256,uint256,address,uint256,uint8,bytes32,bytes32)",
        ),
        (aave_calls.SUPPLY, "supply(address,uint256,address,uint16)"),
        (
            aave_calls.SUPPLY_WITH_PERMIT,
            "supplyWithPermit(address,uint256,address,uint16,uint256,uint8,bytes32,bytes32)",
        ),
        (aave_calls.REPAY_WITH_ATOKENS, "repayWithATokens(address,uint256,uint256)"),
        (aave_calls.DEPOSIT, "deposit()"),
        (sales.PREMIUM_TOTAL, "FLASHLOAN_PREMIUM_TOTAL()"),
        (sales.HELPER, "HELPER()"),
        (sales.VIRTUAL_BALANCE, "getVirtualUnderlyingBalance(address)"),
        (erc20.APPROVE, "approve(address,uint256)"),
        (erc20.BALANCE_OF, "balanceOf(address)"),
        (erc20.ALLOWANCE, "allowance(address,address)"),
        (erc20.NAME, "name()"),
        (erc20.SYMBOL, "symbol()"),
        (erc20.DECIMALS, "decimals()"),
        (erc20.NONCES, "nonces(address)"),
        (erc20.VERSION, "version()"),
        (erc20.DOMAIN_SEPARATOR, "DOMAIN_SEPARATOR()"),
        (erc20.PERMIT_TYPEHASH, "PERMIT_TYPEHASH()"),
    ):
        assert selector == keccak(text=signature)[:4], signature


def test_a_permit_for_another_amount_moves_nothing(market_v32: Chain) -> None:
    _borrower(market_v32)
    aave = adapter(market_v32)
    position = read_one(market_v32, ACCOUNT, aave)
    usdc = asset(aave, position, "USDC")
    held = wallet(market_v32, ACCOUNT, market_v32.market.pool.lower(), [usdc])
    (call,) = aave.calls_for(position, Action(REPAY, usdc, 10**6), held, position.block.timestamp + 600)
    assert call.permit is not None
    wrong = replace(call.permit, value=10**6 - 1)
    with pytest.raises(PracticeError):
        _do(market_v32, call.to, _sign(call, wrong, market_v32.market.chain_id))
