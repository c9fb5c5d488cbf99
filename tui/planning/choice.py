"""Which steps of a rule to take, in which order: as written, or the cheapest way that reaches the target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from types import MappingProxyType

from tui.model.plan import PlannedCall, Refusal
from tui.model.position import Position
from tui.model.rule import Order, Rule, StandingAllowance
from tui.model.units import UINT256_MAX
from tui.model.wallet import Wallet
from tui.planning.calling import calls_of, refuse_standing_allowance
from tui.planning.circumstances import Circumstances
from tui.planning.costs import GasBySender, gas_by_sender, gas_of
from tui.planning.waterfall import Flow, Waterfall
from tui.protocols.base import ActionImpossible, LendingMarket

ALL_ORDERS = 4
"""Up to so many steps every order of every choice of them is looked at; of more, singles and one chain."""

Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to defend: what it comes to, its calls and their gas (units), also by who signs them; or why it cannot be
    done.
    """

    fall: Waterfall
    calls: tuple[PlannedCall, ...] = ()
    gas: int = 0
    refusal: Refusal | None = None
    gas_by: GasBySender = field(default_factory=lambda: MappingProxyType({}))


class Ways:
    """All ways that a rule has at one block. Flows that begin alike are sized once."""

    def __init__(
        self, rule: Rule, market: LendingMarket, position: Position, wallet: Wallet, circumstances: Circumstances
    ) -> None:
        self._rule, self._market, self._wallet, self._circumstances = rule, market, wallet, circumstances
        self._flows: dict[Numbers, Flow] = {(): Flow.start(rule, market, position, wallet, circumstances)}
        self._ways: dict[Numbers, Way] = {}

    @property
    def numbers(self) -> range:
        """The numbers of the rule's steps, from 0."""
        return range(len(self._rule.steps))

    def along(self, order: Sequence[int]) -> Way:
        """The way that takes steps in this order until the target is met."""
        return self._way(*self._until_met(tuple(order)))

    def parts(self) -> Iterator[tuple[Numbers, Way]]:
        """The steps as they are written, some of them passed over, and which those are: what goes furthest first, with
        as few passed over as can be, and of as many the later ones.
        """
        looked_at = [(order, self._until_met(order)[1]) for order in _some_of(tuple(self.numbers))]
        looked_at.sort(key=lambda one: (not one[1].meets_target, 0 if one[1].meets_target else -one[1].reach))
        for order, flow in looked_at:
            if flow.steps:
                yield tuple(number for number in self.numbers if number not in order), self.along(order)

    def _until_met(self, order: Numbers) -> tuple[Numbers, Flow]:
        flow, at = self._flows[()], 0
        while at < len(order) and not flow.is_over:
            at += 1
            flow = self._flow(order[:at])
        return order[:at], flow

    def single(self, number: int) -> Way:
        """One step alone."""
        return self.along((number,))

    def written(self) -> Way:
        """All steps as they are written."""
        return self.along(self.numbers)

    def best_reach(self) -> Waterfall:
        """The furthest that the rule's order of steps can come to, whatever it costs."""
        if self._rule.order is Order.WRITTEN:
            return self.written().fall
        flows = [flow for _, flow in self._flows_to_choose_from()]
        best = max(flows, key=lambda flow: UINT256_MAX if flow.meets_target else flow.reach)
        return best.result()

    def _flows_to_choose_from(self) -> list[tuple[Numbers, Flow]]:
        if len(self.numbers) <= ALL_ORDERS:
            return list(self._every((), self._flows[()]))
        return list(self._chain())

    def candidates(self) -> Iterator[Way]:
        """What may be done, best first: as written, one way; the cheapest first, all that were looked at."""
        if self._rule.order is Order.WRITTEN:
            yield self.written()
            return
        flows = self._flows_to_choose_from()
        reaching = [(order, flow) for order, flow in flows if flow.meets_target]
        yield from sorted((self._way(*one) for one in reaching), key=self.cost_key)
        falling_short = [one for one in flows if not one[1].meets_target]
        falling_short.sort(key=lambda one: -one[1].reach)
        at = 0
        while at < len(falling_short):
            reach = falling_short[at][1].reach
            same = [one for one in falling_short[at:] if one[1].reach == reach]
            yield from sorted((self._way(*one) for one in same), key=self.cost_key)
            at += len(same)

    def cost_key(self, way: Way) -> tuple[bool, int, int, int, Numbers]:
        """Cheapest first; then fewer calls, then as written. What cannot be done comes last."""
        circumstances = self._circumstances
        fees, price = circumstances.fees, circumstances.native_price_usd
        swap, rounds = way.fall.swap_cost.total_usd, way.fall.rounds
        # A fee for data that is not known is not known for any way.
        wei = way.gas * (fees.base_fee + fees.priority_fee) + (circumstances.l1_fee_wei(way.calls) or 0)
        if rounds is not None:
            swap, wei = swap + rounds.swap_usd, wei * (1 + rounds.ahead)
        # Without a price of the native coin gas and sales cannot be added up: sales weigh more.
        total, then = (swap, wei) if price is None else (swap * 10**18 + wei * price, 0)
        return way.refusal is not None, total, then, len(way.calls), way.fall.taken

    def _flow(self, order: Numbers) -> Flow:
        found = self._flows.get(order)
        if found is None:
            found = self._flow(order[:-1]).then(order[-1])
            self._flows[order] = found
        return found

    def _every(self, order: Numbers, flow: Flow) -> Iterator[tuple[Numbers, Flow]]:
        """Every order of every choice of steps, each until the target is met; a step that adds nothing ends none."""
        skipped: list[str] = []
        for number in self.numbers:
            if number in order:
                continue
            longer = self._flow((*order, number))
            if len(longer.steps) == len(flow.steps):
                skipped.extend(longer.skipped[len(flow.skipped) :])
                continue
            if longer.is_over:
                yield (*order, number), longer
            else:
                yield from self._every((*order, number), longer)
        yield order, replace(flow, skipped=tuple(skipped))

    def _chain(self) -> Iterator[tuple[Numbers, Flow]]:
        """Each step alone, the steps as written, and the steps cheapest first."""
        alone = [((number,), self._flow((number,))) for number in self.numbers]
        yield from alone
        cheapest = sorted(alone, key=lambda one: self.cost_key(self._way(*one)))
        for order in (tuple(self.numbers), tuple(number for (number,), flow in cheapest if flow.steps)):
            flow, at = self._flows[()], 0
            while at < len(order) and not flow.is_over:
                at += 1
                flow = self._flow(order[:at])
                yield order[:at], flow

    def _way(self, order: Numbers, flow: Flow) -> Way:
        found = self._ways.get(order)
        if found is None or found.fall.skipped != flow.skipped:
            found = self._built(flow.result())
            self._ways[order] = found
        return found

    def _built(self, fall: Waterfall) -> Way:
        if not fall.steps:
            return Way(fall, refusal=Refusal("nothing-available", "; ".join(fall.skipped) or "no step adds anything"))
        payers = self._circumstances.payers
        uses = self._rule.limits.standing_allowance is StandingAllowance.USE
        ours = frozenset() if uses else self._circumstances.ours
        refusal = refuse_standing_allowance(self._rule, self._market, fall, self._wallet, payers, ours)
        if refusal is not None:
            return Way(fall, refusal=refusal)
        try:
            calls = calls_of(self._market, fall, self._wallet, payers, ours)
        except ActionImpossible as impossible:
            return Way(fall, refusal=Refusal("action-impossible", str(impossible)))
        return Way(fall, calls, gas_of(self._market, calls), gas_by=gas_by_sender(self._market, calls))


def _some_of(numbers: Numbers) -> list[Numbers]:
    """Every choice of some of these, in their order and the largest first; of many each one left out, the first ones
    and each one alone.
    """
    if len(numbers) <= ALL_ORDERS:
        return [some for size in range(len(numbers) - 1, 0, -1) for some in combinations(numbers, size)]
    most = list(combinations(numbers, len(numbers) - 1))
    return [*most, *(numbers[:size] for size in range(len(numbers) - 2, 1, -1)), *((one,) for one in numbers)]
