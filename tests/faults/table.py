"""Writes docs/faults.md: every fault by number, the tests that cause it, what they cause, and what came of it.

Run: python -m tests.faults.table [--junit FILE | --keep]

Runs the fault tests, or takes the results from a JUnit file; `--keep` renews the names and keeps the results.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

ROOM = Path(__file__).parent
ROOT = ROOM.parents[1]
TABLE = ROOT / "docs" / "faults.md"
CATALOGUE = ROOM / "catalogue.toml"
NOT_RUN = "not run"
_NUMBERED = re.compile(r"test_((?:\d\d_)+)")

_HEAD = """\
# Faults

Each fault is really caused by the tests beside it: real processes that are really killed, a real node, real contracts,
a real keystore and signer. What has a test in its row is held by it at every run of the suite.

Made by `python -m tests.faults.table`; do not edit by hand.

"""


@dataclass(frozen=True, slots=True)
class Fault:
    """One number of the catalogue. `tests` are `file::name` of tests that do not carry the number themselves."""

    number: int
    fault: str
    must: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A test function: `file::name`, the numbers in its name, and the first line of what it says it causes."""

    test: str
    numbers: tuple[int, ...]
    caused: str


def catalogue() -> list[Fault]:
    """All faults, by number."""
    listed = tomllib.loads(CATALOGUE.read_text())["fault"]
    found = [Fault(one["number"], one["fault"], one["must"], tuple(one.get("tests", ()))) for one in listed]
    return sorted(found, key=lambda one: one.number)


def cases() -> list[Case]:
    """All tests of this room, in the order of files and lines."""
    return [case for path in sorted(ROOM.glob("test_*.py")) for case in _cases_of(path)]


def _cases_of(path: Path) -> Iterator[Case]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            numbered = _NUMBERED.match(node.name)
            numbers = tuple(int(one) for one in numbered[1].split("_") if one) if numbered else ()
            said = ast.get_docstring(node)
            words = _NUMBERED.sub("", node.name).removeprefix("test_").replace("_", " ")
            yield Case(f"{path.name}::{node.name}", numbers, said.split("\n\n")[0] if said else words)


def rows() -> list[tuple[Fault, Case]]:
    """A row for every fault and test of it. Raises ValueError where the catalogue names a test that is not there."""
    known = {case.test: case for case in cases()}
    found: list[tuple[Fault, Case]] = []
    for fault in catalogue():
        for test in fault.tests:
            if test not in known:
                raise ValueError(f"{CATALOGUE.name}: fault {fault.number} names {test}, which is not there")
        own = [case for case in known.values() if fault.number in case.numbers]
        found += [(fault, case) for case in [*own, *(known[test] for test in fault.tests)]]
    return found


def missing() -> list[int]:
    """Numbers without a test."""
    tested = {fault.number for fault, _ in rows()}
    return [fault.number for fault in catalogue() if fault.number not in tested]


def render(results: Mapping[str, str], when: str) -> str:
    """The whole file. `results` by `file::name`."""
    found = rows()
    counted = Counter(results.get(case.test, NOT_RUN).partition(" (")[0] for _, case in found)
    told = ", ".join(f"{count} {word}" for word, count in sorted(counted.items()))
    lines = [
        f"{len({fault.number for fault, _ in found})} of {len(catalogue())} faults, {len(found)} tests: {told}.{when}",
        "",
        "| No | Fault | What must happen | Test | What was caused | Result |",
        "|---:|---|---|---|---|---|",
    ]
    last = 0
    for fault, case in found:
        named = (str(fault.number), fault.fault, fault.must) if fault.number != last else ("", "", "")
        last = fault.number
        cells = (*named, f"`{case.test}`", " ".join(case.caused.split()), results.get(case.test, NOT_RUN))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return _HEAD + "\n".join(lines) + "\n"


def names_only(text: str) -> list[str]:
    """The rows of a table without their results."""
    return [line.removesuffix(" |").rpartition(" | ")[0] for line in text.splitlines() if line.startswith("| ")]


def read_junit(path: Path) -> dict[str, str]:
    """Results by `file::name`; the cases of one test together."""
    counted: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}.py::{case.get('name', '').partition('[')[0]}"
        kinds = {child.tag for child in case}
        word = "FAILED" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counted.setdefault(name, Counter())[word] += 1
    return {name: _summed(counts) for name, counts in counted.items()}


def _summed(counts: Counter[str]) -> str:
    if len(counts) == 1:
        ((word, count),) = counts.items()
        return word if count == 1 else f"{word} ({count} cases)"
    return ", ".join(f"{word} ({counts[word]} cases)" for word in ("FAILED", "passed", "skipped") if counts[word])


def read_results(text: str) -> dict[str, str]:
    """The results in a table that was made before."""
    found = {}
    for line in text.splitlines():
        cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
        if line.startswith("| ") and len(cells) == 6 and cells[3].startswith("`"):
            found[cells[3].strip("`")] = cells[5]
    return found


def _run(junit: Path) -> None:
    files = sorted({str(ROOM / case.test.partition("::")[0]) for _, case in rows()})
    subprocess.run([sys.executable, "-m", "pytest", "-q", f"--junitxml={junit}", *files], cwd=ROOT, check=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table; 1 where a number has no test or a test did not pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--junit", type=Path, help="take the results from here instead of running the tests")
    parser.add_argument("--keep", action="store_true", help="renew the names, keep the results")
    args = parser.parse_args(arguments)
    when = f" Run on {datetime.now(UTC):%Y-%m-%d}."
    if args.keep:
        before = TABLE.read_text() if TABLE.exists() else ""
        results = read_results(before)
        told = re.search(r" Run on [\d-]+\.", before)
        when = told[0] if told else ""
    elif args.junit:
        results = read_junit(args.junit)
    else:
        with tempfile.TemporaryDirectory() as folder:
            _run(Path(folder) / "junit.xml")
            results = read_junit(Path(folder) / "junit.xml")
    TABLE.write_text(render(results, when))
    for number in missing():
        print(f"fault {number} has no test", file=sys.stderr)
    bad = [case.test for _, case in rows() if not results.get(case.test, NOT_RUN).startswith("passed")]
    for test in bad:
        print(f"{test}: {results.get(test, NOT_RUN)}", file=sys.stderr)
    return int(bool(missing() or bad))


if __name__ == "__main__":
    raise SystemExit(main())
