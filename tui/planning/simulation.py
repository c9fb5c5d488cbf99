"""Holding a simulation against the plan: nothing is signed unless the chain's own answer is what was planned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from tui.model.calls import Call, Simulation
from tui.model.plan import Action, Plan, PlannedCall, Refusal, Sale, SwapCall
from tui.model.position import Asset, Position
from tui.model.rule import BORROWING, FROM_WALLET
from tui.model.text import short_address
from tui.model.units import BPS, WAD, format_units
from tui.planning.events import strange_event
from tui.planning.payers import paid_by, sender_of
from tui.protocols import erc20
from tui.protocols.base import LendingMarket
from tui.risk.deleverage import weighted_collateral

HEALTH_TOLERANCE = WAD // 100_000
"""Relative: the simulated block is a block time later than the pinned one, so interest moves health a little."""
SALE_GAIN_TOLERANCE = WAD // 1_000
"""Relative: how much better than without any loss by the market's own prices a sale may come out."""
BORROW_ALLOWANCE = bytes.fromhex("6bd76d24")
"""borrowAllowance(address,address) of a debt token: who owes, then who may borrow for it (ICreditDelegationToken)."""
GAS_MARGIN_PERCENT = 30
GAS_MARGIN_UNITS = 25_000


def with_margin(used: int) -> int:
    """The gas limit of a call that took `used` units when it was simulated: the state may be another one by then."""
    return used + used * GAS_MARGIN_PERCENT // 100 + GAS_MARGIN_UNITS


def simulation_calls(plan: Plan) -> tuple[PlannedCall, ...]:
    """The calls to simulate before anything is signed: a permit call is stood in for by calls of the same effect."""
    return tuple(one for call in plan.calls for one in (call.stand_in if call.permit is not None else (call,)))


def simulation_reads(
    plan: Plan, market: LendingMarket, watched: Mapping[str, Iterable[str]] = MappingProxyType({})
) -> tuple[Call, ...]:
    """The reads that prove a simulation: the whole position again, the balance of every token touched in the wallet of
    its account and in that of every other one that pays (of all that are `watched` in a wallet whose account swaps by
    itself), what each that it lets may still take then, and for every seller of collateral what it may still take and
    what it holds.
    """
    account = plan.position.account
    return (
        *market.read_calls((account,)),
        *(erc20.balance_of(token, owner) for owner, tokens in _looked_at(plan, watched).items() for token in tokens),
        *(erc20.allowance(token, owner, spender) for owner, token, spender in _let(plan)),
        *(call for swap in _foreign(plan) for call in swap.registry),
        *(
            call
            for sale, debt in _sales(plan)
            for call in _leftover_calls(sale, debt, account, sale.terms.receipt in _credit_tokens(plan))
        ),
    )


def judge(
    plan: Plan,
    market: LendingMarket,
    calls: Sequence[PlannedCall],
    simulation: Simulation,
    balances: Mapping[str, int],
    payers: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
) -> Plan | Refusal:
    """The plan with gas limits and the health that simulation gave, or why it must not be signed.

    `calls` are those simulated (stand-ins or final), `balances` the wallet's tokens before, by address; `payers` the
    same of every other account that pays, by account.
    """
    for number, (call, done) in enumerate(zip(calls, simulation.calls, strict=True)):
        if not done.ok:
            why = f"simulated, “{call.words}” fails: {done.error or 'no reason given'}"
            return Refusal("simulation-reverted", why, failed=_made_for(calls, number))
    account = plan.position.account
    width = len(market.read_calls((account,)))
    later = replace(plan.block, timestamp=simulation.timestamp)
    reading = market.decode(later, (account,), simulation.reads[:width])
    after = reading.positions[0]
    if after.unknown is not None:
        return Refusal("simulation-unknown", f"the simulated position cannot be read: {after.unknown}")
    numbers = [None if one.data is None else erc20.decode_uint(one.data) for one in simulation.reads[width:]]
    held = {**payers, account: balances}
    refusal = _health_differs(plan, after)
    at = 0
    for owner, tokens in _looked_at(plan, held).items():
        told = numbers[at : at + len(tokens)]
        refusal = refusal or _balances_differ(plan, owner, tokens, told, held.get(owner, {}))
        at += len(tokens)
    let = _let(plan)
    lets = at + len(let)
    vouched = lets + sum(len(swap.registry) for swap in _foreign(plan))
    refusal = (
        refusal
        or _more_may_be_taken(let, numbers[at:lets])
        or _leads_elsewhere(plan, numbers[lets:vouched])
        or _touches_more(plan, calls, simulation)
        or _something_is_left(plan, numbers[vouched:])
    )
    if refusal is not None:
        return refusal
    return replace(plan, simulated=True, health_factor_after=after.health_factor, calls=_with_gas(plan, simulation))


def _made_for(calls: Sequence[PlannedCall], number: int) -> Action | None:
    """The action that a call belongs to: what lets, wraps or swaps stands before the call that it is made for."""
    return next((call.action for call in calls[number:] if call.action is not None), None)


def wallets_left(
    plan: Plan, market: LendingMarket, simulation: Simulation, watched: Mapping[str, Iterable[str]]
) -> Mapping[str, Mapping[str, int]]:
    """What the wallets of a plan hold after a simulation, in base units by account and token, as far as they were
    looked at (`watched` as in `simulation_reads`).
    """
    answers = iter(simulation.reads[len(market.read_calls((plan.position.account,))) :])
    found: dict[str, dict[str, int]] = {}
    for owner, tokens in _looked_at(plan, watched).items():
        for token, one in zip(tokens, answers, strict=False):
            held = None if one.data is None else erc20.decode_uint(one.data)
            if held is not None:
                found.setdefault(owner, {})[token] = held
    return found


def _touched(plan: Plan) -> dict[str, tuple[str, ...]]:
    """The tokens that a plan may move, each once, by whose wallet: that of the position's account comes first, with all
    of them, and every other one that pays with what it pays.
    """
    account = plan.position.account
    found: dict[str, dict[str, None]] = {account: {}}
    for step in plan.steps:
        found[account].setdefault(step.action.asset.address)
        found.setdefault(paid_by(step.action, account), {}).setdefault(step.action.asset.address)
        if step.action.sale is not None:
            found[account].setdefault(step.action.sale.collateral.address)
            found[paid_by(step.action, account)].setdefault(step.action.sale.collateral.address)
    return {owner: tuple(tokens) for owner, tokens in found.items()}


def _looked_at(plan: Plan, watched: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """The tokens whose balances are held against the plan, by whose wallet: where an account swaps by itself, whatever
    else a swap could take has to stay as well.
    """
    account = plan.position.account
    swapping = {paid_by(action, account) for action in _swaps(plan)}
    return {
        owner: tuple(dict.fromkeys((*tokens, *watched.get(owner, ())))) if owner in swapping else tokens
        for owner, tokens in _touched(plan).items()
    }


def _sales(plan: Plan) -> tuple[tuple[Sale, Asset], ...]:
    """The sales through a helper."""
    sales = ((step.action.sale, step.action.asset) for step in plan.steps)
    return tuple((sale, asset) for sale, asset in sales if sale is not None and sale.swap is None)


def _swaps(plan: Plan) -> tuple[Action, ...]:
    """What the account swaps by itself."""
    actions = (step.action for step in plan.steps)
    return tuple(one for one in actions if one.sale is not None and one.sale.swap is not None)


def _foreign(plan: Plan) -> tuple[SwapCall, ...]:
    """The swaps whose calls somebody else made."""
    swaps = (one.sale.swap for one in _swaps(plan) if one.sale is not None)
    return tuple(swap for swap in swaps if swap is not None and swap.source)


def _let(plan: Plan) -> tuple[tuple[str, str, str], ...]:
    """(owner, token, spender) of whatever is let in a plan in which an account swaps by itself, each once."""
    if not _swaps(plan):
        return ()
    found: dict[tuple[str, str, str], None] = {}
    for call in plan.calls:
        owner = sender_of(call, plan.position.account)
        if call.permit is not None:
            found.setdefault((owner, call.permit.token, call.permit.spender))
        elif call.selector == erc20.APPROVE:
            found.setdefault((owner, call.to, "0x" + call.data[16:36].hex()))
    return tuple(found)


def _credit_tokens(plan: Plan) -> frozenset[str]:
    """The debt tokens by which a plan borrows."""
    return frozenset(
        step.action.sale.terms.receipt
        for step in plan.steps
        if step.action.sale is not None and step.action.kind in BORROWING
    )


def _leftover_calls(sale: Sale, debt: Asset, account: str, borrows: bool) -> tuple[Call, ...]:
    helper = sale.terms.helper
    held = (sale.terms.receipt, sale.collateral.address, debt.address)
    let = erc20.allowance(sale.terms.receipt, account, helper)
    if borrows:
        let = Call(sale.terms.receipt, BORROW_ALLOWANCE + erc20.address_word(account) + erc20.address_word(helper))
    return (let, *(erc20.balance_of(token, helper) for token in held))


def _health_differs(plan: Plan, after: Position) -> Refusal | None:
    expected, simulated = plan.health_factor_after, after.health_factor
    if expected is None or simulated is None:
        if expected is simulated or (expected is None and _is_interest(plan, after)):
            return None
        return Refusal("simulation-disagrees", "simulated, the debt that is left is not what was planned")
    if plan.floor is not None:
        if simulated < plan.floor:
            told = f"{format_units(simulated, 18, 6)}, under the {format_units(plan.floor, 18, 6)} it is not to pass"
            return Refusal("simulation-disagrees", f"simulated, the health factor would be {told}")
    elif simulated <= plan.health_factor_before:
        return Refusal("simulation-disagrees", "simulated, the health factor would not rise")
    above = SALE_GAIN_TOLERANCE + _lossless_gain(plan, after) if _sales(plan) else HEALTH_TOLERANCE
    tolerance = (above if simulated > expected else HEALTH_TOLERANCE) + _rounding(after)
    if abs(simulated - expected) * WAD > expected * tolerance:
        told = f"{format_units(simulated, 18, 6)} instead of {format_units(expected, 18, 6)}"
        return Refusal("simulation-disagrees", f"simulated, the health factor would be {told}")
    return None


def _lossless_gain(plan: Plan, after: Position) -> int:
    """Relative, wad: how much better than planned health would be had the sales lost nothing. Between two quotes
    planning never promises too much, and far from both it promises a good deal less than comes out.
    """
    costs = [sale.cost for sale, _ in _sales(plan)]
    saved = sum(max(cost.fees_usd + cost.impact_usd + cost.gap_usd, 0) for cost in costs)
    # What is not sold still covers, up to all of its value; what need not be borrowed is not owed.
    borrows = any(step.action.kind in BORROWING for step in plan.steps)
    weight = (after.debt_usd or 0) * WAD if borrows else weighted_collateral(after) or 0
    return saved * WAD * WAD // weight if weight else 0


def _is_interest(plan: Plan, after: Position) -> bool:
    """Whether all that is still owed is what the debts that a plan clears earned until the block after."""
    repaid: dict[str, int] = {}
    for step in plan.steps:
        repaid[step.action.asset.address] = repaid.get(step.action.asset.address, 0) + step.action.amount
    return all(
        one.amount * WAD <= repaid.get(one.asset.address, 0) * HEALTH_TOLERANCE + WAD
        for one in after.debt
        if one.amount
    )


def _rounding(after: Position) -> int:
    """Relative, wad: how much health moves by one basis point of the average threshold, where several kinds count.

    Protocols round that average to a basis point, and the interest of one block may turn it: a size that just reaches
    a target is often one that just turns it.
    """
    counted = [(one.value_usd or 0, one.liquidation_threshold) for one in after.collateral if one.counts]
    weighted = sum(value * threshold for value, threshold in counted)
    if len({threshold for _, threshold in counted}) < 2 or weighted <= 0:
        return 0
    return WAD // BPS * sum(value for value, _ in counted) * WAD // weighted


def _balances_differ(
    plan: Plan, owner: str, tokens: tuple[str, ...], after: Sequence[int | None], before: Mapping[str, int]
) -> Refusal | None:
    """Exactly what the plan says may leave the wallet of `owner`. What is wrapped comes in before it goes out. A token
    that a sale touches may come back in part, one that the wallet does not pay with may only grow.
    """
    account = plan.position.account
    assets = {step.action.asset.address: step.action.asset for step in plan.steps}
    sales = [step.action.sale for step in plan.steps if step.action.sale is not None]
    assets.update({sale.collateral.address: sale.collateral for sale in sales})
    pays = [step.action for step in plan.steps if paid_by(step.action, account) == owner]
    swaps = [action for action in _swaps(plan) if paid_by(action, account) == owner]
    paying = {action.asset.address for action in pays if action.kind in FROM_WALLET}
    paying |= {one.sale.collateral.address for one in swaps if one.sale is not None}
    sold = {token for sale, debt in _sales(plan) for token in (sale.collateral.address, debt.address)}
    sold = sold if owner == account else set()
    # What comes out of a swap beyond what it repays stays in the wallet.
    sold |= {one.asset.address for one in swaps}
    for token, balance in zip(tokens, after, strict=True):
        if token not in before and token not in paying:
            continue
        if balance is None or token not in before:
            return Refusal("simulation-unknown", "a token balance could not be read after the simulation")
        used = sum(_used(action, token) for action in pays)
        spare = sum(action.spare for action in pays if action.kind in FROM_WALLET and action.asset.address == token)
        moved = before[token] - balance
        if used <= moved <= used + spare or (moved < used and (token in sold or token not in paying)):
            continue
        whose = "the wallet" if owner == account else f"the wallet of {short_address(owner)}"
        asset = assets.get(token)
        if asset is None:
            return Refusal("simulation-disagrees", f"simulated, {moved} units of {token} would leave {whose} as well")
        return Refusal(
            "simulation-disagrees",
            f"simulated, {format_units(moved, asset.decimals)} {asset.symbol} would leave {whose} instead of "
            f"{format_units(used, asset.decimals)}",
        )
    return None


def _used(action: Action, token: str) -> int:
    """Base units of a token that an action takes out of the wallet; what is wrapped comes in before."""
    sale = action.sale
    if action.kind in FROM_WALLET and action.asset.address == token:
        return action.amount - action.wrap
    if sale is None or sale.swap is None:
        return 0
    if sale.collateral.address == token:
        return sale.sold - action.wrap - (sale.withdrawn or 0)
    return sale.added if action.asset.address == token else 0


def _more_may_be_taken(let: Sequence[tuple[str, str, str]], numbers: Sequence[int | None]) -> Refusal | None:
    """Whether anything of an allowance that the plan itself gives is left."""
    for (_, _, spender), left in zip(let, numbers, strict=True):
        if left is None:
            return Refusal("simulation-unknown", "what may still be taken of the wallet could not be read")
        if left:
            return Refusal("simulation-disagrees", f"simulated, {spender} could take more of the wallet afterwards")
    return None


def _leads_elsewhere(plan: Plan, numbers: Sequence[int | None]) -> Refusal | None:
    """Whether a foreign call hands the tokens to a contract that its registry does not know. The first answer tells the
    one in use, and none at all that the service is stopped; the second tells the one before it.
    """
    answers = iter(numbers)
    for swap in _foreign(plan):
        known = [next(answers) for _ in swap.registry]
        if known and (not known[0] or int(swap.leads_to, 16) not in known):
            what = f"{swap.leads_to}, which {swap.source} itself does not name in its registry"
            return Refusal("foreign-call", f"the call of {swap.source} leads to {what}")
    return None


def _touches_more(plan: Plan, calls: Sequence[PlannedCall], simulation: Simulation) -> Refusal | None:
    """Whether a foreign call moves or lets anything of its account's beside what it is to sell, by its own events."""
    for action, sale in ((one, one.sale) for one in _swaps(plan)):
        swap = None if sale is None else sale.swap
        if sale is None or swap is None or not swap.source:
            continue
        done = [one for call, one in zip(calls, simulation.calls, strict=True) if call.data == swap.data]
        if len(done) != 1 or done[0].logs is None:
            why = f"the node does not tell what the call of {swap.source} touches"
            return Refusal("simulation-unknown", f"{why}; it has to know eth_simulateV1")
        owner = paid_by(action, plan.position.account)
        strange = strange_event(done[0].logs, owner, swap, sale.collateral.address)
        if strange is not None:
            return Refusal("foreign-call", f"simulated, the call of {swap.source} {strange}")
    return None


def _something_is_left(plan: Plan, numbers: Sequence[int | None]) -> Refusal | None:
    """Whether a seller may take more than before, or keeps what it sold.

    Anybody can send a token to a contract, so a balance there proves nothing while it is less than what was moved:
    what a plan really lost shows in the position and in the wallet.
    """
    sales = _sales(plan)
    each = len(numbers) // len(sales) if sales else 0
    for place, (sale, debt) in enumerate(sales):
        allowed, *held = numbers[place * each : (place + 1) * each]
        if allowed is None or any(one is None for one in held) or len(held) != 3:
            return Refusal("simulation-unknown", "what the sale leaves at its helper could not be read")
        borrows = sale.terms.receipt in _credit_tokens(plan)
        # Of credit stays what was not borrowed of it; nothing of an allowance stays that was not there before.
        most = max(sale.terms.allowed, sale.most_sold - 1) if borrows else sale.terms.allowed
        if allowed > most:
            could = "borrow" if borrows else "take"
            return Refusal(
                "simulation-disagrees", f"simulated, the helper could {could} more {sale.collateral.symbol} afterwards"
            )
        for amount, moved in zip(held, (sale.most_sold, sale.most_sold, _sale_debt(plan, debt)), strict=True):
            if (amount or 0) >= moved:
                return Refusal("simulation-disagrees", "simulated, what was moved would stay with the helper")
    return None


def _sale_debt(plan: Plan, debt: Asset) -> int:
    """Base units of `debt` that all sales of a plan repay."""
    return sum(step.action.amount for step in plan.steps if step.action.sale is not None and step.action.asset == debt)


def _with_gas(plan: Plan, simulation: Simulation) -> tuple[PlannedCall, ...]:
    """The plan's calls with gas limits. A permit call does the work of all its stand-ins in one transaction."""
    calls: list[PlannedCall] = []
    at = 0
    for call in plan.calls:
        width = len(call.stand_in) if call.permit is not None else 1
        used = sum(done.gas_used for done in simulation.calls[at : at + width])
        at += width
        calls.append(replace(call, gas_used=used, gas_limit=with_margin(used)))
    return tuple(calls)
