"""Signed bytes to every node, and what became of them on the canonical chain.

Implements `tui.ports.chain.Broadcaster`. An answer to a send is never proof: only a receipt on a canonical block is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tui.chain.blocks import at_hash, parse_block
from tui.chain.hexes import Malformed, address, hash32, mapping, quantity, to_hex
from tui.chain.providers import BlockUnknown, Pool, Provider
from tui.chain.reverts import is_unknown_block, revert_data, revert_reason
from tui.chain.rpc import Request, RpcError, RpcUnreachable
from tui.chain.send_words import classify_send_error
from tui.ports.chain import Receipt, SendOutcome


@dataclass(slots=True)
class ChainBroadcaster:
    """Sends and looks up through a pool of nodes."""

    pool: Pool = field(repr=False)

    async def send(self, raw: bytes, expected_hash: str) -> tuple[SendOutcome, ...]:
        """Hand the same bytes to every node at once, also to those set aside; one outcome a node, in the user's order.

        Never raises for what a node does. A node that is on another chain is not sent anything.
        """
        return tuple(
            await asyncio.gather(*(self._send_to(provider, raw, expected_hash) for provider in self.pool.providers))
        )

    async def _send_to(self, provider: Provider, raw: bytes, expected_hash: str) -> SendOutcome:
        try:
            told = hash32(await provider.ask_one("eth_sendRawTransaction", to_hex(raw)), "the transaction's hash")
        except RpcError as error:
            return SendOutcome(classify_send_error(error.message), f"{provider.shown_url}: {error.message}")
        except Malformed as error:
            provider.failed(error)
            return SendOutcome("no-answer", f"{provider.shown_url}: {error}")
        except RpcUnreachable as error:
            provider.failed(error)
            return SendOutcome("no-answer", str(error))
        if told != expected_hash.lower():
            lie = RpcUnreachable("malformed", f"{provider.shown_url} took the bytes for another transaction ({told})")
            provider.failed(lie)
            return SendOutcome("other-error", str(lie))
        return SendOutcome("accepted", provider.shown_url)

    async def receipt(self, tx_hash: str) -> Receipt | None:
        """The receipt on the canonical chain, None where no node has one. Raises ChainUnreachable, ReadFailed.

        Every node is asked, and a receipt counts only where the same node has its block at that height.
        """
        found = await self.pool.everyone(lambda provider: _receipt(provider, tx_hash.lower()))
        receipts = [receipt for _, receipt in found if receipt is not None]
        return max(receipts, key=lambda receipt: receipt.block_number, default=None)

    async def nonce(self, account: str, block_hash: str | None = None) -> int:
        """Transactions of `account` mined up to a block. Where None: up to the latest of any node, so that one that
        lags cannot make the nonce go back. Raises ChainUnreachable, ReadFailed.
        """
        if block_hash is None:
            told = await self.pool.everyone(lambda provider: _nonce(provider, account, "latest"))
            return max(nonce for _, nonce in told)
        return await self.pool.agreed(lambda provider: _nonce(provider, account, at_hash(block_hash)), lambda n: n)

    async def knows(self, tx_hash: str) -> bool:
        """Whether any node has the transaction, mined or pending. Raises ChainUnreachable, ReadFailed."""
        told = await self.pool.everyone(lambda provider: _has(provider, tx_hash.lower()))
        return any(has for _, has in told)


async def _nonce(provider: Provider, account: str, at: object) -> int:
    try:
        return quantity(await provider.ask_one("eth_getTransactionCount", account, at), "the nonce")
    except RpcError as error:
        if is_unknown_block(error):
            raise BlockUnknown(error.message) from None
        raise


async def _has(provider: Provider, tx_hash: str) -> bool:
    told = await provider.ask_one("eth_getTransactionByHash", tx_hash)
    return told is not None and hash32(mapping(told).get("hash"), "the transaction's hash") == tx_hash


async def _receipt(provider: Provider, tx_hash: str) -> Receipt | None:
    told = await provider.ask_one("eth_getTransactionReceipt", tx_hash)
    if told is None:
        return None
    fields = mapping(told, "the receipt")
    if fields.get("blockHash") is None:  # some nodes answer for pending transactions too
        return None
    if hash32(fields.get("transactionHash"), "the receipt's transaction") != tx_hash:
        raise Malformed("the receipt is of another transaction")
    number = quantity(fields.get("blockNumber"), "the receipt's block")
    block_hash = hash32(fields.get("blockHash"), "the receipt's block")
    block = parse_block(await provider.ask_one("eth_getBlockByNumber", hex(number), False))
    if block is None or block.hash != block_hash:
        return None
    ok = quantity(fields.get("status"), "the receipt's status") == 1
    price = fields.get("effectiveGasPrice")
    return Receipt(
        hash=tx_hash,
        block_number=number,
        block_hash=block_hash,
        ok=ok,
        gas_used=quantity(fields.get("gasUsed"), "the receipt's gas"),
        gas_price=quantity(price, "the receipt's gas price"),
        revert_reason=None if ok else await _why(provider, tx_hash, block.parent_hash),
    )


async def _why(provider: Provider, tx_hash: str, parent_hash: str) -> str:
    """Why a mined transaction failed, by calling it again on the block before. Other transactions of its own block
    are not seen, so what succeeds there is said to have failed for another reason.
    """
    unknown = "reverted, and the reason could not be read"
    try:
        sent = mapping(await provider.ask_one("eth_getTransactionByHash", tx_hash), "the transaction")
        request = {
            "from": address(sent.get("from")),
            "to": address(sent.get("to")),
            "data": sent.get("input"),
            "value": sent.get("value"),
            "gas": sent.get("gas"),
        }
        (told,) = await provider.ask([Request("eth_call", (request, at_hash(parent_hash)))])
    except (RpcError, Malformed):
        return unknown
    if not isinstance(told, RpcError):
        return "reverted, though not on the state before its block: another transaction came first"
    carried = revert_data(told)
    return told.message if carried is None else revert_reason(carried)
