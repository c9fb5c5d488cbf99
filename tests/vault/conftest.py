"""A real key file that opens fast (the weakest derivation that is still accepted) and clocks that are set by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from eth_account import Account

from tests.vault.bench import Bench
from tui.vault.keystore import MIN_PBKDF2_ROUNDS


@dataclass
class KeyFile:
    path: Path
    password: str
    key: bytes
    address: str


def write_key_file(path: Path, key: bytes, password: str, kdf: str = "pbkdf2", cost: int = MIN_PBKDF2_ROUNDS) -> Path:
    """A v3 file written by another implementation."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(json.dumps(Account.encrypt(key, password, kdf, cost)))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> KeyFile:
    key = bytes.fromhex("8f2a" * 16)
    password = "seven green bottles"
    path = write_key_file(tmp_path_factory.mktemp("keys") / "main.json", key, password)
    return KeyFile(path, password, key, Account.from_key(key).address.lower())


@pytest.fixture
def own_key_file(tmp_path: Path, key_file: KeyFile) -> KeyFile:
    """The same key file at a place that a test may spoil."""
    path = tmp_path / "keys" / "main.json"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(key_file.path.read_bytes())
    path.chmod(0o600)
    return KeyFile(path, key_file.password, key_file.key, key_file.address)


@pytest.fixture
def bench(tmp_path: Path, key_file: KeyFile) -> Iterator[Bench]:
    """Unlocked and armed."""
    bench = Bench(tmp_path / "state", key_file)
    assert bench.unlock()["result"]["address"] == key_file.address
    assert bench.arm()["ok"]
    yield bench
    bench.ask("shutdown")
