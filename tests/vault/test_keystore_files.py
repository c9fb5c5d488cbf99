"""Key files: full strength when made, and every unsafe, broken or absurd one refused with its remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from tui.vault.errors import KeystoreError, KeystoreFault
from tui.vault.files import MAX_FILE_BYTES, write_private
from tui.vault.keystore import (
    MAX_KDF_MEMORY,
    address_of,
    create_keystore,
    decrypt,
    inspect_keystore,
    parse_keystore,
)

PASSWORD = "correct horse battery"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to someone else")


def refusal(action: Callable[[], object]) -> KeystoreError:
    with pytest.raises(KeystoreError) as caught:
        action()
    error = caught.value
    assert error.where in str(error)
    assert error.what in str(error)
    assert error.fix
    return error


def test_a_new_file_is_private_strong_and_read_by_another_implementation(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "main.json"
    address = create_keystore(path, PASSWORD)
    document = json.loads(path.read_text())
    assert document["version"] == 3
    assert {name: document["crypto"]["kdfparams"][name] for name in "nrp"} == {"n": 1 << 18, "r": 8, "p": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [found.name for found in path.parent.iterdir()] == ["main.json"]
    key = decrypt(path, PASSWORD)
    assert Account.decrypt(document, PASSWORD) == key
    assert Account.from_key(key).address.lower() == address

    before = path.read_bytes()
    error = refusal(lambda: create_keystore(path, PASSWORD, key=key))
    assert error.fault is KeystoreFault.EXISTS
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == ["main.json"]


def test_a_file_of_another_implementation_opens(key_file: Any) -> None:
    assert decrypt(key_file.path, key_file.password) == key_file.key
    report = inspect_keystore(key_file.path)
    assert (report.address, report.weak, report.faults) == (key_file.address, False, ())


def test_the_old_file_stays_when_the_new_one_does_not_prove_itself(tmp_path: Path) -> None:
    place = tmp_path / "main.json"
    place.write_bytes(b"old")
    place.chmod(0o600)
    seen = []

    def disprove(temporary: Path) -> None:
        seen.append((temporary.read_bytes(), temporary.stat().st_mode & 0o777))
        raise KeystoreError("does not open", temporary, "Check the disk.", KeystoreFault.MISMATCH)

    refusal(lambda: write_private(place, b"new", overwrite=True, verify=disprove))
    assert seen == [(b"new", 0o600)]
    assert place.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [place]


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    place = tmp_path / "main.json"
    error = refusal(
        lambda: write_private(place, b"new", overwrite=False, verify=lambda _: place.write_bytes(b"theirs") and None)
    )
    assert error.fault is KeystoreFault.EXISTS
    assert place.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604])
def test_a_file_open_to_others_is_refused_with_the_command_that_mends_it(own_key_file: Any, mode: int) -> None:
    own_key_file.path.chmod(mode)
    error = refusal(lambda: decrypt(own_key_file.path, own_key_file.password))
    assert error.fault is KeystoreFault.UNSAFE
    command = error.fix.removeprefix("Run: ")
    assert command.startswith("chmod 600 ")
    subprocess.run(command, shell=True, check=True, timeout=60)
    assert decrypt(own_key_file.path, own_key_file.password) == own_key_file.key


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_open_to_others_is_refused_with_the_command_that_mends_it(own_key_file: Any, mode: int) -> None:
    own_key_file.path.parent.chmod(mode)
    for action in (
        lambda: decrypt(own_key_file.path, own_key_file.password),
        lambda: create_keystore(own_key_file.path.with_name("new.json"), PASSWORD, key=own_key_file.key),
    ):
        error = refusal(action)
        assert error.fault is KeystoreFault.UNSAFE
    subprocess.run(error.fix.removeprefix("Run: "), shell=True, check=True, timeout=60)
    assert decrypt(own_key_file.path, own_key_file.password) == own_key_file.key


def test_a_symbolic_link_is_refused(own_key_file: Any) -> None:
    link = own_key_file.path.with_name("link.json")
    link.symlink_to(own_key_file.path)
    error = refusal(lambda: decrypt(link, own_key_file.password))
    assert error.fault is KeystoreFault.UNSAFE
    assert "symbolic link" in error.what
    assert inspect_keystore(link).faults


@needs_root
@pytest.mark.parametrize("which", ["file", "directory"])
def test_what_belongs_to_another_user_is_refused(own_key_file: Any, which: str) -> None:
    os.chown(own_key_file.path if which == "file" else own_key_file.path.parent, 65534, 65534)
    error = refusal(lambda: decrypt(own_key_file.path, own_key_file.password))
    assert error.fault is KeystoreFault.UNSAFE
    assert "belongs to user 65534" in error.what


def test_a_fifo_does_not_hang_the_program(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert refusal(lambda: decrypt(tmp_path / "pipe", PASSWORD)).fault is KeystoreFault.UNSAFE


def test_a_giant_file_is_not_read(own_key_file: Any) -> None:
    with own_key_file.path.open("r+b") as stream:
        stream.truncate(1 << 40)
    error = refusal(lambda: decrypt(own_key_file.path, own_key_file.password))
    assert error.fault is KeystoreFault.MALFORMED
    assert str(MAX_FILE_BYTES) in error.what


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    assert refusal(lambda: decrypt(tmp_path / "none.json", PASSWORD)).fault is KeystoreFault.MISSING


def test_a_wrong_password_says_nothing_of_it(key_file: Any) -> None:
    error = refusal(lambda: decrypt(key_file.path, "seven red bottles"))
    assert error.fault is KeystoreFault.PASSWORD
    assert "red" not in str(error)
    assert error.__cause__ is None


@pytest.mark.parametrize("password", ["", "short", "x" * 5000, "lone \ud800 surrogate"])
def test_passwords_that_protect_nothing_make_no_file(tmp_path: Path, password: str) -> None:
    error = refusal(lambda: create_keystore(tmp_path / "k" / "a.json", password))
    assert error.fault is KeystoreFault.PASSWORD
    assert not (tmp_path / "k").exists()


def changed(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    inner = copy
    for parent in parents:
        inner = inner[parent]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return copy


def scrypt_params(**params: object) -> dict[str, object]:
    return {"dklen": 32, "n": 1 << 18, "r": 8, "p": 1, "salt": "00" * 32} | params


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("version", 4, KeystoreFault.MALFORMED),
        ("version", True, KeystoreFault.MALFORMED),
        ("crypto", None, KeystoreFault.MALFORMED),
        ("crypto", [], KeystoreFault.MALFORMED),
        ("crypto.cipher", "aes-256-gcm", KeystoreFault.MALFORMED),
        ("crypto.cipherparams.iv", "00", KeystoreFault.MALFORMED),
        ("crypto.ciphertext", "zz" * 32, KeystoreFault.MALFORMED),
        ("crypto.ciphertext", "00" * 31, KeystoreFault.MALFORMED),
        ("crypto.mac", None, KeystoreFault.MALFORMED),
        ("crypto.kdf", "argon2", KeystoreFault.MALFORMED),
        ("crypto.kdfparams.c", "many", KeystoreFault.MALFORMED),
        ("crypto.kdfparams.c", -1, KeystoreFault.MALFORMED),
        ("crypto.kdfparams.prf", "hmac-md5", KeystoreFault.MALFORMED),
        ("crypto.kdfparams.dklen", 1 << 31, KeystoreFault.MALFORMED),
        ("crypto.kdfparams.salt", "", KeystoreFault.MALFORMED),
        ("crypto.kdfparams.c", 262_143, KeystoreFault.UNSAFE),
        ("crypto.kdfparams.c", 1 << 40, KeystoreFault.UNSAFE),
        ("address", "00", KeystoreFault.MALFORMED),
        ("address", {"evil": "\x1b[2J"}, KeystoreFault.MALFORMED),
    ],
)
def test_broken_weak_and_absurd_documents_are_refused(
    own_key_file: Any, path: str, value: object, fault: KeystoreFault
) -> None:
    document = changed(json.loads(own_key_file.path.read_text()), path, value)
    own_key_file.path.write_text(json.dumps(document))
    error = refusal(lambda: decrypt(own_key_file.path, own_key_file.password))
    assert error.fault is fault
    assert [found.fault for found in inspect_keystore(own_key_file.path).faults] == [fault]


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        (scrypt_params(n=1 << 16), KeystoreFault.UNSAFE),
        (scrypt_params(r=1), KeystoreFault.UNSAFE),
        (scrypt_params(n=3), KeystoreFault.MALFORMED),
        (scrypt_params(n=1 << 40), KeystoreFault.UNSAFE),
        (scrypt_params(n=1 << 400), KeystoreFault.UNSAFE),
        (scrypt_params(r=1 << 30), KeystoreFault.UNSAFE),
        (scrypt_params(p=1 << 30), KeystoreFault.UNSAFE),
        (scrypt_params(n=MAX_KDF_MEMORY // 1024 * 2), KeystoreFault.UNSAFE),
    ],
)
def test_scrypt_parameters_are_judged_before_memory_is_taken(
    own_key_file: Any, params: dict[str, object], fault: KeystoreFault
) -> None:
    document = changed(json.loads(own_key_file.path.read_text()), "crypto.kdf", "scrypt")
    own_key_file.path.write_text(json.dumps(changed(document, "crypto.kdfparams", params)))
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(lambda: decrypt(own_key_file.path, PASSWORD)).fault is fault
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"null", b"\xff\xfe", b"[" * 60_000, b'{"version": 1e999}'])
def test_what_is_no_keystore_is_said(own_key_file: Any, content: bytes) -> None:
    own_key_file.path.write_bytes(content)
    assert refusal(lambda: decrypt(own_key_file.path, PASSWORD)).fault is KeystoreFault.MALFORMED


def test_a_file_that_names_another_address_is_refused(own_key_file: Any) -> None:
    other = address_of(b"\x01" * 32)
    document = changed(json.loads(own_key_file.path.read_text()), "address", other[2:])
    own_key_file.path.write_text(json.dumps(document))
    error = refusal(lambda: decrypt(own_key_file.path, own_key_file.password))
    assert error.fault is KeystoreFault.MISMATCH
    assert other in error.what
    assert own_key_file.address in error.what
    assert own_key_file.key.hex() not in str(error)


def test_a_file_without_an_address_opens_and_mixed_case_names_are_read(own_key_file: Any) -> None:
    document = json.loads(own_key_file.path.read_text())
    own_key_file.path.write_text(json.dumps({"Crypto": document["crypto"], "Version": 3}))
    assert decrypt(own_key_file.path, own_key_file.password) == own_key_file.key


@pytest.mark.parametrize("key", [b"", b"\0" * 32, b"\xff" * 32, b"\x01" * 31])
def test_what_is_no_key_makes_no_file(tmp_path: Path, key: bytes) -> None:
    error = refusal(lambda: create_keystore(tmp_path / "a.json", PASSWORD, key=key))
    assert error.fault is KeystoreFault.KEY
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_said_and_no_crash(tmp_path: Path) -> None:
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tui.vault.errors import KeystoreError\n"
        "from tui.vault.keystore import Scrypt, derive\n"
        "in_use = int(Path('/proc/self/statm').read_text().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (in_use + (64 << 20), in_use + (64 << 20)))\n"
        "try:\n"
        "    derive(Scrypt(1 << 18, 8, 1, b's' * 32), b'secret words', 'a.json')\n"
        "except KeystoreError as error:\n"
        "    print(error.fault.value, error)\n"
    )
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, timeout=60)
    assert ran.stdout.startswith("memory a.json: not enough memory"), ran.stderr
    assert "256 MiB" in ran.stdout
    assert "secret" not in ran.stdout + ran.stderr


def test_hostile_names_reach_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[2J\u202e.json"
    path.write_text("{}")
    path.chmod(0o600)
    error = refusal(lambda: decrypt(path, PASSWORD))
    assert str(error).isprintable()


def test_parsing_takes_the_real_file_apart(key_file: Any) -> None:
    document = parse_keystore(key_file.path.read_bytes(), key_file.path)
    assert document.address == key_file.address
    assert str(document.kdf) == "pbkdf2 c=262144"
