"""Sales and choices of a plan in words: what is sold, where, down to which floor, for how much, and what else there is.

Every line fits its width. A cost that is not known is said to be unknown and never drawn as nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from tui.model.plan import Action, Alternative, Plan, PlanCost, Sale, SwapCost
from tui.model.rounds import Behind
from tui.model.rule import BORROWING, SUPPLYING, ActionKind
from tui.model.text import short_address
from tui.screen.clean import clean_text
from tui.screen.figures import amount, dollars, gwei, health, health_or
from tui.screen.lines import Line, Span, line, split, width_of, wrap
from tui.screen.words import ACTION

LABEL = 9
"""Cells of a label, such as `gas`."""
MOST_WAYS = 5
"""As many ways that could be taken, and as many that could not, are told; of the rest only how many."""


def deed(action: Action) -> str:
    """`repay 5,214.20 USDC`, `sell 1.7400 WETH, repay 5,214.20 USDC`, `borrow 5,000.00 USDC, supply 2.0000 WETH`; with
    whose tokens they are where another account pays.
    """
    paid = f"{amount(action.amount, action.asset.decimals)} {clean_text(action.asset.symbol, 12)}"
    payer = "" if action.payer is None else short_address(action.payer)
    if action.sale is not None:
        given = "borrow" if action.kind in BORROWING else "sell"
        if action.kind is ActionKind.SWAP_TO_REPAY:
            given = "swap"
        whose = f" of {payer}" if payer else ""
        taken = "supply" if action.kind in SUPPLYING else "repay"
        return f"{given} {_sold(action.sale)}{whose}, {taken} {paid}"
    if action.kind is ActionKind.REPAY_WITH_ATOKENS:
        return f"repay {paid} out of the supply"
    payer = f" from {payer}" if payer else ""
    return f"{ACTION[action.kind]} {paid}{payer}"


def is_boost(plan: Plan) -> bool:
    """Whether it takes on debt to hold more, and so defends nothing."""
    return any(step.action.kind is ActionKind.BOOST for step in plan.steps)


def aim_word(plan: Plan) -> str:
    """What it is for: `boost`, `close` where a part is to be closed, else `defend`."""
    if is_boost(plan):
        return "boost"
    return "defend" if plan.closed_bps is None else "close"


def _sold(sale: Sale) -> str:
    """What is expected to be sold or borrowed; before any pool is asked only the most is known."""
    most = f"{amount(sale.most_sold, sale.collateral.decimals)} {clean_text(sale.collateral.symbol, 12)}"
    if not sale.is_quoted:
        return f"up to {most}"
    return f"{amount(sale.sold, sale.collateral.decimals)} {clean_text(sale.collateral.symbol, 12)}"


def sale_actions(plan: Plan) -> tuple[Action, ...]:
    """The sales among a plan's steps that do something, with what each is for."""
    return tuple(step.action for step in plan.steps if step.action.sale is not None and step.action.amount)


def sales_of(plan: Plan) -> tuple[Sale, ...]:
    """How those are paid for."""
    return tuple(one.sale for one in sale_actions(plan) if one.sale is not None)


def sale_lines(action: Action, width: int, indent: str = "    ") -> list[Line]:
    """The limit, the venue and the floor that the chain itself holds a sale to; nothing for what is no sale."""
    sale = action.sale
    if sale is None:
        return []
    verb = "borrows" if action.kind in BORROWING else "sells"
    most = f"{amount(sale.most_sold, sale.collateral.decimals)} {clean_text(sale.collateral.symbol, 12)}"
    where = f" on {clean_text(sale.venue, 60)}" if sale.is_quoted else ""
    if sale.swap is not None:
        symbol, digits = clean_text(action.asset.symbol, 12), action.asset.decimals
        said = f"swaps exactly {most}{where}; undone by the chain if less than {amount(sale.swap.least_out, digits)} "
        said += f"{symbol} would come out"
        if sale.surplus:
            said += f"; some {amount(sale.surplus, digits)} {symbol} more are likely to, and stay in the wallet"
        return wrap(said, width, "muted", indent, indent)
    floor = f"undone by the chain if health would end under {health(sale.min_health)}"
    return wrap(f"{verb} at most {most}{where}; {floor}", width, "muted", indent, indent)


def rounds_lines(plan: Plan, width: int, indent: str = "  ") -> list[Line]:
    """Which round of several a plan is, what those ahead are likely to take, and how low health is meanwhile."""
    rounds = plan.rounds
    if rounds is None:
        return []
    unit = None if plan.cost.gas_usd is None or not plan.cost.gas_units else plan.cost.gas_usd / plan.cost.gas_units
    gas = "unknown" if unit is None else dollars(int(unit * rounds.gas_units))
    ends = health_or(rounds.ends_at, "no debt")
    told = f"{rounds.words}: it goes {rounds.why}. A yes is one for all of them, as long as they do no more than this."
    rows = wrap(told, width, "warn", f"{indent}▲ ", f"{indent}  ")
    ahead = f"ahead: sales of {dollars(rounds.spend_usd)}, losing {dollars(rounds.swap_usd)}, gas {gas}; ends at {ends}"
    rows += wrap(ahead, width, "muted", f"{indent}  ", f"{indent}  ")
    if rounds.behind:
        then = f"that is with what follows on them: {'; '.join(map(_then, rounds.behind))}"
        rows += wrap(then, width, "muted", f"{indent}  ", f"{indent}  ")
    exposed = f"until this round has repaid, health is down to {health(rounds.lowest)}"
    return rows + wrap(exposed, width, "muted", f"{indent}  ", f"{indent}  ")


def _then(one: Behind) -> str:
    """`repay some 900.00 DAI`, `sell some 0.4100 WETH, repay 950.00 DAI`: what is foreseen of a step behind rounds."""
    paid = f"{amount(one.amount, one.asset.decimals)} {clean_text(one.asset.symbol, 12)}"
    if one.pays == one.asset:
        return f"{ACTION[one.kind]} some {paid}"
    sold = f"{amount(one.taken, one.pays.decimals)} {clean_text(one.pays.symbol, 12)}"
    return f"{'swap' if one.kind is ActionKind.SWAP_TO_REPAY else 'sell'} some {sold}, repay {paid}"


def _is_assumed(plan: Plan) -> bool:
    """Whether no pool was asked yet, so that a sale is taken to lose all that its step allows."""
    return not all(sale.is_quoted for sale in sales_of(plan))


def swap_words(plan: Plan) -> str:
    """What the sales of a plan cost: `$12.34`, `up to $26.07` before a pool is asked, or `unknown`."""
    swap = plan.cost.swap
    # A sale that costs nothing at all, in none of its parts, is one that nobody has priced.
    if swap == SwapCost():
        return "unknown"
    return f"up to {dollars(swap.total_usd)}" if _is_assumed(plan) else dollars(swap.total_usd)


def _swap_parts(plan: Plan) -> str:
    swap = plan.cost.swap
    if swap == SwapCost():
        return ""
    loan = f" · flash loan {dollars(swap.premium_usd)}"
    if all(sale.swap is not None for sale in sales_of(plan)):
        loan = ""  # the account sells by itself
    if _is_assumed(plan):
        allowed = swap.total_usd - swap.premium_usd
        return f"max_slippage allows {dollars(allowed)}{loan}; no pool is asked yet"
    return (
        f"pools {dollars(swap.fees_usd)} · impact {dollars(swap.impact_usd)} · oracle gap {dollars(swap.gap_usd)}{loan}"
    )


def figure_lines(label: str, figure: str, note: str, width: int) -> list[Line]:
    """A label, a figure and what it is made of: on one line where that fits, else the rest below."""
    head = (Span(f"{label:<{LABEL}}", "muted"), Span(figure))
    whole = (*head, Span(f"  {note}", "muted"))
    if not note or width_of(whole) <= width:
        return [Line(whole if note else head)]
    return [Line(head), *wrap(note, width, "muted", " " * LABEL, " " * LABEL)]


def gas_lines(plan: Plan, width: int) -> list[Line]:
    """Gas as expected, and at the most that any attempt may pay; what layer 1 takes of it for data, on rollups."""
    cost = plan.cost
    unknown = "unknown" if cost.l1_fee_wei is None else "unknown price"
    figure = unknown if cost.gas_usd is None else dollars(cost.gas_usd)
    most = "" if cost.gas_ceiling_usd is None else f", {dollars(cost.gas_ceiling_usd)} in all"
    units = f"{cost.gas_units:,} units" if cost.gas_limit is None else f"{cost.gas_units:,} of {cost.gas_limit:,} units"
    note = f"{units}, at most {gwei(plan.fees.ceiling)} a unit{most}"
    return figure_lines("gas", figure, note, width) + _data_lines(cost, width)


def _data_lines(cost: PlanCost, width: int) -> list[Line]:
    """Nothing where a chain charges nothing for data, or has it in its gas."""
    if cost.l1_fee_wei == 0:
        return []
    if cost.l1_fee_wei is None:
        return figure_lines("l1 data", "unknown", "l1_fee_oracle of the network file gives no answer", width)
    figure = "unknown price" if cost.l1_data_usd is None else dollars(cost.l1_data_usd)
    return figure_lines("l1 data", figure, "of the gas, for data on layer 1", width)


def swap_lines(plan: Plan, width: int) -> list[Line]:
    """What sales cost and where it goes, the sum with gas, and the yield that is given up, which is in no sum."""
    if not sales_of(plan):
        return []
    cost = plan.cost
    rows = figure_lines("sale", swap_words(plan), _swap_parts(plan), width)
    total = "unknown"
    if cost.total_usd is not None and cost.swap != SwapCost():
        total = f"up to {dollars(cost.total_usd)}" if _is_assumed(plan) else dollars(cost.total_usd)
    rows += figure_lines("total", total, "", width)
    lost = cost.lost_yield_usd_year
    figure = dollars(None if lost is None else abs(lost))
    word = "saved a year, net" if lost is not None and lost < 0 else "lost a year"
    return rows + figure_lines("yield", figure, f"{word}; in no sum", width)


def alternative_lines(ways: Sequence[Alternative], width: int, indent: str = "  ") -> list[Line]:
    """Ways to defend, cheapest first, then those that cannot be taken with the reason for each."""
    open_ways = [one for one in ways if one.why_not is None]
    closed = [one for one in ways if one.why_not is not None]
    rows = [row for one in open_ways[:MOST_WAYS] for row in _way(one, width, indent)]
    for one in closed[:MOST_WAYS]:
        said = f"{clean_text(one.words, 80)}: {clean_text(one.why_not or '', 200)}"
        rows += wrap(said, width, "muted", f"{indent}✖ ", f"{indent}  ")
    more = max(0, len(open_ways) - MOST_WAYS) + max(0, len(closed) - MOST_WAYS)
    return rows + ([line((f"{indent}and {more} more", "muted"))] if more else [])


def _way(way: Alternative, width: int, indent: str) -> list[Line]:
    reach = health_or(way.health_factor_after, "no debt" if way.reaches_target else "unknown")
    role = "" if way.reaches_target else "warn"
    short = "" if way.reaches_target else " short"
    words = clean_text(way.words, 80)
    right = [Span(_total(way)), Span(f" → {reach}{short}", role or "muted")]
    left = [Span(f"{indent}{words}", role)]
    if width_of(left) + width_of(right) + 1 <= width:
        return [split(left, right, width)]
    return [*wrap(words, width, role, indent, indent), split([], right, width)]


def _total(way: Alternative) -> str:
    """What a way costs: to the cent only where it was simulated."""
    total = None if way.cost is None else way.cost.total_usd
    about = "" if way.simulated else "about "
    return "cost unknown" if total is None else f"{about}{dollars(total)}"
