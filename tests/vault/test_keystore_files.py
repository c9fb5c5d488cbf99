"""Key files at full strength, read by this program and by an independent implementation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_account import Account

from tui.vault.errors import KeystoreError, KeystoreFault
from tui.vault.keystore import create_keystore, decrypt

PASSWORD = "correct horse battery"


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
    with pytest.raises(KeystoreError) as refused:
        create_keystore(path, PASSWORD, key=key)
    assert refused.value.fault is KeystoreFault.EXISTS
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == ["main.json"]
