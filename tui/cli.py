"""The `trimtab` command line: argparse only; every heavy import is inside the command that needs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tui import __version__


def build_parser() -> argparse.ArgumentParser:
    """The whole command line as an argparse parser."""
    parser = argparse.ArgumentParser(prog="trimtab", description="Defend leveraged positions from your own terminal.")
    parser.add_argument("--version", action="version", version=f"trimtab {__version__}")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    build_parser().parse_args(sys.argv[1:] if argv is None else argv)
    return 0
