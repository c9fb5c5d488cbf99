"""Events of a receipt: all of them or none, and nothing that a node makes of them is an error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.chain.logs import MOST_DATA, MOST_LOGS, logs_of, told_alike
from tui.model.calls import Log

TOPIC = "0x" + "Ab" * 32


def told(**changed: Any) -> dict[str, Any]:
    return {"address": "0x" + "Cd" * 20, "topics": [TOPIC], "data": "0x0102", "logIndex": "0x0", **changed}


LOG = Log("0x" + "cd" * 20, (b"\xab" * 32,), b"\1\2")


def test_events_are_read_in_order() -> None:
    bare = Log("0x" + "cd" * 20, (), b"")
    assert logs_of([told(), told(topics=[], data="0x", removed=False)]) == (LOG, bare)
    assert logs_of([told()] * MOST_LOGS) == (LOG,) * MOST_LOGS
    assert len(logs_of([told(data="0x" + "00" * MOST_DATA)])[0].data) == MOST_DATA


@pytest.mark.parametrize(
    "odd",
    [
        told(data="0x" + "00" * (MOST_DATA + 1)),
        told(data="0x 1"),
        told(data=None),
        told(topics=None),
        told(topics=[TOPIC] * 5),
        told(topics=["0x12"]),
        told(topics=[7]),
        told(address="0x12"),
        told(address=[]),
        told(removed=True),
        None,
        7,
        [],
    ],
)
def test_one_odd_event_makes_all_unknown(odd: object) -> None:
    assert logs_of([told(), odd]) == ()


def test_too_many_are_none() -> None:
    assert logs_of([told()] * (MOST_LOGS + 1)) == ()


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(json, st.dictionaries(st.sampled_from(["address", "topics", "data", "removed"]), json))
def test_no_shape_is_an_error(anything: object, changed: dict[str, Any]) -> None:
    for shape in (anything, [anything], [told(**changed)]):
        assert all(isinstance(one, Log) for one in logs_of(shape))


def test_as_many_nodes_as_must_agree_tell_the_same_events() -> None:
    one, other = (LOG,), (LOG, LOG)
    assert told_alike([one], 1) == one
    assert told_alike([one, other, one], 2) == one
    assert told_alike([other, one, one], 2) == one
    assert told_alike([one, other], 2) == ()
    assert told_alike([one, other], 1) == ()
    assert told_alike([(), ()], 2) == ()
