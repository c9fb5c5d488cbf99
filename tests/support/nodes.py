"""Transactions on a bare node, mined when a test says so."""

from __future__ import annotations

from tui.practice.node import Node


def mined(node: Node, transaction: dict[str, object]) -> dict[str, str]:
    """The receipt of a transaction of one of the node's own accounts, mined in a block of its own."""
    sent = node.rpc.call("eth_sendTransaction", transaction)
    node.rpc.call("evm_mine")
    receipt: dict[str, str] = node.rpc.call("eth_getTransactionReceipt", sent)
    return receipt
