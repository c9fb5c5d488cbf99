"""A bare node for tests that need no market."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.clock import FakeClock
from tui.chain.client import ChainClient, open_chain
from tui.model.block import BlockRef
from tui.model.network import Network
from tui.practice.node import Node, NodeProgram, start_node


@pytest.fixture(scope="session")
def bare_node(anvil: NodeProgram) -> Iterator[Node]:
    """anvil with its funded accounts and nothing deployed."""
    node = start_node(anvil)
    yield node
    node.stop()


@pytest.fixture
def node(bare_node: Node) -> Iterator[Node]:
    """The bare node, put back after the test. It mines when it is told to: automine mines some time after a send."""
    bare_node.rpc.call("evm_setAutomine", False)
    snapshot = bare_node.rpc.call("evm_snapshot")
    yield bare_node
    bare_node.rpc.call("anvil_dropAllTransactions")
    bare_node.rpc.call("evm_revert", snapshot)


@pytest.fixture
def network(node: Node) -> Network:
    """The bare node as a network."""
    return Network("bare", int(node.rpc.call("eth_chainId"), 16), 2.0, 2, (node.url,))


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
async def chain(network: Network, clock: FakeClock) -> AsyncIterator[ChainClient]:
    """All chain parts over the bare node."""
    client = open_chain(network, clock)
    yield client
    await client.aclose()


@pytest.fixture
async def head(chain: ChainClient, node: Node) -> BlockRef:
    """The newest block, three above genesis at least."""
    for _ in range(3):
        node.rpc.call("evm_mine")
    block = await chain.heads.poll()
    assert block is not None
    return block
