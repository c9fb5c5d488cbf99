"""What a rule would do: plans simulated at a block, also ahead of time at the price where it would fire.

Asks the chain to simulate, signs nothing and remembers nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from tui.crash import described
from tui.engine.offers import Offers
from tui.engine.venues import Venues, undone_by
from tui.model.block import BlockRef
from tui.model.intent import Intent
from tui.model.plan import Alternative, FeeQuote, Plan, PlannedCall, Refusal
from tui.model.position import Asset, Position
from tui.model.rounds import DebtPart, RoundsSoFar
from tui.model.rule import BORROWING, SALES, ActionKind, Rule
from tui.model.snapshot import Snapshot
from tui.model.wallet import Allowance, Wallet, standing
from tui.planning.calling import UNLIMITED
from tui.planning.circumstances import Circumstances
from tui.planning.fee_caps import FeeCap
from tui.planning.leaving_out import LeftOut, Trials, is_refused
from tui.planning.limits import gas_reserve_usd
from tui.planning.plan import balances_of, build_plan, price_plan, with_its_way
from tui.planning.rounds_rule import rest_of, with_less
from tui.planning.simulation import judge, simulation_calls, simulation_reads, wallets_left
from tui.planning.triggering import FiresAt, at_trigger, beyond_words, fires_at, is_crossed, liquidation_first
from tui.planning.venues import (
    Answers,
    Orders,
    Proven,
    claims_more,
    is_better,
    may_swap_itself,
    ordered_steps,
    orders_of,
    venue_way,
    with_answers,
)
from tui.ports.chain import ChainUnreachable, ReadFailed, Simulator
from tui.protocols.base import ActionImpossible, LendingMarket
from tui.quotes.base import Dialect, Swapper
from tui.rules.match import applies
from tui.rules.prices import PriceSeen, price_seen

LOOK_BLOCKS = 20
"""How often what would stop a sale is looked at between sales."""
_ITS_FAULT = frozenset({"simulation-reverted", "simulation-disagrees", "simulation-unknown", "foreign-call"})
"""Refusals of a plan with a foreign call after which whoever made the call is left alone for a while."""


@dataclass(frozen=True, slots=True)
class _Case:
    """What one plan is made for."""

    rule: Rule
    position: Position
    wallet: Wallet
    snapshot: Snapshot
    circumstances: Circumstances


class Prospect:
    """Plans and simulates against snapshots. `spent_today` gives a rule's dollars of the day (8 decimals), `canonical`
    the block that stands at a height now. `offers` asks what sales cost; `wrapped_native` is the token that the native
    coin can be wrapped into, `best_seen` the best price (wad) that a trailing rule saw, `swapper` what an account swaps
    with by itself, `signer_fees` what the signer lets gas cost for a rule, `venues` who else may make such calls, which
    read as `dialects` say, `barred` the accounts for which nothing may be signed now, and why, `given_by_us` which of
    some allowances we gave ourselves, `reverted` our own transactions that the chain refused of late, at a block's
    timestamp (`venues.undone_by`), `was_undone` whether the last firing of a rule on a position (its id) was one that
    the chain refused, at such a time: whatever plans or shows a plan knows of it from here.
    """

    def __init__(
        self,
        markets: Sequence[LendingMarket],
        simulator: Simulator,
        spent_today: Callable[[str, int], int],
        canonical: Callable[[int], Awaitable[BlockRef | None]],
        offers: Offers,
        wrapped_native: str | None = None,
        best_seen: Callable[[Rule, Position], int | None] = lambda _rule, _position: None,
        swapper: Swapper | None = None,
        signer_fees: Callable[[Rule, Snapshot], FeeCap | None] = lambda _rule, _snapshot: None,
        venues: Venues | None = None,
        dialects: Sequence[Dialect] = (),
        barred: Callable[[], Mapping[str, str]] = dict,
        given_by_us: Callable[[Collection[Allowance]], frozenset[Allowance]] = lambda _standing: frozenset(),
        reverted: Callable[[int], Iterable[tuple[Intent, int]]] = lambda _timestamp: (),
        was_undone: Callable[[Rule, str, int], bool] = lambda _rule, _position, _timestamp: False,
    ) -> None:
        self._markets = {str(market.key): market for market in markets}
        self._simulator = simulator
        self._spent_today = spent_today
        self._canonical = canonical
        self.offers = offers
        self.wrapped_native = wrapped_native
        self.best_seen = best_seen
        self.swapper = swapper
        self.signer_fees = signer_fees
        self.venues = venues
        self.dialects = tuple(dialects)
        self._barred = barred
        self._given_by_us = given_by_us
        self._reverted = reverted
        self._was_undone = was_undone
        self._looked = 0
        self._looked_at: frozenset[tuple[str, str]] = frozenset()

    @property
    def markets(self) -> Mapping[str, LendingMarket]:
        """The adapters by market (`aave-v3/core`)."""
        return self._markets

    def market(self, position: Position) -> LendingMarket:
        """The adapter of a position's market."""
        return self._markets[str(position.key.market)]

    def health_at(self, position: Position) -> Callable[[Mapping[str, int]], int | None]:
        """The position's exact health factor as a function of some prices (8 decimals, by asset address)."""
        market = self.market(position)

        def health(prices: Mapping[str, int]) -> int | None:
            return market.repriced(position, prices).health_factor

        return health

    def price_of(self, rule: Rule, position: Position) -> PriceSeen | None:
        """The price that a rule waits for at a position's block, by the market itself; None where it is not known."""
        return price_seen(rule, self.market(position), position)

    def fires_at(self, rule: Rule, position: Position) -> FiresAt | None:
        """Where a rule fires on a position."""
        return fires_at(rule, self.market(position), position, self.best_seen(rule, position))

    def at_trigger(self, rule: Rule, position: Position) -> Position:
        """The position where a rule would fire, or as it is where it fires already or no price brings it there."""
        return at_trigger(rule, self.market(position), position, self.best_seen(rule, position))

    def beyond_words(self, rule: Rule, position: Position) -> str | None:
        """What is beyond the trigger already of a rule that would fire at once, or None."""
        return beyond_words(rule, self.market(position), position, self.best_seen(rule, position))

    def is_crossed(self, rule: Rule, position: Position) -> bool:
        """Whether a position is beyond the trigger of a rule now."""
        return is_crossed(rule, self.market(position), position, self.best_seen(rule, position))

    def liquidated_first(self, rule: Rule, position: Position) -> tuple[int, int] | None:
        """The level of a price trigger and the price of liquidation that comes before it, in wad; else None."""
        return liquidation_first(rule, self.market(position), position, self.best_seen(rule, position))

    async def look(self, rules: Iterable[Rule], snapshot: Snapshot) -> None:
        """Every `LOOK_BLOCKS` blocks, and where other sales are named: what would stop the sales that `rules` name.

        A node that does not answer leaves what was known.
        """
        sales = {
            (position.id, collateral.address): (self.market(position), position, collateral)
            for rule in rules
            for position in snapshot.positions
            if applies(rule, position.key) and position.unknown is None
            for collateral in self._sold_by(rule, position)
        }
        number = snapshot.block.number
        if not sales or (sales.keys() == self._looked_at and 0 <= number - self._looked < LOOK_BLOCKS):
            return
        with contextlib.suppress(ReadFailed, ChainUnreachable):
            await self.offers.look(snapshot.block, sales.values())
            self._looked, self._looked_at = number, frozenset(sales)

    def _sold_by(self, rule: Rule, position: Position) -> Iterable[Asset]:
        market = self.market(position)
        withdrawing = (market.actions & SALES) - BORROWING - {ActionKind.SWAP_TO_REPAY}
        named = (step.collateral for step in rule.steps if step.action in withdrawing)
        assets = (None if name is None else market.find_asset(position, name) for name in named)
        return (asset for asset in assets if asset is not None)

    def circumstances(self, rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote) -> Circumstances:
        """What a plan of `rule` for a position depends on at a snapshot."""
        now = snapshot.block.timestamp
        spent = self._spent_today(rule.name, now)
        stands = [one for wallet in snapshot.wallets.values() for one in standing(wallet) if one.amount < UNLIMITED]
        return Circumstances(
            fees,
            snapshot.native_price_usd,
            spent,
            wrapped_native=self.wrapped_native,
            data_fees=snapshot.data_fees,
            swapper=self.swapper,
            signer_fees=self.signer_fees(rule, snapshot),
            payers={one: snapshot.wallets[one] for one in rule.wallets if one in snapshot.wallets},
            barred=self._barred(),
            ours=self._given_by_us(stands),
            undone=any(map(may_swap_itself, rule.steps)) and self._was_undone(rule, position.id, now),
        )

    def wallet(self, rule: Rule, position: Position, snapshot: Snapshot) -> Wallet | None:
        """The wallet of a position's account; one of which nothing is known where it was not read and others pay for
        all steps; None where it was not read and is needed.
        """
        account = position.key.account
        wallet = snapshot.wallets.get(account)
        if wallet is None and rule.steps and account not in rule.signers(account):
            return Wallet(account, None, None, code_read=False)
        return wallet

    def plan(self, rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote) -> Plan | Refusal:
        """The plan as sized, not simulated. `position` may be a repriced one: what would be done there. No exchange is
        asked: a sale is taken to cost the most that its step allows.
        """
        wallet = self.wallet(rule, position, snapshot)
        if wallet is None:
            return Refusal("wallet-unknown", "the account's wallet was not read")
        circumstances = replace(self.circumstances(rule, position, snapshot, fees), absent=self.offers.absent(position))
        return self._sized(rule, position, wallet, circumstances)

    def _sized(self, rule: Rule, position: Position, wallet: Wallet, circumstances: Circumstances) -> Plan | Refusal:
        """The plan as sized. Where what it moves and a reserve for its gas would pass the daily limit, it is
        sized again to move so much less: a smaller defence is better than none.
        """
        market, daily = self.market(position), rule.limits.daily_spend_usd
        plan = build_plan(rule, market, position, wallet, circumstances)
        if isinstance(plan, Refusal) or daily is None:
            return plan
        reserve = gas_reserve_usd(plan, rule, circumstances)
        if circumstances.spent_today_usd + plan.spend_usd + reserve <= daily:
            return plan
        return build_plan(rule, market, position, wallet, replace(circumstances, reserved_usd=reserve))

    async def simulated_plan(
        self,
        rule: Rule,
        position: Position,
        snapshot: Snapshot,
        fees: FeeQuote,
        so_far: RoundsSoFar | None = None,
        *,
        closing: tuple[DebtPart, ...] = (),
        ask_others: bool = True,
        doubts: LeftOut = MappingProxyType({}),
        because: Refusal | None = None,
        taken: Mapping[int, int] = MappingProxyType({}),
    ) -> Plan | Refusal:
        """The plan, proven by simulation at the snapshot's block, with its true gas; or why it must not be done. A step
        that the simulation refuses is left out of it, and the rest is sized anew. With `so_far` that of the next round:
        `rule` is the one that fired. Aggregators are asked for its own swaps as well where `ask_others`.
        The steps of `doubts` are left out from the first on, `because` of what refused them. `closing`: what an earlier
        firing has left of the part that it was to close; `taken`: what it took of maxima (base units by step number)
        where it is gone on with.
        """
        wallet = self.wallet(rule, position, snapshot)
        if wallet is None:
            return Refusal("wallet-unknown", "the account's wallet was not read")
        market = self.market(position)
        circumstances = replace(
            self.circumstances(rule, position, snapshot, fees),
            absent=self.offers.absent(position),
            so_far=so_far,
            closing=closing,
            goes_on=bool(taken),
        )
        if taken:
            rule = with_less(rule, taken, market, position)
        if so_far is not None:
            rule = rest_of(rule, so_far, market, position)
        offers = await self.offers.gather(rule, market, position, wallet, circumstances)
        circumstances = replace(circumstances, offers=offers)
        circumstances = replace(circumstances, left_out=doubts)
        case = _Case(rule, position, wallet, snapshot, circumstances)
        orders = self._orders(case) if ask_others else {}
        if self.venues is None or not orders:
            proven, _ = await self._tried(case, because)
        else:
            # The exchange's own plan is proven meanwhile: whatever comes of the others, it is there.
            (own, left_out), answers = await asyncio.gather(self._tried(case, because), self.venues.ask(orders))
            # What one exchange cannot swap another may.
            asked = ordered_steps(orders, rule, market, position)
            left = {number: why for number, why in left_out.items() if number in doubts or number not in asked}
            case = replace(case, circumstances=replace(circumstances, left_out=left))
            proven = await self._best(own, answers, case, self.venues)
        return proven.plan if isinstance(proven, Proven) else proven

    async def _tried(self, case: _Case, because: Refusal | None) -> tuple[Proven | Refusal, LeftOut]:
        """The plan of the exchange on the chain, and which steps had to be left out of it. What the case leaves out is
        so `because` of a refusal.
        """
        trials = Trials(case.circumstances.left_out, because)
        for left_out in trials:
            tried = replace(case, circumstances=replace(case.circumstances, left_out=left_out))
            plan = self._sized(case.rule, case.position, case.wallet, tried.circumstances)
            if isinstance(plan, Refusal):
                trials.held(left_out, plan)
                continue
            proven = await self._simulate(plan, case.snapshot, simulation_calls(plan))
            if isinstance(proven, Refusal):
                proven = replace(proven, alternatives=plan.alternatives)
                if not is_refused(proven):
                    return proven, {}
                trials.refused(left_out, plan, proven)
                continue
            priced = price_plan(proven.plan, case.rule, case.wallet, tried.circumstances)
            if isinstance(priced, Plan):
                return replace(proven, plan=with_its_way(priced)), left_out
            priced = replace(priced, alternatives=plan.alternatives)
            if priced.code == "no-gas":
                trials.short(left_out, proven.plan, priced)
            else:
                trials.held(left_out, priced)
        return trials.verdict, {}

    def _orders(self, case: _Case) -> Orders:
        """What aggregators are asked for beside the plan of the exchange; nothing where there is none of them."""
        if self.venues is None or not self.venues.names or not any(map(may_swap_itself, case.rule.steps)):
            return {}
        plan = self._sized(case.rule, case.position, case.wallet, case.circumstances)
        return self.orders(plan, case)

    def orders(self, plan: Plan | Refusal, case: _Case) -> Orders:
        """What aggregators are asked for beside a plan; nothing where anything of it cannot be told."""
        try:
            return orders_of(
                plan, case.rule, self.market(case.position), case.position, case.wallet, case.circumstances
            )
        except (ActionImpossible, ValueError):
            return {}

    def orders_at(self, rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote) -> Orders:
        """What aggregators would be asked for where a rule fires, no exchange being asked."""
        wallet = self.wallet(rule, position, snapshot)
        if wallet is None or position.unknown is not None or position.health_factor is None:
            return {}
        there = self.at_trigger(rule, position)
        around = replace(self.circumstances(rule, position, snapshot, fees), absent=self.offers.absent(position))
        case = _Case(rule, there, wallet, snapshot, around)
        return self.orders(Refusal("not-asked", ""), case)

    async def _prove(self, plan: Plan | Refusal, case: _Case) -> Proven | Refusal:
        """A plan proven by simulation, and held against its limits with its true gas; or why it must not be done."""
        if isinstance(plan, Refusal):
            return plan
        proven = await self._simulate(plan, case.snapshot, simulation_calls(plan))
        if isinstance(proven, Refusal):
            return proven
        priced = price_plan(proven.plan, case.rule, case.wallet, case.circumstances)
        return priced if isinstance(priced, Refusal) else replace(proven, plan=with_its_way(priced))

    async def _best(
        self, own: Proven | Refusal, answers: Mapping[str, Answers | str], case: _Case, venues: Venues
    ) -> Proven | Refusal:
        """The best of the exchange's own plan and those with the calls of aggregators, each named among the ways. One
        whose call reverted on chain of late is taken only where there is no other plan: what it shows in a simulation
        is no proof any more.
        """
        now = case.snapshot.block.timestamp
        undone = undone_by(self.dialects, self._reverted(now), now)
        venues.tell_undone(undone)
        ranked = sorted(answers, key=lambda venue: venue in undone)
        others = await asyncio.gather(
            *(self._other(venue, answers[venue], own, case, venues, undone.get(venue)) for venue in ranked)
        )
        market, best, ways = self.market(case.position), own, []
        for venue, other in zip(ranked, others, strict=True):
            trusted = venue not in undone
            if isinstance(other, Alternative):
                ways.append(other)
            elif isinstance(best, Refusal) or (trusted and is_better(other, best, market, case.position)):
                if isinstance(best, Proven):
                    ways.append(venue_way(best.plan, case.rule, market, case.position))
                best = other
            else:
                ways.append(venue_way(other.plan, case.rule, market, case.position))
        if isinstance(best, Refusal) or not ways:
            return best
        return replace(best, plan=replace(best.plan, alternatives=(*best.plan.alternatives, *ways)))

    async def _other(
        self,
        venue: str,
        answers: Answers | str,
        own: Proven | Refusal,
        case: _Case,
        venues: Venues,
        undone: str | None,
    ) -> Proven | Alternative:
        """The plan with the calls of one aggregator, proven as the exchange's own is, or the way that is not taken.
        `undone`: why it is the last choice now.
        """
        market, words = self.market(case.position), f"the same on {venue}"
        if isinstance(answers, str):
            return Alternative(words, (), None, None, False, answers)
        if undone is not None and isinstance(own, Proven):
            return Alternative(words, (), None, None, False, undone)
        try:
            good = own.plan if isinstance(own, Proven) and own.plan.reaches_target else None
            if good is not None and not claims_more(answers, good, market, case.position):
                venues.worked(venue)
                return Alternative(words, (), None, None, False, "no more comes out there")
            around = with_answers(case.circumstances, market, case.position, answers)
            theirs = replace(case, circumstances=around)
            proven = await self._prove(self._sized(case.rule, case.position, case.wallet, around), theirs)
        except Exception as error:  # noqa: BLE001 - nothing that an answer does to us may keep a defence from going on
            proven = Refusal("foreign-call", described(error))
        if isinstance(proven, Refusal):
            if _is_its_fault(proven):
                venues.failed(venue, proven.reason)
            return Alternative(words, (), None, None, False, proven.reason)
        venues.worked(venue)
        return proven

    async def verify(self, plan: Plan, snapshot: Snapshot, calls: Sequence[PlannedCall]) -> Refusal | None:
        """Simulate the very calldata that is to be signed; why it must not be, or None.

        Where nothing but what was simulated already is to be signed, that simulation stands; but nothing is signed
        on a block that a reorg has taken back meanwhile, with the price that made the rule fire.
        """
        orphaned, refused = await asyncio.gather(self._orphaned(snapshot.block), self._proven(plan, snapshot, calls))
        return orphaned or refused

    async def _orphaned(self, block: BlockRef) -> Refusal | None:
        now = await self._canonical(block.number)
        if now is not None and now.hash == block.hash:
            return None
        return Refusal("reorg", f"a reorg took back block {block.number}, on which it was decided")

    async def _proven(self, plan: Plan, snapshot: Snapshot, calls: Sequence[PlannedCall]) -> Refusal | None:
        if all(final.data == planned.data for final, planned in zip(calls, plan.calls, strict=True)):
            return None
        final = tuple(replace(call, permit=None, stand_in=()) for call in calls)
        proven = await self._simulate(replace(plan, calls=final), snapshot, final)
        return proven if isinstance(proven, Refusal) else None

    async def position_at(self, position: Position, number: int, block_hash: str) -> Position | None:
        """The same position at an earlier block; None where that block is none of the chain any more. Raises
        ReadFailed, ChainUnreachable.
        """
        block = await self._canonical(number)
        if block is None or block.hash != block_hash:
            return None
        market, account = self.market(position), position.key.account
        results = await self.offers.read(block, market.read_calls((account,)))
        return market.decode(block, (account,), results).positions[0]

    async def still_helps(self, position: Position, snapshot: Snapshot, calls: Sequence[PlannedCall]) -> str | None:
        """Whether calls whose nonces are bound already go through now and raise the health factor; else why not."""
        orphaned = await self._orphaned(snapshot.block)
        if orphaned is not None:
            return orphaned.reason
        market = self.market(position)
        account = position.key.account
        try:
            done = await self._simulator.simulate(snapshot.block, account, calls, market.read_calls((account,)))
        except (ReadFailed, ChainUnreachable) as failed:
            return f"no node would simulate it: {failed}"
        for call, result in zip(calls, done.calls, strict=True):
            if not result.ok:
                return f"simulated, “{call.words}” fails: {result.error or 'no reason given'}"
        after = market.decode(replace(snapshot.block, timestamp=done.timestamp), (account,), done.reads).positions[0]
        if after.unknown is not None or position.health_factor is None:
            return f"the simulated position cannot be read: {after.unknown}"
        if after.health_factor is not None and after.health_factor <= position.health_factor:
            return "simulated, the health factor would not rise any more"
        return None

    async def _simulate(self, plan: Plan, snapshot: Snapshot, calls: Sequence[PlannedCall]) -> Proven | Refusal:
        market = self._markets[str(plan.position.market)]
        held = {account: dict(balances_of(wallet)) for account, wallet in snapshot.wallets.items()}
        reads = simulation_reads(plan, market, held)
        try:
            simulation = await self._simulator.simulate(snapshot.block, plan.position.account, calls, reads)
        except (ReadFailed, ChainUnreachable) as failed:
            return Refusal("simulation-unavailable", f"no node would simulate it: {failed}")
        own = held.get(plan.position.account, {})
        judged = judge(plan, market, calls, simulation, own, held)
        return judged if isinstance(judged, Refusal) else Proven(judged, wallets_left(plan, market, simulation, held))


def _is_its_fault(refusal: Refusal) -> bool:
    """Whether it is the foreign call for which a simulation refused a plan, and not a call beside it."""
    if refusal.code not in _ITS_FAULT or refusal.failed is None:
        return refusal.code in _ITS_FAULT
    sale = refusal.failed.sale
    return sale is not None and sale.swap is not None and bool(sale.swap.source)
