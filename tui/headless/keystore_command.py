"""`trimtab keystore new | import | list | check`: key files made, taken over, listed and judged, without a screen.

stdout is data, stderr is talk; no key and no password is ever an argument or printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.vault.errors import KeystoreError
    from tui.vault.keystore import KeystoreReport

DONE, FOUND, USAGE, REFUSED, INTERRUPTED = 0, 1, 2, 4, 130


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - talk of the command line


def _answer(text: str) -> None:
    print(text)  # noqa: T201 - data of the command line


def _password_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--password-file", type=Path, metavar="FILE", help="the password, in a file of mode 0600")
    source.add_argument("--password-fd", type=int, metavar="N", help="the password, on an open file descriptor")


def _target_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keystore", type=Path, metavar="FILE", help="where the key file goes (default: by address)")
    parser.add_argument("--replace", action="store_true", help="replace a key file that is there already")
    parser.add_argument("--json", action="store_true", help="answer in JSON")


def _config_option(parser: argparse.ArgumentParser) -> None:
    # Suppressed, so that the same option before the command keeps its value.
    parser.add_argument("--config", type=Path, metavar="DIR", default=argparse.SUPPRESS, help="configuration directory")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the `keystore` parser its four commands. `run_keystore` runs what it parses."""
    # No abbreviations: "--key SECRET" must be an error, not a path that is echoed.
    commands = parser.add_subparsers(dest="keystore_command", required=True, metavar="COMMAND")

    new = commands.add_parser("new", help="make a key file with a new random key", allow_abbrev=False)
    _target_options(new)
    _password_options(new)
    _config_option(new)

    take = commands.add_parser(
        "import",
        help="encrypt a key you have; it is typed at a hidden prompt, or comes from a key file",
        allow_abbrev=False,
    )
    _target_options(take)
    kind = take.add_mutually_exclusive_group()
    kind.add_argument("--file", type=Path, metavar="V3FILE", help="a keystore v3 file; it is encrypted anew, strongly")
    kind.add_argument("--mnemonic", action="store_true", help="type a BIP-39 mnemonic instead of a raw key")
    take.add_argument("--derivation-path", metavar="PATH", help="of the mnemonic (default: m/44'/60'/0'/0/0)")
    take.add_argument("--passphrase", action="store_true", help="ask for the mnemonic's passphrase as well")
    take.add_argument(
        "--old-password-file", type=Path, metavar="FILE", help="password of V3FILE where it differs from the new one"
    )
    _password_options(take)
    _config_option(take)

    show = commands.add_parser("list", help="the key files there are, without opening them", allow_abbrev=False)
    show.add_argument("--keystore", type=Path, metavar="FILE|DIR", help="a key file or a directory of them")
    show.add_argument("--json", action="store_true", help="answer in JSON")
    _config_option(show)

    check = commands.add_parser("check", help="judge key files; with a password, open them too", allow_abbrev=False)
    check.add_argument("files", nargs="*", type=Path, metavar="FILE")
    check.add_argument("--keystore", type=Path, metavar="FILE|DIR", help="a key file or a directory of them")
    check.add_argument("--ask", action="store_true", help="ask for the password, to see that it opens")
    check.add_argument("--json", action="store_true", help="answer in JSON")
    _password_options(check)
    _config_option(check)


def run_keystore(args: argparse.Namespace) -> int:
    """Run a parsed `keystore` command; the exit code (0, 1, 2, 4 or 130)."""
    from tui.vault.errors import KeystoreError

    commands = {"new": _new, "import": _import, "list": _list, "check": _check}
    try:
        return commands[args.keystore_command](args)
    except KeystoreError as error:
        _say(str(error))
        return _exit_code(error)
    except KeyboardInterrupt:
        _say("Interrupted; nothing was written.")
        return INTERRUPTED


def _exit_code(error: KeystoreError) -> int:
    from tui.vault.errors import KeystoreFault

    usage = (KeystoreFault.MALFORMED, KeystoreFault.MISSING, KeystoreFault.KEY)
    return USAGE if error.fault in usage else REFUSED


def keystore_directory(args: argparse.Namespace) -> Path:
    """Where key files live: `keystore/` in the configuration directory, `--config` or the user's."""
    config: Path | str | None = getattr(args, "config", None)
    if config is None:
        import platformdirs

        config = platformdirs.user_config_dir("trimtab")
    return Path(config) / "keystore"


def _given_password(args: argparse.Namespace) -> str | None:
    """The password of `--password-file` or `--password-fd`; None where neither is given."""
    from tui.vault.passwords import password_from_descriptor, password_from_file

    if args.password_file is not None:
        return password_from_file(args.password_file)
    if args.password_fd is not None:
        return password_from_descriptor(args.password_fd)
    return None


def _target(args: argparse.Namespace, address: str) -> Path:
    """The file to write."""
    path: Path = args.keystore if args.keystore is not None else keystore_directory(args) / f"{address}.json"
    return path


def _refuse_existing(args: argparse.Namespace) -> None:
    """Before anything slow or secret is asked."""
    from tui.vault.files import refuse_taken

    if args.keystore is not None and not args.replace:
        refuse_taken(args.keystore)


def _write(args: argparse.Namespace, key: bytes, password: str) -> int:
    from tui.vault.errors import printable
    from tui.vault.keystore import address_of, create_keystore

    path = _target(args, address_of(key))
    address = create_keystore(path, password, key=key, overwrite=args.replace)
    _answer(json.dumps({"address": address, "path": str(path)}) if args.json else address)
    _say(f"Key file written: {printable(path)}. Without a copy of it and its password the key is lost: back both up.")
    return DONE


def _new(args: argparse.Namespace) -> int:
    from tui.vault.keystore import check_new_password, random_key
    from tui.vault.passwords import new_password_prompt

    _refuse_existing(args)
    password = _given_password(args)
    if password is None:
        password = new_password_prompt("Password for the new key file")
    check_new_password(password, args.password_file or "password")
    return _write(args, random_key(), password)


def _import(args: argparse.Namespace) -> int:
    from tui.vault.errors import KeystoreError, KeystoreFault
    from tui.vault.keystore import check_new_password
    from tui.vault.passwords import (
        ETHEREUM_PATH,
        hidden_prompt,
        key_from_hex,
        key_from_mnemonic,
        new_password_prompt,
    )

    if not args.mnemonic and (args.derivation_path is not None or args.passphrase):
        raise KeystoreError(
            "--derivation-path and --passphrase go with --mnemonic", "import", "Add --mnemonic.", KeystoreFault.KEY
        )
    _refuse_existing(args)
    password = _given_password(args)
    if password is not None:
        check_new_password(password, args.password_file or "password")
    if args.file is not None:
        key, old_password = _key_of_file(args, password)
        if password is None:
            password = new_password_prompt("New password (empty: keep the old one)") or old_password
    elif args.mnemonic:
        words = hidden_prompt("Mnemonic words: ")
        passphrase = hidden_prompt("Passphrase: ") if args.passphrase else ""
        key = key_from_mnemonic(words, passphrase, args.derivation_path or ETHEREUM_PATH)
    else:
        key = key_from_hex(hidden_prompt("Private key (hex): "))
    if password is None:
        password = new_password_prompt("Password for the new key file")
    check_new_password(password, args.password_file or "password")
    return _write(args, key, password)


def _key_of_file(args: argparse.Namespace, password: str | None) -> tuple[bytes, str]:
    """The key of an existing v3 file, which may be weak or loose: it is read, said, and encrypted anew."""
    from tui.vault.errors import KeystoreError, KeystoreFault
    from tui.vault.files import inspect_file
    from tui.vault.keystore import decrypt_document, parse_keystore
    from tui.vault.passwords import hidden_prompt, password_from_file

    content, faults = inspect_file(args.file)
    if content is None:
        raise faults[0]
    document = parse_keystore(content, args.file)
    for fault in faults:
        if fault.fault is KeystoreFault.UNSAFE:
            _say(f"Note: {fault.where}: {fault.what}. Its key may be known to others already.")
    if args.old_password_file is not None:
        old = password_from_file(args.old_password_file)
    elif password is not None:
        old = password
    else:
        old = hidden_prompt("Password of the old file: ")
    try:
        return decrypt_document(document, old), old
    except KeystoreError as error:
        if error.fault is KeystoreFault.PASSWORD and args.old_password_file is None and password is not None:
            raise KeystoreError(
                error.what, args.file, "If its password is another, name it with --old-password-file.", error.fault
            ) from None
        raise


def _key_files(where: Path) -> list[Path]:
    """The file itself, or all but the hidden entries of a directory. Raises `KeystoreError`."""
    from tui.vault.errors import KeystoreError, KeystoreFault

    if where.is_symlink() or not where.is_dir():
        return [where]
    try:
        return sorted(entry for entry in where.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise KeystoreError(
            f"cannot be read ({error.strerror})", where, "Check its permissions.", KeystoreFault.MISSING
        ) from None


def _row(report: KeystoreReport) -> dict[str, object]:
    return {
        "path": str(report.path),
        "address": report.address,
        "kdf": report.kdf,
        "weak": report.weak,
        "ok": not report.faults,
        "faults": [
            {"fault": fault.fault.value, "where": fault.where, "what": fault.what, "fix": fault.fix}
            for fault in report.faults
        ],
    }


def _show(reports: list[KeystoreReport], *, as_json: bool) -> int:
    from tui.vault.errors import printable

    if as_json:
        _answer(json.dumps({"keys": [_row(report) for report in reports]}, indent=1))
    for report in reports:
        if not as_json:
            state = "ok" if not report.faults else "REFUSED"
            _answer(f"{report.address or '?':42}  {state:7}  {report.kdf or '?':24}  {printable(report.path)}")
        for fault in report.faults:
            _say(str(fault))
    return FOUND if any(report.faults for report in reports) else DONE


def _list(args: argparse.Namespace) -> int:
    from tui.vault.errors import printable
    from tui.vault.keystore import inspect_keystore

    where = args.keystore if args.keystore is not None else keystore_directory(args)
    if args.keystore is None and not where.exists():
        files: list[Path] = []
    else:
        files = _key_files(where)
    if not files:
        _say(f"No key files in {printable(where)}. Make one with: trimtab keystore new")
    return _show([inspect_keystore(path) for path in files], as_json=args.json)


def _check(args: argparse.Namespace) -> int:
    from tui.vault.errors import KeystoreError, KeystoreFault
    from tui.vault.keystore import inspect_keystore
    from tui.vault.passwords import hidden_prompt

    named: list[Path] = [*args.files, *([args.keystore] if args.keystore is not None else [])]
    default = keystore_directory(args)
    places = named or ([default] if default.exists() else [])
    files = [path for where in places for path in _key_files(where)]
    if not files:
        raise KeystoreError("no key files", default, "Name the files to check.", KeystoreFault.MISSING)
    password = _given_password(args)
    if password is None and args.ask:
        password = hidden_prompt("Password: ")
    reports = [inspect_keystore(path) for path in files]
    if password is not None:
        reports = [_opened(report, password) for report in reports]
    return _show(reports, as_json=args.json)


def _opened(report: KeystoreReport, password: str) -> KeystoreReport:
    """The report with what opening the file shows; files that are refused anyway are not opened."""
    from dataclasses import replace

    from tui.vault.errors import KeystoreError
    from tui.vault.keystore import address_of, decrypt

    if report.faults:
        return report
    try:
        return replace(report, address=address_of(decrypt(report.path, password)))
    except KeystoreError as error:
        return replace(report, faults=(error,))
