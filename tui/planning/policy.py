"""What an armed rule lets the signer sign: made once when it is armed, from the same builder that makes its calls.

Everything the signer may ever be asked for is a (contract, selector) here, with its argument words bound and capped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from tui.model.plan import Action, PlannedCall, Sale, SaleTerms
from tui.model.position import Asset, Position
from tui.model.rule import FROM_WALLET, SALES, SUPPLYING, ActionKind, RoundsUse, Rule, Step
from tui.model.signing import AllowedCall, AllowedPermit, PermitKind, SigningPolicy
from tui.model.units import UINT256_MAX, WAD, parse_units, whole
from tui.model.wallet import PermitFacts, TokenHolding, Wallet
from tui.planning.fee_caps import MAX_FEE_PER_GAS, FeeCap, fee_cap
from tui.protocols.base import ActionImpossible, LendingMarket
from tui.quotes.base import Dialect, SwapOrder, Swapper

POLICY_LIFETIME = 7 * 24 * 60 * 60
"""Seconds until the signer refuses everything unless the engine, still armed, renews the policy."""
MAX_GAS = 5_000_000
DAILY_FEE_FACTOR = 20
NATIVE_CAP = 100 * WAD
"""The most that may be wrapped at once where a step says no maximum."""
PRICE_ROOM = 3
"""A daily spend in dollars becomes a cap in tokens; a token may lose two thirds of its price before the cap binds. What
is swapped may come to three times as much as it is worth when the rule is armed, too.
"""


@dataclass(frozen=True, slots=True)
class ArmedScope:
    """One armed rule on one position, as far as the signer is concerned. `wrapped_native`: the address of the wrapped
    native coin, where native coin may be wrapped; `swapper`: what the account swaps with by itself, where it can;
    `dialects`: how the calls of aggregators read that may be taken instead. `wallet` is that of the position's account,
    `payers` those of the other accounts that its steps name, by lower-case account. `by_rounds`: the collaterals
    (addresses) that it may have to sell in rounds, because no helper stands there.
    """

    rule: Rule
    market: LendingMarket
    position: Position
    wallet: Wallet
    wrapped_native: str | None = None
    swapper: Swapper | None = None
    dialects: tuple[Dialect, ...] = ()
    payers: Mapping[str, Wallet] = field(default_factory=lambda: MappingProxyType({}))
    by_rounds: frozenset[str] = frozenset()

    def steps_of(self, account: str) -> tuple[Step, ...]:
        """The steps that `account` signs."""
        owner = self.position.key.account
        return tuple(step for step in self.rule.steps if step.signer(owner) == account)

    def wallet_of(self, step: Step) -> Wallet:
        """The wallet that a step is paid from."""
        signer = step.signer(self.position.key.account)
        if signer == self.position.key.account:
            return self.wallet
        return self.payers.get(signer) or Wallet(signer, None, None)


def step_cap(step: Step, asset: Asset) -> int:
    """The most base units a step may ever move in one call: of `asset`, which in a sale is the collateral.

    Raises ValueError where `max` is not an amount.
    """
    return UINT256_MAX if step.maximum is None else parse_units(step.maximum, asset.decimals)


def signing_policy(
    chain_id: int,
    account: str,
    scopes: Sequence[ArmedScope],
    native_price_usd: int | None,
    now: float,
    base_fee: int = 0,
) -> SigningPolicy:
    """The union of what every armed rule needs `account` to sign, and nothing else: an account that only pays may let
    the market take its tokens and repay or supply for the positions that the rules were armed for, and no more.

    `now` in unix seconds; fees in wei, from the native coin's price and the base fee at arming (`fee_caps`).
    """
    calls: dict[tuple[object, ...], AllowedCall] = {}
    permits: dict[tuple[str, str, PermitKind], AllowedPermit] = {}
    caps: dict[str, int] = {}
    fee_limits: list[FeeCap] = []
    for scope in scopes:
        steps = scope.steps_of(account)
        for step in steps:
            moved = _moved(scope, step)
            if moved is None:
                continue
            for call in _possible_calls(scope, step, moved):
                allowed = AllowedCall(
                    call.to,
                    "0x" + call.selector.hex(),
                    call.rules,
                    spend_token=call.spend_token,
                    spend_word=call.spend_word,
                    max_value=call.value,
                )
                key = (allowed.to, allowed.selector, allowed.rules)
                known_call = calls.get(key)
                if known_call is None or known_call.max_value < allowed.max_value:
                    calls[key] = allowed
                if call.permit is not None:
                    token, spender, kind = whose = (call.permit.token, call.permit.spender, call.permit.kind)
                    known = permits.get(whose)
                    most = max(call.permit.value, known.maximum if known else 0)
                    permits[whose] = AllowedPermit(token, spender, most, kind)
            for token, daily in _counted(scope, step, moved):
                caps[token] = caps.get(token, 0) + daily if daily is not None else UINT256_MAX
        if steps:
            fee_limits.append(fee_cap(scope.rule, native_price_usd, base_fee))
    fee = max((cap.wei for cap in fee_limits), default=0)
    return SigningPolicy(
        chain_id=chain_id,
        account=account,
        calls=tuple(calls.values()),
        permits=tuple(permits.values()),
        daily_caps=tuple(sorted((token, min(cap, UINT256_MAX)) for token, cap in caps.items())),
        max_fee_per_gas=max((cap.per_gas for cap in fee_limits), default=MAX_FEE_PER_GAS),
        max_gas=MAX_GAS,
        max_fee_wei=fee,
        max_daily_fee_wei=fee * DAILY_FEE_FACTOR,
        expires_at=int(now) + POLICY_LIFETIME,
        max_value=max((call.max_value for call in calls.values()), default=0),
    )


def _moved(scope: ArmedScope, step: Step) -> Asset | None:
    """The asset that a step moves and that its maximum is in: what is sold, repaid or supplied; None: not listed."""
    name = step.collateral if step.action in SALES else step.asset
    if name is None or scope.market.find_asset(scope.position, step.asset) is None:
        return None
    return scope.market.find_asset(scope.position, name)


def _counted(scope: ArmedScope, step: Step, moved: Asset) -> Iterator[tuple[str, int | None]]:
    """The tokens of which a step may move so much a day (base units; None: any): where the account swaps by itself,
    what it repays as well, and in rounds what it withdraws, which counts as aTokens.
    """
    yield moved.address, _daily_cap(scope, moved)
    debt, rounds = scope.market.find_asset(scope.position, step.asset), _goes_in_rounds(scope, step, moved)
    if debt is not None and (rounds or step.action is ActionKind.SWAP_TO_REPAY):
        yield debt.address, _daily_cap(scope, debt)
    if rounds:
        with suppress(ActionImpossible):
            yield scope.market.sale_shape(scope.position, moved, step.action).receipt, _daily_cap(scope, moved)


def _goes_in_rounds(scope: ArmedScope, step: Step, moved: Asset) -> bool:
    """Whether a deleverage may have to go in rounds by the account itself."""
    possible = step.action is ActionKind.DELEVERAGE and step.action in scope.market.actions
    if not possible or scope.swapper is None or step.rounds is RoundsUse.NEVER:
        return False
    return step.rounds is RoundsUse.ALWAYS or moved.address in scope.by_rounds


def _possible_calls(scope: ArmedScope, step: Step, moved: Asset) -> Iterator[PlannedCall]:
    """Every shape that the calls of a step can take, whatever the allowances are when it fires, each with the step's
    most as its amount.
    """
    if step.action not in scope.market.actions:
        return
    cap = step_cap(step, moved)
    if step.action is ActionKind.SWAP_TO_REPAY:
        yield from _swap_shapes(scope, step, moved, cap)
    elif step.action in SALES:
        yield from _sale_shapes(scope, step, moved, cap)
        if _goes_in_rounds(scope, step, moved):
            yield from _swap_shapes(scope, step, moved, cap)
    elif step.action in FROM_WALLET:
        yield from _wallet_shapes(scope, step, moved, cap)
    else:
        yield from _built(scope, Action(step.action, moved, cap), scope.wallet)


def _wallet_shapes(scope: ArmedScope, step: Step, asset: Asset, cap: int) -> Iterator[PlannedCall]:
    spender = scope.market.spender(step.action)
    pays = scope.wallet_of(step)
    holding = pays.tokens.get(asset.address, TokenHolding(asset, 0))
    wraps = (0, min(cap, NATIVE_CAP)) if asset.address == scope.wrapped_native else (0,)
    for allowed in _ALLOWANCES:
        for permit in (holding.permit, None):
            allowances = MappingProxyType({spender: allowed} if spender else {})
            tokens = {**pays.tokens, asset.address: replace(holding, allowances=allowances, permit=permit)}
            wallet = replace(pays, tokens=MappingProxyType(tokens))
            for wrap in wraps:
                yield from _built(scope, Action(step.action, asset, cap, wrap=wrap), wallet)


def _swap_shapes(scope: ArmedScope, step: Step, sold: Asset, cap: int) -> Iterator[PlannedCall]:
    """Swaps by the account itself through every pool that may be asked, the withdrawal before them where they are
    rounds of a deleverage, and the repayments that follow.
    """
    debt = scope.market.find_asset(scope.position, step.asset)
    if debt is None or scope.swapper is None:
        return
    most = min(cap, UINT256_MAX - 1)
    repaid = _worth(scope, sold, most, debt)
    order = SwapOrder(step.signer(scope.position.key.account), sold, debt, most, repaid)
    wrappable = sold.address == scope.wrapped_native and step.action is ActionKind.SWAP_TO_REPAY
    wraps = (0, min(cap, NATIVE_CAP)) if wrappable else (0,)
    seen: set[str] = set()
    for shape in (*scope.swapper.shapes(order), *(one.shape(order) for one in scope.dialects)):
        sale = Sale(sold, most, most, 0, b"", shape.venue, SaleTerms("", "", 0), swap=shape)
        if step.action is ActionKind.DELEVERAGE:
            sale = replace(sale, withdrawn=most)
        # What is beside the swap itself is the same whatever pools it goes through, but for who is let.
        first = shape.spender not in seen
        seen.add(shape.spender)
        wallets = tuple(_letting(scope, scope.wallet_of(step), sold, shape.spender, debt))
        for wallet in wallets if first else wallets[:1]:
            for wrap in wraps if first else (0,):
                yield from _built(scope, Action(step.action, debt, repaid, sale, wrap), wallet)


def _letting(scope: ArmedScope, pays: Wallet, sold: Asset, exchange: str, debt: Asset) -> Iterator[Wallet]:
    """The wallet with whatever may be let of both tokens when it swaps and repays."""
    pool = scope.market.spender(ActionKind.REPAY)
    selling = pays.tokens.get(sold.address, TokenHolding(sold, 0))
    paying = pays.tokens.get(debt.address, TokenHolding(debt, 0))
    for allowed in _ALLOWANCES:
        for permit in (paying.permit, None):
            first = replace(selling, allowances=MappingProxyType({exchange: allowed}))
            then = replace(paying, allowances=MappingProxyType({pool: allowed} if pool else {}), permit=permit)
            tokens = {**pays.tokens, sold.address: first, debt.address: then}
            yield replace(pays, tokens=MappingProxyType(tokens))


def _worth(scope: ArmedScope, sold: Asset, amount: int, bought: Asset) -> int:
    """The most of what is bought that `amount` of what is sold could come to, with room for its price to rise."""
    prices = [scope.market.price_usd(scope.position, one) for one in (sold, bought)]
    if amount >= UINT256_MAX - 1 or not prices[0] or not prices[1]:
        return UINT256_MAX
    worth = amount * prices[0] * whole(bought.decimals) // (prices[1] * whole(sold.decimals))
    return min(max(worth * PRICE_ROOM, 1), UINT256_MAX)


def _sale_shapes(scope: ArmedScope, step: Step, collateral: Asset, cap: int) -> Iterator[PlannedCall]:
    """Sales without a route: which pools they go through is known only when they are made. What binds them is what is
    sold for what, how much at most, and the floor for the health after.
    """
    debt = scope.market.find_asset(scope.position, step.asset)
    if debt is None:
        return
    try:
        terms = scope.market.sale_shape(scope.position, collateral, step.action)
    except ActionImpossible:
        return
    most = min(cap, UINT256_MAX - 1)  # sellers take no sale without a limit
    # A boost may bring health down to its target and not a hair further: that is for the signer to see to as well.
    floor = WAD if step.action is not ActionKind.BOOST else max(scope.rule.target_health_factor or 0, WAD)
    bought = UINT256_MAX - 1 if step.action in SUPPLYING else UINT256_MAX
    permits = (_ANY_PERMIT, None)
    shapes = [replace(terms, allowed=allowed, permit=permit) for allowed in _ALLOWANCES for permit in permits]
    own = terms.of(scope.wallet)
    # What the account runs as its own code may be taken away while the rule is armed: the ways of a plain account stay.
    for shape in (*shapes, own) if own.delegated else shapes:
        sale = Sale(collateral, most, most, floor, b"", "", shape)
        yield from _built(scope, Action(step.action, debt, bought, sale), scope.wallet)


_ALLOWANCES = (0, 1, UINT256_MAX)
_ANY_PERMIT = PermitFacts("", "", "0x" + "00" * 32, 0)


def _built(scope: ArmedScope, action: Action, wallet: Wallet) -> Iterator[PlannedCall]:
    try:
        yield from scope.market.calls_for(scope.position, action, wallet, 0)
    except ActionImpossible:
        return


def _daily_cap(scope: ArmedScope, asset: Asset) -> int | None:
    daily = scope.rule.limits.daily_spend_usd
    price = scope.market.price_usd(scope.position, asset)
    if daily is None or not price:
        return None
    return daily * PRICE_ROOM * whole(asset.decimals) // price
