"""The short run of `python -m tests.fuzz`, in a process of its own with a bound on its memory."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import FEWEST, Defect, fuzz, harmless
from tests.fuzz.targets import Target, lens, lens_seed, targets

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 3 << 30


def test_no_reader_of_foreign_input_breaks() -> None:
    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--seconds", "0.4"],
        cwd=ROOT, capture_output=True, text=True, timeout=110, preexec_fn=bounded,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    counted = re.findall(r"^(.+?) +([\d,]+) cases", done.stdout, re.MULTILINE)
    assert len(counted) == len(targets()) + 2, "every reader, the node and the sum"
    assert all(int(count.replace(",", "")) >= FEWEST for _, count in counted), done.stdout


def test_the_seeds_are_what_the_readers_take() -> None:
    """Input that is refused at its first byte would fuzz nothing."""
    assert "WETH" in lens(lens_seed())
    assert "USDC" in lens(lens_seed())
    for target in targets():
        assert target.run(target.seeds[0]) is not None, target.name


def test_a_defect_is_found() -> None:
    def careless(data: bytes) -> str:
        return data.decode("latin-1")

    def fragile(data: bytes) -> str:
        return str(data[4])

    for run in (careless, fragile):
        with pytest.raises(Defect, match="input:"):
            fuzz(Target("a bad reader", [b"12345"], [], run), 5, 1)
    harmless("plain text\nand another line")
