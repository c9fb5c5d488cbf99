"""A chain in memory on py-evm's virtual machine: blocks, a transaction pool, snapshots, dumps.

Only the child process in ``pyevm_node`` imports this. Tries are content-addressed, so every past block can be read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import rlp  # type: ignore[import-untyped]
from eth.abc import ComputationAPI
from eth.constants import BLANK_ROOT_HASH
from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth.db.trie import make_trie_root_and_nodes
from eth.vm.chain_context import ChainContext
from eth.vm.forks.london.headers import calculate_expected_base_fee_per_gas
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.blocks import PragueBlockHeader
from eth.vm.forks.prague.state import PragueState
from eth.vm.forks.prague.transactions import PragueTransactionBuilder
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException  # type: ignore[import-untyped]

from tui.practice.accounts import BLOCK_GAS_LIMIT, CHAIN_ID, DEV_ACCOUNTS, DEV_BALANCE_ETHER
from tui.practice.pyevm_json import block_json, receipt_json, revert_reason, transaction_json
from tui.practice.pyevm_transactions import NodeError, address_bytes, quantity, unlocked_transaction

GENESIS_BASE_FEE = 10**9
_REPLACEMENT_PERCENT = 110


class CallState(PragueState):
    """State for ``eth_call``: nothing is paid, and neither nonce nor balance of the caller matters."""

    def get_gas_price(self, transaction: Any) -> int:
        """Calls are free."""
        del transaction
        return 0

    def get_tip(self, transaction: Any) -> int:
        """Calls tip nobody."""
        del transaction
        return 0

    def validate_transaction(self, transaction: Any) -> None:
        """Any call may be tried."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A transaction in the pool. ``arrival`` orders equal tips."""

    transaction: Any
    sender: Address
    arrival: int

    @property
    def slot(self) -> tuple[Address, int]:
        return self.sender, self.transaction.nonce


@dataclass(slots=True)
class Chain:
    """The chain. Not safe for two threads at once."""

    genesis_time: int
    automine: bool = True
    headers: list[Any] = field(default_factory=list)
    roots: list[Hash32] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    number_by_hash: dict[str, int] = field(default_factory=dict)
    transactions: dict[str, dict[str, Any]] = field(default_factory=dict)
    receipts: dict[str, dict[str, Any]] = field(default_factory=dict)
    pool: dict[tuple[Address, int], Pending] = field(default_factory=dict)
    impersonated: set[Address] = field(default_factory=set)
    time_offset: int = 0
    next_timestamp: int | None = None
    next_base_fee: int | None = None
    _store: dict[bytes, bytes] = field(default_factory=dict)
    _snapshots: dict[str, tuple[int, Hash32, int]] = field(default_factory=dict)
    _mined_first: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    """Transaction and receipt as they were first, of what was mined again: nonces can be set back."""
    _arrivals: int = 0

    def __post_init__(self) -> None:
        self.time_offset = self.genesis_time - int(time.time())
        if not self.headers:
            self._begin()

    @property
    def _db(self) -> AtomicDB:
        return AtomicDB(MemoryDB(self._store))

    def _begin(self) -> None:
        header = PragueBlockHeader(
            difficulty=0,
            block_number=BlockNumber(0),
            gas_limit=BLOCK_GAS_LIMIT,
            timestamp=self.genesis_time,
            base_fee_per_gas=GENESIS_BASE_FEE,
        )
        state = self._state(header, BLANK_ROOT_HASH)
        for account in DEV_ACCOUNTS:
            state.set_balance(address_bytes(account), DEV_BALANCE_ETHER * 10**18)
        state.persist()
        self._append(header.copy(state_root=state.state_root), state.state_root, [], [])

    # -- reading

    @property
    def height(self) -> int:
        return len(self.headers) - 1

    def state_at(self, number: int) -> PragueState:
        """The state after block ``number``; what is changed on it is not kept."""
        return self._state(self.headers[number], self.roots[number])

    def call(
        self, number: int, request: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]] | None = None
    ) -> ComputationAPI:
        """Run a call on top of block ``number`` with optional state overrides, and keep nothing of it."""
        header = self.headers[number]
        state = self._state(header, self.roots[number], CallState)
        for account, change in (overrides or {}).items():
            _override(state, address_bytes(account), change)
        sender = address_bytes(request.get("from") or "0x" + "00" * 20)
        gas = min(quantity(request.get("gas"), BLOCK_GAS_LIMIT), BLOCK_GAS_LIMIT)
        transaction = unlocked_transaction(request, sender, state.get_nonce(sender), gas, header.base_fee_per_gas, 0)
        if transaction.intrinsic_gas > gas:
            raise NodeError(-32000, "intrinsic gas too low")
        return state.apply_transaction(transaction)

    def estimate_gas(self, number: int, request: Mapping[str, Any]) -> int:
        """A gas limit with which the call succeeds, at most a twentieth above the smallest found."""
        tried = self.call(number, {**request, "gas": hex(BLOCK_GAS_LIMIT)})
        raise_if_failed(tried)
        gas = BLOCK_GAS_LIMIT - tried.get_gas_remaining()
        while gas < BLOCK_GAS_LIMIT:
            if not self.call(number, {**request, "gas": hex(gas)}).is_error:
                return gas
            gas += gas // 20
        return BLOCK_GAS_LIMIT

    def base_fee_after(self, number: int) -> int:
        """The base fee of the block that follows ``number``, in wei."""
        if number < self.height:
            return int(self.headers[number + 1].base_fee_per_gas)
        return int(calculate_expected_base_fee_per_gas(self.headers[number]))

    # -- the pool

    def submit_raw(self, raw: bytes) -> str:
        """Take a signed transaction in; its hash. Raises ``NodeError`` as a public node would."""
        try:
            transaction = PragueTransactionBuilder.decode(raw)
            transaction.validate()
            transaction.check_signature_validity()
            sender = transaction.sender
        except (ValidationError, RLPException, ValueError, TypeError, IndexError) as error:
            raise NodeError(-32602, f"failed to decode signed transaction: {error}") from error
        if transaction.chain_id not in (None, CHAIN_ID):
            raise NodeError(-32000, "invalid chain id for signer")
        return self._submit(transaction, sender)

    def submit_unlocked(self, request: Mapping[str, Any]) -> str:
        """Take a transaction of an unlocked or impersonated account in; its hash."""
        sender = address_bytes(request["from"])
        if to_checksum_address(sender) not in DEV_ACCOUNTS and sender not in self.impersonated:
            raise NodeError(-32000, "No Signer available")
        nonce = quantity(request.get("nonce"), self._next_nonce(sender))
        gas = quantity(request["gas"], 0) if "gas" in request else self.estimate_gas(self.height, request)
        tip = quantity(request.get("maxPriorityFeePerGas"), 10**9)
        cap = quantity(request.get("maxFeePerGas", request.get("gasPrice")), 2 * self._latest.base_fee_per_gas + tip)
        return self._submit(unlocked_transaction(request, sender, nonce, gas, cap, min(tip, cap)), sender)

    def _next_nonce(self, sender: Address) -> int:
        nonce = self.state_at(self.height).get_nonce(sender)
        while (sender, nonce) in self.pool:
            nonce += 1
        return nonce

    def _submit(self, transaction: Any, sender: Address) -> str:
        name: str = "0x" + transaction.hash.hex()
        state = self.state_at(self.height)
        if any(pending.transaction.hash == transaction.hash for pending in self.pool.values()):
            raise NodeError(-32000, "already known")
        if transaction.nonce < state.get_nonce(sender):
            raise NodeError(-32003, "nonce too low")
        if transaction.gas > BLOCK_GAS_LIMIT:
            raise NodeError(-32003, "exceeds block gas limit")
        if transaction.gas < transaction.intrinsic_gas:
            raise NodeError(-32003, "intrinsic gas too low")
        if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas:
            raise NodeError(-32003, "max priority fee per gas higher than max fee per gas")
        if transaction.gas * transaction.max_fee_per_gas + transaction.value > state.get_balance(sender):
            raise NodeError(-32003, "Insufficient funds for gas * price + value")
        rival = self.pool.get((sender, transaction.nonce))
        if rival is not None and not _outbids(transaction, rival.transaction):
            raise NodeError(-32003, "replacement transaction underpriced")
        self._arrivals += 1
        pending = Pending(transaction, sender, self._arrivals)
        self.pool[pending.slot] = pending
        if self.automine:
            self.mine()
        return name

    # -- blocks

    @property
    def _latest(self) -> Any:
        return self.headers[-1]

    def mine(self, timestamp: int | None = None) -> None:
        """Mine one block of what the pool can give, best tips first and each account's nonces in order."""
        header = self._next_header(timestamp)
        state = self._state(header, self.roots[-1])
        mined: list[Pending] = []
        receipts: list[Any] = []
        while True:
            candidate = self._best(state, header)
            if candidate is None:
                break
            del self.pool[candidate.slot]
            state.lock_changes()
            try:
                computation = state.apply_transaction(candidate.transaction)
            except ValidationError:
                continue  # it can no longer be paid for: it leaves the pool, as with any node
            receipt = PragueVM.make_receipt(header, candidate.transaction, computation, state)
            header = header.copy(gas_used=receipt.gas_used, bloom=header.bloom | receipt.bloom)
            mined.append(candidate)
            receipts.append(receipt)
        state.persist()
        transactions = [pending.transaction for pending in mined]
        header = header.copy(
            state_root=state.state_root,
            transaction_root=make_trie_root_and_nodes(transactions)[0],
            receipt_root=make_trie_root_and_nodes(receipts)[0],
        )
        self._append(header, state.state_root, mined, receipts)

    def _next_header(self, timestamp: int | None) -> Any:
        parent = self._latest
        wanted = self.next_timestamp if timestamp is None else timestamp
        now = int(time.time())
        if wanted is None:
            wanted = max(now + self.time_offset, parent.timestamp + 1)
        else:
            self.time_offset = wanted - now
        base_fee, self.next_base_fee, self.next_timestamp = self.next_base_fee, None, None
        header = PragueVM.create_header_from_parent(parent, gas_limit=BLOCK_GAS_LIMIT, timestamp=wanted)
        return header if base_fee is None else header.copy(base_fee_per_gas=base_fee)

    def _best(self, state: PragueState, header: Any) -> Pending | None:
        room = header.gas_limit - header.gas_used
        ready = (
            pending
            for (sender, nonce), pending in self.pool.items()
            if nonce == state.get_nonce(sender)
            and pending.transaction.max_fee_per_gas >= header.base_fee_per_gas
            and pending.transaction.gas <= room
        )
        return max(
            ready, key=lambda each: (_tip(each.transaction, header.base_fee_per_gas), -each.arrival), default=None
        )

    def _append(self, header: Any, root: Hash32, mined: list[Pending], receipts: list[Any]) -> None:
        number, name = header.block_number, "0x" + header.hash.hex()
        names = ["0x" + pending.transaction.hash.hex() for pending in mined]
        used = logs = 0
        for index, (pending, receipt) in enumerate(zip(mined, receipts, strict=True)):
            body = transaction_json(header, index, pending.transaction, pending.sender)
            if names[index] in self.receipts:
                first = self.transactions[names[index]], self.receipts[names[index]]
                self._mined_first.setdefault(names[index], first)
            self.transactions[names[index]] = body
            self.receipts[names[index]] = receipt_json(header, body, receipt, receipt.gas_used - used, logs)
            used, logs = receipt.gas_used, logs + len(receipt.logs)
        self.headers.append(header)
        self.roots.append(root)
        self.blocks.append(block_json(header, names))
        self.number_by_hash[name] = number

    def _state(self, header: Any, root: Hash32, kind: type[PragueState] = PragueState) -> PragueState:
        context = PragueVM.create_execution_context(
            header, (each.hash for each in reversed(self.headers[: header.block_number])), ChainContext(CHAIN_ID)
        )
        return kind(self._db, context, root)

    # -- what only a practice node can do

    @contextmanager
    def edit(self) -> Iterator[PragueState]:
        """Change the latest state in place, without a block."""
        state = self.state_at(self.height)
        yield state
        state.persist()
        self.roots[-1] = state.state_root

    def snapshot(self) -> str:
        """Remember where the chain stands; the name to give to ``revert``."""
        name = hex(len(self._snapshots))
        self._snapshots[name] = (self.height, self.roots[-1], self.time_offset)
        return name

    def revert(self, name: str) -> bool:
        """Go back to a snapshot, which is used up with all later ones; False for one that is not there."""
        if name not in self._snapshots:
            return False
        height, root, self.time_offset = self._snapshots[name]
        for later in [each for each in self._snapshots if int(each, 16) >= int(name, 16)]:
            del self._snapshots[later]
        for block in self.blocks[height + 1 :]:
            del self.number_by_hash[block["hash"]]
            for each in block["transactions"]:
                self._forget(each, height)
        del self.headers[height + 1 :], self.roots[height + 1 :], self.blocks[height + 1 :]
        self.roots[-1] = root
        self.pool.clear()
        self.next_timestamp = self.next_base_fee = None
        return True

    def _forget(self, name: str, height: int) -> None:
        """What is known of a transaction above a height; what was mined up to it stays."""
        first = self._mined_first.get(name)
        if first is not None and quantity(first[1]["blockNumber"], 0) <= height:
            self.transactions[name], self.receipts[name] = first
            return
        for known in (self._mined_first, self.transactions, self.receipts):
            known.pop(name, None)

    def dump(self) -> bytes:
        """Everything mined, as JSON that ``load`` reads."""
        return orjson.dumps(
            {
                "headers": [rlp.encode(header).hex() for header in self.headers],
                "roots": [root.hex() for root in self.roots],
                "blocks": self.blocks,
                "transactions": self.transactions,
                "receipts": self.receipts,
                "store": {key.hex(): value.hex() for key, value in self._store.items()},
            }
        )

    @classmethod
    def load(cls, content: bytes) -> Chain:
        """Raises ``ValueError`` or ``KeyError`` for anything but what ``dump`` gave."""
        saved = orjson.loads(content)
        headers = [rlp.decode(bytes.fromhex(each), PragueBlockHeader) for each in saved["headers"]]
        return cls(
            genesis_time=int(time.time()),
            headers=headers,
            roots=[Hash32(bytes.fromhex(each)) for each in saved["roots"]],
            blocks=saved["blocks"],
            number_by_hash={block["hash"]: number for number, block in enumerate(saved["blocks"])},
            transactions=saved["transactions"],
            receipts=saved["receipts"],
            _store={bytes.fromhex(key): bytes.fromhex(value) for key, value in saved["store"].items()},
        )


def raise_if_failed(computation: ComputationAPI) -> None:
    """Raise the ``NodeError`` of a call that reverted or ran out of gas."""
    if not computation.is_error:
        return
    data = bytes(computation.output)
    reason = revert_reason(data)
    if data or type(computation.error).__name__ == "Revert":
        raise NodeError(3, f"execution reverted{': ' + reason if reason else ''}", "0x" + data.hex())
    raise NodeError(-32000, f"execution failed: {type(computation.error).__name__}: {computation.error}")


def _override(state: PragueState, account: Address, change: Mapping[str, Any]) -> None:
    if change.get("balance") is not None:
        state.set_balance(account, quantity(change["balance"], 0))
    if change.get("nonce") is not None:
        state.set_nonce(account, quantity(change["nonce"], 0))
    if change.get("code") is not None:
        state.set_code(account, bytes.fromhex(change["code"].removeprefix("0x")))
    if change.get("state") is not None:
        state.delete_storage(account)
    for slot, value in {**(change.get("state") or {}), **(change.get("stateDiff") or {})}.items():
        state.set_storage(account, int(slot, 16), int(value, 16))


def _tip(transaction: Any, base_fee: int) -> int:
    return int(min(transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - base_fee))


def _outbids(transaction: Any, rival: Any) -> bool:
    return all(
        getattr(transaction, fee) * 100 >= getattr(rival, fee) * _REPLACEMENT_PERCENT
        for fee in ("max_fee_per_gas", "max_priority_fee_per_gas")
    )
