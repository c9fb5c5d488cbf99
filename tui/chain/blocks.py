"""A block as a node answers it, made into a BlockRef, and how a block is named in a request."""

from __future__ import annotations

from tui.chain.hexes import hash32, mapping, quantity
from tui.model.block import BlockRef


def parse_block(answer: object) -> BlockRef | None:
    """The BlockRef of an `eth_getBlockBy...` result; None where the node knows no such block. Raises Malformed."""
    if answer is None:
        return None
    fields = mapping(answer, "the block")
    base_fee = fields.get("baseFeePerGas")
    return BlockRef(
        number=quantity(fields.get("number"), "the block's number"),
        hash=hash32(fields.get("hash"), "the block's hash"),
        parent_hash=hash32(fields.get("parentHash"), "the block's parent"),
        timestamp=quantity(fields.get("timestamp"), "the block's timestamp"),
        base_fee=0 if base_fee is None else quantity(base_fee, "the block's base fee"),
        gas_limit=quantity(fields.get("gasLimit"), "the block's gas limit"),
    )


def at_hash(block_hash: str) -> dict[str, object]:
    """The EIP-1898 parameter that pins a request to one block, and refuses it once a reorg has orphaned that block."""
    return {"blockHash": block_hash, "requireCanonical": True}
