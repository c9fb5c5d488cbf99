"""What a rule would do: plans simulated at a block, also ahead of time at the price where it would fire.

Asks the chain to simulate, signs nothing and remembers nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from tui.engine.offers import Offers
from tui.model.block import BlockRef
from tui.model.plan import FeeQuote, Plan, PlannedCall, Refusal
from tui.model.position import Asset, Position
from tui.model.rule import BORROWING, SALES, ActionKind, Rule
from tui.model.snapshot import Snapshot
from tui.model.units import WAD
from tui.model.wallet import Wallet
from tui.planning.circumstances import Circumstances
from tui.planning.fee_caps import FeeCap
from tui.planning.leaving_out import Trials, is_refused
from tui.planning.plan import balances_of, build_plan, price_plan
from tui.planning.simulation import judge, simulation_calls, simulation_reads
from tui.planning.triggering import FiresAt, at_trigger, fires_at, is_crossed, liquidation_first
from tui.ports.chain import ChainUnreachable, ReadFailed, Simulator
from tui.protocols.base import LendingMarket
from tui.quotes.base import Swapper
from tui.rules.match import applies
from tui.rules.prices import PriceSeen, price_seen

GAS_ROOM = 2
"""How much more than such calls usually take a plan's gas limit may come to, once it is simulated."""
LOOK_BLOCKS = 20
"""How often what would stop a sale is looked at between sales."""


class Prospect:
    """Plans and simulates against snapshots. `spent_today` gives a rule's dollars of the day (8 decimals), `canonical`
    the block that stands at a height now. `offers` asks what sales cost; `wrapped_native` is the token that the native
    coin can be wrapped into, `best_seen` the best price (wad) that a trailing rule saw, `swapper` what an account swaps
    with by itself, `signer_fees` what the signer lets gas cost for a rule.
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

    def circumstances(self, rule: Rule, snapshot: Snapshot, fees: FeeQuote) -> Circumstances:
        """What a plan of `rule` depends on at a snapshot."""
        spent = self._spent_today(rule.name, snapshot.block.timestamp)
        return Circumstances(
            fees,
            snapshot.native_price_usd,
            spent,
            wrapped_native=self.wrapped_native,
            data_fees=snapshot.data_fees,
            swapper=self.swapper,
            signer_fees=self.signer_fees(rule, snapshot),
        )

    def plan(self, rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote) -> Plan | Refusal:
        """The plan as sized, not simulated. `position` may be a repriced one: what would be done there. No exchange is
        asked: a sale is taken to cost the most that its step allows.
        """
        wallet = snapshot.wallets.get(position.key.account)
        if wallet is None:
            return Refusal("wallet-unknown", "the account's wallet was not read")
        return self._sized(rule, position, wallet, self.circumstances(rule, snapshot, fees))

    def _sized(self, rule: Rule, position: Position, wallet: Wallet, circumstances: Circumstances) -> Plan | Refusal:
        """The plan as sized. Where what it moves and the most that its gas may cost would pass the daily limit, it is
        sized again to move so much less: a smaller defence is better than none.
        """
        market, daily = self.market(position), rule.limits.daily_spend_usd
        plan = build_plan(rule, market, position, wallet, circumstances)
        price, spent = circumstances.native_price_usd, circumstances.spent_today_usd
        if isinstance(plan, Refusal) or daily is None or price is None:
            return plan
        room = (GAS_ROOM * plan.cost.gas_units * plan.fees.ceiling + (plan.cost.l1_fee_wei or 0)) * price // WAD
        if rule.limits.max_cost_usd is not None:
            room = min(room, rule.limits.max_cost_usd)  # the ceiling of its fees is held to that
        if spent + plan.spend_usd + room <= daily:
            return plan
        return build_plan(rule, market, position, wallet, replace(circumstances, spent_today_usd=spent + room))

    async def simulated_plan(
        self, rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote
    ) -> Plan | Refusal:
        """The plan, proven by simulation at the snapshot's block, with its true gas; or why it must not be done. A step
        that the simulation refuses is left out of it, and the rest is sized anew.
        """
        wallet = snapshot.wallets.get(position.key.account)
        if wallet is None:
            return Refusal("wallet-unknown", "the account's wallet was not read")
        market = self.market(position)
        circumstances = self.circumstances(rule, snapshot, fees)
        offers = await self.offers.gather(rule, market, position, wallet, circumstances)
        circumstances = replace(circumstances, offers=offers)
        trials = Trials()
        for left_out in trials:
            around = replace(circumstances, left_out=left_out)
            plan = self._sized(rule, position, wallet, around)
            if isinstance(plan, Refusal):
                trials.held(left_out, plan)
                continue
            judged = await self._simulate(plan, snapshot, simulation_calls(plan))
            if isinstance(judged, Refusal):
                if not is_refused(judged):
                    return judged
                trials.refused(left_out, plan, judged)
                continue
            priced = price_plan(judged, rule, wallet, around)
            if isinstance(priced, Plan):
                return priced
            trials.held(left_out, priced)
        return trials.verdict

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
        judged = await self._simulate(replace(plan, calls=final), snapshot, final)
        return judged if isinstance(judged, Refusal) else None

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

    async def _simulate(self, plan: Plan, snapshot: Snapshot, calls: Sequence[PlannedCall]) -> Plan | Refusal:
        market = self._markets[str(plan.position.market)]
        wallet: Wallet = snapshot.wallets[plan.position.account]
        balances = balances_of(wallet)
        reads = simulation_reads(plan, market, balances)
        try:
            simulation = await self._simulator.simulate(snapshot.block, plan.position.account, calls, reads)
        except (ReadFailed, ChainUnreachable) as failed:
            return Refusal("simulation-unavailable", f"no node would simulate it: {failed}")
        return judge(plan, market, calls, simulation, balances)
