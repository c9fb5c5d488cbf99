"""The same reads, simulation and sending on the Python node, which has no eth_simulateV1."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.chain import Chain
from tests.support.clock import FakeClock
from tui.chain.client import ChainClient, open_chain
from tui.chain.evm import assemble, op
from tui.model.calls import Call
from tui.model.network import Network
from tui.model.plan import PlannedCall
from tui.model.position import Asset
from tui.model.wallet import WalletQuery
from tui.practice.abi import calldata

pytestmark = pytest.mark.pyevm

LENS = "0x" + "a1" * 20
ECHO = assemble([op("CALLDATACOPY", 0, 0, op("CALLDATASIZE")), op("RETURN", 0, op("CALLDATASIZE"))])


@pytest.fixture
async def client(pyevm_market: Chain, clock: FakeClock) -> AsyncIterator[ChainClient]:
    chain_id = int(pyevm_market.rpc("eth_chainId"), 16)
    opened = open_chain(Network("python", chain_id, 2.0, 2, (pyevm_market.url,)), clock)
    yield opened
    await opened.aclose()


async def test_reads_both_ways(pyevm_market: Chain, client: ChainClient) -> None:
    account = pyevm_market.new_account().lower()
    pyevm_market.give("USDC", 5_000_000, account)
    pyevm_market.mine()
    block = await client.heads.poll()
    assert block is not None
    usdc = Asset(pyevm_market.token("USDC").address.lower(), "USDC", 6)
    query = WalletQuery(account, (usdc,), (LENS,), permits=True)
    ways = []
    for overrides in (True, False):
        client.pool.providers[0].overrides = overrides
        ways.append(await client.reader.read_all(block, [Call(LENS, b"there", ECHO)], [query]))
    assert ways[0] == ways[1]
    (result,), (wallet,) = ways[0]
    assert result.data == b"there"
    holding = wallet.tokens[usdc.address]
    assert (holding.balance, wallet.native) == (5_000_000, pyevm_market.ether(account))
    assert holding.permit is not None


async def test_simulation_is_what_then_happens(pyevm_market: Chain, client: ChainClient) -> None:
    account = pyevm_market.new_account().lower()
    token = pyevm_market.token("USDC").address.lower()
    pyevm_market.give("USDC", 5_000_000, account)
    pyevm_market.mine()
    block = await client.heads.poll()
    assert block is not None
    data = bytes.fromhex(calldata("transfer(address,uint256)", LENS, 2_000_000).removeprefix("0x"))
    balance = bytes.fromhex(calldata("balanceOf(address)", LENS).removeprefix("0x"))
    call = PlannedCall(token, data, 0, "a transfer", None)
    simulation = await client.simulator.simulate(block, account, [call, call, call], [Call(token, balance)])
    assert [one.ok for one in simulation.calls] == [True, True, False]
    assert "balance" in (simulation.calls[2].error or "")
    assert simulation.reads[0].data == (4_000_000).to_bytes(32)
    assert not client.pool.providers[0].simulates
    pyevm_market.send(account, token, "transfer(address,uint256)", LENS, 2_000_000)
    latest = pyevm_market.block()
    receipt = pyevm_market.rpc("eth_getTransactionReceipt", latest["transactions"][-1])
    assert simulation.calls[0].gas_used == int(receipt["gasUsed"], 16)
