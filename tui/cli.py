"""The `trimtab` command line: argparse only; every heavy import is inside the command that needs it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from tui import __version__, crash
from tui.config.options import UsageError, add_common_options, options_from
from tui.headless.output import escape_what_has_no_form

if TYPE_CHECKING:
    from tui.practice.session import PracticeSession

Command = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments without repeating their values: they may be tokens or passwords."""

    def error(self, message: str) -> NoReturn:
        from tui.model.masking import HIDDEN, mask_url
        from tui.model.text import clean_text

        lead, found, rest = message.partition("unrecognized arguments: ")
        if found:
            names = (word.partition("=") if word.startswith("-") else (HIDDEN, "", "") for word in rest.split())
            message = f"{lead}{found}" + " ".join(f"{name}={HIDDEN}" if equals else name for name, equals, _ in names)
        message = re.sub(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"']+", lambda url: mask_url(url[0]), message)
        super().error(clean_text(message, 600))


def build_parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The command line as an argparse parser.

    With `words`, those that were typed, only commands that stand among them are given their options: each of the
    others costs imports and time before the first frame, and could not be meant.
    """
    parser = _Parser(
        prog="trimtab",
        allow_abbrev=False,
        description="Watch leveraged positions in a terminal and defend them with your own key.",
        epilog="Without a command the app opens. `trimtab practice` shows it all on a local chain of real contracts.",
    )
    parser.add_argument("--version", action="version", version=f"trimtab {__version__}")
    add_common_options(parser)
    parser.set_defaults(run=_app)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(
        name: str,
        text: str,
        run: Command,
        arguments: Callable[[argparse.ArgumentParser], None],
        *,
        common: bool = True,
    ) -> None:
        own = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        own.set_defaults(run=run)
        if words is not None and name not in words:
            return
        if common:
            add_common_options(own)
        arguments(own)

    add("practice", "open the practice chain: real contracts, a market that moves", _practice, _practice_options)
    add("run", "the engine without a screen: fires what is armed", _run, _run_options)
    add("positions", "positions now", _positions, _positions_options)
    add("plan", "what each rule would do at this block; signs nothing", _plan, _plan_options)
    add("rules", "check rules files", _rules, _rules_options, common=False)
    add("keystore", "make, take over, list and check key files", _keystore, _keystore_options, common=False)
    add(
        "helper",
        "the contract that deleverages: deploy, delegate, ...",
        _helper,
        _helper_options,
        common=False,
    )
    add("journal", "decisions, transactions and what they cost", _journal, _journal_options)
    add("kill", "pull the kill switch (--off releases it)", _kill, _kill_options)
    add("resume", "go on by hand after the engine held itself", _resume, _no_options)
    add("cancel", "take a transaction back by a no-op under its nonce", _cancel, _cancel_options)
    add("doctor", "what would stop a defence now", _doctor, _doctor_options)
    add("locate", "print where files live", _locate, _locate_options)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    crash.install()
    escape_what_has_no_form()
    words = sys.argv[1:] if argv is None else argv
    args = build_parser(words).parse_args(words)
    run: Command = args.run
    try:
        return int(run(args))
    except UsageError as error:
        sys.stderr.write(f"trimtab: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of stdout is gone; nothing is left to say to it.
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001 - the last place: a traceback could show a token or a password
        sys.stderr.write(f"trimtab: {crash.described(error)}; {crash.FIX}\n")
        return 1


# --- what each command takes and does; imports stay inside --------------------------------------------------------


def _practice_options(parser: argparse.ArgumentParser) -> None:
    from tui.practice.command import add_arguments

    add_arguments(parser)


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON event a line on stdout")


def _positions_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--watch", action="store_true", help="go on, one answer a block")


def _plan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object")


def _rules_options(parser: argparse.ArgumentParser) -> None:
    from tui.headless.rules_command import add_arguments

    add_arguments(parser)


def _keystore_options(parser: argparse.ArgumentParser) -> None:
    from tui.headless.keystore_command import add_arguments

    add_arguments(parser)


def _helper_options(parser: argparse.ArgumentParser) -> None:
    from tui.headless.helper_options import add_arguments

    add_arguments(parser)


def _journal_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--since", metavar="T", help="unix seconds, a date and time (ISO 8601), or 30m, 2h, 7d ago")
    parser.add_argument("--outcomes", action="store_true", help="what was expected of each firing and what came of it")


def _kill_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--off", action="store_true", help="release the kill switch")


def _cancel_options(parser: argparse.ArgumentParser) -> None:
    from tui.headless.cancel_command import add_arguments

    add_arguments(parser)


def _no_options(_parser: argparse.ArgumentParser) -> None:
    """A command with the shared options only."""


def _doctor_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object")


def _locate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("config", "state", "cache", "log", "themes"))


def _app(args: argparse.Namespace) -> int:
    from tui.first_run import options_or_wizard

    options = options_or_wizard(options_from(args))
    if options is None:
        return main(["practice"])
    from tui.launch import run_app

    return run_app(options)


def _practice(args: argparse.Namespace) -> int:
    from tui.practice.command import run_practice

    return run_practice(args, _open_practice)


def _open_practice(session: PracticeSession) -> int:
    from tui.config.options import Options
    from tui.launch import run_app

    accounts = session.accounts
    options = Options(
        config=session.home.directory,
        state=session.engine_state,
        network=str(session.network_file),
        addresses=tuple(address.lower() for address in accounts.values()),
        rules=(session.rules_file,),
        keystores=(session.keystore,),
    )
    return run_app(
        options,
        network="practice",
        labels={address.lower(): name for name, address in accounts.items()},
        password_hint=f"The practice password is {session.password}.",
    )


def _run(args: argparse.Namespace) -> int:
    from tui.headless.run_command import run_engine

    return run_engine(args)


def _positions(args: argparse.Namespace) -> int:
    from tui.headless.watch_commands import run_positions

    return run_positions(args)


def _plan(args: argparse.Namespace) -> int:
    from tui.headless.watch_commands import run_plan

    return run_plan(args)


def _rules(args: argparse.Namespace) -> int:
    from tui.headless.rules_command import run_rules

    return run_rules(args)


def _keystore(args: argparse.Namespace) -> int:
    from tui.headless.keystore_command import run_keystore

    return run_keystore(args)


def _helper(args: argparse.Namespace) -> int:
    from tui.headless.helper_command import run_helper

    return run_helper(args)


def _journal(args: argparse.Namespace) -> int:
    from tui.headless.record_commands import run_journal

    return run_journal(args)


def _kill(args: argparse.Namespace) -> int:
    from tui.headless.record_commands import run_kill

    return run_kill(args)


def _resume(args: argparse.Namespace) -> int:
    from tui.headless.resume_command import run_resume

    return run_resume(args)


def _cancel(args: argparse.Namespace) -> int:
    from tui.headless.cancel_command import run_cancel

    return run_cancel(args)


def _doctor(args: argparse.Namespace) -> int:
    from tui.headless.doctor_command import run_doctor

    return run_doctor(args)


def _locate(args: argparse.Namespace) -> int:
    from tui.config.paths import locate_paths

    options = options_from(args)
    sys.stdout.write(f"{getattr(locate_paths(options.config, options.state), args.what)}\n")
    return 0
