"""Wallets of real tokens, in the same call as everything else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.chain import Chain
from tests.support.clock import FakeClock
from tui.chain.client import ChainClient, open_chain
from tui.chain.wallets import decode_wallets, wallet_entries
from tui.model.calls import CallResult
from tui.model.network import Network
from tui.model.position import Asset
from tui.model.wallet import WalletQuery

SPENDER = "0x" + "5e" * 20
NO_TOKEN = Asset("0x" + "ee" * 20, "NONE", 18)
DELEGATE = "0x" + "de" * 20


@pytest.fixture
async def market_chain(market_v32: Chain, clock: FakeClock) -> AsyncIterator[ChainClient]:
    chain_id = int(market_v32.rpc("eth_chainId"), 16)
    client = open_chain(Network("market", chain_id, 2.0, 2, (market_v32.url,)), clock)
    yield client
    await client.aclose()


def asset(chain: Chain, symbol: str) -> Asset:
    token = chain.token(symbol)
    return Asset(token.address.lower(), symbol, token.decimals)


async def test_a_wallet_as_the_chain_has_it(market_v32: Chain, market_chain: ChainClient) -> None:
    account = market_v32.new_account().lower()
    market_v32.give("USDC", 1_234_567, account)
    market_v32.approve(account, "USDC", SPENDER, 777)
    tokens = (*(asset(market_v32, symbol) for symbol in ("USDC", "WETH", "DAI")), NO_TOKEN)
    block = await market_chain.heads.poll()
    assert block is not None
    before = market_chain.stats
    (wallet,) = await market_chain.reader.read_wallets(block, [WalletQuery(account, tokens, (SPENDER,), permits=True)])
    after = market_chain.stats
    assert (after.eth_calls - before.eth_calls, after.round_trips - before.round_trips) == (1, 1)
    assert wallet.native == market_v32.ether(account)
    assert (wallet.nonce, wallet.has_code) == (1, False)
    usdc, weth, _, none = (wallet.tokens[token.address] for token in tokens)
    assert (usdc.balance, usdc.allowances) == (1_234_567, {SPENDER: 777})
    assert (weth.balance, weth.allowances, weth.permit) == (0, {SPENDER: 0}, None)
    assert (none.balance, none.allowances, none.permit) == (None, {}, None)
    assert usdc.permit is not None
    assert usdc.permit.nonce == 0
    separator = market_v32.rpc("eth_call", {"to": tokens[0].address, "data": "0x3644e515"}, "latest")
    assert usdc.permit.domain_separator == separator


async def test_it_is_the_wallet_of_the_pinned_block(market_v32: Chain, market_chain: ChainClient) -> None:
    account = market_v32.new_account(1).lower()
    query = WalletQuery(account, (asset(market_v32, "WETH"),))
    market_v32.mine()
    block = await market_chain.heads.poll()
    assert block is not None
    market_v32.give("WETH", 10**18, account)
    (wallet,) = await market_chain.reader.read_wallets(block, [query])
    assert wallet.tokens[query.tokens[0].address].balance == 0


async def test_a_delegated_account_is_not_a_plain_one(market_v32: Chain, market_chain: ChainClient) -> None:
    account = market_v32.new_account(1).lower()
    market_v32.rpc("anvil_setCode", account, "0xef0100" + DELEGATE[2:])
    market_v32.mine()
    block = await market_chain.heads.poll()
    assert block is not None
    (wallet,) = await market_chain.reader.read_wallets(block, [WalletQuery(account)])
    assert wallet.has_code
    assert (wallet.delegate, wallet.is_foreign) == (DELEGATE, True)
    market_v32.rpc("anvil_setCode", account, "0x")
    market_v32.mine()
    block = await market_chain.heads.poll()
    assert block is not None
    plain, contract = await market_chain.reader.read_wallets(
        block, [WalletQuery(account), WalletQuery(asset(market_v32, "USDC").address)]
    )
    assert (plain.has_code, plain.delegate, plain.is_foreign) == (False, None, False)
    assert (contract.has_code, contract.delegate, contract.is_foreign) == (True, None, True)


@pytest.mark.parametrize(
    ("size", "head", "delegate"),
    [
        (23, "ef0100" + "d1" * 20 + "00" * 9, "0x" + "d1" * 20),
        (0, "00" * 32, None),
        (22, "ef0100" + "d1" * 20 + "00" * 9, None),
        (24, "ef0100" + "d1" * 20 + "00" * 9, None),
        (23, "ef0101" + "d1" * 20 + "00" * 9, None),
        (2**256 - 1, "ef0100" + "d1" * 20 + "00" * 9, None),
        (23, "", None),
    ],
)
def test_only_a_whole_delegation_names_a_delegate(size: int, head: str, delegate: str | None) -> None:
    answers = [CallResult(bytes(32)), CallResult(size.to_bytes(32, "big")), CallResult(bytes.fromhex(head))]
    (wallet,) = decode_wallets([WalletQuery("0x" + "11" * 20)], answers, [0], 1)
    assert (wallet.delegate, wallet.has_code) == (delegate, size != 0)


def test_what_was_not_answered_is_not_zero() -> None:
    query = WalletQuery("0x" + "11" * 20, (NO_TOKEN,), (SPENDER,), permits=True)
    answers = [CallResult(None, "reverted")] * len(wallet_entries([query]))
    (wallet,) = decode_wallets([query], answers, [4], 1)
    assert (wallet.native, wallet.nonce, wallet.has_code) == (None, 4, True)
    holding = wallet.holding(NO_TOKEN.address)
    assert holding is not None
    assert (holding.balance, holding.allowances, holding.permit) == (None, {}, None)


async def test_two_hundred_wallets_are_one_eth_call(market_v32: Chain, market_chain: ChainClient) -> None:
    tokens = tuple(asset(market_v32, symbol) for symbol in ("USDC", "WETH", "DAI", "WBTC"))
    queries = [WalletQuery("0x" + number.to_bytes(20).hex(), tokens, (SPENDER,)) for number in range(1_000, 1_200)]
    block = await market_chain.heads.poll()
    assert block is not None
    before = market_chain.stats.eth_calls
    wallets = await market_chain.reader.read_wallets(block, queries)
    assert market_chain.stats.eth_calls - before == 1
    assert len(wallets) == 200
    assert all(wallet.tokens[token.address].balance == 0 for wallet in wallets for token in tokens)
