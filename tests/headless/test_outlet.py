"""Output that nobody reads: real pipes, full or closed, behind streams that never make their writer wait."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from tui.headless.outlet import Outlet, outlets

WAIT = 60.0


def told(count: int) -> str:
    return json.dumps({"event": "dropped", "count": count})


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    for one in (reader, writer):
        try:
            os.close(one)
        except OSError:
            continue


def read_until(descriptor: int, words: bytes) -> bytes:
    said = b""
    while words not in said:
        said += os.read(descriptor, 4096)
    return said


def test_lines_arrive_whole_and_in_order(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1], told)
    print("one", 1, file=outlet, flush=True)
    outlet.write("ha")
    outlet.write("lf\nthe last")
    outlet.close_outlet(WAIT)
    assert read_until(pipe[0], b"last") == b"one 1\nhalf\nthe last"
    assert outlet.dropped == 0


def test_where_nobody_reads_the_oldest_lines_go_and_are_counted(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1], told, most_bytes=10_000)
    # From the first line on no write may wait: this very thread would, and nobody reads.
    for number in range(5_000):
        print(json.dumps({"event": "block", "number": number}), file=outlet, flush=True)
    assert outlet.dropped > 4_000
    reading: list[bytes] = []
    reader = threading.Thread(target=lambda: reading.append(read_until(pipe[0], b"4999}\n")))
    reader.start()
    outlet.close_outlet(WAIT)
    reader.join(WAIT)
    heard = [json.loads(line) for line in reading[0].splitlines()]
    numbers = [one["number"] for one in heard if one["event"] == "block"]
    assert numbers == sorted(numbers)
    assert sum(one["count"] for one in heard if one["event"] == "dropped") == outlet.dropped == 5_000 - len(numbers)
    # The count stands where the lines are missing.
    expected = 0
    for one in heard:
        if one["event"] == "dropped":
            expected += one["count"]
        else:
            assert one["number"] == expected
            expected += 1


def test_leaving_does_not_wait_for_a_reader_that_never_comes(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1], told)
    outlet.write("x" * 100_000 + "\n")
    assert os.read(pipe[0], 1) == b"x"  # the writer's thread is on its way, and will be stuck
    outlet.close_outlet(0.01)
    print("too late", file=outlet)
    assert outlet._lines == type(outlet._lines)()
    os.close(pipe[0])  # lets the writer's thread go
    assert outlet._thread is not None
    outlet._thread.join(WAIT)
    assert outlet.gone == "Broken pipe"


def test_logs_go_the_same_way_and_all_is_put_back(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    with os.fdopen(os.dup(pipe[1]), "w") as real:
        monkeypatch.setattr(sys, "stderr", real)
        handler = logging.StreamHandler()
        logging.getLogger().addHandler(handler)
        try:
            with outlets(told, told):
                assert isinstance(sys.stderr, Outlet)
                assert handler.stream is sys.stderr
                logging.getLogger("somewhere").warning("a warning")
            assert sys.stderr is real
            assert handler.stream is real
        finally:
            logging.getLogger().removeHandler(handler)
    assert b"a warning" in read_until(pipe[0], b"warning\n")
