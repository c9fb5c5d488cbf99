"""Permits and delegations that the signer's service signs: as another implementation makes them, and no others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data

from tests.vault.bench import NOON, POOL, USDC, Bench, refused
from tui.model.signing import (
    AllowedPermit,
    PermitKind,
    PermitRequest,
)
from tui.vault import protocol
from tui.vault.encoding import domain_separator


def test_a_permit_is_what_another_implementation_makes_of_the_typed_data(bench: Bench) -> None:
    reply = bench.ask("sign_permit", request=protocol.permit_to_wire(bench.permit()))["result"]
    uint, address = "uint256", "address"
    message = encode_typed_data(
        {"name": "USD Coin", "version": "2", "chainId": 31337, "verifyingContract": USDC},
        {
            "Permit": [
                {"name": "owner", "type": address},
                {"name": "spender", "type": address},
                {"name": "value", "type": uint},
                {"name": "nonce", "type": uint},
                {"name": "deadline", "type": uint},
            ]
        },
        {"owner": bench.key_file.address, "spender": POOL, "value": 5_000, "nonce": 3, "deadline": NOON + 600},
    )
    expected = Account.sign_message(message, bench.key_file.key)
    assert (reply["v"], reply["r"], reply["s"]) == (expected.v, expected.r, expected.s)
    assert Account.recover_message(message, vrs=(reply["v"], reply["r"], reply["s"])).lower() == bench.key_file.address


def test_a_permit_with_another_domain_than_the_tokens_is_refused_with_the_way_out(bench: Bench) -> None:
    for changes in ({"version": "1"}, {"name": "USDC"}, {"domain_separator": "0x" + "00" * 32}):
        reply = bench.ask("sign_permit", request=protocol.permit_to_wire(bench.permit(**changes)))
        refused(reply, "use approve instead")


DEBT_TOKEN, HELPER = "0x" + "55" * 20, "0x" + "66" * 20


def delegation(bench: Bench, **changes: Any) -> PermitRequest:
    separator = "0x" + domain_separator("Aave Variable Debt DAI", "1", 31337, DEBT_TOKEN).hex()
    request = PermitRequest(
        "intent-0", 31337, DEBT_TOKEN, "Aave Variable Debt DAI", "1", separator, bench.key_file.address, HELPER,
        5_000, 3, NOON + 600, PermitKind.DELEGATION,
    )  # fmt: skip
    return replace(request, **changes)


def test_a_delegation_is_what_another_implementation_makes_of_the_typed_data(bench: Bench) -> None:
    bench.arm(permits=(AllowedPermit(DEBT_TOKEN, HELPER, 5_000, PermitKind.DELEGATION),))
    asked = protocol.permit_to_wire(delegation(bench))
    reply = bench.ask("sign_permit", request=asked)["result"]
    uint = "uint256"
    message = encode_typed_data(
        {"name": "Aave Variable Debt DAI", "version": "1", "chainId": 31337, "verifyingContract": DEBT_TOKEN},
        {
            "DelegationWithSig": [
                {"name": "delegatee", "type": "address"},
                {"name": "value", "type": uint},
                {"name": "nonce", "type": uint},
                {"name": "deadline", "type": uint},
            ]
        },
        {"delegatee": HELPER, "value": 5_000, "nonce": 3, "deadline": NOON + 600},
    )
    expected = Account.sign_message(message, bench.key_file.key)
    assert (reply["v"], reply["r"], reply["s"]) == (expected.v, expected.r, expected.s)


def test_what_is_no_delegation_as_agreed_is_refused(bench: Bench) -> None:
    refused(bench.ask("sign_permit", request=protocol.permit_to_wire(delegation(bench))), "not on the list")
    bench.arm(permits=(AllowedPermit(DEBT_TOKEN, HELPER, 5_000, PermitKind.DELEGATION),))
    for changes, words in (
        ({"kind": PermitKind.PERMIT}, "a permit of token"),
        ({"value": 5_001}, "above the limit"),
        ({"spender": POOL}, "not on the list"),
        ({"name": "DAI"}, "another delegation domain"),
    ):
        refused(bench.ask("sign_permit", request=protocol.permit_to_wire(delegation(bench, **changes))), words)
    good = protocol.permit_to_wire(delegation(bench))
    for kind in ("", "Delegation", "permit ", "approval", None, True, 1, ["permit"], {"permit": 1}):
        refused(bench.ask("sign_permit", request={**good, "kind": kind}), "no kind of signature")
    refused(bench.ask("sign_permit", request={name: one for name, one in good.items() if name != "kind"}), "lacks kind")
    policy = protocol.policy_to_wire(bench.policy(permits=(AllowedPermit(DEBT_TOKEN, HELPER, 1),)))
    policy["permits"][0]["kind"] = "delegate"
    refused(bench.ask("set_policy", policy=policy), "no kind of signature")
