"""`trimtab keystore`: what it prints where, its exit codes, and that secrets come in by no open door."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import select
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from tui.headless.keystore_command import add_arguments, run_keystore
from tui.vault.errors import KeystoreError
from tui.vault.passwords import key_from_hex, key_from_mnemonic

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "seven green bottles"
KEY = bytes.fromhex("8f2a" * 16)
ADDRESS = Account.from_key(KEY).address.lower()

Run = Callable[..., tuple[int, str, str]]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trimtab keystore")
    add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs one command; its exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_keystore(parse([str(argument) for argument in arguments]))
        out, err = capsys.readouterr()
        assert PASSWORD not in out + err
        assert KEY.hex() not in out + err
        return code, out, err

    return run


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)
    return path


def old_file(directory: Path, name: str = "old.json", kdf: str = "pbkdf2", cost: int = 262_144) -> Path:
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / name
    path.write_text(json.dumps(Account.encrypt(KEY, PASSWORD, kdf, cost)))
    path.chmod(0o600)
    return path


def test_new_makes_a_file_without_a_prompt_and_never_over_another(
    run: Run, tmp_path: Path, password_file: Path
) -> None:
    path = tmp_path / "keys" / "main.json"
    code, out, err = run("new", "--keystore", path, "--password-file", password_file)
    assert code == 0
    assert out.strip() == Account.from_key(Account.decrypt(json.loads(path.read_text()), PASSWORD)).address.lower()
    assert "back both up" in err
    before = path.read_bytes()
    code, out, err = run("new", "--keystore", path, "--password-file", password_file)
    assert (code, out) == (4, "")
    assert "--replace" in err
    assert path.read_bytes() == before


def test_new_goes_by_its_address_into_the_configuration(run: Run, tmp_path: Path) -> None:
    readable, writable = os.pipe()
    os.write(writable, PASSWORD.encode())
    os.close(writable)
    code, out, _ = run("new", "--config", tmp_path / "config", "--password-fd", readable, "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["path"] == str(tmp_path / "config" / "keystore" / f"{answer['address']}.json")
    assert Path(answer["path"]).exists()


@pytest.mark.parametrize(
    ("content", "mode", "words", "expected"),
    [
        (PASSWORD, 0o644, "chmod 600", 4),
        ("", 0o600, "holds no password", 4),
        ("\n", 0o600, "holds no password", 4),
        ("short", 0o600, "fewer than 8", 4),
        ("two lines\nof text", 0o600, "more than one line", 4),
        ("\udcff" * 9, 0o600, "not UTF-8", 4),
        (None, 0o600, "no such file", 2),
    ],
)
def test_passwords_that_are_open_or_weak_are_refused(
    run: Run, tmp_path: Path, content: str | None, mode: int, words: str, expected: int
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content.encode(errors="surrogateescape"))
        path.chmod(mode)
    code, out, err = run("new", "--keystore", tmp_path / "keys" / "a.json", "--password-file", path)
    assert (code, out) == (expected, "")
    assert words in err
    assert not (tmp_path / "keys").exists()


def test_a_descriptor_that_is_not_open_is_said(run: Run, tmp_path: Path) -> None:
    code, _, err = run("new", "--keystore", tmp_path / "a.json", "--password-fd", 987)
    assert code == 2
    assert "file descriptor 987" in err


def test_import_makes_a_weak_and_open_file_strong(run: Run, tmp_path: Path, password_file: Path) -> None:
    old = old_file(tmp_path / "old", kdf="scrypt", cost=4096)
    old.chmod(0o644)
    new = tmp_path / "keys" / "new.json"
    code, out, err = run("import", "--file", old, "--keystore", new, "--password-file", password_file)
    assert (code, out.strip()) == (0, ADDRESS)
    assert "mode 0644" in err
    document = json.loads(new.read_text())
    assert document["crypto"]["kdfparams"]["n"] == 1 << 18
    assert Account.decrypt(document, PASSWORD) == KEY


def test_import_with_a_wrong_password_names_the_way_to_give_another(run: Run, tmp_path: Path) -> None:
    old = old_file(tmp_path / "old")
    wrong = tmp_path / "wrong"
    wrong.write_text("some other words")
    wrong.chmod(0o600)
    code, out, err = run("import", "--file", old, "--keystore", tmp_path / "new.json", "--password-file", wrong)
    assert (code, out) == (4, "")
    assert "--old-password-file" in err
    assert "some other" not in err
    assert not (tmp_path / "new.json").exists()


def test_import_refuses_what_is_no_key_file(run: Run, tmp_path: Path, password_file: Path) -> None:
    junk = tmp_path / "junk.json"
    junk.write_text("{}")
    code, _, err = run("import", "--file", junk, "--password-file", password_file)
    assert code == 2
    assert "not a version 3 keystore" in err
    code, _, err = run("import", "--passphrase")
    assert code == 2
    assert "--mnemonic" in err


def test_list_tells_the_good_from_the_refused_without_a_password(run: Run, tmp_path: Path) -> None:
    keys = tmp_path / "keystore"
    old_file(keys, "good.json")
    old_file(keys, "open.json").chmod(0o640)
    old_file(keys, "weak.json", cost=1000)
    (keys / "link.json").symlink_to(keys / "good.json")
    (keys / "junk\x1b[2J.json").write_text("junk")
    (keys / ".hidden").touch()
    code, out, err = run("list", "--config", tmp_path)
    assert code == 1
    assert "\x1b" not in out + err
    state = {line.split("/")[-1]: line.split()[1] for line in out.splitlines()}
    assert state == {
        "good.json": "ok",
        "open.json": "REFUSED",
        "weak.json": "REFUSED",
        "link.json": "REFUSED",
        "junk\ufffd[2J.json": "REFUSED",
    }
    assert "chmod 600" in err
    code, out, _ = run("list", "--config", tmp_path, "--json")
    rows = {Path(row["path"]).name: row for row in json.loads(out)["keys"]}
    assert code == 1
    assert rows["good.json"] == {
        "path": str(keys / "good.json"),
        "address": ADDRESS,
        "kdf": "pbkdf2 c=262144",
        "weak": False,
        "ok": True,
        "faults": [],
    }
    assert [fault["fault"] for fault in rows["weak.json"]["faults"]] == ["unsafe"]
    assert rows["weak.json"]["weak"] is True


def test_list_of_nothing_says_how_to_begin(run: Run, tmp_path: Path) -> None:
    code, out, err = run("list", "--config", tmp_path / "none")
    assert (code, out) == (0, "")
    assert "trimtab keystore new" in err


def test_check_finds_what_is_wrong_and_opens_with_a_password(run: Run, tmp_path: Path, password_file: Path) -> None:
    good = old_file(tmp_path / "keys")
    code, out, err = run("check", good, "--password-file", password_file)
    assert (code, err) == (0, "")
    assert ADDRESS in out
    password_file.write_text("another password")
    code, out, err = run("check", good, "--password-file", password_file, "--json")
    assert code == 1
    assert [fault["fault"] for fault in json.loads(out)["keys"][0]["faults"]] == ["password"]
    document = json.loads(good.read_text())
    good.write_text(json.dumps({**document, "address": "00" * 20}))
    password_file.write_text(PASSWORD)
    assert run("check", good)[0] == 0
    code, _, err = run("check", good, "--password-file", password_file)
    assert code == 1
    assert "belongs to" in err
    (tmp_path / "keys").chmod(0o755)
    code, _, err = run("check", good)
    assert code == 1
    assert "chmod 700" in err
    assert run("check", "--config", tmp_path / "none")[0] == 2


SCRIPT = """
import argparse, sys
from tui.headless.keystore_command import add_arguments, run_keystore
parser = argparse.ArgumentParser()
add_arguments(parser)
sys.exit(run_keystore(parser.parse_args(sys.argv[1:])))
"""


class Terminal:
    """A command on a terminal of its own, typed at like a person would."""

    def __init__(self, *arguments: object) -> None:
        self.master, slave = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *map(str, arguments)],
            stdin=slave, stdout=subprocess.PIPE, stderr=slave, cwd=ROOT, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        self.seen = b""

    def expect(self, words: str) -> None:
        while words.encode() not in self.seen:
            assert select.select([self.master], [], [], 60)[0], self.seen
            self.seen += os.read(self.master, 4096)
        self.seen = self.seen.split(words.encode(), 1)[1]

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> tuple[int, str]:
        """The exit code and stdout."""
        assert self.process.stdout is not None
        while True:
            try:
                part = os.read(self.master, 4096)
            except OSError:
                break
            if not part:
                break
            self.seen += part
        out = self.process.stdout.read().decode()
        self.process.stdout.close()
        code = self.process.wait(60)
        os.close(self.master)
        return code, out


MNEMONIC = "test test test test test test test test test test test junk"


def test_a_mnemonic_is_typed_unseen(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "a.json"
    terminal = Terminal("import", "--mnemonic", "--derivation-path", "m/44'/60'/0'/0/1", "--keystore", path)
    terminal.expect("Mnemonic words: ")
    assert MNEMONIC not in str(Path(f"/proc/{terminal.process.pid}/cmdline").read_bytes())
    terminal.type(MNEMONIC + "\n")
    for question in ("Password for the new key file: ", "The same again: "):
        terminal.expect(question)
        terminal.type(PASSWORD + "\n")
    terminal.expect("back both up")
    code, out = terminal.end()
    assert (code, out.strip()) == (0, "0x70997970c51812dc3a010c7d01b50e0d17dc79c8")
    assert b"junk" not in terminal.seen
    assert b"green" not in terminal.seen


def test_two_passwords_that_differ_write_nothing(tmp_path: Path) -> None:
    terminal = Terminal("new", "--keystore", tmp_path / "a.json")
    terminal.expect("key file: ")
    terminal.type(PASSWORD + "\n")
    terminal.expect("The same again: ")
    terminal.type("something else\n")
    terminal.expect("do not match")
    assert terminal.end() == (4, "")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_at_the_prompt_writes_nothing(tmp_path: Path) -> None:
    terminal = Terminal("import", "--keystore", tmp_path / "a.json")
    terminal.expect("Private key (hex): ")
    terminal.type("\x03")
    terminal.expect("Interrupted")
    assert terminal.end() == (130, "")
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_no_key_is_read_from_standard_input(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, "import", "--keystore", str(tmp_path / "a.json")],
        input=KEY.hex() + "\n", capture_output=True, text=True, cwd=ROOT, start_new_session=True, timeout=60,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "no terminal" in ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--password", "--key", "--private-key", "--seed"])
def test_no_secret_is_ever_an_argument(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("new", "import", "check"):
        with pytest.raises(SystemExit):
            parse([command, option, "x"])


def test_keys_from_text() -> None:
    assert key_from_hex(f"  0x{KEY.hex()}\n") == KEY
    assert key_from_hex(KEY.hex().upper()) == KEY
    for text in ("", "0x", "12", KEY.hex() + "00", "zz" * 32, "00" * 32, "ff" * 32):
        with pytest.raises(KeystoreError) as refused:
            key_from_hex(text)
        assert not text.strip("0xf") or text not in str(refused.value)


@pytest.mark.parametrize("index", [0, 7])
def test_mnemonics_give_the_keys_other_wallets_find(index: int) -> None:
    path = f"m/44'/60'/0'/0/{index}"
    Account.enable_unaudited_hdwallet_features()
    expected = Account.from_mnemonic(MNEMONIC, passphrase="pass", account_path=path)
    assert key_from_mnemonic(f"  {MNEMONIC.upper()} ", "pass", path) == expected.key


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (MNEMONIC.replace("junk", "test"), "m/44'/60'/0'/0/0"),
        (MNEMONIC.replace("junk", "secretword"), "m/44'/60'/0'/0/0"),
        ("test junk", "m/44'/60'/0'/0/0"),
        ("", "m/44'/60'/0'/0/0"),
        (MNEMONIC, "44/60"),
        (MNEMONIC, "m/44'/sixty'/0"),
    ],
)
def test_errors_about_a_mnemonic_quote_none_of_it(words: str, path: str) -> None:
    with pytest.raises(KeystoreError) as refused:
        key_from_mnemonic(words, "", path)
    error: Any = refused.value
    assert not re.search("test|junk|secretword", str(error))
    assert error.__cause__ is None
    assert error.__suppress_context__
