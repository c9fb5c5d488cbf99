"""The events of a receipt or of a simulated call as a node tells them: bounded, and all of them or none.

Whatever is odd about them makes them unknown, never the receipt or the call that they belong to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tui.chain.hexes import Malformed, address, data, hash32, mapping, quantity, sequence
from tui.model.calls import EventQuery, Log, PastEvent

MOST_LOGS = 256
"""Events of one receipt that are looked at; a transaction of ours has some dozens."""
MOST_DATA = 4096
"""Bytes of data of one event."""
MOST_TOPICS = 4


def logs_of(told: object) -> tuple[Log, ...]:
    """The events in order; none at all where there are too many, where one is too large, or where any is not what the
    JSON-RPC specification makes of it.
    """
    return logs_if_told(told) or ()


def logs_if_told(told: object) -> tuple[Log, ...] | None:
    """The same, but None where they are not known: that nothing happened is something else."""
    try:
        return tuple(_log(one) for one in _at_most(told, MOST_LOGS, "the events"))
    except Malformed:
        return None


def told_alike(told: Sequence[tuple[Log, ...]], wanted: int) -> tuple[Log, ...]:
    """The events that at least `wanted` nodes tell alike; none where no more than others do, or where too few do."""
    (most, backers), *others = Counter(told).most_common()
    return most if backers >= wanted and all(count < backers for _, count in others) else ()


def past_events(told: object, first: int, last: int, query: EventQuery) -> tuple[PastEvent, ...]:
    """The answer of `eth_getLogs` for `query` in the blocks `first` to `last`. Raises Malformed, also for an event that
    was not asked for.
    """
    found = []
    for one in _at_most(told, MOST_LOGS, "the events"):
        event = PastEvent(quantity(mapping(one, "an event").get("blockNumber"), "an event's block"), _log(one))
        if not first <= event.block_number <= last or not query.asks_for(event.log):
            raise Malformed("an event that was not asked for")
        found.append(event)
    return tuple(found)


def _log(told: object) -> Log:
    fields = mapping(told, "an event")
    if fields.get("removed") not in (None, False):
        raise Malformed("an event that was taken back")
    said = fields.get("data")
    if isinstance(said, str) and len(said) > 2 + 2 * MOST_DATA:
        raise Malformed("an event with too much data")
    topics = _at_most(fields.get("topics"), MOST_TOPICS, "an event's topics")
    return Log(
        address(fields.get("address"), "an event's address"),
        tuple(bytes.fromhex(hash32(topic, "a topic")[2:]) for topic in topics),
        data(said, "an event's data"),
    )


def _at_most(told: object, most: int, what: str) -> list[object]:
    listed = sequence(told, what)
    if len(listed) > most:
        raise Malformed(f"{what} are too many")
    return listed
