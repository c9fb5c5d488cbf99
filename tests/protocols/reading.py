"""Reads a real market through the adapter, exactly as the engine does: one pinned eth_call with the lens's code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.chain import Chain
from tui.model.block import BlockRef
from tui.model.calls import Call, CallResult
from tui.model.network import MarketConfig, Network, SwapConfig
from tui.model.position import Asset, Position
from tui.model.wallet import TokenHolding, Wallet
from tui.practice.rpc import RpcError
from tui.protocols import erc20
from tui.protocols.aave_v3.configured import make_market
from tui.protocols.aave_v3.market import AaveV3Market
from tui.protocols.base import MarketReading

UINT256_MAX = 2**256 - 1
_SLOTS: dict[tuple[str, str], str] = {}


def adapter(chain: Chain) -> AaveV3Market:
    """The adapter of the practice market."""
    return make_market(MarketConfig("aave-v3", "core", {"pool_addresses_provider": chain.market.provider}))


def network_of(chain: Chain, helpers: Mapping[str, str] | None = None) -> Network:
    """The practice chain as a network file names it."""
    swap = SwapConfig("uniswap-v3", {"router02": chain.market.router02})
    return Network(
        name="practice",
        chain_id=chain.market.chain_id,
        block_time=12,
        confirmations=2,
        rpc=(chain.url,),
        wrapped_native=chain.token("WETH").address.lower(),
        swaps=(swap,),
        helpers=helpers or {},
    )


def selling_adapter(chain: Chain, helpers: Mapping[str, str] | None = None) -> AaveV3Market:
    """The adapter of the practice market with its exchange."""
    config = MarketConfig("aave-v3", "core", {"pool_addresses_provider": chain.market.provider})
    return make_market(config, network_of(chain, helpers))


def head(chain: Chain, tag: str | int = "latest") -> BlockRef:
    """A block as the engine sees it."""
    block = chain.block(tag)
    return BlockRef(
        number=int(block["number"], 16),
        hash=block["hash"],
        parent_hash=block["parentHash"],
        timestamp=int(block["timestamp"], 16),
        base_fee=int(block["baseFeePerGas"], 16),
    )


def eth_call(chain: Chain, block: BlockRef, call: Call) -> CallResult:
    """One call at a block hash."""
    override = {call.to: {"code": "0x" + call.code.hex()}} if call.code is not None else {}
    try:
        answer: Any = chain.rpc(
            "eth_call", {"to": call.to, "data": "0x" + call.data.hex()}, {"blockHash": block.hash}, override
        )
    except RpcError as failed:
        return CallResult(None, str(failed))
    return CallResult(bytes.fromhex(answer[2:]))


def read(chain: Chain, accounts: Sequence[str], market: AaveV3Market | None = None) -> MarketReading:
    """Positions of `accounts` at the latest block."""
    market = market or adapter(chain)
    lower = [account.lower() for account in accounts]
    block = head(chain)
    return market.decode(block, lower, [eth_call(chain, block, call) for call in market.read_calls(lower)])


def read_one(chain: Chain, account: str, market: AaveV3Market | None = None) -> Position:
    """The position of one account at the latest block."""
    return read(chain, [account], market).positions[0]


def contract_health(chain: Chain, account: str) -> int | None:
    """The contract's own health factor, None for its "no debt"."""
    health = chain.health_factor(account)
    return None if health == UINT256_MAX else health


def asset(market: AaveV3Market, position: Position, symbol: str) -> Asset:
    """An asset that the market must list."""
    found = market.find_asset(position, symbol)
    assert found is not None, symbol
    return found


def wallet(chain: Chain, account: str, spender: str, assets: Sequence[Asset]) -> Wallet:
    """What an account holds of `assets`, with its allowances for `spender` and its permits, as the chain tells."""
    block, owner = head(chain), account.lower()
    tokens = {}
    for one in assets:
        balance = erc20.decode_uint(eth_call(chain, block, erc20.balance_of(one.address, owner)).data)
        allowed = erc20.decode_uint(eth_call(chain, block, erc20.allowance(one.address, owner, spender)).data)
        answers = [eth_call(chain, block, call) for call in erc20.permit_calls(one.address, owner)]
        permit = erc20.decode_permit(answers, one.address, chain.market.chain_id)
        tokens[one.address] = TokenHolding(one, balance, {} if allowed is None else {spender: allowed}, permit)
    nonce = int(chain.rpc("eth_getTransactionCount", account, "latest"), 16)
    return Wallet(owner, chain.ether(account), nonce, tokens)


def feed_slot(chain: Chain, symbol: str) -> str:
    """The storage slot in which a feed keeps its answer, found by its value."""
    feed = chain.token(symbol).feed
    if (chain.url, feed) in _SLOTS:
        return _SLOTS[chain.url, feed]
    answer = chain.price(symbol)
    for slot in range(16):
        if int(chain.rpc("eth_getStorageAt", feed, hex(slot), "latest"), 16) == answer:
            return _SLOTS.setdefault((chain.url, feed), f"0x{slot:064x}")
    raise AssertionError(f"{feed} keeps its answer nowhere")


def health_at_prices(chain: Chain, block: BlockRef, account: str, answers: dict[str, int]) -> int:
    """The contract's health factor at a block if feeds had answered otherwise: same time, same interest."""
    override = {
        chain.token(symbol).feed: {"stateDiff": {feed_slot(chain, symbol): f"0x{answer:064x}"}}
        for symbol, answer in answers.items()
    }
    data = "0xbf92857c" + account[2:].lower().rjust(64, "0")
    answer = chain.rpc("eth_call", {"to": chain.market.pool, "data": data}, {"blockHash": block.hash}, override)
    return int(answer[2 + 5 * 64 : 2 + 6 * 64], 16)
