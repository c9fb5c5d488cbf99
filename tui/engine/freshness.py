"""How old what is known of the chain is: no new block, a block that took long to read, a node that is behind.

Nothing is signed or shown as safe on old news. Waiting is counted on the clock that nobody sets and that runs on while
the machine sleeps. Only a block's own time is held against the wall clock.
"""

from __future__ import annotations

from tui.model.block import BlockRef
from tui.model.network import Network
from tui.ports.clock import Clock

SILENT_AFTER_BLOCKS = 3
"""No new head for this many block times is a fault, whatever the connection says."""
GRACE_SECONDS = 1.0
READ_WITHIN_SECONDS = 15.0
"""What was read of a block is of no use any more so long after its head came. On a chain of short block times a node
may take longer for one block than three take to come, which alone is no reason not to defend.
"""


class Freshness:
    """One an engine. A head `came`; later what it brought `was_read`."""

    def __init__(self, network: Network, clock: Clock) -> None:
        self._clock = clock
        self._silent_after = SILENT_AFTER_BLOCKS * network.block_time + GRACE_SECONDS
        self._late_after = network.late_after
        # The wall clock as it would read now had nobody set it since: a clock that is set makes no block old.
        self._unset = clock.now() - clock.monotonic()
        self._came: float | None = None
        self._read: float | None = None
        self._block: BlockRef | None = None
        self._block_came: float | None = None

    def came(self) -> None:
        """A head was received."""
        self._came = self._clock.monotonic()

    def was_read(self, block: BlockRef) -> None:
        """All that is wanted of the newest head is known."""
        self._read = self._clock.monotonic()
        self._block, self._block_came = block, self._came

    def head_age(self) -> float | None:
        """Seconds since a head was last received and read."""
        return None if self._read is None else self._clock.monotonic() - self._read

    def fault(self) -> str | None:
        """Why what was read last is too old to go by, or None; None too before anything was read."""
        if self._block is None or self._read is None:
            return None
        now = self._clock.monotonic()
        if now - self._read > self._silent_after:
            return f"no new block for {int(now - self._read)} s"
        since = now - (self._read if self._block_came is None else self._block_came)
        if since > max(self._silent_after, READ_WITHIN_SECONDS):
            return f"what was read is {int(since)} s old"
        return self._off(self._block)

    def _off(self, block: BlockRef) -> str | None:
        """Why a block's own time is not to be believed, or the node is not at the end of its chain; None else."""
        if self._late_after is None:
            return None
        clocks = (self._clock.now(), self._unset + self._clock.monotonic())
        behind = min((clock - block.timestamp for clock in clocks), key=abs)
        if behind > self._late_after:
            return (
                f"block {block.number} is {int(behind)} s old by this machine's clock: the node is behind, the chain "
                "stands still, or the clock is wrong"
            )
        if -behind > self._late_after:
            ahead = f"block {block.number} is {int(-behind)} s ahead of this machine's clock"
            return f"{ahead}: set the clock, or use another node"
        return None
