"""The signer's ledger: private, one signer's, and whatever is wrong with it stops the signer."""

from __future__ import annotations

import os
import resource

import pytest

from tests.vault.bench import Bench, call_data, refused
from tui.vault.ledger import LEDGER_FILE


def test_the_ledger_is_private_and_holds_no_secret(bench: Bench) -> None:
    bench.sign()
    assert bench.ledger.stat().st_mode & 0o777 == 0o600
    assert bench.state.stat().st_mode & 0o777 == 0o700
    content = bench.ledger.read_bytes()
    assert content.count(b"\n") == 1
    for secret in (bench.key_file.password.encode(), bench.key_file.key, bench.key_file.key.hex().encode()):
        assert secret not in content


def test_a_second_signer_on_the_same_state_is_refused(bench: Bench) -> None:
    second = Bench(bench.state, bench.key_file)
    refused(second.unlock(), "another signer is at work")
    bench.ask("lock")
    assert second.unlock()["ok"]
    second.ask("shutdown")


def test_a_torn_last_line_is_dropped_and_a_broken_one_refused(bench: Bench) -> None:
    bench.sign(nonce=0)
    bench.sign(nonce=1)
    bench.ask("lock")
    whole = bench.ledger.read_bytes()
    bench.ledger.write_bytes(whole[:-20])
    assert bench.unlock()["ok"]
    bench.arm()
    refused(bench.sign(nonce=0, data=call_data(9)), "another meaning")
    assert bench.sign(nonce=1, data=call_data(9))["ok"]
    bench.ask("lock")
    bench.ledger.write_bytes(whole.replace(b'"nonce":0', b'"nonce":-0.5'))
    refused(bench.unlock(), "damaged at line 1")
    bench.ledger.write_bytes(b"[" * 5_000 + b"\n")
    refused(bench.unlock(), "damaged at line 1")


@pytest.mark.parametrize("spoil", ["remove", "replace", "truncate", "append"])
def test_a_ledger_changed_behind_its_back_stops_the_signer(bench: Bench, spoil: str) -> None:
    bench.sign()
    path = bench.ledger
    content = path.read_bytes()
    if spoil in ("remove", "replace"):
        path.unlink()
    if spoil == "replace":
        path.write_bytes(content)
        path.chmod(0o600)
    if spoil == "truncate":
        os.truncate(path, 0)
    if spoil == "append":
        with path.open("ab") as stream:
            stream.write(content)
    reply = bench.sign(nonce=1)
    assert reply["ok"] is False
    assert LEDGER_FILE in reply["reason"]
    assert "lock" in bench.sign(nonce=2)["reason"]


def test_a_full_disk_stops_the_signer_until_it_is_unlocked_anew(bench: Bench) -> None:
    bench.sign(nonce=0)
    before = bench.ledger.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        refused(bench.sign(nonce=1), "cannot be written")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert bench.ledger.read_bytes() == before
    refused(bench.sign(nonce=1), "cannot be written")
    bench.ask("lock")
    bench.unlock()
    bench.arm()
    assert bench.sign(nonce=1)["ok"]


@pytest.mark.parametrize(("what", "mode"), [("state", 0o777), ("state", 0o720), ("ledger", 0o644)])
def test_a_loose_state_is_refused_with_the_command_that_mends_it(bench: Bench, what: str, mode: int) -> None:
    bench.ask("lock")
    (bench.state if what == "state" else bench.ledger).chmod(mode)
    reply = bench.unlock()
    refused(reply, "chmod")
