"""`trimtab rules check FILE...`: one line a fault on stdout, exit code 1 where there is any."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tui.rules.load import load_rule_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser of `trimtab rules` its subcommand."""
    commands = parser.add_subparsers(dest="rules_command", required=True, metavar="check")
    check = commands.add_parser(
        "check", help="validate rules files", description="Validate rules files.", allow_abbrev=False
    )
    check.add_argument("files", nargs="+", metavar="FILE", help="a rules file (TOML)")


def run_rules(args: argparse.Namespace) -> int:
    """Check every file of `args.files`, which are used together. 0: no faults; 1: some; 2: a file cannot be read.

    Errors go to stdout as `FILE:LINE: what; the fix`. Warnings and the summary go to stderr and change no exit code.
    """
    paths = [Path(name) for name in args.files]
    unreadable = False
    readable = []
    for path in paths:
        try:
            with path.open("rb"):
                readable.append(path)
        except OSError as error:
            unreadable = True
            reason = (error.strerror or "cannot be read").lower()
            _talk(f"{_shown(path)}: {reason}; give the path of a rules file that you may read")
    loaded = load_rule_files(readable)
    for rules in loaded:
        for fault in rules.errors:
            sys.stdout.write(f"{fault}\n")
        for fault in rules.warnings:
            _talk(f"warning: {fault}")
    if unreadable:
        return 2
    count = sum(len(rules.rules) for rules in loaded)
    faults = sum(len(rules.errors) for rules in loaded)
    usable = "1 rule" if count == 1 else f"{count} rules"
    if faults:
        _talk(f"{usable} usable, {faults} {'fault' if faults == 1 else 'faults'}")
        return 1
    _talk(f"{usable}, no faults")
    return 0


def _talk(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _shown(path: Path) -> str:
    return "".join(character if character.isprintable() else "?" for character in str(path))
