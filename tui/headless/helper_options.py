"""What `trimtab helper` takes on the command line; apart from what it does, which loads half of the program."""

from __future__ import annotations

import argparse

from tui.config.options import add_common_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the `helper` parser its six commands. `run_helper` runs what it parses."""
    commands = parser.add_subparsers(dest="helper_command", required=True, metavar="COMMAND")
    for name, text, signs in (
        ("show", "where it stands, what it may take and borrow, and any delegation of the account", False),
        ("verify", "compare the code on the chain with the packaged one, byte for byte", False),
        ("deploy", "deploy it, at the same address as anybody else would", True),
        ("revoke", "take back every allowance that the account gave it, and a delegation to it", True),
        ("delegate", "let the account run it as its own code (EIP-7702): sales then need no approval", True),
        ("undelegate", "make the account a plain one again, whatever code it is delegated to", True),
    ):
        own = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        add_common_options(own)
        own.add_argument("--market", metavar="NAME", help="one market, where the network has several")
        own.add_argument("--json", action="store_true", help="one JSON object")
        if signs:
            own.add_argument("--yes", action="store_true", help="sign without asking")
