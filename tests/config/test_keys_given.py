"""Several key files on one command line: whose password is whose."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tui.config.options import Options, UsageError, add_common_options, options_from
from tui.wiring import read_passwords

ONE, TWO = "0x" + "01" * 20, "0x" + "02" * 20


def parsed(*words: object) -> Options:
    parser = argparse.ArgumentParser()
    add_common_options(parser)
    return options_from(parser.parse_args([str(word) for word in words]))


def secret(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text(f"the password {name}\n")
    path.chmod(0o600)
    return path


def test_one_password_is_for_all_and_several_go_by_their_order(tmp_path: Path) -> None:
    first, second = secret(tmp_path, "first"), secret(tmp_path, "second")
    keys = ("--keystore", "a.json", "--keystore", "b.json")
    assert parsed(*keys).keystores == (Path("a.json"), Path("b.json"))
    assert read_passwords(parsed(*keys), (ONE, TWO)) is None
    for_all = read_passwords(parsed(*keys, "--password-file", first), (ONE, TWO))
    assert for_all == {ONE: "the password first", TWO: "the password first"}
    each = read_passwords(parsed(*keys, "--password-file", first, "--password-file", second), (ONE, TWO))
    assert each == {ONE: "the password first", TWO: "the password second"}


def test_other_numbers_of_passwords_are_refused(tmp_path: Path) -> None:
    one = secret(tmp_path, "one")
    files = [word for _ in range(2) for word in ("--password-file", one)]
    keys = [word for name in "abc" for word in ("--keystore", name)]
    with pytest.raises(UsageError, match="given 2 times for 3 key files"):
        read_passwords(parsed(*keys, *files), (ONE, TWO, "0x" + "03" * 20))
    with pytest.raises(UsageError, match="exclude each other"):
        parsed("--password-file", one, "--password-fd", 3)
