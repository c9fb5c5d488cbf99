"""The heartbeat file: what it says, when it is written, and what a reader believes."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import views
from tests.support.clock import FakeClock
from tui.headless.checks import Check, engine_checks
from tui.headless.heartbeat import FRESH_WITHIN, HEARTBEAT_FILE, Beat, Heartbeat, _parse, read_heartbeat
from tui.model.view import Protection


def writer(state: Path, clock: FakeClock) -> Heartbeat:
    return Heartbeat(state, clock, "base", "0.1.0")


def test_it_tells_what_is_armed_since_when_and_what_would_stop_it(tmp_path: Path) -> None:
    clock = FakeClock()
    heart = writer(tmp_path, clock)
    clock.advance(60)
    view = replace(views.armed(), at=clock.now(), would_stop=("guard: gas money is thin",), policy_until=2e9)
    heart.see(view)
    beat = read_heartbeat(tmp_path)
    assert beat is not None
    assert (beat.pid, beat.at, beat.started_at) == (os.getpid(), clock.now(), clock.now() - 60)
    assert beat.protection == "ARMED"
    assert [(one.rule, one.since) for one in beat.armed] == [
        (one.rule.name, one.armed_since) for one in view.rules if one.armed_since is not None
    ]
    assert beat.would_stop == ("guard: gas money is thin",)
    assert view.chain.block is not None
    assert beat.block_number == view.chain.block.number
    assert beat.block_received_at == clock.now() - (view.chain.head_age or 0)
    assert stat.S_IMODE((tmp_path / HEARTBEAT_FILE).stat().st_mode) == 0o600
    raw = json.loads((tmp_path / HEARTBEAT_FILE).read_text())
    assert raw["block"]["hash"] == view.chain.block.hash
    assert raw["version"] == "0.1.0"
    assert os.listdir(tmp_path) == [HEARTBEAT_FILE]  # noqa: PTH208


def test_a_change_of_protection_is_written_at_once_and_a_block_is_not(tmp_path: Path) -> None:
    clock = FakeClock()
    heart = writer(tmp_path, clock)
    view = views.armed()
    heart.see(view)
    first = clock.now()
    clock.advance(1)
    block = replace(views.BLOCK, number=views.BLOCK.number + 1, hash="0x" + "77" * 32)
    heart.see(replace(view, chain=replace(view.chain, block=block)))
    beat = read_heartbeat(tmp_path)
    assert beat is not None
    assert beat.at == first
    heart.see(replace(view, protection=Protection.HELD, protection_why="Held.", held="5 errors in a row"))
    beat = read_heartbeat(tmp_path)
    assert beat is not None
    assert (beat.at, beat.protection, beat.held) == (clock.now(), "HELD", "5 errors in a row")
    clock.advance(5)
    heart.beat()
    beat = read_heartbeat(tmp_path)
    assert beat is not None
    assert beat.at == clock.now()
    heart.beat(stopped=True, why="the run was ended")
    beat = read_heartbeat(tmp_path)
    assert beat is not None
    assert (beat.stopped, beat.armed, beat.why, beat.protection) == (True, (), "the run was ended", "STOPPED")


def test_a_disk_that_refuses_is_kept_in_mind_and_gets_over(tmp_path: Path) -> None:
    heart = writer(tmp_path / "state", FakeClock())
    heart.see(views.armed())
    assert heart.fault is not None
    assert "No such file" in heart.fault
    (tmp_path / "state").mkdir()
    heart.beat()
    assert heart.fault is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"format": 2}', b"[" * 100_000, b"\xff", b"x" * 300_000, b'{"format": 1}'],
    ids=["empty", "open", "list", "null", "newer", "nested", "no-text", "giant", "bare"],
)
def test_what_is_no_heartbeat_is_not_believed(tmp_path: Path, content: bytes) -> None:
    assert read_heartbeat(tmp_path) is None
    path = tmp_path / HEARTBEAT_FILE
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ValueError, match="not a heartbeat"):
        read_heartbeat(tmp_path)


def test_a_file_that_others_may_write_is_not_believed(tmp_path: Path) -> None:
    heart = writer(tmp_path, FakeClock())
    heart.beat()
    (tmp_path / HEARTBEAT_FILE).chmod(0o622)
    with pytest.raises(ValueError, match="written by others"):
        read_heartbeat(tmp_path)
    (tmp_path / HEARTBEAT_FILE).unlink()
    (tmp_path / HEARTBEAT_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="cannot be read"):
        read_heartbeat(tmp_path)


GOOD = {
    "format": 1, "pid": 5, "started_at": 1.0, "at": 2.0, "stopped": False, "network": "base", "protection": "ARMED",
    "why": "", "held": None, "armed": [{"rule": "guard", "since": 1.0}], "would_stop": [], "policy_until": None,
    "block": {"number": 1, "received_at": None},
}  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(st.sampled_from(sorted(GOOD)), ANYTHING)
def test_any_field_may_be_anything(key: str, value: object) -> None:
    try:
        beat = _parse({**GOOD, key: value})
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    for text in (beat.network, beat.protection, beat.why, beat.held or "", *beat.would_stop):
        assert all(character.isprintable() for character in text)


def checks_of(beat: Beat, now: float) -> dict[str, Check]:
    return {check.name: check for check in engine_checks(beat, "", beat.pid, True, now)}


def test_a_head_of_more_than_three_block_times_is_blindness(tmp_path: Path) -> None:
    clock = FakeClock()
    heart = writer(tmp_path, clock)
    view = views.armed()
    view = replace(view, at=clock.now(), chain=replace(view.chain, block_time=2.0, head_age=0.0))
    heart.see(view)
    clock.advance(5)
    heart.beat(ticked_at=clock.now())
    beat = read_heartbeat(tmp_path)
    assert beat is not None
    assert beat.block_time == 2.0
    assert checks_of(beat, clock.now())["engine's head"].ok
    clock.advance(10)
    heart.beat(ticked_at=clock.now())
    beat = read_heartbeat(tmp_path)
    assert beat is not None
    found = checks_of(beat, clock.now())["engine's head"]
    assert found.ok is False
    assert "received 15 s ago: none for more than 3 block times of 2 s" in found.detail


def test_a_beat_of_an_engine_that_stands_still_is_not_believed(tmp_path: Path) -> None:
    clock = FakeClock()
    heart = writer(tmp_path, clock)
    heart.see(replace(views.armed(), at=clock.now()))
    stood = clock.now()
    clock.advance(FRESH_WITHIN + 1)
    heart.beat(ticked_at=stood)
    beat = read_heartbeat(tmp_path)
    assert beat is not None
    assert beat.ticked_at == stood
    found = checks_of(beat, clock.now())
    assert found["engine"].ok is False
    assert "its engine has stood still for 21 s" in found["engine"].detail
    assert "protection" not in found, "nothing it said is repeated"
