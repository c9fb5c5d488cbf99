"""Signed bytes to every node, and what became of them on the canonical chain.

Implements `tui.ports.chain.Broadcaster`. An answer to a send is never proof: only a receipt on a canonical block is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tui.chain.blocks import at_hash, parse_block
from tui.chain.budget import urgent_lane
from tui.chain.envelope import Meaning, meaning_of
from tui.chain.hexes import CODELESS, Malformed, address, hash32, mapping, quantity, to_hex
from tui.chain.logs import logs_of, told_alike
from tui.chain.provider import BlockUnknown, Provider
from tui.chain.providers import GRACE, Pool
from tui.chain.reverts import is_unknown_block, revert_data, revert_reason
from tui.chain.rpc import Request, RpcError, RpcUnreachable
from tui.chain.send_words import classify_send_error
from tui.model.data_fee import MOST_DATA_FEE
from tui.model.text import clean_text
from tui.ports.chain import ChainUnreachable, ProviderStatus, ReadFailed, Receipt, SendOutcome

_TAKEN = ("accepted", "already-known")
_SENT_TYPES = (2, 4)
"""The only types of transactions that are ever signed here (EIP-1559, EIP-7702)."""
_REMEMBERED = 64
"""Transactions whose first private sending is kept."""


@dataclass(slots=True)
class Relay:
    """A private relay that gets a transaction before the public nodes do, for `public_after` blocks at most.

    `height` tells the newest head known, None before the first. Raised fees under the same nonce have no new time of
    grace, and a no-op that closes a nonce has none at all: it races with what the relay already holds.
    """

    provider: Provider
    public_after: int
    height: Callable[[], int | None] = field(repr=False)
    last: SendOutcome | None = None
    _begun: dict[Meaning, int] = field(default_factory=dict, repr=False)

    def status(self) -> ProviderStatus:
        """For the screen, beside the nodes: whether it takes transactions, and what it said last."""
        known = self.provider.status()
        if self.last is None:
            return replace(known, role="relay", detail=known.detail or "nothing was sent to it yet")
        refuses = self.last.kind in ("no-answer", "other-error")
        state = "failing" if refuses and known.state == "ok" else "ok" if not refuses else known.state
        said = self.last.message.removeprefix(known.url).lstrip(": ")
        detail = clean_text(f"last answer: {self.last.kind}{f' ({said})' if said else ''}", 200)
        return replace(known, role="relay", state=state, detail=detail)

    async def look(self) -> None:
        """Ask only whether it answers and is of the right chain; what comes of it is in `status`."""
        try:
            await self.provider.ask_one("eth_chainId")
        except (RpcError, RpcUnreachable) as error:
            self.provider.failed(error)

    def private(self, raw: bytes) -> bool:
        """Whether these bytes go to the relay alone now."""
        meaning, height = meaning_of(raw), self.height()
        if meaning is None or meaning.nothing or height is None:
            return False
        begun = self._begun.setdefault(meaning, height)
        for oldest in list(self._begun)[:-_REMEMBERED]:
            del self._begun[oldest]
        return height - begun < self.public_after


@dataclass(slots=True)
class ChainBroadcaster:
    """Sends and looks up through a pool of nodes, by way of a private relay where there is one."""

    pool: Pool = field(repr=False)
    relay: Relay | None = field(default=None, repr=False)
    _sending: set[asyncio.Future[SendOutcome]] = field(default_factory=set, repr=False)

    async def send(self, raw: bytes, expected_hash: str) -> tuple[SendOutcome, ...]:
        """Hand the same bytes to every node at once, also to those set aside; one outcome a node, in the user's order.

        Where there is a relay it alone gets them first; if it does not take them, or they have waited long enough,
        the nodes get them too. Never raises for what a node does. A node on another chain is not sent anything.
        """
        told: tuple[SendOutcome, ...] = ()
        if self.relay is not None:
            private = self.relay.private(raw)
            self.relay.last = await self._send_to(self.relay.provider, raw, expected_hash)
            told = (self.relay.last,)
            if private and told[0].kind in _TAKEN:
                return told
        return (*await self._send_to_all(raw, expected_hash), *told)

    async def _send_to_all(self, raw: bytes, expected_hash: str) -> list[SendOutcome]:
        """Every node's outcome. Once one has the bytes the others have a second left to answer; they get theirs in
        any case, and a node that hangs holds up nobody.
        """
        providers = self.pool.providers
        tasks = [asyncio.ensure_future(self._send_to(provider, raw, expected_hash)) for provider in providers]
        late: set[asyncio.Future[SendOutcome]] = set(tasks)
        self._sending.update(tasks)
        for task in tasks:
            task.add_done_callback(self._sending.discard)
        while late and not any(task.done() and task.result().kind in _TAKEN for task in tasks):
            _, late = await asyncio.wait(late, return_when=asyncio.FIRST_COMPLETED)
        if late:
            _, late = await asyncio.wait(late, timeout=GRACE)
        return [
            SendOutcome("no-answer", f"{provider.shown_url} has not answered yet") if task in late else task.result()
            for provider, task in zip(providers, tasks, strict=True)
        ]

    async def aclose(self) -> None:
        """Give up what is still being sent, and close the relay's connections."""
        for task in tuple(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if self.relay is not None:
            await self.relay.provider.client.aclose()

    async def _send_to(self, provider: Provider, raw: bytes, expected_hash: str) -> SendOutcome:
        try:
            with urgent_lane():
                told = hash32(await provider.ask_one("eth_sendRawTransaction", to_hex(raw)), "the transaction's hash")
        except RpcError as error:
            return SendOutcome(classify_send_error(error.message), f"{provider.shown_url}: {error.message}")
        except Malformed as error:
            provider.failed(error)
            return SendOutcome("no-answer", f"{provider.shown_url}: {error}")
        except RpcUnreachable as error:
            provider.failed(error)
            return SendOutcome("no-answer", str(error))
        except Exception as error:  # noqa: BLE001 - it may have been sent: that is all that any oddity says
            provider.failed(Malformed(f"what it answers cannot be used ({type(error).__name__})"))
            return SendOutcome("no-answer", f"{provider.shown_url}: an odd answer ({type(error).__name__})")
        if told != expected_hash.lower():
            lie = f"took signed bytes for another transaction ({told})"
            provider.accuse(lie)
            return SendOutcome("other-error", f"{provider.shown_url} {lie}")
        return SendOutcome("accepted", provider.shown_url)

    async def receipt(self, tx_hash: str) -> Receipt | None:
        """The receipt on the canonical chain, None where no node has one. Raises ChainUnreachable, ReadFailed.

        Every node is asked, and a receipt counts only where the same node has its block at that height. As many as
        the quorum must have the same one; while fewer do, and fewer than the quorum have none, nothing is known.
        """
        found = await self.pool.everyone(lambda provider: _receipt(provider, tx_hash.lower()), urgent=True)
        wanted = self.pool.quorum
        counted = Counter(
            (receipt.block_number, receipt.block_hash, receipt.ok, receipt.gas_used, receipt.gas_price)
            for _, receipt in found
            if receipt is not None
        )
        if not counted:
            return None
        (same, backers), *others = counted.most_common()
        if backers >= wanted or (self.pool.degraded and len(found) < wanted and not others and backers == len(found)):
            alike = [
                receipt
                for _, receipt in found
                if receipt is not None and (receipt.block_number, receipt.block_hash) == same[:2]
            ]
            logs = told_alike([receipt.logs for receipt in alike], min(wanted, len(alike)))
            return replace(alike[0], l1_fee=_told_by_most(alike), logs=logs)
        if sum(receipt is None for _, receipt in found) >= wanted:
            return None
        raise ReadFailed(f"only {backers} of the {wanted} nodes that must agree have the receipt yet")

    async def nonce(self, account: str, block_hash: str | None = None) -> int:
        """Transactions of `account` mined up to a block. Where None: the most that as many nodes as the quorum (or
        all that answer, where those are fewer) count at least, so that neither one that lags nor one that lies moves
        it. Raises ChainUnreachable, ReadFailed.
        """
        if block_hash is None:
            told = await self.pool.everyone(lambda provider: _nonce(provider, account, "latest"), urgent=True)
            counts = sorted((count for _, count in told), reverse=True)
            return counts[min(self.pool.quorum, len(counts)) - 1]
        return await self.pool.agreed(
            lambda provider: _nonce(provider, account, at_hash(block_hash)),
            lambda count: count,
            at=block_hash,
            contradicts=lambda agreed, other: agreed != other,
            urgent=True,
        )

    async def final_nonce(self, account: str, block_hash: str) -> int:
        """Transactions of `account` mined up to a final block, sure enough to give up what was signed: two nodes at
        least where there are two, as many as the quorum, and none that differs. Never from fewer, degraded or not.
        Raises ChainUnreachable, ReadFailed.
        """
        told = await self.pool.everyone(lambda provider: _nonce(provider, account, at_hash(block_hash)), urgent=True)
        if len({count for _, count in told}) > 1:
            raise ReadFailed("nodes count different numbers of the account's transactions at a final block")
        wanted = max(self.pool.quorum, min(2, len(self.pool.providers)))
        if len(told) < wanted:
            raise ReadFailed(f"only {len(told)} of the {wanted} nodes that must agree say so")
        return told[0][1]

    async def is_mined(self, receipt: Receipt, account: str, nonce: int, block_hash: str) -> bool:
        """Whether nodes that know a final block stand by `receipt`, which is of `nonce` of `account` and not younger.

        A node that has no such receipt and counts the nonce as free at the final block says that it was never mined;
        one that counts it as used says only that something was. True where as many as the quorum have the receipt,
        more than say so, and not fewer than say the other; False where most say "never mined": who told of the receipt
        is then accused. Raises ChainUnreachable, ReadFailed where it is neither, and where too few answer.
        """

        async def ask(provider: Provider) -> tuple[int, Receipt | None]:
            return await _nonce(provider, account, at_hash(block_hash)), await _receipt(provider, receipt.hash)

        told = await self.pool.everyone(ask, urgent=True)
        same = (receipt.block_number, receipt.block_hash, receipt.ok)
        backers, deniers, silent = 0, 0, 0
        for _, (count, found) in told:
            has = found is not None and (found.block_number, found.block_hash, found.ok) == same
            backers += has and count > nonce
            deniers += count <= nonce
            silent += count > nonce and not has
        if deniers > backers + silent:
            for provider, (_, found) in told:
                if found is not None and deniers > 1:
                    provider.accuse(f"told of a receipt that {deniers} nodes say is none")
            return False
        wanted = self.pool.quorum
        alone = self.pool.degraded and len(told) < wanted and backers == len(told)
        if (backers >= wanted or alone) and backers > deniers and backers >= silent:
            return True
        raise ReadFailed(f"{backers} of {len(told)} nodes have its receipt and count its nonce at the final block")

    async def balance(self, account: str) -> int:
        """Wei of `account` at the newest block: the most that as many nodes as the quorum (or all that answer, where
        those are fewer) tell at least, so that one that lags does not keep a top-up from being seen. Raises
        ChainUnreachable, ReadFailed.
        """
        told = await self.pool.everyone(lambda provider: _balance(provider, account), urgent=True)
        amounts = sorted((wei for _, wei in told), reverse=True)
        return amounts[min(self.pool.quorum, len(amounts)) - 1]

    async def transfer_gas(self, account: str) -> int:
        """Gas that a transfer of nothing by `account` takes, where no code runs: the most that as many nodes as the
        quorum (or all that answer) ask for at least. 0 where no node tells.
        """
        try:
            told = await self.pool.everyone(lambda provider: _transfer_gas(provider, account), urgent=True)
        except (ChainUnreachable, ReadFailed):
            return 0
        amounts = sorted((gas for _, gas in told), reverse=True)
        return amounts[min(self.pool.quorum, len(amounts)) - 1]

    async def knows(self, tx_hash: str) -> bool:
        """Whether any node has the transaction, mined or pending. Raises ChainUnreachable, ReadFailed."""
        told = await self.pool.everyone(lambda provider: _has(provider, tx_hash.lower()), urgent=True)
        return any(has for _, has in told)


def _told_by_most(receipts: Sequence[Receipt]) -> int:
    """The fee for data out of receipts that agree in all else. Not every node tells it, so those that do decide, by
    their median: one that lies does not move it where there are others.
    """
    told = sorted(receipt.l1_fee for receipt in receipts if receipt.l1_fee)
    return told[(len(told) - 1) // 2] if told else 0


def _data_fee(told: object) -> int:
    """`l1Fee` of a receipt; 0 on chains that have none. Raises Malformed where it cannot be one."""
    fee = 0 if told is None else quantity(told, "the receipt's fee for data")
    if fee > MOST_DATA_FEE:
        raise Malformed("the receipt tells a fee for data that nobody can have paid")
    return fee


async def _nonce(provider: Provider, account: str, at: object) -> int:
    try:
        return quantity(await provider.ask_one("eth_getTransactionCount", account, at), "the nonce")
    except RpcError as error:
        if is_unknown_block(error):
            raise BlockUnknown(error.message) from None
        raise


async def _balance(provider: Provider, account: str) -> int:
    return quantity(await provider.ask_one("eth_getBalance", account, "latest"), "the balance")


async def _transfer_gas(provider: Provider, account: str) -> int:
    request = {"from": account, "to": CODELESS, "value": "0x0"}
    return quantity(await provider.ask_one("eth_estimateGas", request), "the gas of a transfer")


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
    if (kind := fields.get("type")) is not None and quantity(kind, "the receipt's type") not in _SENT_TYPES:
        raise Malformed("the receipt is of a type that was never sent")
    status = quantity(fields.get("status"), "the receipt's status")
    if status not in (0, 1):
        raise Malformed(f"the receipt has the unknown status {status}")
    ok = status == 1
    price = fields.get("effectiveGasPrice")
    return Receipt(
        hash=tx_hash,
        block_number=number,
        block_hash=block_hash,
        ok=ok,
        gas_used=quantity(fields.get("gasUsed"), "the receipt's gas"),
        gas_price=quantity(price, "the receipt's gas price"),
        revert_reason=None if ok else await _why(provider, tx_hash, block.parent_hash),
        l1_fee=_data_fee(fields.get("l1Fee")),
        logs=logs_of(fields.get("logs")),
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
        return "reverted, though not on the state before its block: its prices, its time or what came before it there"
    carried = revert_data(told)
    return told.message if carried is None else revert_reason(carried)
