"""The pure policy: every refusal by its own cause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tui.model.signing import (
    AllowedCall,
    AllowedPermit,
    DayUsed,
    PermitKind,
    PermitRequest,
    SignerRefused,
    SigningPolicy,
    TransactionRequest,
    WordRule,
    day_used,
)
from tui.vault.policy import (
    NonceBinding,
    Usage,
    Verdict,
    check_permit,
    check_transaction,
    clamped,
    data_hash,
    is_no_wider,
)

ACCOUNT = "0x" + "aa" * 20
POOL = "0x" + "11" * 20
OTHER = "0x" + "22" * 20
USDC = "0x" + "33" * 20
REPAY = "0x573ade81"
APPROVE = "0x095ea7b3"
NOW = 1_700_000_000
GWEI = 10**9


def words(selector: str, *values: int) -> bytes:
    return bytes.fromhex(selector[2:]) + b"".join(value.to_bytes(32, "big") for value in values)


POLICY = SigningPolicy(
    chain_id=31337,
    account=ACCOUNT,
    calls=(
        AllowedCall(
            POOL,
            REPAY,
            (WordRule(0, equals=int(USDC, 16)), WordRule(1, maximum=5_000), WordRule(3, equals=int(ACCOUNT, 16))),
            spend_token=USDC,
            spend_word=1,
        ),
        AllowedCall(USDC, APPROVE, (WordRule(0, equals=int(POOL, 16)), WordRule(1, maximum=5_000))),
    ),
    permits=(AllowedPermit(USDC, POOL, 5_000),),
    daily_caps=((USDC, 8_000),),
    max_fee_per_gas=100 * GWEI,
    max_gas=1_000_000,
    max_fee_wei=50_000_000 * GWEI,
    max_daily_fee_wei=120_000_000 * GWEI,
    expires_at=NOW + 3_600,
)

REQUEST = TransactionRequest(
    intent_id="one",
    chain_id=31337,
    account=ACCOUNT,
    nonce=7,
    to=POOL,
    value=0,
    data=words(REPAY, int(USDC, 16), 5_000, 2, int(ACCOUNT, 16)),
    gas=500_000,
    max_fee_per_gas=80 * GWEI,
    max_priority_fee_per_gas=2 * GWEI,
)

CANCEL = replace(REQUEST, intent_id="one-cancel", to=ACCOUNT, data=b"", gas=21_000)

PERMIT = PermitRequest("one", 31337, USDC, "USD Coin", "2", "0x" + "00" * 32, ACCOUNT, POOL, 5_000, 0, NOW + 600)


def check(
    request: TransactionRequest,
    policy: SigningPolicy = POLICY,
    usage: Usage | None = None,
    *,
    now: int = NOW,
    killed: bool = False,
    meaning: str = "same",
) -> Verdict:
    return check_transaction(policy, request, meaning, usage or Usage(), now=now, killed=killed)


def test_what_is_listed_passes_and_is_counted() -> None:
    assert check(REQUEST) == Verdict(cancel=False, spends=((USDC, 5_000),), fee_added=500_000 * 80 * GWEI)
    approve = replace(REQUEST, to=USDC, data=words(APPROVE, int(POOL, 16), 5_000))
    assert check(approve).spends == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chain_id": 1}, "chain id 1"),
        ({"account": OTHER}, "another account"),
        ({"to": OTHER}, "not on the list"),
        ({"data": words("0xdeadbeef", int(USDC, 16), 5_000, 2, int(ACCOUNT, 16))}, "not on the list"),
        ({"data": words(REPAY, int(OTHER, 16), 5_000, 2, int(ACCOUNT, 16))}, "word 0"),
        ({"data": words(REPAY, int(USDC, 16), 5_001, 2, int(ACCOUNT, 16))}, "word 1 is 5001"),
        ({"data": words(REPAY, int(USDC, 16), 5_000, 2, int(OTHER, 16))}, "word 3"),
        ({"data": words(REPAY, int(USDC, 16), 5_000, 2, int(ACCOUNT, 16) | 1 << 200)}, "word 3"),
        ({"data": words(REPAY, int(USDC, 16), 5_000, 2)}, "ends before word 3"),
        ({"data": words(REPAY, int(USDC, 16), 5_000, 2, int(ACCOUNT, 16))[:-1]}, "ends before word 3"),
        ({"data": b""}, "no call data"),
        ({"data": b"\x57\x3a\xde"}, "no call data"),
        ({"value": 1}, "value 1 wei is above the account's limit of 0"),
        ({"max_fee_per_gas": 101 * GWEI}, "above the ceiling"),
        ({"max_priority_fee_per_gas": 81 * GWEI}, "priority fee"),
        ({"gas": 1_000_001}, "gas limit"),
        ({"gas": 700_000}, "the fee may reach"),
    ],
)
def test_each_refusal_by_its_own_cause(change: dict[str, object], reason: str) -> None:
    with pytest.raises(SignerRefused, match=reason):
        check(replace(REQUEST, **change))  # type: ignore[arg-type]


def test_time_and_kill_switch_refuse() -> None:
    with pytest.raises(SignerRefused, match="expired"):
        check(REQUEST, now=POLICY.expires_at)
    check(REQUEST, now=POLICY.expires_at - 1)
    with pytest.raises(SignerRefused, match="kill switch"):
        check(REQUEST, killed=True)


@pytest.mark.parametrize("used", [DayUsed(USDC, 3_001, 5_000, 8_000), DayUsed(None, 0, 10**20, 10**18)])
def test_a_limit_of_the_day_is_read_as_it_is_said_and_nothing_else_is_taken_for_one(used: DayUsed) -> None:
    assert day_used(used.text) == used
    assert day_used(f"{used.text}!") is None
    assert day_used("the kill switch is on") is None


def test_daily_caps_refuse_what_would_exceed_them() -> None:
    check(REQUEST, usage=Usage(spent_today={USDC: 3_000}))
    with pytest.raises(SignerRefused, match="daily limit of token"):
        check(REQUEST, usage=Usage(spent_today={USDC: 3_001}))
    with pytest.raises(SignerRefused, match="no daily limit is set"):
        check(REQUEST, replace(POLICY, daily_caps=()))
    with pytest.raises(SignerRefused, match="daily fee limit"):
        check(REQUEST, usage=Usage(fees_today=80_000_001 * GWEI))


def test_a_nonce_keeps_its_meaning_and_an_intent_its_nonce() -> None:
    bound = Usage(binding=NonceBinding("same", fee_wei=500_000 * 70 * GWEI), spent_today={USDC: 8_000})
    bumped = check(REQUEST, usage=bound)
    assert bumped == Verdict(cancel=False, spends=(), fee_added=500_000 * 10 * GWEI)
    with pytest.raises(SignerRefused, match="another meaning"):
        check(REQUEST, usage=bound, meaning="other")
    with pytest.raises(SignerRefused, match="another meaning"):
        check(REQUEST, usage=Usage(binding=NonceBinding("same", 0, cancelled=True)), meaning="other")
    with pytest.raises(SignerRefused, match="owns that one only"):
        check(REQUEST, usage=Usage(intent_nonce=6))


def test_the_no_op_passes_at_a_bound_nonce_only_whatever_else_forbids() -> None:
    bound = Usage(binding=NonceBinding("same", 0), fees_today=POLICY.max_daily_fee_wei)
    assert check(CANCEL, usage=bound, killed=True, now=POLICY.expires_at + 1).cancel
    with pytest.raises(SignerRefused, match="no-op"):
        check(CANCEL)
    for change, reason in (
        ({"max_fee_per_gas": 101 * GWEI}, "ceiling"),
        ({"gas": 1_000_001}, "ceiling"),
        ({"chain_id": 1}, "chain id"),
        ({"value": 1}, "kill switch"),
        ({"data": b"\0"}, "kill switch"),
    ):
        with pytest.raises(SignerRefused, match=reason):
            check(replace(CANCEL, **change), usage=bound, killed=True)  # type: ignore[arg-type]


def test_a_word_may_not_fall_below_its_floor() -> None:
    floored = replace(POLICY.calls[0], rules=(*POLICY.calls[0].rules, WordRule(2, minimum=2)))
    policy = replace(POLICY, calls=(floored,))
    check(REQUEST, policy)
    with pytest.raises(SignerRefused, match="word 2 is 1, below the least of 2"):
        check(replace(REQUEST, data=words(REPAY, int(USDC, 16), 5_000, 1, int(ACCOUNT, 16))), policy)


def test_value_goes_along_only_where_an_entry_that_fits_and_the_account_both_let_it() -> None:
    paying = AllowedCall(POOL, REPAY, (WordRule(1, maximum=10),), max_value=5)
    policy = replace(POLICY, calls=(*POLICY.calls, paying), max_value=7)
    small_one = words(REPAY, int(USDC, 16), 10, 2, int(ACCOUNT, 16))
    assert check(replace(REQUEST, data=small_one, value=5), policy).spends == ((USDC, 10),)
    with pytest.raises(SignerRefused, match="value 6 wei is above its limit of 5"):
        check(replace(REQUEST, data=small_one, value=6), policy)
    with pytest.raises(SignerRefused, match="value 1 wei is above its limit of 0"):
        check(replace(REQUEST, value=1), policy)  # the entry that may pay does not fit
    with pytest.raises(SignerRefused, match="account's limit of 4"):
        check(replace(REQUEST, data=small_one, value=5), replace(policy, max_value=4))


def test_an_entry_for_exact_data_lets_nothing_else_through() -> None:
    exact = AllowedCall(POOL, REPAY, data_hash=data_hash(REQUEST.data))
    policy = replace(POLICY, calls=(exact,))
    assert check(REQUEST, policy).spends == ()
    for other in (REQUEST.data + b"\0", REQUEST.data[:-1], REQUEST.data[:4], REQUEST.data[:4] + bytes(128)):
        with pytest.raises(SignerRefused, match="not exactly what was agreed"):
            check(replace(REQUEST, data=other), policy)
    check(REQUEST, replace(POLICY, calls=(exact, *POLICY.calls)))


def test_every_fitting_entry_counts_its_spend() -> None:
    uncounted = AllowedCall(POOL, REPAY, (WordRule(1, maximum=5_000),))
    policy = replace(POLICY, calls=(uncounted, *POLICY.calls))
    assert check(REQUEST, policy).spends == ((USDC, 5_000),)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chain_id": 1}, "chain id 1"),
        ({"owner": OTHER}, "not the armed account"),
        ({"token": OTHER}, "not on the list"),
        ({"spender": OTHER}, "not on the list"),
        ({"value": 5_001}, "above the limit"),
        ({"deadline": NOW}, "has passed"),
        ({"deadline": POLICY.expires_at + 1}, "after the policy ends"),
    ],
)
def test_permits_are_bound(change: dict[str, object], reason: str) -> None:
    check_permit(POLICY, PERMIT, now=NOW, killed=False)
    with pytest.raises(SignerRefused, match=reason):
        check_permit(POLICY, replace(PERMIT, **change), now=NOW, killed=False)  # type: ignore[arg-type]


def test_permits_stop_with_the_kill_switch_and_the_policy() -> None:
    with pytest.raises(SignerRefused, match="kill switch"):
        check_permit(POLICY, PERMIT, now=NOW, killed=True)
    with pytest.raises(SignerRefused, match="expired"):
        check_permit(POLICY, PERMIT, now=POLICY.expires_at, killed=False)


DELEGATION = AllowedPermit(USDC, POOL, 5_000, PermitKind.DELEGATION)


def test_a_delegation_is_not_a_permit_and_is_bound_the_same_way() -> None:
    """Taking a token and borrowing on somebody's account are two things: the one never stands for the other."""
    lending = replace(POLICY, permits=(DELEGATION,))
    delegation = replace(PERMIT, kind=PermitKind.DELEGATION)
    check_permit(lending, delegation, now=NOW, killed=False)
    for policy, asked in ((POLICY, delegation), (lending, PERMIT)):
        with pytest.raises(SignerRefused, match=f"a {asked.kind} of token .* is not on the list"):
            check_permit(policy, asked, now=NOW, killed=False)
    for change, reason in (
        ({"value": 5_001}, "the delegation's value 5001 is above the limit"),
        ({"spender": OTHER}, "not on the list"),
        ({"token": OTHER}, "not on the list"),
        ({"owner": OTHER}, "the delegation's owner"),
        ({"deadline": NOW}, "the delegation's deadline has passed"),
        ({"deadline": POLICY.expires_at + 1}, "after the policy ends"),
        ({"chain_id": 1}, "chain id 1"),
    ):
        with pytest.raises(SignerRefused, match=reason):
            check_permit(lending, replace(delegation, **change), now=NOW, killed=False)  # type: ignore[arg-type]
    with pytest.raises(SignerRefused, match="kill switch"):
        check_permit(lending, delegation, now=NOW, killed=True)


EXACT = (2, 3, 1)
EXACT_HASH = data_hash(words(REPAY, *EXACT))


@pytest.mark.parametrize(
    "wider",
    [
        replace(POLICY, chain_id=1),
        replace(POLICY, account=OTHER),
        replace(POLICY, max_fee_per_gas=POLICY.max_fee_per_gas + 1),
        replace(POLICY, max_gas=POLICY.max_gas + 1),
        replace(POLICY, max_fee_wei=POLICY.max_fee_wei + 1),
        replace(POLICY, max_daily_fee_wei=POLICY.max_daily_fee_wei + 1),
        replace(POLICY, max_value=1),
        replace(POLICY, expires_at=POLICY.expires_at + 1),
        replace(POLICY, daily_caps=((USDC, 8_001),)),
        replace(POLICY, daily_caps=((USDC, 8_000), (OTHER, 1))),
        replace(POLICY, permits=(AllowedPermit(USDC, POOL, 5_001),)),
        replace(POLICY, permits=(AllowedPermit(USDC, OTHER, 1),)),
        replace(POLICY, permits=(AllowedPermit(USDC, POOL, 1, PermitKind.DELEGATION),)),
        replace(POLICY, calls=(replace(POLICY.calls[0], rules=POLICY.calls[0].rules[1:]),)),
        replace(
            POLICY, calls=(replace(POLICY.calls[1], rules=(POLICY.calls[1].rules[0], WordRule(1, maximum=5_001))),)
        ),
        replace(POLICY, calls=(replace(POLICY.calls[1], rules=(POLICY.calls[1].rules[0], WordRule(1, equals=5_001))),)),
        replace(POLICY, calls=(replace(POLICY.calls[1], rules=(WordRule(0, equals=0), POLICY.calls[1].rules[1])),)),
        replace(POLICY, calls=(replace(POLICY.calls[0], to=OTHER),)),
        replace(POLICY, calls=(replace(POLICY.calls[0], selector=APPROVE),)),
        replace(POLICY, calls=(replace(POLICY.calls[0], spend_token=None, spend_word=None),)),
        replace(POLICY, calls=(replace(POLICY.calls[0], spend_word=2),)),
        replace(POLICY, calls=(replace(POLICY.calls[1], max_value=1),)),
        replace(POLICY, calls=(*POLICY.calls, replace(POLICY.calls[1], data_hash=EXACT_HASH, max_value=1))),
    ],
)
def test_each_way_of_widening_is_seen(wider: SigningPolicy) -> None:
    assert not is_no_wider(wider, POLICY)


def test_a_floor_or_an_exact_call_may_be_raised_but_not_loosened() -> None:
    floored = replace(POLICY.calls[1], rules=(*POLICY.calls[1].rules, WordRule(2, minimum=5)))
    old = replace(POLICY, calls=(floored,))
    for new in (WordRule(2, minimum=6), WordRule(2, equals=5), WordRule(2, minimum=5, maximum=9)):
        assert is_no_wider(replace(old, calls=(replace(floored, rules=(*floored.rules[:2], new)),)), old)
    for new in (WordRule(2, minimum=4), WordRule(2, equals=4), WordRule(2, maximum=9), WordRule(1, minimum=5)):
        assert not is_no_wider(replace(old, calls=(replace(floored, rules=(*floored.rules[:2], new)),)), old)
    exact = replace(POLICY, calls=(replace(POLICY.calls[1], data_hash=EXACT_HASH),))
    assert is_no_wider(exact, POLICY)
    assert not is_no_wider(POLICY, exact)
    other = replace(POLICY, calls=(replace(POLICY.calls[1], data_hash="0x" + "00" * 32),))
    assert not is_no_wider(other, exact)


def test_an_entry_that_counts_less_often_is_not_the_same_entry() -> None:
    uncounted = AllowedCall(POOL, REPAY, (WordRule(1, maximum=10),))
    old = replace(POLICY, calls=(POLICY.calls[0], uncounted))
    assert is_no_wider(old, old)
    seldom = replace(POLICY.calls[0], data_hash=EXACT_HASH)
    assert not is_no_wider(replace(old, calls=(seldom, uncounted)), old)
    assert clamped(replace(old, calls=(seldom, uncounted)), old)[0].calls == (seldom,)


def test_tightening_is_taken_for_what_it_is() -> None:
    capped = replace(POLICY.calls[0], rules=(*POLICY.calls[0].rules, WordRule(1, maximum=100)))
    assert is_no_wider(replace(POLICY, calls=(capped,), max_gas=1, daily_caps=((USDC, 1),), permits=()), POLICY)
