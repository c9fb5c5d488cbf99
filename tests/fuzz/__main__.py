"""Feeds spoiled input to every reader of foreign input: `python -m tests.fuzz [--seconds N] [--seed N]`.

Prints the cases run for each. A traceback, a slow or hungry case or a control character in what would be shown is
printed with the input that caused it, and ends with exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import time
import unicodedata

import eth_account  # noqa: F401 - its dependencies raise the recursion limit: the readers must hold all the same

from tests.fuzz import node
from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import Target, targets

SLOWEST = 5.0
"""Seconds that one case may take, on a busy machine."""
FEWEST = 10
"""Cases that a reader gets however slow the machine is."""
MOST_MEMORY = 512 << 20
"""Bytes by which the process may grow over all cases."""
_BAD = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


class Defect(Exception):
    """What was wrong, and with which input."""


def harmless(text: str) -> None:
    """Raises Defect for a character that no terminal may get."""
    bad = sorted({repr(one) for one in text if one != "\n" and unicodedata.category(one) in _BAD})
    if bad:
        raise Defect(f"{', '.join(bad[:5])} would reach the terminal")


def peak() -> int:
    """The most memory this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzz(target: Target, seconds: float, seed: int) -> tuple[int, float]:
    """Cases run, and the seconds of the slowest. Raises Defect."""
    mutator = Mutator(target.seeds, target.words, seed)
    cases, slowest, until = 0, 0.0, time.perf_counter() + seconds
    while True:
        data = mutator.variant() if cases >= len(target.seeds) else target.seeds[cases]
        before = time.perf_counter()
        try:
            harmless(target.run(data))
        except Exception as error:
            raise Defect(f"{target.name}: {type(error).__name__}: {error}\ninput: {data[:2000]!r}") from error
        after = time.perf_counter()
        slowest = max(slowest, after - before)
        if after - before > SLOWEST:
            raise Defect(f"{target.name}: one case took {after - before:.1f} s\ninput: {data[:2000]!r}")
        cases += 1
        if after >= until and cases >= FEWEST:
            return cases, slowest


def fuzz_node(seconds: float, seed: int) -> int:
    """Answers judged. Raises Defect."""
    cases, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        try:
            said = asyncio.run(node.run(seed + cases, 40))
            harmless(said)
        except Exception as error:
            raise Defect(f"{node.NAME}, seed {seed + cases}: {type(error).__name__}: {error}") from error
        if node.TOKEN in said:
            raise Defect(f"{node.NAME}, seed {seed + cases}: the node's token was shown")
        cases += 40
    return cases


def main() -> int:
    """All targets, one after the other; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each reader (default 10)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"recursion limit {sys.getrecursionlimit()}, seed {options.seed}, {options.seconds:g} s each")
    total, before = 0, peak()
    try:
        for target in targets():
            cases, slowest = fuzz(target, options.seconds, options.seed)
            total += cases
            print(f"{target.name:24} {cases:9,} cases, slowest {1000 * slowest:6.0f} ms", flush=True)
        cases = fuzz_node(options.seconds, options.seed)
        total += cases
        print(f"{node.NAME:24} {cases:9,} cases", flush=True)
        grown = peak() - before
        if grown > MOST_MEMORY:
            raise Defect(f"the process grew by {grown >> 20} MiB")
    except Defect as defect:
        print(f"DEFECT {defect}")
        if defect.__cause__ is not None:
            sys.excepthook(type(defect.__cause__), defect.__cause__, defect.__cause__.__traceback__)
        return 1
    print(f"{'all':24} {total:9,} cases, no defect; memory grew by {grown >> 20} MiB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
