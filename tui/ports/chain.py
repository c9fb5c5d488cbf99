"""What the engine needs from a chain: heads, reads pinned to a block hash, simulation, fees, broadcast, receipts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tui.model.block import BlockRef
from tui.model.calls import Call, CallResult, EventQuery, Log, PastEvent, Simulation
from tui.model.plan import FeeQuote, PlannedCall
from tui.model.wallet import Wallet, WalletQuery


class ChainUnreachable(Exception):
    """No configured provider answers, or those that do are on another chain; the text says which and why."""


class ReadFailed(Exception):
    """A read at a block could not be made (block unknown to the node, limits, disagreement)."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction on a canonical block. Gas price in wei, as really paid; `l1_fee` in wei is what a
    rollup took for its data beside the gas, where its receipts tell that. `logs` are its events in order; none where
    they could not be used: they inform, and decide nothing.
    """

    hash: str
    block_number: int
    block_hash: str
    ok: bool
    gas_used: int
    gas_price: int
    revert_reason: str | None = None
    l1_fee: int = 0
    logs: tuple[Log, ...] = ()

    @property
    def paid_wei(self) -> int:
        """All that it cost in the native coin, in wei, without what it sent."""
        return self.gas_used * self.gas_price + self.l1_fee


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What a node said to `eth_sendRawTransaction`. Never proof of anything: every outcome means "maybe sent"
    but a refusal that the words make certain.

    `kind`: accepted, already-known, nonce-too-low, nonce-too-high, underpriced-replacement, fee-too-low,
    insufficient-funds, fee-cap-exceeded, one-at-a-time (of an account that is delegated), other-error, no-answer.
    """

    kind: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """One node for the screen. `url` has its token masked; `state`: ok, lagging, wrong-chain, failing, lying.

    `role` is `node`, or `relay` for one that is only sent to and has no say in any quorum.
    """

    url: str
    state: str
    latency_ms: float | None
    head_number: int | None
    detail: str = ""
    role: str = "node"


class Heads(Protocol):
    """New canonical heads."""

    def heads(self) -> AsyncIterator[BlockRef]:
        """Every new head once, newest only when several arrived meanwhile. Ends never; faults are in `providers`."""


class Reader(Protocol):
    """Reads pinned to a block hash."""

    async def read(self, block: BlockRef, calls: Sequence[Call]) -> tuple[CallResult, ...]:
        """All `calls` at `block.hash` in one eth_call where the node lets them. Raises ReadFailed, ChainUnreachable."""

    async def read_all(
        self, block: BlockRef, calls: Sequence[Call], queries: Sequence[WalletQuery]
    ) -> tuple[tuple[CallResult, ...], tuple[Wallet, ...]]:
        """`calls` and whole wallets at `block.hash`, in one eth_call and one round trip; a wallet a query, in order.

        Raises ReadFailed, ChainUnreachable.
        """

    async def block_by_number(self, number: int) -> BlockRef | None:
        """The canonical block of a height, or None. Raises ReadFailed, ChainUnreachable."""

    def degraded(self, block: BlockRef) -> str | None:
        """Why something at `block` was read from fewer nodes than must agree (only where the user allows that), or
        None.
        """

    def providers(self) -> tuple[ProviderStatus, ...]:
        """How each node is doing, and the private relay where there is one."""


class Events(Protocol):
    """What transactions of past blocks told."""

    async def between(self, first: int, last: int, query: EventQuery) -> tuple[PastEvent, ...]:
        """The events of the blocks `first` to `last`, in order, asked for in one request. Raises ReadFailed (also where
        that is more than a node looks through at a time), ChainUnreachable.
        """


class Simulator(Protocol):
    """What calls would do, without doing them."""

    async def simulate(
        self, block: BlockRef, account: str, calls: Sequence[PlannedCall], reads: Sequence[Call]
    ) -> Simulation:
        """`calls` sent one after another on the state of `block`, each by its own `sender` or else by `account`, then
        `reads` on what they leave.

        Raises ReadFailed, ChainUnreachable.
        """


class Fees(Protocol):
    """EIP-1559 fees."""

    async def quote(self, block: BlockRef) -> FeeQuote:
        """Fees for a transaction that wants the next blocks, from recent blocks' base fees and tips.

        Raises ReadFailed, ChainUnreachable.
        """


class Broadcaster(Protocol):
    """Sends signed bytes and tells what became of them."""

    async def send(self, raw: bytes, expected_hash: str) -> tuple[SendOutcome, ...]:
        """Hand the same bytes to every node; one outcome a node. Never raises for what a node does."""

    async def receipt(self, tx_hash: str) -> Receipt | None:
        """The receipt on the canonical chain, None where no node has one. Raises ChainUnreachable."""

    async def nonce(self, account: str, block_hash: str | None = None) -> int:
        """Transactions of `account` mined up to a block (latest where None). Raises ChainUnreachable, ReadFailed."""

    async def final_nonce(self, account: str, block_hash: str) -> int:
        """Transactions of `account` mined up to a final block, sure enough to give up what was signed: two nodes at
        least where there are two, as many as the quorum, and none that differs. Raises ChainUnreachable, ReadFailed.
        """

    async def is_mined(self, receipt: Receipt, account: str, nonce: int, block_hash: str) -> bool:
        """Whether nodes that know a final block stand by `receipt`, which is of `nonce` of `account` and not younger:
        True where as many as the quorum do, and more than count the nonce as free there; False where most count it so.
        Raises ChainUnreachable, ReadFailed where it is neither.
        """

    async def balance(self, account: str) -> int:
        """Wei that `account` has at least, by as many nodes as must agree, or all that answer where those are fewer.
        Raises ChainUnreachable, ReadFailed.
        """

    async def transfer_gas(self, account: str) -> int:
        """Gas that a transfer of nothing by `account` takes on this chain, where no code runs: 21,000, and on some
        chains what layer 1 asks for. 0 where no node tells. Never raises for what a node does.
        """

    async def knows(self, tx_hash: str) -> bool:
        """Whether any node has the transaction, mined or pending. Raises ChainUnreachable."""
