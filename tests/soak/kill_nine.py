"""Kill soak: SIGKILL at random points, restart, repeat; then all that was signed and mined is held against the record.

Run: python -m tests.soak.kill_nine [--core N] [--run M] [--seed S] [--workers W]

`--core`: executor and journal over SQLite, forked for each life. `--run`: `trimtab run` with its signer and keystore
against anvil with a real market. Exit code 1 where anything fired twice, was lost or went wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import fields
from pathlib import Path

from tests.soak import bare_core
from tests.soak.bare_core import SEASON, Tally

_WORDS = {
    "kills": "kills",
    "lives": "lives",
    "firings": "firings",
    "intents": "intents",
    "signatures": "signatures",
    "sends": "sends",
    "raised": "fees raised",
    "no_ops": "cancelled by a no-op",
    "reorgs": "reorgs",
    "payloads": "most payloads of one nonce",
    "double": "double fires",
    "lost": "lost intents",
}


def core(kills: int, seed: int, workers: int) -> Tally:
    """Seasons side by side until there were so many kills."""
    tally = Tally()
    sizes = [min(SEASON, kills - done) for done in range(0, kills, SEASON)]
    with (
        tempfile.TemporaryDirectory(prefix="trimtab-kills-") as folder,
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool,
    ):
        jobs = [pool.submit(bare_core.season, Path(folder), seed * 1_000_003 + n, size) for n, size in enumerate(sizes)]
        for number, job in enumerate(as_completed(jobs), start=1):
            tally.add(job.result())
            if number % 10 == 0:
                print(f"  {tally.kills} kills, {tally.double} double, {tally.lost} lost", file=sys.stderr, flush=True)
    return tally


def _one_world(kills: int, seed: int) -> Tally:
    from tests.soak import whole_run

    return asyncio.run(whole_run.soak(kills, seed))


def program(kills: int, seed: int, workers: int) -> Tally:
    """As many worlds side by side as there are workers, each with a node and a state of its own."""
    tally = Tally()
    sizes = [kills // workers + (number < kills % workers) for number in range(workers)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(_one_world, size, seed + number) for number, size in enumerate(sizes) if size]
        for job in as_completed(jobs):
            tally.add(job.result())
    return tally


def show(title: str, tally: Tally, seconds: float) -> None:
    """Print what was found."""
    print(f"{title} ({seconds:.0f} s)")
    for one in fields(tally):
        if one.name in _WORDS:
            print(f"  {_WORDS[one.name]:<28}{getattr(tally, one.name):>8}")
    print("  killed " + ", ".join(f"{how}: {count}" for how, count in sorted(tally.how.items())))
    for fault in tally.faults[:50]:
        print(f"  FAULT {fault}")
    sys.stdout.flush()


def main() -> int:
    """Both soaks; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core", type=int, default=10_000, help="kills of the bare core")
    parser.add_argument("--run", type=int, default=300, help="kills of `trimtab run` against anvil")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes side by side")
    args = parser.parse_args()
    bad = False
    if args.core:
        began = time.monotonic()
        tally = core(args.core, args.seed, args.workers)
        show("Bare core over SQLite", tally, time.monotonic() - began)
        bad |= bool(tally.double or tally.lost or tally.faults)
    if args.run:
        began = time.monotonic()
        tally = program(args.run, args.seed, args.workers)
        show("`trimtab run` against anvil", tally, time.monotonic() - began)
        bad |= bool(tally.double or tally.lost or tally.faults)
    return int(bad)


if __name__ == "__main__":
    raise SystemExit(main())
