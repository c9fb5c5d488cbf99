"""`trimtab positions` and `trimtab plan`: one look at the chain, or one a block. Sign nothing, lock nothing."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import replace

from tui.config.options import Options, UsageError, options_from
from tui.engine.conditions import Condition, Consequence, acting_rule, first
from tui.engine.continuing import Begun, begun, firings_since, going_on, is_worth_it, refuse_again
from tui.engine.freshness import SILENT_AFTER_BLOCKS
from tui.engine.further import SPAN, refuse_further
from tui.engine.live_rules import live_errors, live_faults
from tui.engine.numbering import numbered
from tui.engine.patience import BLOCKS
from tui.engine.retrying import refuse_retry
from tui.engine.rulebook import on_record, recalled, why_waits
from tui.engine.validation import problems_of, said_once
from tui.headless.as_json import block_json, evaluation_json, positions_json, usd, wad
from tui.headless.next_block import FIRST_BLOCK_SECONDS, first_head, next_head, states_of
from tui.headless.output import Exit, data, data_json, talk
from tui.model.block import BlockRef
from tui.model.plan import Alternative, Evaluation, FeeQuote, Plan, Refusal
from tui.model.position import Position
from tui.model.rule import Mode, Rule, RuleProblem
from tui.model.snapshot import Snapshot
from tui.model.text import short_address
from tui.model.units import USD
from tui.planning.shortfalls import lacking_steps
from tui.planning.texts import amount_text
from tui.planning.validate import BEYOND_LIQUIDATION
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.journal import JournalError
from tui.rules.evaluate import VerdictKind, step
from tui.rules.match import applies
from tui.wiring import Wired, wire

CANNOT_WORK = "cannot-work"

Look = Callable[[Wired, BlockRef], Awaitable[int]]


def run_positions(args: argparse.Namespace) -> int:
    """Show positions; the exit code."""

    async def look(wired: Wired, block: BlockRef) -> int:
        snapshot = await wired.engine.watch.snapshot(block)
        if args.json:
            data_json(positions_json(snapshot, wired.network.chain_id))
        else:
            _print_positions(snapshot)
        return Exit.DONE

    return _run(args, look, forever=args.watch)


def run_plan(args: argparse.Namespace) -> int:
    """Show what every rule would do at this block; the exit code."""

    async def look(wired: Wired, block: BlockRef) -> int:
        wired.engine.book.reload(force=True)
        for fault in wired.engine.book.faults:
            talk(f"rules: {fault}")
        # Whoever pays: a plan is made up of what is in all of these wallets, whether their keys are here or not.
        paying = [one for rule in wired.engine.book.rules if rule.mode is not Mode.NOTIFY for one in rule.wallets]
        wired.engine.watch.defend([*wired.engine.watch.accounts, *paying])
        snapshot, fees = await asyncio.gather(wired.engine.watch.snapshot(block), wired.engine.ports.fees.quote(block))
        found = [
            await evaluate(wired, rule, position, snapshot, fees)
            for rule in wired.engine.book.rules
            for position in snapshot.positions
            if applies(rule, position.key)
        ]
        unmatched = _unmatched(wired, snapshot, {one.rule for one in found})
        if args.json:
            told = {"block": block_json(block), "rules": [evaluation_json(one) for one in found]}
            data_json({**told, "unmatched": [{"rule": rule, "why": why} for rule, why in unmatched.items()]})
        else:
            _print_plans(found)
            for rule, why in unmatched.items():
                data(f"{rule}: covers NOTHING here: {why}")
        return Exit.FOUND if any(fault.severity == "error" for fault in wired.engine.book.faults) else Exit.DONE

    return _run(args, look, forever=False)


def _unmatched(wired: Wired, snapshot: Snapshot, matched: Set[str]) -> dict[str, str]:
    """Why each rule that is not `matched` to any position covers nothing: silence would look like a calm rule."""
    faults = live_faults(wired.engine.book.sets, snapshot, wired.engine.prospect.markets)
    found = {}
    for rule in wired.engine.book.rules:
        if rule.name not in matched:
            why = next((str(one) for one in faults if one.rule == rule.name and one.field == "position"), None)
            found[rule.name] = why or f"no watched account has a position at {rule.position}"
    return found


async def evaluate(wired: Wired, rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote) -> Evaluation:
    """What `rule` would do at this one block, counting only it: a rule of several blocks still has to wait. Why an
    engine would not do it there is told beside: what the record says that it remembers (it fired already, it rests),
    what it stands on, an answer that is waited for, firings of the last hour.
    """
    conditions = () if position.unknown is not None else wired.engine.guard.judge(rule, position, snapshot)
    found = await _evaluate_anew(wired, rule, position, snapshot, fees, conditions)
    found = replace(found, problems=await _problems(wired, rule, position, snapshot, fees, found.refused))
    if not found.fires and found.plan is None and found.refused is None:
        return found
    price = wired.engine.prospect.price_of(rule, position)
    waits = why_waits(wired.record, rule, position, snapshot.block, price) or found.waits
    if waits is None and found.plan is not None:
        waits = _why_not_yet(wired, rule, position, found.plan, conditions, snapshot.native_price_usd)
    return replace(found, waits=waits)


def _why_not_yet(
    wired: Wired,
    rule: Rule,
    position: Position,
    plan: Plan,
    conditions: Sequence[Condition],
    native_price_usd: int | None,
) -> str | None:
    """Why an engine would not carry a plan out at its block, though it can be done; None where it would."""
    held = first(conditions, Consequence.DISARM) or first(conditions, Consequence.HOLD_BACK)
    if held is not None:
        return f"held back: {held}"
    since = plan.block.timestamp - SPAN
    firings = () if wired.record is None else wired.record.signed_firings(wired.network.chain_id, since)
    rests = refuse_retry(rule, position.id, plan, firings, native_price_usd)
    if rests is not None:
        return rests.reason
    if plan.awaits is not None:
        return (
            f"{plan.awaits}, and without that it only {plan.shortfall}: an engine tries again at every block, and does "
            f"that much once it has waited for {BLOCKS} blocks"
        )
    is_rest = bool(recalled(wired.record, rule, position).closing)
    further = refuse_further(rule, position.id, plan, firings, is_rest=is_rest)
    return None if further is None else further.reason


async def _problems(
    wired: Wired, rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote, refused: Refusal | None
) -> tuple[RuleProblem, ...]:
    """What would be said of a rule, were it armed now; what its file tells already is told once: as why it is
    `refused`, or here. A trigger that cannot work is among it, though nothing is beyond it yet.
    """
    if rule.mode is Mode.NOTIFY:
        return ()
    prospect = wired.engine.prospect
    found = await problems_of(rule, position, snapshot, fees, prospect)
    faults = live_errors(rule.name, wired.engine.book.sets, snapshot, prospect.markets)
    if refused is not None:
        return said_once(rule, found, faults)
    if any(one.code == BEYOND_LIQUIDATION for one in found):
        return found
    wrong = [one for one in faults if (one.field or "").startswith("when")]
    return (*(RuleProblem(CANNOT_WORK, None, one.what, one.fix, decisive=True) for one in wrong), *found)


async def _evaluate_anew(
    wired: Wired,
    rule: Rule,
    position: Position,
    snapshot: Snapshot,
    fees: FeeQuote,
    conditions: Sequence[Condition],
) -> Evaluation:
    """The same, as if it had never fired, but for a firing that it goes on with. Steps that `conditions` take out are
    left out, as the engine does.
    """
    state = recalled(wired.record, rule, position)
    price = wired.engine.prospect.price_of(rule, position)
    _, verdict = step(rule, state, position, snapshot.block, price)
    below = verdict.kind in (VerdictKind.FIRES, VerdictKind.COUNTING)
    if not below or rule.mode is Mode.NOTIFY:
        refused = None if position.unknown is None else Refusal("unknown", position.unknown)
        ahead = None if below or refused is not None else _ahead(wired, rule, position, snapshot, fees)
        return Evaluation(rule.name, position.id, snapshot.block, verdict.fires, verdict.why, None, refused, ahead)
    wrong = live_errors(rule.name, wired.engine.book.sets, snapshot, wired.engine.prospect.markets)
    if wrong:
        refused = Refusal(CANNOT_WORK, str(wrong[0]))
        return Evaluation(rule.name, position.id, snapshot.block, verdict.fires, verdict.why, None, refused)
    acting = acting_rule(rule, conditions)
    if rule.steps and not acting.steps:
        refused = Refusal("step-out", first(conditions, Consequence.STEP_OUT) or "")
        return Evaluation(rule.name, position.id, snapshot.block, verdict.fires, verdict.why, None, refused)
    before = _begun(wired, rule, position, snapshot.block)
    plan, before = await going_on(
        before,
        snapshot.block.timestamp,
        lambda taken: wired.engine.prospect.simulated_plan(
            acting, position, snapshot, fees, closing=state.closing, taken=numbered(acting, taken)
        ),
        lambda made: is_worth_it(rule, made),
    )
    rests = None if before is None else refuse_again(rule, acting, plan, before, snapshot.block.timestamp)
    if isinstance(plan, Refusal):
        return Evaluation(rule.name, position.id, snapshot.block, verdict.fires, verdict.why, None, rests or plan)
    plan = lacking_steps(rule, acting, plan, first(conditions, Consequence.STEP_OUT))
    waits = None if rests is None else rests.reason
    return Evaluation(rule.name, position.id, snapshot.block, verdict.fires, verdict.why, plan, None, waits=waits)


def _begun(wired: Wired, rule: Rule, position: Position, block: BlockRef) -> Begun | None:
    """What a firing at a block would go on with, by the record."""
    if wired.record is None:
        return None
    fired = wired.record.signed_firings(wired.network.chain_id, firings_since(rule, block.timestamp))
    state = on_record(wired.record, rule, position)
    return begun(rule, position.id, state, position.health_factor, fired, block.timestamp)


def _ahead(wired: Wired, rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote) -> Plan | Refusal | None:
    """What a calm rule would do where its trigger lies; None where it never acts or owes nothing."""
    if rule.mode is Mode.NOTIFY or position.health_factor is None:
        return None
    prospect = wired.engine.prospect
    return prospect.plan(rule, prospect.at_trigger(rule, position), snapshot, fees)


def _run(args: argparse.Namespace, look: Look, forever: bool) -> int:
    try:
        options = options_from(args)
        wired = wire(options, signing=False)
    except UsageError as error:
        talk(f"trimtab: {error}")
        return error.exit_code
    except JournalError as error:
        talk(f"trimtab: {error}")
        return Exit.REFUSED
    for notice in wired.engine.setup.notices:
        talk(f"trimtab: {notice}")
    try:
        return asyncio.run(_look(wired, options, look, forever))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


async def _look(wired: Wired, options: Options, look: Look, forever: bool) -> int:
    del options
    heads, reader = wired.engine.ports.heads.heads(), wired.engine.ports.reader
    patience = max(FIRST_BLOCK_SECONDS, SILENT_AFTER_BLOCKS * wired.network.block_time)
    seen = False
    try:
        while True:
            try:
                block = await (next_head(heads, reader, patience) if seen else first_head(heads, reader))
                seen = True
                code = await look(wired, block)
            except TimeoutError:
                talk(f"trimtab: no chain reached: {states_of(reader)}; check --rpc or the network file")
                return Exit.NO_CHAIN
            except (ChainUnreachable, ReadFailed) as error:
                talk(f"trimtab: {error}")
                if not forever:
                    return Exit.NO_CHAIN
                continue
            if not forever:
                return code
    finally:
        await heads.aclose()  # type: ignore[attr-defined]
        await wired.aclose()


def _print_positions(snapshot: Snapshot) -> None:
    data(f"block {snapshot.block.number}")
    for position in snapshot.positions:
        name = f"{position.key.market} {short_address(position.key.account)}"
        if position.unknown is not None:
            data(f"{name}  UNKNOWN: {position.unknown}")
            continue
        health = "no debt" if position.health_factor is None else f"HF {wad(position.health_factor, 4)}"
        data(
            f"{name}  {health}  {position.status}  collateral ${usd(position.collateral_usd)}  "
            f"debt ${usd(position.debt_usd)}"
        )
        for held in position.holdings:
            at = "" if held.liquidation_price_usd is None else f"  liquidation at ${usd(held.liquidation_price_usd)}"
            data(f"    {held.asset.symbol} ${usd(held.value_usd)} at ${usd(held.price_usd)}{at}")


def _print_plan(plan: Plan, described: str) -> None:
    told = f"    would {described}, gas {_dollars(plan.cost.gas_usd)}"
    actions = [step.action for step in plan.steps if step.action.sale is not None]
    sales = [action.sale for action in actions if action.sale is not None]
    data(f"{told}, sales {_dollars(plan.cost.swap_usd)}, {_dollars(plan.cost.total_usd)} in all" if sales else told)
    lost = plan.cost.lost_yield_usd_year
    kept = "yield it gives up: not known" if lost is None else f"yield it gives up {_dollars(lost)} a year"
    data(f"    gas at most {_dollars(plan.cost.gas_ceiling_usd)}; {kept}")
    if plan.shortfall is not None:
        data(f"    {plan.shortfall}")
    elif plan.left_out:
        data(f"    left out: {'; '.join(plan.left_out)}")
    for action, sale in zip(actions, sales, strict=True):
        sold, most = (amount_text(amount, sale.collateral) for amount in (sale.sold, sale.most_sold))
        if sale.swap is None:
            floor = wad(sale.min_health, 4)
            data(f"    sells {sold}, at most {most}, on {sale.venue}; undone if health would end under {floor}")
        else:
            least, kept = (amount_text(amount, action.asset) for amount in (sale.swap.least_out, sale.surplus))
            data(f"    swaps exactly {sold} on {sale.venue}, undone if less than {least} would come out")
            whose = "the wallet" if action.payer is None else f"the wallet of {short_address(action.payer)}"
            data(f"    some {kept} more are likely to come out: they stay in {whose}")
        cost = sale.cost
        parts = {
            "pools": cost.fees_usd,
            "impact": cost.impact_usd,
            "gap to the oracle": cost.gap_usd,
            "flash loan": cost.premium_usd,
        }
        data("    it costs: " + ", ".join(f"{name} {_dollars(part)}" for name, part in parts.items()))
    if plan.rounds is not None:
        data(f"    {plan.rounds.words}; it goes {plan.rounds.why}")
        data(f"    until this round has repaid, health is down to {wad(plan.rounds.lowest, 4)}")
        data(f"    those ahead: sales of ${usd(plan.rounds.spend_usd)} that lose {_dollars(plan.rounds.swap_usd)}, "
             f"{plan.rounds.gas_units} units of gas")  # fmt: skip
        for one in plan.rounds.behind:
            paid = "" if one.pays == one.asset else f" for {amount_text(one.taken, one.pays)}"
            data(f"    with what follows on them: {one.kind.word} some {amount_text(one.amount, one.asset)}{paid}")
    if len(plan.alternatives) > 1:
        _print_ways(plan.alternatives)


def _print_ways(ways: Sequence[Alternative]) -> None:
    if ways:
        data("    ways to do it at this block:")
    for way in ways:
        data(f"      {_way_text(way)}")


def _way_text(way: Alternative) -> str:
    """`repay USDC: $1.20, HF 1.5003` (`about $1.20` where that was not simulated), with the reason where it cannot be
    taken or does not suffice.
    """
    why = "" if way.why_not is None else f" ({way.why_not})"
    if way.cost is None:
        return f"{way.words}: no{why}"
    health = "no debt" if way.health_factor_after is None else f"HF {wad(way.health_factor_after, 4)}"
    about = "" if way.simulated or way.cost.total_usd is None else "about "
    return f"{way.words}: {about}{_dollars(way.cost.total_usd)}, {health}{why}"


def _dollars(amount: int | None) -> str:
    """Dollars with 8 decimals as `$1.20`; a question mark where they are not known."""
    if amount is None:
        return "$?"
    sign = "-" if amount <= -USD // 100 else ""
    return f"{sign}${usd(abs(amount))}"


def _print_plans(found: list[Evaluation]) -> None:
    from tui.engine.defender import describe

    for one in found:
        if one.waits is not None:
            data(f"{one.rule} on {one.position}: beyond its trigger, but the engine would NOT act: {one.waits}")
        else:
            data(f"{one.rule} on {one.position}: {'FIRES' if one.fires else 'calm'}, {one.why}")
        if one.plan is not None:
            _print_plan(one.plan, describe(one.plan))
        if one.refused is not None:
            data(f"    refused: {one.refused.reason}")
            _print_ways(one.refused.alternatives)
        if isinstance(one.ahead, Plan):
            data("    where its trigger lies, at the worst that its steps allow:")
            _print_plan(one.ahead, describe(one.ahead))
        elif one.ahead is not None:
            data(f"    where its trigger lies it would not act: {one.ahead.reason}")
            _print_ways(one.ahead.alternatives)
        for problem in one.problems or ():
            data(f"    {'would NOT be armed anew' if problem.decisive else 'worth knowing'}: {problem}")
