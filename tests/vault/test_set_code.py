"""Setting the account's own code (EIP-7702): what the signer lets through, and that its bytes are what others make."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rlp  # type: ignore[import-untyped]
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.support.forged_signer import fields_of, forged_signer, result_of
from tests.vault.test_policy import ACCOUNT, CANCEL, GWEI, NOW, OTHER, POLICY, REQUEST, check
from tui.model.pinned import NO_CODE, PinnedCode, pinned_of, pinned_text
from tui.model.signing import SignerRefused, SignerUnavailable, SigningPolicy, TransactionRequest
from tui.protocols.aave_v3.helper import Helper
from tui.vault import protocol
from tui.vault.client import SignerClient, spawn_signer
from tui.vault.encoding import (
    Signed,
    authorization_digest,
    recover,
    transaction_bytes,
    transaction_digest,
    transaction_meaning,
)
from tui.vault.ledger import KILL_FILE
from tui.vault.policy import NonceBinding, Usage, clamped, follows_from_its_code, is_cancellation, is_no_wider
from tui.vault.service import Service

HELPER = Helper("0x" + "11" * 20, "0x" + "22" * 20).pinned
NEXT_DOOR = Helper("0x" + "11" * 20, "0x" + "23" * 20).pinned
FOREIGN = replace(HELPER, address="0x" + "bb" * 20)
LISTED = replace(POLICY, delegates=(HELPER, NO_CODE))
SET = replace(REQUEST, to=ACCOUNT, value=0, data=b"", gas=100_000, delegate=HELPER)


def test_a_listed_delegate_and_no_code_pass_and_spend_nothing() -> None:
    for delegate in (HELPER, NO_CODE):
        verdict = check(replace(SET, delegate=delegate), LISTED)
        assert (verdict.cancel, verdict.spends, verdict.fee_added) == (False, (), 100_000 * 80 * GWEI)


@pytest.mark.parametrize(
    ("change", "policy", "reason"),
    [
        ({}, POLICY, "not on the list"),
        ({"delegate": NO_CODE}, POLICY, "not on the list"),
        ({"delegate": NO_CODE}, replace(LISTED, delegates=(HELPER,)), "not on the list"),
        ({"delegate": NEXT_DOOR}, LISTED, "not on the list"),
        ({"delegate": FOREIGN}, LISTED, "not on the list"),
        ({"delegate": replace(HELPER, code_hash=NO_CODE.code_hash)}, LISTED, "not on the list"),
        ({"delegate": replace(NO_CODE, address=HELPER.address)}, LISTED, "not on the list"),
        ({"delegate": FOREIGN}, replace(LISTED, delegates=(FOREIGN,)), "not where its code would stand"),
        ({"chain_id": 1}, LISTED, "chain id 1"),
        ({"chain_id": 0}, LISTED, "chain id 0"),
        ({"account": OTHER}, LISTED, "another account"),
        ({"to": OTHER}, LISTED, "do nothing else"),
        ({"data": REQUEST.data}, LISTED, "do nothing else"),
        ({"data": b"\0"}, LISTED, "do nothing else"),
        ({"value": 1}, replace(LISTED, max_value=5), "do nothing else"),
        ({"to": REQUEST.to, "data": REQUEST.data}, LISTED, "do nothing else"),
        ({"gas": 1_000_001}, LISTED, "gas limit"),
        ({"max_fee_per_gas": 101 * GWEI}, LISTED, "ceiling"),
    ],
)
def test_anything_else_about_a_delegation_is_refused(
    change: dict[str, Any], policy: SigningPolicy, reason: str
) -> None:
    with pytest.raises(SignerRefused, match=reason):
        check(replace(SET, **change), policy)


def test_time_kill_switch_and_the_days_fees_hold_for_it_too() -> None:
    with pytest.raises(SignerRefused, match="expired"):
        check(SET, LISTED, now=POLICY.expires_at)
    with pytest.raises(SignerRefused, match="kill switch"):
        check(SET, LISTED, killed=True)
    with pytest.raises(SignerRefused, match="daily fee limit"):
        check(SET, LISTED, Usage(fees_today=POLICY.max_daily_fee_wei))


def test_it_is_no_cancellation_and_a_cancellation_sets_no_code() -> None:
    """To oneself, nothing sent, no data: only the authorization tells the two apart."""
    assert is_cancellation(replace(SET, delegate=None))
    assert not is_cancellation(SET)
    bound = Usage(binding=NonceBinding("same", 0))
    with pytest.raises(SignerRefused, match="kill switch"):
        check(replace(CANCEL, delegate=HELPER), LISTED, bound, killed=True)
    with pytest.raises(SignerRefused, match="not on the list"):
        check(replace(CANCEL, delegate=HELPER), POLICY, bound)


def test_the_authorization_is_part_of_what_a_nonce_means() -> None:
    meanings = {
        transaction_meaning(one)
        for one in (
            SET,
            replace(SET, delegate=NO_CODE),
            replace(SET, delegate=NEXT_DOOR),
            replace(SET, delegate=None),
            replace(SET, nonce=8),
        )
    }
    assert len(meanings) == 5
    assert transaction_meaning(replace(SET, gas=1, max_fee_per_gas=1, max_priority_fee_per_gas=0)) in meanings
    with pytest.raises(SignerRefused, match="another meaning"):
        check(SET, LISTED, Usage(binding=NonceBinding(transaction_meaning(CANCEL), 0)), meaning="x")


def test_what_a_type_2_transaction_means_did_not_change() -> None:
    """The ledgers that are out there hold such hashes."""
    account, to = (bytes.fromhex(one[2:]) for one in (ACCOUNT, REQUEST.to))
    plain = [REQUEST.chain_id, account, REQUEST.nonce, to, 0, REQUEST.data]
    assert transaction_meaning(REQUEST) == "0x" + keccak(rlp.encode(plain)).hex()


def test_only_code_that_stands_where_it_must_follows_from_it() -> None:
    assert follows_from_its_code(HELPER)
    assert follows_from_its_code(NO_CODE)
    for wrong in (
        FOREIGN,
        replace(HELPER, salt="0x" + "00" * 32),
        replace(HELPER, creation_hash=NEXT_DOOR.creation_hash),
        replace(NO_CODE, address=HELPER.address),
        replace(NO_CODE, code_hash=HELPER.code_hash),
    ):
        assert not follows_from_its_code(wrong)


def test_a_delegate_is_no_narrowing_and_is_withheld_once_armed() -> None:
    assert not is_no_wider(LISTED, POLICY)
    assert is_no_wider(POLICY, LISTED)
    assert is_no_wider(replace(LISTED, delegates=(NO_CODE,)), LISTED)
    part, withheld = clamped(replace(LISTED, delegates=(HELPER, NEXT_DOOR)), replace(POLICY, delegates=(NEXT_DOOR,)))
    assert part.delegates == (NEXT_DOOR,)
    assert withheld == (f"delegating to {HELPER.address}",)


def test_the_record_keeps_all_of_it_in_one_line() -> None:
    assert pinned_of(pinned_text(HELPER)) == HELPER
    assert pinned_of(pinned_text(None)) is None
    for text in ("", HELPER.address, "a b c", "a b c d e"):
        with pytest.raises(ValueError, match="no pinned code"):
            pinned_of(text)


codes = st.sampled_from([HELPER, NEXT_DOOR, FOREIGN, NO_CODE])


@settings(max_examples=300)
@given(
    st.lists(codes, max_size=3),
    codes,
    st.sampled_from([ACCOUNT, OTHER]),
    st.sampled_from([b"", b"\0", REQUEST.data]),
    st.sampled_from([0, 1]),
    st.sampled_from([31337, 1, 0]),
    st.booleans(),
    st.sampled_from([None, NonceBinding("same", 2), NonceBinding("other", 2)]),
)
def test_whatever_sets_code_is_listed_pinned_and_does_nothing_else(
    listed: list[PinnedCode],
    delegate: PinnedCode,
    to: str,
    data: bytes,
    value: int,
    chain_id: int,
    killed: bool,
    binding: NonceBinding | None,
) -> None:
    policy = replace(POLICY, delegates=tuple(listed), max_value=5)
    request = replace(SET, delegate=delegate, to=to, data=data, value=value, chain_id=chain_id)
    try:
        check(request, policy, Usage(binding=binding), killed=killed)
    except SignerRefused:
        return
    event("passed")
    assert delegate in listed
    assert follows_from_its_code(delegate)
    assert (to, data, value, chain_id, killed) == (ACCOUNT, b"", 0, 31337, False)
    assert binding is None or binding.meaning == "same"


@given(
    st.integers(0, 2**64 - 2),
    st.integers(1, 2**64 - 1),
    st.sampled_from([HELPER, NO_CODE, NEXT_DOOR]),
    st.integers(0, 10**7),
    st.integers(0, 10**12),
)
@settings(max_examples=60, deadline=None)
def test_the_bytes_are_what_another_implementation_makes(
    nonce: int, chain_id: int, delegate: PinnedCode, gas: int, fee: int
) -> None:
    signer = Account.from_key(b"\x07" * 32)
    request = TransactionRequest(
        "i", chain_id, signer.address.lower(), nonce, signer.address.lower(), 0, b"", gas, fee, fee // 2, delegate
    )
    authorization = signer.sign_authorization(
        {"chainId": chain_id, "address": bytes.fromhex(delegate.address[2:]), "nonce": nonce + 1}
    )
    signed = signer.sign_transaction(
        {
            "type": 4,
            "chainId": chain_id,
            "nonce": nonce,
            "to": signer.address,
            "value": 0,
            "data": b"",
            "gas": gas,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": fee // 2,
            "accessList": (),
            "authorizationList": [authorization],
        }
    )
    parts = Signed(authorization.y_parity, authorization.r, authorization.s)
    assert recover(authorization_digest(request), parts.y_parity, parts.r, parts.s) == request.account
    assert recover(transaction_digest(request, parts), signed.v, signed.r, signed.s) == request.account
    assert transaction_bytes(request, signed.v, signed.r, signed.s, parts) == bytes(signed.raw_transaction)


# --- the service and its process -----------------------------------------------------------------------------------


def policy_of(account: str, now: int) -> SigningPolicy:
    return replace(LISTED, account=account, calls=(), permits=(), daily_caps=(), expires_at=now + 3_600)


def asks(account: str, **changes: Any) -> TransactionRequest:
    return replace(SET, **{"account": account, "to": account, **changes})


@pytest.fixture
def service(tmp_path: Path, key_file: Any) -> Iterator[Any]:
    made = Service(tmp_path / "state", now=lambda: float(NOW))

    def ask(op: str, **fields: object) -> dict[str, Any]:
        answered = made.handle(json.loads(json.dumps({"id": 1, "op": op, **fields})))
        told: dict[str, Any] = json.loads(json.dumps(answered))
        return told

    assert ask("unlock", path=str(key_file.path), password=key_file.password)["ok"]
    assert ask("set_policy", policy=protocol.policy_to_wire(policy_of(key_file.address, NOW)))["ok"]
    yield ask
    ask("shutdown")


def sign(service: Any, request: TransactionRequest) -> dict[str, Any]:
    told: dict[str, Any] = service("sign_transaction", request=protocol.transaction_to_wire(request))
    return told


def test_one_nonce_has_one_delegate_and_a_bump_is_the_same_authorization(
    service: Any, key_file: Any, tmp_path: Path
) -> None:
    first = sign(service, asks(key_file.address))["result"]
    bumped = sign(service, asks(key_file.address, max_fee_per_gas=90 * GWEI))["result"]
    assert first["authorization"] == bumped["authorization"]
    assert first["raw"] != bumped["raw"]
    decoded = TypedTransaction.from_bytes(HexBytes(first["raw"])).as_dict()
    (authorization,) = decoded["authorizationList"]
    told = {name: authorization[name] for name in ("chainId", "address", "nonce")}
    assert told["chainId"] == 31337
    assert told["nonce"] == decoded["nonce"] + 1
    assert bytes(told["address"]).hex() == HELPER.address[2:]
    for other in ({"delegate": NO_CODE}, {"delegate": None, "to": OTHER, "data": REQUEST.data}):
        reply = sign(service, asks(key_file.address, **other))
        assert reply["ok"] is False
        assert "another meaning" in reply["reason"]
    # The no-op that frees the nonce is a plain one, and nothing but it once the kill switch is on.
    (tmp_path / "state" / KILL_FILE).touch()
    assert "kill switch" in sign(service, asks(key_file.address))["reason"]
    cancelled = sign(service, asks(key_file.address, delegate=None, gas=21_000))["result"]
    assert (cancelled["raw"][:4], cancelled["authorization"]) == ("0x02", None)


@pytest.mark.parametrize(
    ("delegate", "reason"),
    [
        (protocol.transaction_to_wire(replace(SET, delegate=NEXT_DOOR))["delegate"], "not on the list"),
        ({"address": HELPER.address}, "lacks code_hash"),
        ({"address": HELPER.address.upper()}, "malformed request"),
        (HELPER.address, "not an object"),
        ([], "not an object"),
        ({**protocol.transaction_to_wire(SET)["delegate"], "nonce": 9}, "not known: nonce"),  # type: ignore[dict-item]
        ({**protocol.transaction_to_wire(SET)["delegate"], "chain_id": 0}, "not known: chain_id"),  # type: ignore[dict-item]
    ],
)
def test_no_other_chain_nonce_or_shape_of_a_delegation_can_be_asked_for(
    service: Any, key_file: Any, delegate: object, reason: str
) -> None:
    wire = protocol.transaction_to_wire(asks(key_file.address))
    reply = service("sign_transaction", request={**wire, "delegate": delegate})
    assert reply["ok"] is False
    assert reason in reply["reason"]


def test_a_policy_with_delegates_is_the_same_after_the_wire() -> None:
    assert protocol.policy_from_wire(protocol.policy_to_wire(LISTED)) == LISTED
    wire = protocol.transaction_to_wire(SET)
    assert protocol.transaction_from_wire(json.loads(json.dumps(wire))) == SET
    with pytest.raises(protocol.ProtocolError, match="lacks delegate"):
        protocol.transaction_from_wire({name: value for name, value in wire.items() if name != "delegate"})


@pytest.fixture
async def signer(tmp_path: Path, key_file: Any) -> Any:
    client = spawn_signer(tmp_path / "state")
    await client.unlock(key_file.path, key_file.password)
    await client.set_policy(policy_of(key_file.address, int(time.time())))
    yield client
    client.close()


async def test_the_parent_checks_the_authorization_as_well(signer: SignerClient, key_file: Any) -> None:
    signed = await signer.sign_transaction(asks(key_file.address))
    assert signed.raw[0] == 4
    assert Account.recover_transaction(signed.raw).lower() == key_file.address
    cleared = await signer.sign_transaction(asks(key_file.address, nonce=9, intent_id="two", delegate=NO_CODE))
    (authorization,) = TypedTransaction.from_bytes(HexBytes(cleared.raw)).as_dict()["authorizationList"]
    assert not any(bytes(authorization["address"]))
    with pytest.raises(SignerRefused, match="not on the list"):
        await signer.sign_transaction(asks(key_file.address, nonce=10, intent_id="three", delegate=NEXT_DOOR))


@pytest.mark.parametrize(
    ("change", "own_key", "believed"),
    [
        ({}, True, True),
        ({"chainId": 0}, True, False),
        ({"chainId": 1}, True, False),
        ({"nonce": 7}, True, False),
        ({"nonce": 9}, True, False),
        ({"address": bytes.fromhex(NEXT_DOOR.address[2:])}, True, False),
        ({}, False, False),
    ],
)
async def test_the_parent_believes_only_the_authorization_it_asked_for(
    key_file: Any, change: dict[str, Any], own_key: bool, believed: bool
) -> None:
    """A signer whose authorization is not the one asked for, inside a transaction that the right key signed."""

    def forged(asked: dict[str, Any]) -> dict[str, Any]:
        wanted = {
            "chainId": asked["chain_id"],
            "address": bytes.fromhex(asked["delegate"]["address"][2:]),
            "nonce": asked["nonce"] + 1,
        }
        by = key_file.key if own_key else b"\x05" * 32
        authorization = Account.sign_authorization({**wanted, **change}, by)
        fields = {**fields_of(asked), "type": 4, "authorizationList": [authorization]}
        signature = {"y_parity": authorization.y_parity, "r": authorization.r, "s": authorization.s}
        return {**result_of(Account.sign_transaction(fields, key_file.key)), "authorization": signature}

    with forged_signer(forged) as client:
        if believed:
            assert (await client.sign_transaction(asks(key_file.address))).raw[0] == 4
        else:
            with pytest.raises(SignerUnavailable, match="not the one"):
                await client.sign_transaction(asks(key_file.address))
