"""The signer's service with a real key, real files and clocks set by hand: order of checks, memory, kill switch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from tests.vault.bench import DAY, GWEI, NOON, POOL, SELECTOR, USDC, Bench, call_data, refused
from tui.model.signing import (
    KILLED_LATE,
    AllowedCall,
    DayUsed,
    TransactionRequest,
    WordRule,
    day_used,
)
from tui.vault import protocol
from tui.vault.ledger import KILL_FILE, Ledger
from tui.vault.service import ARMING_SECONDS, Service


def test_a_signature_is_the_senders_and_says_exactly_what_was_asked(bench: Bench) -> None:
    reply = bench.sign()["result"]
    assert Account.recover_transaction(reply["raw"]).lower() == bench.key_file.address
    expected = Account.sign_transaction(
        {
            "type": 2,
            "chainId": 31337,
            "nonce": 0,
            "to": bytes.fromhex(POOL[2:]),
            "value": 0,
            "data": call_data(1_000),
            "gas": 300_000,
            "maxFeePerGas": 50 * GWEI,
            "maxPriorityFeePerGas": GWEI,
        },
        bench.key_file.key,
    )
    assert reply["raw"] == "0x" + expected.raw_transaction.hex()
    assert reply["hash"] == "0x" + expected.hash.hex()
    assert bench.sign()["result"] == reply


def test_only_what_is_unlocked_and_armed_is_signed(bench: Bench) -> None:
    refused(bench.sign(chain_id=1), "chain id 1 is not armed")
    refused(bench.sign(account=POOL), "not unlocked")
    refused(bench.arm(account=POOL), "not unlocked")
    refused(bench.arm(expires_at=int(bench.now)), "expired already")
    bench.ask("lock")
    refused(bench.sign(), "not unlocked")
    bench.unlock()
    refused(bench.sign(), "is not armed")


def test_other_transaction_types_and_unknown_fields_are_refused(bench: Bench) -> None:
    wire = protocol.transaction_to_wire(bench.request())
    refused(bench.ask("sign_transaction", request={**wire, "type": 4}), "not asked for")
    refused(bench.ask("sign_transaction", request={**wire, "authorization_list": []}), "not asked for")
    refused(bench.ask("sign_transaction", request={**wire, "accessList": []}), "not known: accessList")
    refused(bench.ask("sign_message", text="hello"), "no such request")
    refused(bench.ask("status", extra=1), "not known: extra")


@pytest.mark.parametrize(
    ("field_name", "value"),
    [
        ("to", None),
        ("to", ""),
        ("to", "0x" + "AA" * 20),
        ("nonce", -1),
        ("nonce", 1 << 64),
        ("nonce", True),
        ("nonce", 1.0),
        ("nonce", "0"),
        ("value", 1 << 256),
        ("data", "0xabc"),
        ("data", "573ade81"),
        ("data", "0x" + "00" * (protocol.MAX_DATA_BYTES + 1)),
        ("intent_id", "x" * 201),
        ("intent_id", ["x"]),
        ("intent_id", "\ud800"),
    ],
)
def test_malformed_requests_are_refused_by_field(bench: Bench, field_name: str, value: object) -> None:
    wire = {**protocol.transaction_to_wire(bench.request()), field_name: value}
    refused(bench.ask("sign_transaction", request=wire), f"malformed request: request.{field_name}")
    del wire[field_name]
    refused(bench.ask("sign_transaction", request=wire), f"lacks {field_name}")


@pytest.mark.parametrize(
    "change",
    [
        {"calls": [{"to": POOL}]},
        {"calls": "all"},
        {"calls": [{"to": POOL, "selector": "0x", "rules": [], "spend_token": None, "spend_word": None}]},
        {"calls": [{"to": POOL, "selector": SELECTOR, "rules": [], "spend_token": USDC, "spend_word": None}]},
        {
            "calls": [
                {
                    "to": POOL,
                    "selector": SELECTOR,
                    "rules": [{"index": 0, "equals": None, "maximum": None, "minimum": None}],
                    "spend_token": None,
                    "spend_word": None,
                    "max_value": 0,
                    "data_hash": None,
                }
            ]
        },
        {"daily_caps": [{"token": USDC, "cap": 1}, {"token": USDC, "cap": 2}]},
        {"max_gas": None},
        {"anything": True},
    ],
)
def test_policies_that_are_not_whole_are_refused(bench: Bench, change: dict[str, object]) -> None:
    wire = protocol.policy_to_wire(bench.policy())
    refused(bench.ask("set_policy", policy={**wire, **change}), "malformed request")


RULE: dict[str, object] = {"index": 0, "equals": None, "maximum": 9, "minimum": 1}
ENTRY: dict[str, object] = {
    "to": POOL,
    "selector": SELECTOR,
    "rules": [RULE],
    "spend_token": None,
    "spend_word": None,
    "max_value": 3,
    "data_hash": "0x" + "ab" * 32,
}


@pytest.mark.parametrize(
    ("field_name", "value"),
    [
        *((name, None) for name in ("max_value", "rules", "to", "selector")),
        *(("max_value", no_wei) for no_wei in (-1, 1 << 256, True, 1.0, "1", [])),
        *(("data_hash", no_hash) for no_hash in ("", "0x", "0x" + "AB" * 32, "0x" + "ab" * 31, "ab" * 32, 1, ["0x"])),
        *(("rules", [{**RULE, "minimum": no_floor}]) for no_floor in (-1, 1 << 256, True, 0.5, "1", {})),
        ("rules", [{"index": 0, "equals": None, "maximum": 9}]),
        ("anything", 1),
    ],
)
def test_entries_of_a_policy_that_are_no_entries_are_refused(bench: Bench, field_name: str, value: object) -> None:
    bench.unlock()
    wire = protocol.policy_to_wire(bench.policy())
    assert bench.ask("set_policy", policy={**wire, "calls": [ENTRY]})["ok"]
    refused(bench.ask("set_policy", policy={**wire, "calls": [{**ENTRY, field_name: value}]}), "malformed request")
    short = {name: kept for name, kept in ENTRY.items() if name != field_name}
    if field_name in ENTRY:
        refused(bench.ask("set_policy", policy={**wire, "calls": [short]}), f"lacks {field_name}")


def test_a_policy_is_the_same_after_the_wire(bench: Bench) -> None:
    entry = AllowedCall(POOL, SELECTOR, (WordRule(0, 1, 2, 3), WordRule(9, minimum=0)), None, None, 7, "0x" + "cd" * 32)
    policy = bench.policy(calls=(*bench.policy().calls, entry), max_value=7)
    assert protocol.policy_from_wire(protocol.policy_to_wire(policy)) == policy


def test_one_meaning_a_nonce_also_after_a_restart(bench: Bench) -> None:
    first = bench.sign()["result"]
    bumped = bench.sign(max_fee_per_gas=60 * GWEI, max_priority_fee_per_gas=2 * GWEI)["result"]
    assert bumped["raw"] != first["raw"]
    for _ in range(2):
        refused(bench.sign(data=call_data(999)), "another meaning")
        refused(bench.sign(nonce=1, intent_id="intent-0"), "owns that one only")
        assert bench.sign()["result"] == first
        bench.restart()
        bench.unlock()
        bench.arm()


def test_what_a_nonce_means_is_on_the_disk_before_its_signature_leaves(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only written: a power cut right after the answer must find it."""
    synced: dict[int, int] = {}
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        found = os.fstat(descriptor)
        synced[found.st_ino] = found.st_size

    monkeypatch.setattr(os, "fsync", fsync)
    for nonce in range(3):
        assert bench.sign(nonce=nonce, intent_id=f"intent-{nonce}")["ok"]
        kept = bench.ledger.stat()
        assert synced.get(kept.st_ino) == kept.st_size


def test_the_no_op_frees_a_bound_nonce_and_gives_it_no_second_meaning(bench: Bench) -> None:
    refused(bench.cancel(), "no-op")
    bench.sign()
    (bench.state / KILL_FILE).touch()
    signed = bench.cancel()["result"]
    assert Account.recover_transaction(signed["raw"]).lower() == bench.key_file.address
    refused(bench.sign(), "kill switch")
    (bench.state / KILL_FILE).unlink()
    refused(bench.sign(data=call_data(1)), "another meaning")
    bench.now = NOON + 31 * DAY
    assert bench.cancel()["ok"]
    refused(bench.sign(nonce=1), "expired")


def test_the_kill_switch_between_two_signatures(bench: Bench) -> None:
    assert bench.sign()["ok"]
    (bench.state / KILL_FILE).symlink_to("nowhere")
    refused(bench.sign(nonce=1), "kill switch")
    refused(bench.ask("sign_permit", request=protocol.permit_to_wire(bench.permit())), "kill switch")
    assert bench.ask("status")["result"]["killed"] is True
    (bench.state / KILL_FILE).unlink()
    assert bench.sign(nonce=1)["ok"]


def test_the_kill_switch_after_the_nonce_was_noted_is_told_apart(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is signed, but the nonce has its meaning: whoever asked must not use it for anything else."""
    record = Ledger.record

    def slow(self: Ledger, *given: Any) -> None:
        record(self, *given)
        (bench.state / KILL_FILE).touch()

    monkeypatch.setattr(Ledger, "record", slow)
    refused(bench.sign(), KILLED_LATE)
    (bench.state / KILL_FILE).unlink()
    monkeypatch.undo()
    refused(bench.sign(data=call_data(7)), "another meaning")


def test_without_its_state_directory_nothing_is_signed(bench: Bench) -> None:
    assert bench.sign()["ok"]
    bench.state.rename(bench.state.with_name("elsewhere"))
    refused(bench.sign(nonce=1), "kill switch")


def test_daily_caps_are_counted_by_the_signer_itself_across_restarts_and_days(bench: Bench) -> None:
    assert bench.sign(nonce=0, data=call_data(5_000))["ok"]
    assert bench.sign(nonce=0, data=call_data(5_000), max_fee_per_gas=60 * GWEI)["ok"]
    bench.restart()
    bench.unlock()
    bench.arm()
    refused(bench.sign(nonce=1, data=call_data(3_001)), "daily limit of token")
    assert bench.sign(nonce=1, data=call_data(3_000))["ok"]
    refused(bench.sign(nonce=2, data=call_data(1)), "daily limit of token")
    bench.now += DAY
    assert bench.sign(nonce=2, data=call_data(5_000))["ok"]
    # A clock that goes back gives no new allowance.
    bench.now -= 2 * DAY
    refused(bench.sign(nonce=3, data=call_data(1)), "daily limit of token")


def test_what_is_judged_is_judged_as_it_would_be_signed_one_after_another_and_nothing_of_it_is_kept(
    bench: Bench,
) -> None:
    def judged(*requests: TransactionRequest) -> dict[str, Any]:
        return bench.ask("judge_transactions", requests=[protocol.transaction_to_wire(one) for one in requests])

    assert bench.sign(nonce=0, data=call_data(2_000))["ok"]
    before = bench.ledger.read_bytes()
    both = [bench.request(nonce=nonce, data=call_data(amount)) for nonce, amount in ((1, 5_000), (2, 1_001))]
    assert judged(*both[:1]) == {"id": 1, "ok": True, "result": {}}
    assert judged(*both[1:])["ok"]
    reply = judged(*both)
    refused(reply, "daily limit of token")
    assert day_used(reply["reason"]) == DayUsed(USDC, 2_000, 6_001, 8_000), "of which 2,000 are signed"
    fee = 300_000 * 50 * GWEI
    bench.arm(max_daily_fee_wei=2 * fee)
    reply = judged(bench.request(nonce=1), bench.request(nonce=2))
    assert day_used(reply["reason"]) == DayUsed(None, fee, 2 * fee, 2 * fee)
    refused(judged(bench.request(nonce=0, data=call_data(1))), "another meaning")
    refused(judged(bench.request(nonce=1), bench.request(nonce=2, to=USDC)), "not on the list")
    (bench.state / "kill").touch()
    refused(judged(bench.request(nonce=1)), "kill switch")
    (bench.state / "kill").unlink()
    assert bench.ledger.read_bytes() == before
    assert bench.sign(nonce=1, data=call_data(3))["ok"], "no nonce got a meaning"
    bench.ask("lock")
    refused(judged(bench.request(nonce=2)), "not unlocked")


def test_daily_fees_count_the_dearest_attempt_of_a_nonce_once(bench: Bench) -> None:
    one = 300_000 * 50 * GWEI
    bench.arm(max_daily_fee_wei=2 * one)
    assert bench.sign(nonce=0)["ok"]
    assert bench.sign(nonce=0, max_fee_per_gas=100 * GWEI)["ok"]
    assert bench.sign(nonce=0)["ok"]
    refused(bench.sign(nonce=1, gas=1), "daily fee limit")
    assert bench.cancel(nonce=0, max_fee_per_gas=100 * GWEI)["ok"]


def test_wrong_passwords_back_off_and_say_nothing(bench: Bench) -> None:
    for wait in (1, 2, 4, 8):
        reply = bench.unlock("seven red bottles")
        assert (reply["error"], reply["fault"]) == ("keystore", "password")
        assert "red" not in json.dumps(reply)
        bench.ticks += wait - 0.01
        assert bench.unlock()["fault"] == "back-off"
        bench.ticks += 0.02
    assert bench.unlock()["ok"]
    assert bench.unlock("seven red bottles")["fault"] == "password"
    bench.ticks += 1.01
    assert bench.unlock()["ok"]


def test_an_unsafe_key_file_is_refused_inside_the_signer(bench: Bench, own_key_file: Any) -> None:
    own_key_file.path.chmod(0o644)
    reply = bench.ask("unlock", path=str(own_key_file.path), password=own_key_file.password)
    assert reply["fault"] == "unsafe"
    assert "chmod 600" in reply["reason"]


def test_a_policy_only_narrows_and_renews_once_the_time_of_arming_is_over(bench: Bench) -> None:
    more = AllowedCall(USDC, SELECTOR)
    bench.ticks += ARMING_SECONDS
    assert bench.arm(max_gas=400_000)["result"] == {"withheld": []}
    bench.ticks += 0.5
    wider = bench.policy(max_gas=2_000_000, expires_at=NOON + 60 * DAY, daily_caps=((USDC, 10**9),))
    renewed = bench.arm(**{name: getattr(wider, name) for name in ("max_gas", "expires_at", "daily_caps")})
    assert renewed["result"] == {"withheld": []}
    bench.now += 31 * DAY
    assert bench.sign(nonce=0, data=call_data(5_000))["ok"]
    refused(bench.sign(nonce=1, gas=400_001), "gas limit")
    refused(bench.sign(nonce=1, data=call_data(5_000)), "daily limit of token")
    added = bench.arm(expires_at=NOON + 60 * DAY, calls=(*bench.policy().calls, more))
    assert added["result"] == {"withheld": [f"call {SELECTOR} of {USDC}"]}
    refused(bench.sign(nonce=1, to=USDC), "not on the list")
    # Narrowing is taken, and what was armed may come back after it.
    assert bench.arm(expires_at=NOON + 60 * DAY, max_gas=100)["ok"]
    refused(bench.sign(nonce=1, gas=101), "gas limit")
    assert bench.arm(expires_at=NOON + 60 * DAY)["ok"]
    assert bench.sign(nonce=1)["ok"]
    # Only the password widens.
    assert bench.unlock()["ok"]
    assert bench.arm(expires_at=NOON + 60 * DAY, calls=(more,), max_gas=2_000_000)["result"] == {"withheld": []}
    assert bench.sign(nonce=2, to=USDC, gas=900_000)["ok"]


def test_an_unforeseen_error_gives_away_its_class_only(tmp_path: Path, key_file: Any) -> None:
    def broken() -> float:
        raise ZeroDivisionError(key_file.password)

    service = Service(tmp_path / "state", monotonic=broken)
    reply = service.handle({"id": 4, "op": "unlock", "path": str(key_file.path), "password": key_file.password})
    assert reply == {"id": 4, "ok": False, "error": "internal", "reason": "unforeseen ZeroDivisionError"}


def test_one_account_is_forgotten_and_the_others_go_on(bench: Bench) -> None:
    bench.unlock()
    bench.arm()
    other = "0x" + "99" * 20
    assert bench.ask("forget", account=other)["ok"] is True
    assert bench.ask("status")["result"]["unlocked"] == [bench.key_file.address]
    assert bench.ask("forget", account=bench.key_file.address)["ok"] is True
    status = bench.ask("status")["result"]
    assert (status["unlocked"], status["policies"]) == ([], [])
    assert "malformed" in bench.ask("forget")["reason"]
