"""``trimtab practice``: prepares a practice run and hands it to the app, or runs it headless for scripts."""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from tui.practice.errors import PracticeError

if TYPE_CHECKING:
    from tui.practice.artifacts import Progress
    from tui.practice.session import PracticeOptions, PracticeSession
    from tui.practice.world import Step

EXIT_DONE = 0
EXIT_USAGE = 2
EXIT_NO_CHAIN = 3
EXIT_INTERRUPTED = 130

OpenApp = Callable[["PracticeSession"], int]


class _Stopped(BaseException):
    """A signal asked to end while the run was being prepared."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``trimtab practice``; ``--state`` is added only where the parser has none yet."""
    parser.add_argument("--scenario", default="calm", metavar="NAME", help="what the market does (see --list)")
    parser.add_argument("--speed", type=float, default=1.0, metavar="X", help="run the clock X times as fast")
    parser.add_argument("--seed", type=int, metavar="N", help="repeat a run: the same seed gives the same prices")
    parser.add_argument(
        "--block-time", type=float, default=2.0, metavar="S", help="seconds of chain time between blocks (default 2)"
    )
    parser.add_argument("--node", choices=("anvil", "pyevm"), help="which local node to use (default: what works)")
    parser.add_argument("--headless", action="store_true", help="no app: print one JSON line, run until a signal")
    parser.add_argument("--list", action="store_true", help="list the scenarios and leave")
    known = {option for action in parser._actions for option in action.option_strings}
    if "--state" not in known:
        parser.add_argument("--state", type=Path, metavar="DIR", help="where the practice files live")


def run_practice(args: argparse.Namespace, open_app: OpenApp | None = None) -> int:
    """Run the command and return its exit code. ``open_app`` shows a prepared, living session until it is left."""
    if args.list:
        return _list_scenarios()
    from tui.practice.session import PracticeSession  # imports what a mere --help must not

    try:
        session = PracticeSession(_options(args))
    except PracticeError as error:
        return _complain(error, EXIT_USAGE)
    try:
        if args.headless or open_app is None:
            return _run_headless(session)
        with _progress_bar() as progress:
            session.prepare(progress)
        session.start()
        return open_app(session)
    except PracticeError as error:
        return _complain(error, EXIT_NO_CHAIN)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        session.close()


def _options(args: argparse.Namespace) -> PracticeOptions:
    import platformdirs

    from tui.practice.node import NodeKind
    from tui.practice.session import PracticeOptions

    state = getattr(args, "state", None)
    return PracticeOptions(
        state_dir=Path(state) if state else platformdirs.user_state_path("trimtab"),
        cache_dir=platformdirs.user_cache_path("trimtab") / "practice",
        seed=secrets.randbelow(2**32) if args.seed is None else args.seed,
        scenario=args.scenario,
        speed=args.speed,
        block_time=args.block_time,
        node=NodeKind(args.node) if args.node else None,
    )


def _list_scenarios() -> int:
    from tui.practice.scenarios import SCENARIOS

    width = max(map(len, SCENARIOS))
    for scenario in SCENARIOS.values():
        sys.stdout.write(f"{scenario.name:<{width}}  {scenario.summary}\n")
    return EXIT_DONE


def _run_headless(session: PracticeSession) -> int:
    stop = threading.Event()
    code = EXIT_DONE
    preparing = True

    def asked(number: int, _frame: FrameType | None) -> None:
        nonlocal code
        code = EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_DONE
        stop.set()
        if preparing:
            raise _Stopped

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        session.prepare(_talk_progress())
        preparing = False
        sys.stdout.write(json.dumps(session.describe()) + "\n")
        sys.stdout.flush()
        session.run(stop, _talk_step)
    except _Stopped:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code


def _talk_progress() -> Progress:
    """Says on stderr what is being prepared, each thing once."""
    said: set[str] = set()

    def progress(what: str, _done: int, _total: int) -> None:
        if what not in said:
            said.add(what)
            sys.stderr.write(f"{what}\n")
            sys.stderr.flush()

    return progress


def _talk_step(step: Step) -> None:
    for account in step.liquidated:
        sys.stderr.write(f"block {step.block}: {account} was liquidated\n")
    for what in step.failed:
        sys.stderr.write(f"block {step.block}: failed: {what}\n")
    sys.stderr.flush()


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("practice", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield progress


def _complain(error: PracticeError, code: int) -> int:
    sys.stderr.write(f"trimtab practice: {error.what}\n{error.mend}\n")
    return code
