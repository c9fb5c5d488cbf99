"""What a rule would do: plans simulated at a block, also ahead of time at the price where it would fire.

Asks the chain to simulate, signs nothing and remembers nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from tui.model.block import BlockRef
from tui.model.plan import FeeQuote, Plan, PlannedCall, Refusal
from tui.model.position import Position
from tui.model.rule import Rule
from tui.model.snapshot import Snapshot
from tui.model.wallet import Wallet
from tui.planning.plan import Circumstances, balances_of, build_plan, price_plan
from tui.planning.simulation import judge, simulation_calls, simulation_reads
from tui.ports.chain import ChainUnreachable, ReadFailed, Simulator
from tui.protocols.base import LendingMarket


class Prospect:
    """Plans and simulates against snapshots. `spent_today` gives a rule's dollars of the day (8 decimals), `canonical`
    the block that stands at a height now.
    """

    def __init__(
        self,
        markets: Sequence[LendingMarket],
        simulator: Simulator,
        spent_today: Callable[[str, int], int],
        canonical: Callable[[int], Awaitable[BlockRef | None]],
    ) -> None:
        self._markets = {str(market.key): market for market in markets}
        self._simulator = simulator
        self._spent_today = spent_today
        self._canonical = canonical

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

    def circumstances(self, rule: Rule, snapshot: Snapshot, fees: FeeQuote) -> Circumstances:
        """What a plan of `rule` depends on at a snapshot."""
        spent = self._spent_today(rule.name, snapshot.block.timestamp)
        return Circumstances(fees, snapshot.native_price_usd, spent)

    def plan(self, rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote) -> Plan | Refusal:
        """The plan as sized, not simulated. `position` may be a repriced one: what would be done there."""
        wallet = snapshot.wallets.get(position.key.account)
        if wallet is None:
            return Refusal("wallet-unknown", "the account's wallet was not read")
        return build_plan(rule, self.market(position), position, wallet, self.circumstances(rule, snapshot, fees))

    async def simulated_plan(
        self, rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote
    ) -> Plan | Refusal:
        """The plan, proven by simulation at the snapshot's block, with its true gas; or why it must not be done."""
        plan = self.plan(rule, position, snapshot, fees)
        if isinstance(plan, Refusal):
            return plan
        judged = await self._simulate(plan, snapshot, simulation_calls(plan))
        if isinstance(judged, Refusal):
            return judged
        wallet = snapshot.wallets[position.key.account]
        return price_plan(judged, rule, wallet, self.circumstances(rule, snapshot, fees))

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
        reads = simulation_reads(plan, market)
        try:
            simulation = await self._simulator.simulate(snapshot.block, plan.position.account, calls, reads)
        except (ReadFailed, ChainUnreachable) as failed:
            return Refusal("simulation-unavailable", f"no node would simulate it: {failed}")
        return judge(plan, market, calls, simulation, dict(balances_of(wallet)))
