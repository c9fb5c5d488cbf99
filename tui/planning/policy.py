"""What an armed rule lets the signer sign: made once when it is armed, from the same builder that makes its calls.

Everything the signer may ever be asked for is a (contract, selector) here, with its argument words bound and capped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from tui.model.plan import Action, PermitNeed, PlannedCall
from tui.model.position import Asset, Position
from tui.model.rule import Rule, Step
from tui.model.signing import AllowedCall, AllowedPermit, SigningPolicy, WordRule
from tui.model.units import UINT256_MAX, WAD, parse_units, whole
from tui.model.wallet import TokenHolding, Wallet
from tui.protocols.base import ActionImpossible, LendingMarket

POLICY_LIFETIME = 7 * 24 * 60 * 60
"""Seconds until the signer refuses everything unless the engine, still armed, renews the policy."""
MAX_GAS = 5_000_000
MAX_FEE_PER_GAS = 5_000 * 10**9
DEFAULT_FEE_WEI = WAD // 2
DAILY_FEE_FACTOR = 20
PRICE_ROOM = 3
"""A daily spend in dollars becomes a cap in tokens; a token may lose two thirds of its price before the cap binds."""


@dataclass(frozen=True, slots=True)
class ArmedScope:
    """One armed rule on one position, as far as the signer is concerned."""

    rule: Rule
    market: LendingMarket
    position: Position
    wallet: Wallet


def step_cap(step: Step, asset: Asset) -> int:
    """The most base units a step may ever move in one call. Raises ValueError where `max` is not an amount."""
    return UINT256_MAX if step.maximum is None else parse_units(step.maximum, asset.decimals)


def signing_policy(
    chain_id: int, account: str, scopes: Sequence[ArmedScope], native_price_usd: int | None, now: float
) -> SigningPolicy:
    """The union of what every armed rule of `account` needs, and nothing else.

    `now` in unix seconds; fees in wei. Rules without a cost limit get `DEFAULT_FEE_WEI` a transaction.
    """
    calls: dict[tuple[object, ...], AllowedCall] = {}
    permits: dict[tuple[str, str], AllowedPermit] = {}
    caps: dict[str, int] = {}
    fee_limits: list[int] = []
    for scope in scopes:
        for step in scope.rule.steps:
            asset = scope.market.find_asset(scope.position, step.asset)
            if asset is None:
                continue
            cap = step_cap(step, asset)
            for call in _possible_calls(scope, Action(step.action, asset, cap)):
                allowed = AllowedCall(call.to, "0x" + call.selector.hex(), _bound(call.rules, cap))
                calls[(allowed.to, allowed.selector, allowed.rules)] = allowed
                if call.permit is not None:
                    key = (call.permit.token, call.permit.spender)
                    known = permits.get(key)
                    permits[key] = AllowedPermit(*key, max(cap, known.maximum if known else 0))
            daily = _daily_cap(scope, asset)
            caps[asset.address] = caps.get(asset.address, 0) + daily if daily is not None else UINT256_MAX
        fee_limits.append(_fee_limit(scope.rule, native_price_usd))
    fee = max(fee_limits, default=0)
    return SigningPolicy(
        chain_id=chain_id,
        account=account,
        calls=tuple(_with_spend_words(calls.values(), caps)),
        permits=tuple(permits.values()),
        daily_caps=tuple(sorted((token, min(cap, UINT256_MAX)) for token, cap in caps.items())),
        max_fee_per_gas=MAX_FEE_PER_GAS,
        max_gas=MAX_GAS,
        max_fee_wei=fee,
        max_daily_fee_wei=fee * DAILY_FEE_FACTOR,
        expires_at=int(now) + POLICY_LIFETIME,
    )


def _possible_calls(scope: ArmedScope, action: Action) -> Iterable[PlannedCall]:
    """Every shape that the calls of `action` can take, whatever the allowances are when it fires."""
    token = action.asset.address
    spender = scope.market.spender(action.kind)
    holding = scope.wallet.tokens.get(token, TokenHolding(action.asset, 0))
    allowances = [MappingProxyType({spender: amount} if spender else {}) for amount in (0, 1, UINT256_MAX)]
    for allowance in allowances:
        for permit in (holding.permit, None):
            tokens = {**scope.wallet.tokens, token: replace(holding, allowances=allowance, permit=permit)}
            wallet = replace(scope.wallet, tokens=MappingProxyType(tokens))
            try:
                yield from scope.market.calls_for(scope.position, action, wallet, 0)
            except ActionImpossible:
                continue


def _bound(rules: tuple[WordRule, ...], cap: int) -> tuple[WordRule, ...]:
    """The word rules for every call of the armed step: the amount of one call becomes a maximum of `cap`."""
    return tuple(replace(rule, maximum=cap) if rule.maximum is not None else rule for rule in rules)


def _daily_cap(scope: ArmedScope, asset: Asset) -> int | None:
    daily = scope.rule.limits.daily_spend_usd
    price = scope.market.price_usd(scope.position, asset)
    if daily is None or not price:
        return None
    return daily * PRICE_ROOM * whole(asset.decimals) // price


def _fee_limit(rule: Rule, native_price_usd: int | None) -> int:
    limit = rule.limits.max_cost_usd
    if limit is None or not native_price_usd:
        return DEFAULT_FEE_WEI
    # Gas limits are booked dearer than what is used, and the native coin may gain against the dollar meanwhile.
    return limit * WAD * 2 // native_price_usd


def _with_spend_words(calls: Iterable[AllowedCall], caps: dict[str, int]) -> Iterable[AllowedCall]:
    """Mark, in calls that move a token into a market, the word that counts against the token's daily cap.

    Such a call binds one word to the token's address and caps another; an approval, whose target is the token
    itself, moves nothing.
    """
    for call in calls:
        token = next((token for token in caps for rule in call.rules if rule.equals == int(token, 16)), None)
        amount = next((rule.index for rule in call.rules if rule.maximum is not None), None)
        if token is None or amount is None or call.to == token:
            yield call
        else:
            yield replace(call, spend_token=token, spend_word=amount)


def permit_matches(need: PermitNeed, policy: SigningPolicy) -> bool:
    """Whether a policy lets a permit be signed."""
    return any(
        (allowed.token, allowed.spender) == (need.token, need.spender) and need.value <= allowed.maximum
        for allowed in policy.permits
    )
