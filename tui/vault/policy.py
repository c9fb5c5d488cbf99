"""The signer's own judgement, pure: what one policy lets through, given what was signed before and the time.

Whoever asks for a signature has already checked all this; here it is checked again by the side that holds the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from eth_hash.auto import keccak

from tui.model.pinned import DEPLOYER, PinnedCode
from tui.model.signing import (
    NEVER_SIGNED,
    AllowedCall,
    AllowedPermit,
    DayUsed,
    PermitRequest,
    SignerRefused,
    SigningPolicy,
    TransactionRequest,
    WordRule,
)


@dataclass(frozen=True, slots=True)
class NonceBinding:
    """What a nonce already stands for. `fee_wei` is the dearest attempt so far, `cancelled` that a no-op was signed."""

    meaning: str
    fee_wei: int
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What was signed before, as far as one request is concerned. Token base units and wei of this UTC day.

    `ahead` and `fees_ahead` are of transactions that are asked about together with it and would be signed before it:
    they count like the signed ones, and are not told as signed.
    """

    binding: NonceBinding | None = None
    intent_nonce: int | None = None
    spent_today: Mapping[str, int] = field(default_factory=dict)
    fees_today: int = 0
    ahead: Mapping[str, int] = field(default_factory=dict)
    fees_ahead: int = 0

    def after(self, verdict: Verdict) -> Usage:
        """The same where another transaction of the account, that `verdict` is of, is to be signed before."""
        ahead = dict(self.ahead)
        for token, amount in verdict.spends:
            ahead[token] = ahead.get(token, 0) + amount
        return replace(self, ahead=ahead, fees_ahead=self.fees_ahead + verdict.fee_added)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A transaction that may be signed, and what it adds to the day: base units by token, wei of gas."""

    cancel: bool
    spends: tuple[tuple[str, int], ...]
    fee_added: int


def is_cancellation(request: TransactionRequest) -> bool:
    """Whether a request is the no-op that frees a nonce: nothing sent to oneself, and no code set."""
    return request.delegate is None and _is_empty(request)


def _is_empty(request: TransactionRequest) -> bool:
    """Whether nothing is sent to oneself."""
    return request.to == request.account and request.value == 0 and request.data == b""


def check_transaction(
    policy: SigningPolicy, request: TransactionRequest, meaning: str, usage: Usage, *, now: int, killed: bool
) -> Verdict:
    """What signing `request` would add, or `SignerRefused` with the check that forbids it.

    `meaning` identifies everything of the request but its fees; `now` is unix seconds. A cancellation of a nonce that
    was signed before needs neither a listed call nor an unexpired policy, and the kill switch does not stop it; the
    ceilings of one transaction's fee still hold.
    """
    if request.chain_id != policy.chain_id:
        raise SignerRefused(f"chain id {request.chain_id} is not the armed one, {policy.chain_id}")
    if request.account != policy.account:
        raise SignerRefused(f"the policy is for another account than {request.account}")
    if is_cancellation(request):
        if usage.binding is None:
            raise SignerRefused(f"{NEVER_SIGNED}; {request.nonce} was not")
        return Verdict(True, (), _check_fee(policy, request, usage, daily=False))
    if killed:
        raise SignerRefused("the kill switch is on")
    if now >= policy.expires_at:
        raise SignerRefused("the policy has expired; arm again")
    if request.value > policy.max_value:
        raise SignerRefused(f"value {request.value} wei is above the account's limit of {policy.max_value}")
    _check_binding(request, meaning, usage)
    spends = _check_calls(policy, request) if request.delegate is None else _check_delegation(policy, request)
    if usage.binding is not None:
        spends = ()  # the same meaning again: only one of the attempts can be mined, and it was counted
    caps = dict(policy.daily_caps)
    for token, amount in spends:
        spent, asked = usage.spent_today.get(token, 0), usage.ahead.get(token, 0) + amount
        cap = caps.get(token)
        if cap is None:
            raise SignerRefused(f"no daily limit is set for token {token}")
        if spent + asked > cap:
            raise SignerRefused(DayUsed(token, spent, asked, cap).text)
    return Verdict(False, spends, _check_fee(policy, request, usage, daily=True))


def _check_binding(request: TransactionRequest, meaning: str, usage: Usage) -> None:
    if usage.binding is not None and usage.binding.meaning != meaning:
        raise SignerRefused(f"nonce {request.nonce} was signed with another meaning; only its fees may change")
    if usage.intent_nonce is not None and usage.intent_nonce != request.nonce:
        raise SignerRefused(f"this intent was signed at nonce {usage.intent_nonce}; it owns that one only")


def _check_fee(policy: SigningPolicy, request: TransactionRequest, usage: Usage, *, daily: bool) -> int:
    """The wei that this attempt adds to what the nonce may cost at most."""
    if request.max_fee_per_gas > policy.max_fee_per_gas:
        raise SignerRefused(
            f"max fee {request.max_fee_per_gas} wei a gas is above the ceiling of {policy.max_fee_per_gas}"
        )
    if request.max_priority_fee_per_gas > request.max_fee_per_gas:
        raise SignerRefused("the priority fee is above the max fee")
    if request.gas > policy.max_gas:
        raise SignerRefused(f"gas limit {request.gas} is above the ceiling of {policy.max_gas}")
    fee = request.gas * request.max_fee_per_gas
    if fee > policy.max_fee_wei:
        raise SignerRefused(f"the fee may reach {fee} wei, above the ceiling of {policy.max_fee_wei}")
    added = max(0, fee - (usage.binding.fee_wei if usage.binding is not None else 0))
    asked = usage.fees_ahead + added
    if daily and usage.fees_today + asked > policy.max_daily_fee_wei:
        raise SignerRefused(DayUsed(None, usage.fees_today, asked, policy.max_daily_fee_wei).text)
    return added


def follows_from_its_code(pinned: PinnedCode) -> bool:
    """Whether the code can stand at its address and none but it: the address is what CREATE2 makes of creation code and
    salt. NO_CODE stands nowhere, and is right as it is.
    """
    if pinned.clears:
        return True
    parts = (DEPLOYER, pinned.salt, pinned.creation_hash)
    made = keccak(b"\xff" + b"".join(bytes.fromhex(part[2:]) for part in parts))
    return pinned.address == "0x" + made[12:].hex()


def _check_delegation(policy: SigningPolicy, request: TransactionRequest) -> tuple[tuple[str, int], ...]:
    """No spends, where the request sets the account's code to one that is listed, and does nothing else."""
    assert request.delegate is not None
    if not _is_empty(request):
        raise SignerRefused("a transaction that sets the account's code must do nothing else")
    if request.delegate not in policy.delegates:
        raise SignerRefused(f"delegating the account to {request.delegate.address} is not on the list")
    if not follows_from_its_code(request.delegate):
        raise SignerRefused(f"{request.delegate.address} is not where its code would stand; nothing is delegated to it")
    return ()


def word_of(data: bytes, index: int) -> int | None:
    """The 32-byte argument word `index` after the selector as an integer, None where the data ends before it does."""
    start = 4 + 32 * index
    return int.from_bytes(data[start : start + 32], "big") if len(data) >= start + 32 else None


def _check_calls(policy: SigningPolicy, request: TransactionRequest) -> tuple[tuple[str, int], ...]:
    """The spends of a listed call, by token. Where several entries fit, the spends of all of them count, and the value
    must be within what one of them lets go along.
    """
    if len(request.data) < 4:
        raise SignerRefused("no call data; plain transfers are not signed")
    selector = "0x" + request.data[:4].hex()
    listed = [call for call in policy.calls if call.to == request.to and call.selector == selector]
    if not listed:
        raise SignerRefused(f"call {selector} of {request.to} is not on the list")
    fitting: list[AllowedCall] = []
    misfit = ""
    for call in listed:
        misfit = _call_misfit(call, request.data)
        if not misfit:
            fitting.append(call)
    if not fitting:
        raise SignerRefused(f"call {selector} of {request.to}: {misfit}")
    if request.value > (most := max(call.max_value for call in fitting)):
        raise SignerRefused(f"call {selector} of {request.to}: value {request.value} wei is above its limit of {most}")
    words: set[tuple[str, int]] = set()
    for call in fitting:
        if call.spend_token is not None and call.spend_word is not None:
            words.add((call.spend_token, call.spend_word))
    spends: dict[str, int] = {}
    for token, index in sorted(words):
        amount = word_of(request.data, index)
        if amount is None:
            raise SignerRefused(f"call {selector} of {request.to}: the data ends before word {index}")
        spends[token] = spends.get(token, 0) + amount
    return tuple(spends.items())


def _call_misfit(call: AllowedCall, data: bytes) -> str:
    """Why calldata is not what an entry allows; empty where it is."""
    if call.data_hash is not None and call.data_hash != data_hash(data):
        return "the data is not exactly what was agreed to"
    return next((found for rule in call.rules if (found := _misfit(rule, data))), "")


def data_hash(data: bytes) -> str:
    """keccak256 of calldata as an entry of a policy names it: 0x and lower-case hex."""
    return "0x" + keccak(data).hex()


def _misfit(rule: WordRule, data: bytes) -> str:
    word = word_of(data, rule.index)
    if word is None:
        return f"the data ends before word {rule.index}"
    if rule.equals is not None and word != rule.equals:
        return f"word {rule.index} is not the one value allowed"
    if rule.maximum is not None and word > rule.maximum:
        return f"word {rule.index} is {word}, above the limit of {rule.maximum}"
    if rule.minimum is not None and word < rule.minimum:
        return f"word {rule.index} is {word}, below the least of {rule.minimum}"
    return ""


def check_permit(policy: SigningPolicy, request: PermitRequest, *, now: int, killed: bool) -> None:
    """Raises `SignerRefused` unless the policy lists this permit or delegation: kind, token, spender, value, owner and
    deadline.
    """
    if request.chain_id != policy.chain_id:
        raise SignerRefused(f"chain id {request.chain_id} is not the armed one, {policy.chain_id}")
    if request.owner != policy.account:
        raise SignerRefused(f"the {request.kind}'s owner {request.owner} is not the armed account")
    if killed:
        raise SignerRefused("the kill switch is on")
    if now >= policy.expires_at:
        raise SignerRefused("the policy has expired; arm again")
    kind, wanted = request.kind, (request.kind, request.token, request.spender)
    listed = [permit for permit in policy.permits if (permit.kind, permit.token, permit.spender) == wanted]
    if not listed:
        raise SignerRefused(f"a {kind} of token {request.token} for {request.spender} is not on the list")
    limit = max(permit.maximum for permit in listed)
    if request.value > limit:
        raise SignerRefused(f"the {kind}'s value {request.value} is above the limit of {limit}")
    if request.deadline <= now:
        raise SignerRefused(f"the {kind}'s deadline has passed")
    if request.deadline > policy.expires_at:
        raise SignerRefused(f"the {kind}'s deadline {request.deadline} is after the policy ends, {policy.expires_at}")


def is_no_wider(new: SigningPolicy, old: SigningPolicy) -> bool:
    """Whether everything `new` lets through, `old` lets through as well. Errs on the side of no."""
    if (new.chain_id, new.account) != (old.chain_id, old.account):
        return False
    ceilings = (
        (new.max_fee_per_gas, old.max_fee_per_gas),
        (new.max_gas, old.max_gas),
        (new.max_fee_wei, old.max_fee_wei),
        (new.max_daily_fee_wei, old.max_daily_fee_wei),
        (new.expires_at, old.expires_at),
        (new.max_value, old.max_value),
    )
    if any(mine > theirs for mine, theirs in ceilings):
        return False
    old_caps = dict(old.daily_caps)
    if any(token not in old_caps or cap > old_caps[token] for token, cap in new.daily_caps):
        return False
    if not all(_permit_is_covered(permit, old) for permit in new.permits):
        return False
    if not set(new.delegates) <= set(old.delegates):
        return False
    return all(_call_is_covered(call, new, old) for call in new.calls)


def clamped(new: SigningPolicy, armed: SigningPolicy) -> tuple[SigningPolicy, tuple[str, ...]]:
    """The part of `new` that `armed` lets through as well, and in words what had to be withheld.

    Only the expiry is taken from `new` as it is: an engine that is still there renews it, and does not need the
    password for that. Figures that follow a price are cut to the armed ones without a word.
    """
    if (new.chain_id, new.account) != (armed.chain_id, armed.account):
        raise ValueError("policies of two accounts or chains have nothing in common")
    armed_caps = dict(armed.daily_caps)
    part = replace(
        new,
        permits=tuple(permit for permit in new.permits if _permit_is_covered(permit, armed)),
        daily_caps=tuple((token, min(cap, armed_caps[token])) for token, cap in new.daily_caps if token in armed_caps),
        max_fee_per_gas=min(new.max_fee_per_gas, armed.max_fee_per_gas),
        max_gas=min(new.max_gas, armed.max_gas),
        max_fee_wei=min(new.max_fee_wei, armed.max_fee_wei),
        max_daily_fee_wei=min(new.max_daily_fee_wei, armed.max_daily_fee_wei),
        max_value=min(new.max_value, armed.max_value),
        delegates=tuple(pinned for pinned in new.delegates if pinned in armed.delegates),
    )
    # Dropping one entry can leave another uncovered (its spend is no longer counted), so until nothing changes.
    while (kept := tuple(call for call in part.calls if _call_is_covered(call, part, armed))) != part.calls:
        part = replace(part, calls=kept)
    withheld = [f"call {call.selector} of {call.to}" for call in new.calls if call not in part.calls]
    withheld += [
        f"{permit.kind} of {permit.token} for {permit.spender}" for permit in new.permits if permit not in part.permits
    ]
    withheld += [f"delegating to {pinned.address}" for pinned in new.delegates if pinned not in part.delegates]
    return part, tuple(dict.fromkeys(withheld))


def _permit_is_covered(new: AllowedPermit, old: SigningPolicy) -> bool:
    return any(
        (permit.kind, permit.token, permit.spender) == (new.kind, new.token, new.spender)
        and new.maximum <= permit.maximum
        for permit in old.permits
    )


def _call_is_covered(call: AllowedCall, new: SigningPolicy, old: SigningPolicy) -> bool:
    """One entry of `old` allows all this allows, and whatever `old` counts as spent, `new` counts as well.

    Every entry of `old` for the same call may count spends, so each of them has to be kept by `new` as it was.
    """
    same = [entry for entry in old.calls if (entry.to, entry.selector) == (call.to, call.selector)]
    kept = {_counting(entry) for entry in new.calls if _same_call(entry, call)}
    for entry in same:
        spend = (entry.spend_token, entry.spend_word)
        if entry.spend_token is None or spend == (call.spend_token, call.spend_word):
            continue
        if _counting(entry) not in kept:
            return False
    return any(_is_within(call, entry) for entry in same)


def _counting(entry: AllowedCall) -> tuple[object, ...]:
    """When an entry counts a spend, and which: to whatever data it fits."""
    return (entry.rules, entry.data_hash, entry.spend_token, entry.spend_word)


def _is_within(call: AllowedCall, entry: AllowedCall) -> bool:
    """Whether all that `call` allows of one contract's function, `entry` allows too."""
    if call.max_value > entry.max_value or entry.data_hash not in (None, call.data_hash):
        return False
    return all(_is_implied(rule, call.rules) for rule in entry.rules)


def _same_call(one: AllowedCall, other: AllowedCall) -> bool:
    return (one.to, one.selector) == (other.to, other.selector)


def _is_implied(rule: WordRule, by: tuple[WordRule, ...]) -> bool:
    """Whether data that satisfies all of `by` always satisfies `rule`."""
    same = [other for other in by if other.index == rule.index]
    equal = rule.equals is None or any(other.equals == rule.equals for other in same)
    bounded = rule.maximum is None or any(
        (other.maximum is not None and other.maximum <= rule.maximum)
        or (other.equals is not None and other.equals <= rule.maximum)
        for other in same
    )
    floored = rule.minimum is None or any(
        (other.minimum is not None and other.minimum >= rule.minimum)
        or (other.equals is not None and other.equals >= rule.minimum)
        for other in same
    )
    return equal and bounded and floored
