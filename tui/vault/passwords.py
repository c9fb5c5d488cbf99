"""Where passwords and keys come from: a private file, an open descriptor, a hidden prompt.

Never from argv or environment. No error here repeats what was typed or read.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from tui.vault.errors import KeystoreError, KeystoreFault
from tui.vault.files import read_private
from tui.vault.keystore import MAX_PASSWORD_BYTES, SECP256K1_ORDER, check_key

ETHEREUM_PATH = "m/44'/60'/0'/0/0"
MOST_KEY = 512
"""Characters of a key of a web service."""


def _decoded(content: bytes, where: Path | str) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise KeystoreError(
            "the password is not UTF-8 text", where, "Write it as plain text.", KeystoreFault.PASSWORD
        ) from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or "\n" in text or len(content) > MAX_PASSWORD_BYTES:
        raise KeystoreError(
            "holds no password, or more than one line", where, "Put the password on one line.", KeystoreFault.PASSWORD
        )
    return text


def password_from_file(path: Path) -> str:
    """The one line of a file that only its owner can read. Raises `KeystoreError`."""
    return _decoded(read_private(path, judge_directory=False), path)


def service_key_from_file(path: Path) -> str:
    """The key by which a web service knows its user: one line of plain characters in a file that only its owner can
    read. Raises `KeystoreError`.
    """
    text = read_private(path, judge_directory=False).decode("ascii", "replace").strip()
    if not 0 < len(text) <= MOST_KEY or not text.isascii() or not text.isprintable() or " " in text:
        raise KeystoreError(
            "holds no key of a service, or more than one line", path, "Put the key on one line.", KeystoreFault.PASSWORD
        )
    return text


def password_from_descriptor(descriptor: int) -> str:
    """One line from an inherited file descriptor, which is closed. Raises `KeystoreError`."""
    where = f"file descriptor {descriptor}"
    try:
        with os.fdopen(descriptor, "rb") as stream:
            content = stream.read(MAX_PASSWORD_BYTES + 2)
    except (OSError, OverflowError, ValueError):
        raise KeystoreError(
            "cannot be read", where, "Open it in the shell: --password-fd 3 3<FILE", KeystoreFault.MISSING
        ) from None
    return _decoded(content, where)


def hidden_prompt(question: str) -> str:
    """A line typed at the terminal without an echo. Raises `KeystoreError` where there is no terminal."""
    try:
        # getpass would fall back to an echoing standard input; a key must not be read from there unseen.
        with Path("/dev/tty").open("rb"):
            pass
        typed = getpass.getpass(question, stream=sys.stderr)
    except (OSError, EOFError):
        raise KeystoreError(
            "there is no terminal to type at",
            "prompt",
            "Run it in a terminal; a password may also come from --password-file or --password-fd.",
            KeystoreFault.MISSING,
        ) from None
    return typed


def new_password_prompt(question: str) -> str:
    """A password typed twice alike. Raises `KeystoreError`."""
    typed = hidden_prompt(f"{question}: ")
    if hidden_prompt("The same again: ") != typed:
        raise KeystoreError("the two do not match", "prompt", "Try again.", KeystoreFault.PASSWORD)
    return typed


def key_from_hex(text: str) -> bytes:
    """A private key from 64 hex digits, with or without 0x. Raises `KeystoreError`."""
    digits = text.strip()
    digits = digits[2:] if digits[:2] in ("0x", "0X") else digits
    try:
        key = bytes.fromhex(digits) if len(digits) == 64 else b""
    except ValueError:
        key = b""
    check_key(key, "prompt")
    return key


def key_from_mnemonic(words: str, passphrase: str, path: str) -> bytes:
    """The key of a BIP-39 mnemonic at a BIP-32 path such as `m/44'/60'/0'/0/0`. Raises `KeystoreError`."""
    from eth_account.hdaccount import key_from_seed, seed_from_mnemonic

    normal = " ".join(words.split()).lower()
    try:
        if len(normal.split()) not in (12, 15, 18, 21, 24):
            raise ValueError
        seed = seed_from_mnemonic(normal, passphrase)
    except Exception:  # noqa: BLE001 - the library quotes the words in its errors; none of its text may come out
        raise KeystoreError(
            "these are not the words of a mnemonic (a word is unknown, or the check word does not fit)",
            "prompt",
            "Look for a mistyped word; there are 12, 15, 18, 21 or 24, in their order.",
            KeystoreFault.KEY,
        ) from None
    try:
        key = bytes(key_from_seed(seed, path))
        if not 0 < int.from_bytes(key, "big") < SECP256K1_ORDER:
            raise ValueError
    except Exception:  # noqa: BLE001 - as above
        raise KeystoreError(
            "is not a derivation path", path, f"Write it like {ETHEREUM_PATH}", KeystoreFault.KEY
        ) from None
    return key
