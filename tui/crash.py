"""What is said of an error that nobody foresaw: its class and the place in our code, never its text or its variables.

A traceback shows values: a node's URL with its token, a password that was just typed. None is printed anywhere.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from tui.model.text import clean_text

if TYPE_CHECKING:
    from types import TracebackType

_PACKAGE = Path(__file__).resolve().parent
FIX = "this is a fault of the program; please report this line"


def described(error: BaseException | None) -> str:
    """Class of `error`, and the innermost line of this package that it came through."""
    if error is None:
        return "an unexpected error"
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(_PACKAGE):
            place = f" at tui/{path.relative_to(_PACKAGE).as_posix()}:{frame.lineno}"
    return f"unexpected {type(error).__name__}{place}"


def worded(error: BaseException | None) -> str:
    """The words of an error of this package's own kinds, which are written for people; `described` for all others."""
    own = error is not None and type(error).__module__.partition(".")[0] == "tui"
    return str(error) if own else described(error)


def install() -> None:
    """From now on this process prints one line where Python would print a traceback."""
    sys.excepthook = _uncaught
    threading.excepthook = _in_thread
    sys.unraisablehook = _unraisable
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_OneLine())
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(handler)


def _say(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"trimtab: {text}\n")


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    del trace
    if issubclass(kind, KeyboardInterrupt):
        return
    _say(f"{described(error)}; {FIX}")


def _in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        _say(f"{described(args.exc_value)}; {FIX}")


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    _say(f"{described(args.exc_value)}; {FIX}")


class _OneLine(logging.Formatter):
    """The message on one line; of an exception only what `described` tells."""

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info and record.exc_info[1] is not None:
            # The rest of such a message is often the error's own text once more.
            first = record.getMessage().partition("\n")[0]
            return f"trimtab: {clean_text(first, 120)}: {described(record.exc_info[1])}"
        return f"trimtab: {clean_text(record.getMessage(), 400)}"
