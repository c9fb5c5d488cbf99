"""A read of the chain: calldata with the code it may need, or a word of storage, and the answer that it may lack."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """One read. `code` is runtime bytecode to be placed at `to` for the length of the call (a lens of our own).

    `slot`: not a call but the word that `to` keeps at this place of its storage; only a Reader answers that.
    """

    to: str
    data: bytes
    code: bytes | None = None
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class CallResult:
    """The answer of one read: bytes where it went well, else a reason. Empty bytes from a reverted call never pass
    for an answer.
    """

    data: bytes | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """An event of a transaction, mined or simulated: who says it (lower-case hex), up to four topics of 32 bytes, its
    data.
    """

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Events that are looked for: said by `address` (lower-case hex), each topic one of those given; None: any."""

    address: str
    topics: tuple[tuple[bytes, ...] | None, ...]

    def asks_for(self, log: Log) -> bool:
        """Whether an event is one of those."""
        return log.address == self.address and all(
            wanted is None or (place < len(log.topics) and log.topics[place] in wanted)
            for place, wanted in enumerate(self.topics)
        )


@dataclass(frozen=True, slots=True)
class PastEvent:
    """An event of a mined transaction, with its block."""

    block_number: int
    log: Log


@dataclass(frozen=True, slots=True)
class SimulatedCall:
    """One call of a simulated chain: whether it went through, the gas it took (whole transaction), why it failed, and
    its events in order. `logs` None: the node does not tell them, or not in a form that can be used.
    """

    ok: bool
    gas_used: int
    return_data: bytes
    error: str | None = None
    logs: tuple[Log, ...] | None = None


@dataclass(frozen=True, slots=True)
class Simulation:
    """A chain of calls simulated at one block, then reads on the state they leave.

    `timestamp` (unix seconds) is what the reads saw as the block's time: interest is computed to it.
    """

    calls: tuple[SimulatedCall, ...]
    reads: tuple[CallResult, ...]
    timestamp: int
