"""Reads at a block hash: all calls of a block in one eth_call, nonces and storage words in the same HTTP round trip.

Implements `tui.ports.chain.Reader`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from tui.chain.batch import (
    BATCH_ADDRESS,
    BATCH_CODE,
    MAX_CREATION_CODE,
    Answer,
    BadBatchAnswer,
    Entry,
    Outcome,
    pack,
    pack_creation,
    unpack,
)
from tui.chain.blocks import at_hash, parse_block
from tui.chain.hexes import Malformed, data, quantity, to_hex
from tui.chain.provider import BlockUnknown, Provider
from tui.chain.providers import Pool
from tui.chain.reverts import is_limit, is_unknown_block, revert_reason
from tui.chain.rpc import Request, RpcError, RpcUnreachable
from tui.chain.wallets import decode_wallets, wallet_entries
from tui.model.block import BlockRef
from tui.model.calls import Call, CallResult
from tui.model.wallet import Wallet, WalletQuery
from tui.ports.chain import ProviderStatus

_Read = tuple[list[Answer | str], list[int | str]]
"""Answers of the calls, then what was told beside them."""
_NONCE = "eth_getTransactionCount"
_MOST_SPLITS = 12
"""How often a request may be halved before the node's limit is called a failure."""
_DEAR_SPLIT = 5
"""What one halving counts where the answer was over our own bound: each try may cost all of that again."""


@dataclass(slots=True)
class ChainReader:
    """Reads through a pool of nodes; where the pool has a quorum, that many nodes must answer alike."""

    pool: Pool = field(repr=False)
    chain_id: int
    beside: Callable[[], tuple[ProviderStatus, ...]] = field(default=tuple, repr=False)
    """Statuses of what is not read from: a private relay."""

    def providers(self) -> tuple[ProviderStatus, ...]:
        """How each node is doing, and the private relay after them."""
        return (*self.pool.statuses(), *self.beside())

    async def read(self, block: BlockRef, calls: Sequence[Call]) -> tuple[CallResult, ...]:
        """All `calls` at `block.hash` in one eth_call where the node lets them. Raises ReadFailed, ChainUnreachable."""
        results, _ = await self.read_all(block, calls, ())
        return results

    async def read_wallets(self, block: BlockRef, queries: Sequence[WalletQuery]) -> tuple[Wallet, ...]:
        """One wallet a query at `block.hash`. Raises ReadFailed, ChainUnreachable."""
        _, wallets = await self.read_all(block, (), queries)
        return wallets

    async def read_all(
        self, block: BlockRef, calls: Sequence[Call], queries: Sequence[WalletQuery]
    ) -> tuple[tuple[CallResult, ...], tuple[Wallet, ...]]:
        """Calls and wallets together: one HTTP round trip with one eth_call, one eth_getTransactionCount a query, and
        one eth_getStorageAt for each call that wants a slot.

        Raises ReadFailed, ChainUnreachable; ValueError where two calls want different code at one address.
        """
        if not calls and not queries:
            return (), ()
        plain = [call for call in calls if call.slot is None]
        codes = codes_of(plain)
        entries = [*(Entry(call.to, call.data) for call in plain), *wallet_entries(queries)]
        beside = _beside(block, calls, queries)

        async def work(provider: Provider) -> _Read:
            return await _read(provider, block, entries, codes, beside)

        answers, told = await self.pool.agreed(work, _comparable, at=block.hash, contradicts=_contradicts)
        called = iter(call_result(answer) for answer in answers[: len(plain)])
        words = iter(_word(answer) for answer in told[len(queries) :])
        results = tuple(next(called) if call.slot is None else next(words) for call in calls)
        facts = [call_result(answer) for answer in answers[len(plain) :]]
        nonces = [nonce for nonce in told[: len(queries)] if isinstance(nonce, int)]
        return results, decode_wallets(queries, facts, nonces, self.chain_id)

    async def block_by_number(self, number: int) -> BlockRef | None:
        """The canonical block of a height, or None. Raises ReadFailed, ChainUnreachable."""

        async def work(provider: Provider) -> BlockRef | None:
            found = parse_block(await provider.ask_one("eth_getBlockByNumber", hex(number), False))
            if found is not None and found.number != number:
                raise Malformed(f"asked for block {number}, told block {found.number}")
            return found

        return await self.pool.agreed(work, lambda found: found, urgent=True)

    def degraded(self, block: BlockRef) -> str | None:
        """Why something at `block` was read from fewer nodes than must agree; None where none of it was."""
        return self.pool.short(block.hash)

    async def block_by_hash(self, block_hash: str) -> BlockRef | None:
        """The block of a hash, canonical or not, or None. Raises ReadFailed, ChainUnreachable."""

        async def work(provider: Provider) -> BlockRef | None:
            found = parse_block(await provider.ask_one("eth_getBlockByHash", block_hash, False))
            if found is not None and found.hash != block_hash:
                raise Malformed("asked for one block, told another")
            return found

        return await self.pool.first(work)


def codes_of(calls: Sequence[Call]) -> dict[str, bytes]:
    """Runtime code by address over all calls. Raises ValueError where two calls disagree."""
    codes: dict[str, bytes] = {}
    for call in calls:
        if call.code is not None and codes.setdefault(call.to, call.code) != call.code:
            raise ValueError(f"two calls want different code at {call.to}")
    return codes


def call_result(answer: Answer | str) -> CallResult:
    """An answer as the rest of the program knows it. A text is the reason why there is none."""
    if isinstance(answer, str):
        return CallResult(None, answer)
    if answer.outcome is Outcome.OK:
        return CallResult(answer.data)
    if answer.outcome is Outcome.NO_CODE:
        return CallResult(None, "no contract is deployed at this address")
    if answer.starved:
        return CallResult(None, "the node's gas limit is too small for this call")
    return CallResult(None, revert_reason(answer.data))


def _comparable(read: _Read) -> tuple[object, ...]:
    """What nodes must agree on: outcomes, data, nonces and storage. Gas left differs with each node's own cap."""
    answers, told = read
    beside = tuple("refused" if isinstance(one, str) else one for one in told)
    return (tuple(a if isinstance(a, str) else (a.outcome, a.data) for a in answers), beside)


def _contradicts(agreed: _Read, other: _Read) -> bool:
    """Whether both cannot be right. What failed may have lacked gas or met a node's own limits, and proves nothing."""
    values = zip(agreed[0], other[0], strict=True)
    words = zip(agreed[1], other[1], strict=True)
    return any(_succeeded(one) and _succeeded(two) and one.data != two.data for one, two in values) or any(
        isinstance(one, int) and isinstance(two, int) and one != two for one, two in words
    )


def _succeeded(answer: Answer | str) -> TypeGuard[Answer]:
    return not isinstance(answer, str) and answer.outcome is Outcome.OK


def _beside(block: BlockRef, calls: Sequence[Call], queries: Sequence[WalletQuery]) -> list[Request]:
    """What no contract can read: nonces, then the storage of others."""
    pinned = at_hash(block.hash)
    nonces = [Request(_NONCE, (query.account, pinned)) for query in queries]
    slots = [(call.to, call.slot) for call in calls if call.slot is not None]
    return [*nonces, *(Request("eth_getStorageAt", (to, f"0x{slot:064x}", pinned)) for to, slot in slots)]


async def _read(
    provider: Provider, block: BlockRef, entries: Sequence[Entry], codes: dict[str, bytes], beside: Sequence[Request]
) -> _Read:
    request = _eth_call(provider, block, entries, codes) if entries else None
    splits = _MOST_SPLITS
    if request is not None:
        try:
            first, *told = await provider.ask([request, *beside])
        except RpcUnreachable as error:
            if error.kind not in ("too-large", "oversized"):
                raise
            splits = _splits_after(error, _MOST_SPLITS, entries)
        else:
            answers = await _understand(provider, block, entries, codes, first, _MOST_SPLITS)
            return answers, _told_beside(told, beside)
    told = await provider.ask(beside)
    return await _split(provider, block, entries, codes, splits), _told_beside(told, beside)


def _eth_call(provider: Provider, block: BlockRef, entries: Sequence[Entry], codes: dict[str, bytes]) -> Request | None:
    """The request that runs `entries`; None where it would be larger than creation code may be."""
    pinned = at_hash(block.hash)
    used = {entry.target for entry in entries}
    needed = {address: code for address, code in codes.items() if address in used}
    if not provider.overrides:
        creation = pack_creation(entries, needed)
        return Request("eth_call", ({"data": to_hex(creation)}, pinned)) if len(creation) <= MAX_CREATION_CODE else None
    overrides = {address: {"code": to_hex(code)} for address, code in needed.items()}
    overrides[BATCH_ADDRESS] = {"code": to_hex(BATCH_CODE)}
    return Request("eth_call", ({"to": BATCH_ADDRESS, "data": to_hex(pack(entries))}, pinned, overrides))


async def _understand(
    provider: Provider,
    block: BlockRef,
    entries: Sequence[Entry],
    codes: dict[str, bytes],
    told: object,
    splits: int,
) -> list[Answer | str]:
    """Answers out of what the node told; asks again in halves or in the other way where that may help."""
    if isinstance(told, RpcError):
        if is_unknown_block(told):
            raise BlockUnknown(f"block {block.number} is unknown there: {told.message}")
        if is_limit(told):
            return await _split(provider, block, entries, codes, splits, told.message)
        if not provider.overrides:
            raise told
        return await _without_overrides(provider, block, entries, codes, splits, told)
    raw = data(told, "the result of eth_call")
    try:
        answers = unpack(raw, len(entries))
    except BadBatchAnswer as error:
        if not provider.overrides:
            raise Malformed(str(error)) from None
        # A node that ignores overrides finds no code at our address and answers with nothing.
        return await _without_overrides(provider, block, entries, codes, splits, Malformed(str(error)))
    if len(entries) > 1 and splits > 0 and any(answer.starved for answer in answers):
        return await _split(provider, block, entries, codes, splits)
    return list(answers)


async def _without_overrides(
    provider: Provider,
    block: BlockRef,
    entries: Sequence[Entry],
    codes: dict[str, bytes],
    splits: int,
    refusal: RpcError | Malformed,
) -> list[Answer | str]:
    """Try once without state overrides, and stay with that only where it works better."""
    provider.overrides = False
    try:
        return await _ask(provider, block, entries, codes, splits)
    except (RpcError, Malformed):
        provider.overrides = True
        raise refusal from None


async def _ask(
    provider: Provider, block: BlockRef, entries: Sequence[Entry], codes: dict[str, bytes], splits: int
) -> list[Answer | str]:
    request = _eth_call(provider, block, entries, codes)
    if request is None:
        return await _split(provider, block, entries, codes, splits)
    try:
        (told,) = await provider.ask([request])
    except RpcUnreachable as error:
        if error.kind not in ("too-large", "oversized"):
            raise
        return await _split(provider, block, entries, codes, _splits_after(error, splits, entries), str(error))
    return await _understand(provider, block, entries, codes, told, splits)


def _splits_after(error: RpcUnreachable, splits: int, entries: Sequence[Entry]) -> int:
    """How often halves may be halved again. Raises `error` where the node only wastes our time."""
    if error.kind == "too-large":
        return splits
    if splits < _DEAR_SPLIT or len(entries) <= 1:
        raise error
    return splits - _DEAR_SPLIT


async def _split(
    provider: Provider,
    block: BlockRef,
    entries: Sequence[Entry],
    codes: dict[str, bytes],
    splits: int,
    why: str = "too large for one request",
) -> list[Answer | str]:
    """Ask for both halves one after the other; what cannot be halved is answered by `why`."""
    if len(entries) <= 1 or splits == 0:
        return [f"beyond the node's limits: {why}"] * len(entries)
    middle = len(entries) // 2
    return [
        *await _ask(provider, block, entries[:middle], codes, splits - 1),
        *await _ask(provider, block, entries[middle:], codes, splits - 1),
    ]


def _told_beside(told: Sequence[object], requests: Sequence[Request]) -> list[int | str]:
    """Nonces, which a node has to tell, and words of storage, which some do not: then the reason."""
    found: list[int | str] = []
    for answer, request in zip(told, requests, strict=True):
        if not isinstance(answer, RpcError):
            found.append(quantity(answer, f"the result of {request.method}"))
        elif is_unknown_block(answer):
            raise BlockUnknown(answer.message)
        elif request.method == _NONCE:
            raise answer
        else:
            found.append(f"the node tells no storage: {answer.message}")
    return found


def _word(told: int | str) -> CallResult:
    return CallResult(None, told) if isinstance(told, str) else CallResult(told.to_bytes(32, "big"))
