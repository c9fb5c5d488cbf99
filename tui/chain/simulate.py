"""What transactions of one account or several would do on the state of one block, and reads on what they leave.

Implements `tui.ports.chain.Simulator`: eth_simulateV1 where a node has it, else one eth_call in which each sender's own
address gets our batch program by state override, so that every call goes out with its account as its sender. Where an
account runs code of its own (EIP-7702), the program hands on to that code what it is called with by anybody else.

No authorization is made for a simulation: a call that sets the account's code is stood in for by that code itself, from
the first call on, and by the gas that the authorization takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from tui.chain.batch import (
    ACTING,
    BATCH_ADDRESS,
    BATCH_CODE,
    Answer,
    BadBatchAnswer,
    Entry,
    Outcome,
    acting_for,
    pack,
    unpack,
    with_value,
)
from tui.chain.blocks import at_hash
from tui.chain.budget import urgent_lane
from tui.chain.hexes import CODELESS, Malformed, data, mapping, quantity, sequence, to_hex
from tui.chain.logs import logs_if_told
from tui.chain.provider import BlockUnknown, Provider
from tui.chain.providers import Pool
from tui.chain.reader import call_result, codes_of
from tui.chain.reverts import is_limit, is_unknown_block, lacks_funds, revert_data, revert_reason
from tui.chain.rpc import Request, RpcError
from tui.model.block import BlockRef
from tui.model.calls import Call, CallResult, SimulatedCall, Simulation
from tui.model.pinned import AUTHORIZATION_GAS, delegate_of
from tui.model.plan import PlannedCall
from tui.model.units import UINT256_MAX

TRANSACTION_GAS = 21_000
"""What every transaction pays before anything runs."""
MOST_GAS = 2**24
"""The most gas a transaction may ask for (EIP-7825); below every block's limit that we know."""
_SEARCH_PERCENT = 2
"""go-ethereum's eth_estimateGas stops its search 1.5% above what is needed."""
_ZERO = "0x" + "00" * 20
_OUT_OF_GAS = "ran out of gas"
_PROGRAM_GAS = 150
"""What the batch program itself spends between its two looks at the gas left: cheap instructions and a warm CALL."""
_WARMTH = 50_000
"""Added for calls after the first in the eth_call way: they find warm what their own transaction would find cold, and
by how much is not to be seen. About twenty storage slots and four accounts."""


def intrinsic_gas(calldata: bytes) -> int:
    """Gas a call transaction pays for itself: 21,000, and 4 a zero byte, 16 any other (EIP-2028)."""
    zeros = calldata.count(0)
    return TRANSACTION_GAS + 4 * zeros + 16 * (len(calldata) - zeros)


def floor_gas(calldata: bytes) -> int:
    """The least a transaction pays, however little it runs: 21,000, and 10 a zero byte, 40 any other (EIP-7623)."""
    zeros = calldata.count(0)
    return TRANSACTION_GAS + 10 * zeros + 40 * (len(calldata) - zeros)


@dataclass(slots=True)
class ChainSimulator:
    """Simulates through a pool of nodes; where the pool has a quorum, that many must come to the same end.

    `block_time` in seconds: the simulated block comes that much after the pinned one.
    """

    pool: Pool = field(repr=False)
    block_time: float

    async def simulate(
        self, block: BlockRef, account: str, calls: Sequence[PlannedCall], reads: Sequence[Call]
    ) -> Simulation:
        """`calls` sent one after another on the state of `block`, each by its own sender or else by `account`, then
        `reads` on what they leave.

        Nobody pays a gas price here, and nobody's money for gas is looked at. `gas_used` of a call is that of the
        whole transaction, after refunds where the node simulates blocks. A call's `gas_limit` of 0 stands for the
        most a transaction may have. Events are told only where the node simulates blocks. Raises ReadFailed,
        ChainUnreachable.
        """
        codes = codes_of(reads)
        timestamp = block.timestamp + max(1, math.ceil(self.block_time))

        async def work(provider: Provider) -> Simulation:
            task = _Task(provider, block, account, calls, reads, codes, timestamp)
            if provider.simulates:
                try:
                    return await task.by_simulated_block()
                except (RpcError, Malformed) as refusal:
                    return await task.after_refusal(refusal)
            return await task.by_account_code()

        with urgent_lane():  # only what is about to fire is simulated
            return await self.pool.agreed(work, _comparable, at=block.hash, merge=_most_gas)


def _comparable(simulation: Simulation) -> tuple[object, ...]:
    """What nodes must agree on. Gas is left out: the two ways measure it differently; and so are events, which one of
    them does not know.
    """
    return tuple((call.ok, call.return_data) for call in simulation.calls), simulation.reads, simulation.timestamp


def _most_gas(alike: Sequence[Simulation]) -> Simulation:
    """One simulation out of many that came to the same end: a node that understates gas is outvoted, and events are
    known only where all of them tell the same.
    """
    calls = tuple(_merged(same) for same in zip(*(one.calls for one in alike), strict=True))
    return replace(alike[0], calls=calls)


def _merged(same: tuple[SimulatedCall, ...]) -> SimulatedCall:
    dearest = max(same, key=lambda call: call.gas_used)
    return replace(dearest, logs=dearest.logs if all(one.logs == dearest.logs for one in same) else None)


@dataclass(frozen=True, slots=True)
class _Task:
    """One simulation on one node."""

    provider: Provider
    block: BlockRef
    account: str
    calls: Sequence[PlannedCall]
    reads: Sequence[Call]
    codes: dict[str, bytes]
    timestamp: int

    async def by_simulated_block(self) -> Simulation:
        overrides = {address: {"code": to_hex(code)} for address, code in self.codes.items()}
        set_to = self._code_set()
        if set_to is not None:
            overrides[self.account] = {"code": to_hex(set_to)}
        sent: list[dict[str, str]] = [
            {
                "from": self._sender(call),
                "to": call.to,
                "data": to_hex(call.data),
                "value": hex(call.value),
                "gas": hex(self._gas_limit(call)),
            }
            for call in self.calls
        ]
        if self.reads:
            overrides[BATCH_ADDRESS] = {"code": to_hex(BATCH_CODE)}
            sent.append({"from": _ZERO, "to": BATCH_ADDRESS, "data": to_hex(pack(self._read_entries()))})
        simulated = {
            "blockOverrides": {"number": hex(self.block.number + 1), "time": hex(self.timestamp)},
            "stateOverrides": overrides,
            "calls": sent,
        }
        try:
            told = await self.provider.ask_one(
                "eth_simulateV1", {"blockStateCalls": [simulated], "validation": False}, at_hash(self.block.hash)
            )
        except RpcError as error:
            if lacks_funds(error):
                return self._penniless(error)
            raise
        blocks = sequence(told, "the simulation")
        if len(blocks) != 1:
            raise Malformed("the simulation has another number of blocks than was asked for")
        fields = mapping(blocks[0], "the simulated block")
        if quantity(fields.get("timestamp"), "the simulated time") != self.timestamp:
            raise Malformed("the simulated block has another time than was asked for")
        results = sequence(fields.get("calls"), "the simulated calls")
        if len(results) != len(sent):
            raise Malformed("the simulation has another number of calls than was asked for")
        calls = tuple(
            self._credible(call, _simulated(result, self._gas_limit(call)))
            for call, result in zip(self.calls, results, strict=False)
        )
        return Simulation(calls, self._read_results(results[len(self.calls) :]), self.timestamp)

    async def after_refusal(self, refusal: RpcError | Malformed) -> Simulation:
        """The other way, kept for good where the node has no eth_simulateV1 at all."""
        if isinstance(refusal, RpcError) and is_unknown_block(refusal):
            raise BlockUnknown(f"block {self.block.number} is unknown there: {refusal.message}") from None
        try:
            simulation = await self.by_account_code()
        except (RpcError, Malformed):
            raise refusal from None
        self.provider.simulates = isinstance(refusal, RpcError) and is_limit(refusal)
        return simulation

    async def by_account_code(self) -> Simulation:
        runs = [(sender, list(run)) for sender, run in groupby(self.calls, key=self._sender)]
        runs = runs or [(self.account, [])]
        overrides = {address: {"code": to_hex(code)} for address, code in self.codes.items()}
        pinned = at_hash(self.block.hash)
        acting: dict[str, bytes] = {}
        for sender in dict.fromkeys(sender for sender, _ in runs):
            delegate = await self._delegate(sender, pinned)
            program = BATCH_CODE if delegate is None else acting_for(delegate)
            overrides[sender] = {"code": to_hex(program)}
            acting[sender] = b"" if delegate is None else ACTING
        if len(runs) == 1:
            ((host, run),) = runs
            packed = acting[host] + pack([*self._call_entries(run), *self._read_entries()])
        else:
            # One program calls those at the senders, each with a run of its own calls.
            host = BATCH_ADDRESS
            overrides[host] = {"code": to_hex(BATCH_CODE)}
            entries = [Entry(sender, acting[sender] + pack(self._call_entries(run))) for sender, run in runs]
            packed = pack([*entries, *self._read_entries()])
        request = {"from": host, "to": host, "data": to_hex(packed)}
        timestamp = self.timestamp
        try:
            told = await self.provider.ask_one("eth_call", request, pinned, overrides, {"time": hex(timestamp)})
        except RpcError as error:
            if is_unknown_block(error):
                raise BlockUnknown(f"block {self.block.number} is unknown there: {error.message}") from None
            if is_limit(error):
                raise
            # Overrides of the block came later than those of the state: without them the time is the block's own.
            timestamp = self.block.timestamp
            told = await self.provider.ask_one("eth_call", request, pinned, overrides)
        try:
            answers = _answers(data(told, "the result of eth_call"), [len(run) for _, run in runs], len(self.reads))
        except BadBatchAnswer:
            raise Malformed(
                "can neither simulate blocks nor override code, so nothing can be simulated there"
            ) from None
        beside = await self._beside_execution()
        calls = tuple(
            self._measured(call, answer, index, beside[index])
            for index, (call, answer) in enumerate(zip(self.calls, answers, strict=False))
        )
        reads = tuple(call_result(answer) for answer in answers[len(self.calls) :])
        return Simulation(calls, reads, timestamp)

    def _code_set(self) -> bytes | None:
        """The code that the calls set the account to; None where they leave it as it is."""
        return next((call.delegate.account_code for call in self.calls if call.delegate is not None), None)

    async def _delegate(self, sender: str, pinned: object) -> str | None:
        """Whose code a sender runs during the calls, None for its own or none. Raises RpcError, Malformed."""
        code = self._code_set() if sender == self.account else None
        if code is None:
            (told,) = await self.provider.ask([Request("eth_getCode", (sender, pinned))])
            if isinstance(told, RpcError):
                if is_unknown_block(told):
                    raise BlockUnknown(f"block {self.block.number} is unknown there: {told.message}")
                raise told
            code = data(told, "the account's code")
        return delegate_of(code)

    def _sender(self, call: PlannedCall) -> str:
        return self.account if call.sender is None else call.sender

    def _call_entries(self, calls: Iterable[PlannedCall]) -> list[Entry]:
        entries: list[Entry] = []
        for call in calls:
            if call.value:
                entries.append(with_value(call.value))
            entries.append(Entry(call.to, call.data, gas_cap=self._execution_gas(call)))
        return entries

    def _gas_limit(self, call: PlannedCall) -> int:
        return call.gas_limit or min(MOST_GAS, self.block.gas_limit)

    def _credible(self, call: PlannedCall, told: SimulatedCall) -> SimulatedCall:
        """What a node says a call used, within what any call uses at least and may use at most, and with what its
        authorization will. Raises Malformed.
        """
        if told.ok and not intrinsic_gas(call.data) <= told.gas_used <= self._gas_limit(call):
            raise Malformed(f"a simulated call cannot have used {told.gas_used} gas")
        return replace(told, gas_used=told.gas_used + _authorization_gas(call))

    def _execution_gas(self, call: PlannedCall) -> int:
        return max(self._gas_limit(call) - intrinsic_gas(call.data), 1)

    def _read_entries(self) -> list[Entry]:
        return [Entry(read.to, read.data) for read in self.reads]

    def _read_results(self, results: Sequence[object]) -> tuple[CallResult, ...]:
        if not results:
            return ()
        batch = _simulated(results[0], UINT256_MAX)
        if not batch.ok:
            return tuple(CallResult(None, f"the reads after it failed: {batch.error}") for _ in self.reads)
        try:
            return tuple(call_result(answer) for answer in unpack(batch.return_data, len(self.reads)))
        except BadBatchAnswer as error:
            raise Malformed(str(error)) from None

    async def _beside_execution(self) -> list[int]:
        """Gas that the chain asks of each call beside what it runs and what its bytes cost anywhere (Arbitrum: its data
        on layer 1, counted in gas): what the same bytes take as a transaction to nobody. 0 where nobody tells.
        """
        if not self.calls:
            return []
        sent = [{"from": self._sender(call), "to": CODELESS, "data": to_hex(call.data)} for call in self.calls]
        told = await self.provider.ask([Request("eth_estimateGas", (one,)) for one in sent])
        return [
            0 if isinstance(answer, RpcError) else _beside(call.data, quantity(answer, "the gas of a transfer"))
            for call, answer in zip(self.calls, told, strict=True)
        ]

    def _measured(self, call: PlannedCall, answer: Answer, index: int, beside: int) -> SimulatedCall:
        executed = max(answer.gas_used - _PROGRAM_GAS, 0) + (_WARMTH if index else 0)
        gas = max(intrinsic_gas(call.data) + executed, floor_gas(call.data)) + _authorization_gas(call) + beside
        if answer.outcome is Outcome.FAILED:
            spent = not answer.data and executed >= self._execution_gas(call)
            return SimulatedCall(False, gas, answer.data, _OUT_OF_GAS if spent else revert_reason(answer.data))
        return SimulatedCall(True, gas, answer.data)

    def _penniless(self, error: RpcError) -> Simulation:
        failed = SimulatedCall(False, 0, b"", f"the account cannot pay what a call sends along: {error.message}")
        return Simulation(
            (failed,) * len(self.calls), (CallResult(None, failed.error),) * len(self.reads), self.timestamp
        )


def _beside(calldata: bytes, estimate: int) -> int:
    """What is more than the bytes of a transaction cost on any chain, in an estimate for one that runs nothing.

    A search for an estimate may end a little above the truth.
    """
    if estimate * 100 <= floor_gas(calldata) * (100 + _SEARCH_PERCENT):
        return 0
    return min(estimate - intrinsic_gas(calldata), MOST_GAS)


def _authorization_gas(call: PlannedCall) -> int:
    return 0 if call.delegate is None else AUTHORIZATION_GAS


def _answers(raw: bytes, runs: Sequence[int], reads: int) -> list[Answer]:
    """The answers of all calls, then of the reads. Runs of several senders are packed once more. Raises
    BadBatchAnswer.
    """
    if len(runs) == 1:
        return unpack(raw, runs[0] + reads)
    outer = unpack(raw, len(runs) + reads)
    answers: list[Answer] = []
    for count, run in zip(runs, outer, strict=False):
        if run.outcome is not Outcome.OK:
            raise BadBatchAnswer("the calls of one sender came to nothing")
        answers.extend(unpack(run.data, count))
    return answers + outer[len(runs) :]


def _simulated(result: object, gas_limit: int) -> SimulatedCall:
    fields = mapping(result, "a simulated call")
    returned = data(fields.get("returnData"), "a simulated call's return data")
    gas = quantity(fields.get("gasUsed"), "a simulated call's gas")
    if quantity(fields.get("status"), "a simulated call's status") == 1:
        return SimulatedCall(True, gas, returned, logs=logs_if_told(fields.get("logs")))
    # Some nodes put the revert data with the error, others where a return value would be.
    error = fields.get("error")
    message, carried = "", None
    if isinstance(error, dict):
        text, raw = error.get("message"), error.get("data")
        message = text if isinstance(text, str) else ""
        carried = revert_data(RpcError(0, message, raw if isinstance(raw, str) else None))
    revert = carried or returned
    if not revert and (gas >= gas_limit or is_limit(RpcError(0, message))):
        return SimulatedCall(False, gas, revert, _OUT_OF_GAS)
    return SimulatedCall(False, gas, revert, revert_reason(revert))
