"""Properties of the policy that no request and no other policy may break."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.vault.test_policy import (
    ACCOUNT,
    APPROVE,
    EXACT,
    EXACT_HASH,
    OTHER,
    POOL,
    REPAY,
    USDC,
    check,
    words,
)
from tui.model.signing import (
    AllowedCall,
    AllowedPermit,
    PermitKind,
    PermitRequest,
    SignerRefused,
    SigningPolicy,
    TransactionRequest,
    WordRule,
)
from tui.vault.policy import (
    NonceBinding,
    Usage,
    check_permit,
    clamped,
    data_hash,
    is_no_wider,
    word_of,
)

addresses = st.sampled_from([ACCOUNT, POOL, OTHER, USDC])
selectors = st.sampled_from([REPAY, APPROVE])
small = st.integers(0, 6)
tokens = st.sampled_from([USDC, OTHER])
kinds = st.sampled_from(tuple(PermitKind))


@st.composite
def rules(draw: st.DrawFn) -> WordRule:
    index = draw(st.integers(0, 2))
    bound = st.one_of(st.none(), small)
    equals, maximum, minimum = draw(bound), draw(bound), draw(st.one_of(st.none(), st.integers(0, 3)))
    return WordRule(index, equals, maximum if (equals, minimum) != (None, None) else draw(small), minimum)


@st.composite
def calls(draw: st.DrawFn) -> AllowedCall:
    spends = draw(st.booleans())
    return AllowedCall(
        draw(st.sampled_from([POOL, USDC])),
        draw(selectors),
        tuple(draw(st.lists(rules(), max_size=2, unique_by=lambda rule: rule.index))),
        spend_token=draw(tokens) if spends else None,
        spend_word=draw(st.integers(0, 2)) if spends else None,
        max_value=draw(st.sampled_from([0, 2, 3, 4])),
        data_hash=draw(st.sampled_from([None, None, None, EXACT_HASH])),
    )


@st.composite
def policies(draw: st.DrawFn) -> SigningPolicy:
    return SigningPolicy(
        chain_id=draw(st.sampled_from([1, 31337])),
        account=draw(st.sampled_from([ACCOUNT, OTHER])),
        calls=tuple(draw(st.lists(calls(), min_size=1, max_size=3))),
        permits=tuple(
            draw(st.lists(st.builds(AllowedPermit, tokens, st.sampled_from([POOL, OTHER]), small, kinds), max_size=2))
        ),
        daily_caps=tuple(
            (token, draw(st.integers(2, 12))) for token in (USDC, OTHER)[draw(st.sampled_from([0, 0, 0, 1])) :]
        ),
        max_fee_per_gas=draw(small),
        max_gas=draw(small),
        max_fee_wei=draw(st.integers(0, 20)),
        max_daily_fee_wei=draw(st.integers(0, 40)),
        expires_at=draw(st.integers(1, 6)),
        max_value=draw(small),
    )


requests = st.builds(
    TransactionRequest,
    intent_id=st.just("i"),
    chain_id=st.sampled_from([1, 31337]),
    account=st.sampled_from([ACCOUNT, OTHER]),
    nonce=small,
    to=addresses,
    value=st.sampled_from([0, 0, 0, 3]),
    data=st.one_of(
        st.just(b""), st.builds(lambda s, values: words(s, *values), selectors, st.lists(small, max_size=4))
    ),
    gas=small,
    max_fee_per_gas=small,
    max_priority_fee_per_gas=small,
)

usages = st.builds(
    Usage,
    binding=st.sampled_from([None, None, None, NonceBinding("same", 2), NonceBinding("other", 2, cancelled=True)]),
    intent_nonce=st.sampled_from([None, None, None, None, 3]),
    spent_today=st.dictionaries(tokens, small, max_size=2),
    fees_today=st.integers(0, 20),
)


@st.composite
def narrowed(draw: st.DrawFn, policy: SigningPolicy) -> SigningPolicy:
    """A policy made from another by steps most of which tighten it, some of which do not."""
    tighter = [
        replace(
            call,
            rules=draw(st.sampled_from([call.rules, call.rules[1:], (*call.rules, draw(rules()))])),
            spend_token=call.spend_token if draw(st.integers(0, 3)) else None,
            spend_word=call.spend_word,
            max_value=draw(st.sampled_from([0, call.max_value, call.max_value, call.max_value + 1])),
            data_hash=draw(st.sampled_from([call.data_hash, call.data_hash, EXACT_HASH, None])),
        )
        for call in policy.calls
        if draw(st.integers(0, 4))
    ]
    return replace(
        policy,
        calls=tuple(call if call.spend_token is not None else replace(call, spend_word=None) for call in tighter),
        max_gas=draw(st.integers(0, policy.max_gas + 1)),
        expires_at=draw(st.integers(1, policy.expires_at)),
        daily_caps=tuple(
            (token, draw(st.sampled_from([cap - 1, cap, cap, cap, cap + 1]))) for token, cap in policy.daily_caps
        ),
    )


@st.composite
def fitting(draw: st.DrawFn, policy: SigningPolicy) -> TransactionRequest:
    """A request that has a fair chance of passing: it is made after one of the policy's own entries."""
    request = draw(requests)
    if not policy.calls:
        return request
    call = draw(st.sampled_from(policy.calls))
    values = draw(st.lists(small, min_size=3, max_size=3))
    for rule in call.rules:
        values[rule.index] = max(values[rule.index], rule.minimum or 0)
        values[rule.index] = min(values[rule.index], 6 if rule.maximum is None else rule.maximum)
        values[rule.index] = values[rule.index] if rule.equals is None else rule.equals
    if call.data_hash is not None:
        values = list(EXACT)
    return replace(
        request,
        chain_id=policy.chain_id,
        account=policy.account,
        to=call.to,
        value=draw(st.sampled_from([0, 0, call.max_value, 3])),
        data=words(call.selector, *values),
        gas=draw(st.integers(0, policy.max_gas)),
        max_fee_per_gas=draw(st.integers(0, min(policy.max_fee_per_gas, 3))),
        max_priority_fee_per_gas=0,
    )


def allows(policy: SigningPolicy, request: TransactionRequest, usage: Usage, now: int, killed: bool) -> bool:
    try:
        check(request, policy, usage, now=now, killed=killed)
    except SignerRefused:
        return False
    return True


@settings(max_examples=400)
@given(st.data(), policies(), usages, small, st.booleans())
def test_whatever_passes_is_within_every_limit(
    data: st.DataObject, policy: SigningPolicy, usage: Usage, now: int, killed: bool
) -> None:
    request = data.draw(st.one_of(fitting(policy), fitting(policy), requests))
    try:
        verdict = check(request, policy, usage, now=now, killed=killed)
    except SignerRefused:
        return
    event("passed")
    assert (request.chain_id, request.account) == (policy.chain_id, policy.account)
    assert request.max_priority_fee_per_gas <= request.max_fee_per_gas <= policy.max_fee_per_gas
    assert request.gas * request.max_fee_per_gas <= policy.max_fee_wei
    assert verdict.fee_added >= 0
    if verdict.cancel:
        assert usage.binding is not None
        assert (request.to, request.value, request.data) == (request.account, 0, b"")
        return
    assert not killed
    assert now < policy.expires_at
    assert request.value <= policy.max_value
    assert usage.binding is None or usage.binding.meaning == "same"
    assert usage.intent_nonce in (None, request.nonce)
    assert usage.fees_today + verdict.fee_added <= policy.max_daily_fee_wei
    for token, amount in verdict.spends:
        assert usage.spent_today.get(token, 0) + amount <= dict(policy.daily_caps)[token]
    assert any(
        (call.to, call.selector) == (request.to, "0x" + request.data[:4].hex())
        and all(
            (word := word_of(request.data, rule.index)) is not None
            and rule.equals in (None, word)
            and (rule.maximum is None or word <= rule.maximum)
            and (rule.minimum is None or word >= rule.minimum)
            for rule in call.rules
        )
        and request.value <= call.max_value
        and call.data_hash in (None, data_hash(request.data))
        for call in policy.calls
    )


permit_requests = st.builds(
    PermitRequest,
    intent_id=st.just("i"),
    chain_id=st.sampled_from([1, 31337]),
    token=tokens,
    name=st.just("T"),
    version=st.just("1"),
    domain_separator=st.just("0x" + "00" * 32),
    owner=st.sampled_from([ACCOUNT, OTHER]),
    spender=st.sampled_from([POOL, OTHER]),
    value=small,
    nonce=small,
    deadline=small,
    kind=kinds,
)


def signs(policy: SigningPolicy, request: PermitRequest, now: int, killed: bool) -> bool:
    try:
        check_permit(policy, request, now=now, killed=killed)
    except SignerRefused:
        return False
    return True


@settings(max_examples=400)
@given(policies(), permit_requests, small, st.booleans())
def test_no_permit_or_delegation_is_signed_beyond_its_entry(
    policy: SigningPolicy, request: PermitRequest, now: int, killed: bool
) -> None:
    if not signs(policy, request, now, killed):
        return
    event(request.kind.value)
    assert not killed
    assert (request.chain_id, request.owner) == (policy.chain_id, policy.account)
    assert now < request.deadline <= policy.expires_at
    assert any(
        (one.kind, one.token, one.spender) == (request.kind, request.token, request.spender)
        and request.value <= one.maximum
        for one in policy.permits
    )


@settings(max_examples=400)
@given(st.data(), policies(), permit_requests, small)
def test_no_narrowing_and_no_clamping_lets_more_be_signed(
    data: st.DataObject, armed: SigningPolicy, request: PermitRequest, now: int
) -> None:
    other = data.draw(st.one_of(narrowed(armed), policies()))
    if is_no_wider(other, armed) and signs(other, request, now, killed=False):
        assert signs(armed, request, now, killed=False)
    part, _ = clamped(replace(other, chain_id=armed.chain_id, account=armed.account), armed)
    if signs(part, request, now, killed=False):
        event("signed")
        assert signs(replace(armed, expires_at=99), request, now, killed=False)


@settings(max_examples=400)
@given(st.data(), policies(), usages)
def test_what_a_narrower_policy_lets_through_the_wider_one_does_too(
    data: st.DataObject, old: SigningPolicy, usage: Usage
) -> None:
    new = data.draw(st.one_of(narrowed(old), narrowed(old), policies()))
    request = data.draw(fitting(new))
    now = data.draw(st.integers(0, max(0, new.expires_at - 1)))
    if is_no_wider(new, old) and allows(new, request, usage, now, killed=False):
        event("passed both")
        assert allows(old, request, usage, now, killed=False)


@settings(max_examples=400)
@given(st.data(), policies(), usages)
def test_a_clamped_policy_lets_through_nothing_beyond_the_armed_one(
    data: st.DataObject, armed: SigningPolicy, usage: Usage
) -> None:
    other = data.draw(st.one_of(narrowed(armed), narrowed(armed), policies()))
    asked = replace(other, chain_id=armed.chain_id, account=armed.account)
    part, withheld = clamped(asked, armed)
    assert part.expires_at == asked.expires_at
    assert is_no_wider(replace(part, expires_at=armed.expires_at), armed)
    if is_no_wider(asked, armed):
        assert (part, withheld) == (asked, ())
    request = data.draw(fitting(asked))
    if allows(part, request, usage, 0, killed=False):
        event("passed")
        assert allows(replace(armed, expires_at=99), request, usage, 0, killed=False)


@given(policies())
def test_a_policy_is_no_wider_than_itself(policy: SigningPolicy) -> None:
    assert is_no_wider(policy, policy)
