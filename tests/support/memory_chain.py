"""A chain in memory with go-ethereum's rules for its pool, and a signer with a memory of its own.

For what a real node cannot be made to do thousands of times a second: reorgs, crashes, foreign transactions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from tui.model.block import BlockRef
from tui.model.signing import (
    NEVER_SIGNED,
    PermitRequest,
    PermitSignature,
    SignedTransaction,
    SignerRefused,
    SignerUnavailable,
    TransactionRequest,
)
from tui.ports.chain import ChainUnreachable, ProviderStatus, ReadFailed, Receipt, SendOutcome

GENESIS_TIME = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Tx:
    """A transaction as the chain sees it."""

    hash: str
    account: str
    nonce: int
    to: str
    value: int
    data: bytes
    gas: int
    max_fee: int
    priority_fee: int

    @property
    def meaning(self) -> tuple[str, int, bytes]:
        """What it does."""
        return self.to, self.value, self.data

    @property
    def is_no_op(self) -> bool:
        """Nothing, to oneself."""
        return self.meaning == (self.account, 0, b"")


def encode(request: TransactionRequest) -> SignedTransaction:
    """Bytes that stand for a signed request."""
    fields = [
        request.account,
        request.nonce,
        request.to,
        request.value,
        request.data.hex(),
        request.gas,
        request.max_fee_per_gas,
        request.max_priority_fee_per_gas,
    ]
    raw = json.dumps(fields).encode()
    return SignedTransaction(raw, "0x" + sha256(raw).hexdigest())


def decode(raw: bytes) -> Tx:
    """What the bytes say."""
    account, nonce, to, value, data, gas, max_fee, priority_fee = json.loads(raw)
    return Tx(
        "0x" + sha256(raw).hexdigest(), account, nonce, to, value, bytes.fromhex(data), gas, max_fee, priority_fee
    )


@dataclass(frozen=True, slots=True)
class Mined:
    """A block and what is in it."""

    block: BlockRef
    txs: tuple[Tx, ...]


@dataclass
class MemoryChain:
    """Blocks and a pool. Satisfies `Broadcaster` and `Reader`. A call whose data contain `revert` reverts. Each account
    has `money` (wei), which nothing is taken from.
    """

    base_fee: int = 10**9
    blocks: list[Mined] = field(default_factory=list)
    pool: dict[tuple[str, int], Tx] = field(default_factory=dict)
    sent: list[Tx] = field(default_factory=list)
    down: bool = False
    deaf: bool = False
    silent: bool = False
    short: str | None = None
    money: int = 10**24
    _forks: int = 0
    _foreign: int = 0

    def __post_init__(self) -> None:
        if not self.blocks:
            self.mine()

    # --- what happens to it

    @property
    def head(self) -> BlockRef:
        """The newest block."""
        return self.blocks[-1].block

    def mine(self, count: int = 1, *, include: bool = True) -> BlockRef:
        """New blocks; the first takes everything from the pool that may go in."""
        for _ in range(count):
            number = len(self.blocks)
            parent = self.blocks[-1].block.hash if self.blocks else "0x" + "00" * 32
            block_hash = "0x" + sha256(f"{number} {parent} {self._forks}".encode()).hexdigest()
            txs = self._take() if include else ()
            block = BlockRef(number, block_hash, parent, GENESIS_TIME + 12 * number, self.base_fee)
            self.blocks.append(Mined(block, txs))
        return self.head

    def _take(self) -> tuple[Tx, ...]:
        taken: list[Tx] = []
        for account in sorted({account for account, _ in self.pool}):
            nonce = self.count(account)
            while (tx := self.pool.get((account, nonce))) is not None and tx.max_fee >= self.base_fee:
                taken.append(self.pool.pop((account, nonce)))
                nonce += 1
        return tuple(taken)

    def reorg(self, depth: int, *, keep: bool) -> None:
        """Take `depth` blocks back; their transactions return to the pool only where `keep` says so."""
        depth = min(depth, len(self.blocks) - 1)
        gone = self.blocks[len(self.blocks) - depth :]
        del self.blocks[len(self.blocks) - depth :]
        self._forks += 1
        if keep:
            for mined in gone:
                for tx in mined.txs:
                    self.pool.setdefault((tx.account, tx.nonce), tx)

    def drop(self) -> None:
        """Forget the pool."""
        self.pool.clear()

    def foreign(self, account: str) -> None:
        """A transaction of the account from elsewhere takes its next nonce in a block of its own."""
        self._foreign += 1
        nonce = self.count(account)
        tx = Tx(f"0xforeign{self._foreign}", account, nonce, "0x" + "ee" * 20, 1, b"", 21_000, 10**12, 10**9)
        self.pool.pop((account, nonce), None)
        self.mine(include=False)
        self.blocks[-1] = Mined(self.head, (tx,))

    def count(self, account: str, upto: int | None = None) -> int:
        """Mined transactions of an account."""
        blocks = self.blocks if upto is None else self.blocks[: upto + 1]
        return sum(tx.account == account for mined in blocks for tx in mined.txs)

    def mined(self, account: str) -> list[Tx]:
        """All of an account, in order."""
        return [tx for mined in self.blocks for tx in mined.txs if tx.account == account]

    # --- Broadcaster

    async def send(self, raw: bytes, expected_hash: str) -> tuple[SendOutcome, ...]:
        if self.down:
            return (SendOutcome("no-answer", "connection refused"),)
        tx = decode(raw)
        assert tx.hash == expected_hash
        self.sent.append(tx)
        outcome = SendOutcome("accepted") if self.deaf else self._accept(tx)
        return (SendOutcome("no-answer", "timed out"),) if self.silent else (outcome,)

    def _accept(self, tx: Tx) -> SendOutcome:
        if tx.nonce < self.count(tx.account):
            return SendOutcome("nonce-too-low", "nonce too low")
        pooled = [one for (account, nonce), one in self.pool.items() if account == tx.account and nonce != tx.nonce]
        if sum(one.gas * one.max_fee + one.value for one in (*pooled, tx)) > self.money:
            return SendOutcome("insufficient-funds", "insufficient funds for gas * price + value")
        there = self.pool.get((tx.account, tx.nonce))
        if there is not None:
            if there.hash == tx.hash:
                return SendOutcome("already-known", "already known")
            if 10 * tx.max_fee < 11 * there.max_fee or 10 * tx.priority_fee < 11 * there.priority_fee:
                return SendOutcome("underpriced-replacement", "replacement transaction underpriced")
        self.pool[(tx.account, tx.nonce)] = tx
        return SendOutcome("accepted")

    async def receipt(self, tx_hash: str) -> Receipt | None:
        self._reach()
        for mined in self.blocks:
            for tx in mined.txs:
                if tx.hash == tx_hash:
                    ok = b"revert" not in tx.data
                    price = min(tx.max_fee, mined.block.base_fee + tx.priority_fee)
                    reason = None if ok else "said no"
                    return Receipt(tx.hash, mined.block.number, mined.block.hash, ok, tx.gas, price, reason)
        return None

    async def nonce(self, account: str, block_hash: str | None = None) -> int:
        self._reach()
        if block_hash is None:
            return self.count(account)
        for mined in self.blocks:
            if mined.block.hash == block_hash:
                return self.count(account, mined.block.number)
        raise ReadFailed("unknown block")

    async def final_nonce(self, account: str, block_hash: str) -> int:
        return await self.nonce(account, block_hash)

    async def is_mined(self, receipt: Receipt, account: str, nonce: int, block_hash: str) -> bool:
        return await self.nonce(account, block_hash) > nonce and await self.receipt(receipt.hash) == receipt

    async def balance(self, account: str) -> int:
        self._reach()
        return self.money

    async def transfer_gas(self, account: str) -> int:
        return 0 if self.down else 21_000

    async def knows(self, tx_hash: str) -> bool:
        self._reach()
        return await self.receipt(tx_hash) is not None or any(tx.hash == tx_hash for tx in self.pool.values())

    # --- Reader

    async def block_by_number(self, number: int) -> BlockRef | None:
        self._reach()
        return self.blocks[number].block if 0 <= number < len(self.blocks) else None

    async def read(self, block: object, calls: object) -> tuple[()]:
        raise ReadFailed("nothing to read here")

    def degraded(self, block: object) -> str | None:
        return self.short

    def providers(self) -> tuple[ProviderStatus, ...]:
        return ()

    def _reach(self) -> None:
        if self.down:
            raise ChainUnreachable("the node is down")


@dataclass
class MemorySigner:
    """Signs what it is asked, but binds each nonce to one meaning for ever, as the real one does."""

    bound: dict[tuple[str, int], tuple[str, int, bytes]] = field(default_factory=dict)
    requests: list[TransactionRequest] = field(default_factory=list)
    permits: list[PermitRequest] = field(default_factory=list)
    refuse_from: int | None = None
    gone: bool = False
    judges: str | None = None
    conflicts: list[TransactionRequest] = field(default_factory=list)

    async def judge(self, requests: Sequence[TransactionRequest]) -> None:
        if self.gone:
            raise SignerUnavailable("the signer process is gone")
        if self.judges is not None:
            raise SignerRefused(self.judges)

    async def sign_transaction(self, request: TransactionRequest) -> SignedTransaction:
        if self.gone:
            raise SignerUnavailable("the signer process is gone")
        if self.refuse_from is not None and len(self.requests) >= self.refuse_from:
            raise SignerRefused("above the limit")
        key, meaning = (request.account, request.nonce), (request.to, request.value, request.data)
        no_op = meaning == (request.account, 0, b"")
        if no_op and key not in self.bound:
            raise SignerRefused(f"{NEVER_SIGNED}; {request.nonce} was not")
        if not no_op and self.bound.setdefault(key, meaning) != meaning:
            self.conflicts.append(request)
            raise SignerRefused(f"nonce {request.nonce} was signed with another meaning")
        self.requests.append(request)
        return encode(request)

    async def sign_permit(self, request: PermitRequest) -> PermitSignature:
        if self.gone:
            raise SignerUnavailable("the signer process is gone")
        self.permits.append(request)
        return PermitSignature(27, 2**255 + 1, 3)

    async def unlock(self, keystore: object, password: str) -> str:
        raise SignerRefused("no keystore here")

    async def set_policy(self, policy: object) -> None:
        raise SignerRefused("no policy here")

    async def lock(self) -> None:
        self.gone = True
