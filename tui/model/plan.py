"""What a rule would do at one block: actions with sizes, the calls they become, costs, and what simulation said."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tui.model.block import BlockRef
from tui.model.calls import Call
from tui.model.pinned import PinnedCode
from tui.model.position import Asset, PositionKey
from tui.model.rounds import Rounds
from tui.model.rule import ActionKind, RuleProblem
from tui.model.signing import PermitKind, WordRule
from tui.model.units import format_units
from tui.model.wallet import PermitFacts, Wallet


@dataclass(frozen=True, slots=True)
class SaleTerms:
    """What a market says about one sale in one transaction, read when a plan wants it.

    `helper` is the contract that does it (lower-case hex), `receipt` the token by which it is let (the aToken of the
    collateral sold, or the debt token of what is borrowed), `allowed` how much it may take or borrow now, `permit` what
    a signature that lets it needs (None: there is none). `premium_bps` is what the flash loan costs. `available` is how
    much of what is lent can be lent for it now, `withdrawable` how much of what pays the market can give out (None: not
    asked, or not told). `impossible` says why it cannot be done at all, `absent` that it is because the helper does not
    stand there. `delegated`: the account does it by itself, running the helper's code as its own (EIP-7702), and nobody
    is let do anything.
    """

    helper: str
    receipt: str
    premium_bps: int
    allowed: int = 0
    permit: PermitFacts | None = None
    impossible: str | None = None
    available: int | None = None
    withdrawable: int | None = None
    delegated: bool = False
    absent: bool = False

    def of(self, wallet: Wallet) -> SaleTerms:
        """The terms as they are for an account, by the code that it runs."""
        return replace(self, delegated=wallet.acts_by(self.helper))


@dataclass(frozen=True, slots=True)
class SwapCost:
    """Where the money of a sale goes, in dollars with 8 decimals: to the pools, to the price that the size moves, to
    the gap between the exchange and the market's oracle (negative: a gain), to the lender of the flash loan.
    """

    fees_usd: int = 0
    impact_usd: int = 0
    gap_usd: int = 0
    premium_usd: int = 0

    @property
    def total_usd(self) -> int:
        """All of it together."""
        return self.fees_usd + self.impact_usd + self.gap_usd + self.premium_usd


@dataclass(frozen=True, slots=True)
class SwapCall:
    """The one call by which an account swaps by itself, whoever made it: exactly `amount_in` of what is sold goes to
    `spender`, who must be let, and at least `least_out` of what is bought comes back to the account, or all of it
    reverts. Base units; addresses in lower-case hex.

    `venue` is for people. `rules` are what the signer insists on, with `spend_word` the place of the word that says how
    much goes in (None: no word says it, and `rules` must bind all of the call).

    `source` is set where an aggregator made it and not we: then its events are looked at as well when it is simulated.
    `leads_to` is the contract that it hands the tokens to, and `registry` the reads of which one must name that
    contract; none where the contract called sees to what comes out by itself.
    """

    venue: str
    to: str
    spender: str
    data: bytes
    amount_in: int
    least_out: int
    rules: tuple[WordRule, ...]
    spend_word: int | None
    source: str = ""
    leads_to: str = ""
    registry: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class Sale:
    """How a sale is paid for. `collateral` is what pays, which in a debt switch and a boost is borrowed. Base units of
    it: `sold` is expected, `most_sold` is the limit that the chain itself holds to. Of collateral that much is taken
    out of the position, and the rest goes back into it; borrowed is only what is sold.

    `path` as the exchange packs it for an exact output, `venue` for people. `min_health` (wad) is the floor that the
    chain holds the position against afterwards. `price_usd` (8 decimals) is the market's own price of the collateral
    that it was sized with, `bought_price_usd` the same of what an own swap buys; None: not told.

    `swap` is set where no helper sells but the account itself, `sold` to the unit: then no floor under the health holds
    on chain (`min_health` is 0), and what must come out is what is repaid. `surplus` is expected to come out beyond
    that, in base units of what is bought: it stays in the wallet. In a round of a deleverage `withdrawn` is what is
    taken out of the position first (the rest of what is sold, and `added` of what is repaid, were left in the wallet by
    earlier rounds); None: it is no round.
    """

    collateral: Asset
    sold: int
    most_sold: int
    min_health: int
    path: bytes
    venue: str
    terms: SaleTerms
    cost: SwapCost = SwapCost()
    price_usd: int | None = None
    swap: SwapCall | None = None
    surplus: int = 0
    bought_price_usd: int | None = None
    withdrawn: int | None = None
    added: int = 0

    @property
    def is_quoted(self) -> bool:
        """Whether somebody was asked, so that its cost is not the worst that its step allows."""
        return bool(self.path) or (self.swap is not None and bool(self.swap.source))


@dataclass(frozen=True, slots=True)
class Action:
    """Do `kind` with exactly `amount` base units of `asset`, paid for by `sale` where it is one.

    `wrap`: so many wei of the native coin are wrapped first, because the wallet holds too little of the wrapped one
    (of the token that the sale sells, where it is one). `payer` (lower-case hex): whose wallet pays for it, where that
    is not the position's own account. `spare`: so many base units more than `amount`, which is all that is owed, may be
    taken for the repayment, because interest runs on until it is mined: nothing of the debt is to be left.
    """

    kind: ActionKind
    asset: Asset
    amount: int
    sale: Sale | None = None
    wrap: int = 0
    payer: str | None = None
    spare: int = 0


@dataclass(frozen=True, slots=True)
class PermitNeed:
    """A signature that a call wants in its calldata: an EIP-2612 permit of a token, or a delegation of credit by a
    variable debt token (`kind`). All integers in base units; `deadline` unix seconds.
    """

    token: str
    name: str
    version: str
    domain_separator: str
    spender: str
    value: int
    nonce: int
    deadline: int
    kind: PermitKind = PermitKind.PERMIT


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One transaction to be. `data` is final unless `permit` is set: then the three signature words (v, r, s) at the
    end of `data` are zero until the permit is signed, and `stand_in` are the calls that have the same effect
    without a signature, for simulating before anything is signed.

    `words` says in plain words what the call does; `rules` are what the signer checks by itself. Where `spend_token`
    is set, the argument word `spend_word` says how much of it the call moves. With a `delegate` the transaction sets
    the account's own code to it and does nothing else: it is a call of the account itself, without value or data.
    `gas_used` is what it took when it was simulated (0: it was not), `gas_limit` the most that it may take.
    `sender` (lower-case hex): who signs it, where that is not the position's own account. `step` is the number of the
    step that it is for, as in `Plan.taken`, and `takes` the most that it takes of that step's `max`, in base units:
    nothing where it only prepares what does. None where it is for no step.
    """

    to: str
    data: bytes
    value: int
    words: str
    action: Action | None
    rules: tuple[WordRule, ...] = ()
    permit: PermitNeed | None = None
    stand_in: tuple[PlannedCall, ...] = ()
    gas_limit: int = 0
    spend_token: str | None = None
    spend_word: int | None = None
    delegate: PinnedCode | None = None
    gas_used: int = 0
    sender: str | None = None
    step: int | None = None
    takes: int | None = None

    @property
    def selector(self) -> bytes:
        """The first four bytes of the calldata."""
        return self.data[:4]


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of the waterfall as sized: what it does and the health factor (wad; None: no debt left) after it.

    `amount` 0 with a `note` says why the step adds nothing.
    """

    action: Action
    health_factor_after: int | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class FeeQuote:
    """EIP-1559 fees for one plan, in wei a unit of gas. `ceiling` is the most any attempt may ever pay."""

    base_fee: int
    max_fee: int
    priority_fee: int
    ceiling: int


@dataclass(frozen=True, slots=True)
class PlanCost:
    """Dollars with 8 decimals; None where the native coin's price is not known. `gas_units` over all calls, as they are
    expected to take, and `gas_limit` the most that they may (None: not simulated yet).

    Gas at the fee that is expected, and `gas_ceiling_usd` at the most that any attempt may pay; both hold what a rollup
    charges for data on layer 1, of which `l1_fee_wei` and `l1_data_usd` are the part: 0 where nothing is charged apart,
    and None where it is not known, as the sums in dollars are then (`gas_wei` is without it). `lost_yield_usd_year`
    is what the collateral sold or the debt repaid would have gone on to earn less cost, a year: shown apart, in no sum.
    """

    gas_units: int
    gas_wei: int
    gas_usd: int | None
    swap: SwapCost = SwapCost()
    gas_ceiling_usd: int | None = None
    lost_yield_usd_year: int | None = None
    l1_fee_wei: int | None = 0
    l1_data_usd: int | None = 0
    gas_limit: int | None = None

    @property
    def most_gas(self) -> int:
        """The most units of gas over all calls, as far as it is known."""
        return self.gas_units if self.gas_limit is None else self.gas_limit

    @property
    def swap_usd(self) -> int:
        """What all sales cost together."""
        return self.swap.total_usd

    @property
    def total_usd(self) -> int | None:
        """Gas and sales together, or None."""
        return None if self.gas_usd is None else self.gas_usd + self.swap_usd


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to defend the same position at the same block, or one that cannot be taken and `why_not`.

    `words` names its steps, `steps` are their numbers in the rule, from 0. Health in wad (None with a reached target:
    no debt left). Unless it was `simulated` its gas is what such calls usually take.
    """

    words: str
    steps: tuple[int, ...]
    cost: PlanCost | None
    health_factor_after: int | None
    reaches_target: bool
    why_not: str | None = None
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A sized plan at one block. Health factors in wad. `shortfall` says in words what the waterfall cannot reach.

    `avoided_loss_usd` is what a liquidation now would take; `expected_loss_usd` that times the modelled probability of
    getting there, which is what a limit on the share of cost is held against. `alternatives`: what else was looked
    at, the cheapest that reaches the target first. `volatility_bps`: what the model takes it to be, a year.
    `closed_bps`: the part of the debts that it closes, where closing is the goal. `floor`: the health (wad) that a
    boost may bring it down to; None in every plan that has to raise it. `taken`: the numbers of its steps in the rule
    that was planned, from 0. `left_out`: steps that simulation refused at this block, each with why.
    `lacks`: it does too little for want of what may be there at the next block (an answer, a step that was refused), or
    of what the firing that it goes on with took already; `awaits` is the same where that is waited for. `rounds`: it is
    one round of several, and its target is met by those to come. `before`: what the firing that it goes on with took of
    maxima, in base units by the number of the step, as in `taken`.
    """

    rule: str
    rule_digest: str
    position: PositionKey
    block: BlockRef
    steps: tuple[PlannedStep, ...]
    calls: tuple[PlannedCall, ...]
    health_factor_before: int
    health_factor_after: int | None
    reaches_target: bool
    shortfall: str | None
    fees: FeeQuote
    cost: PlanCost
    avoided_loss_usd: int | None
    spend_usd: int
    simulated: bool = False
    expected_loss_usd: int | None = None
    alternatives: tuple[Alternative, ...] = ()
    volatility_bps: int | None = None
    closed_bps: int | None = None
    floor: int | None = None
    taken: tuple[int, ...] = ()
    left_out: tuple[str, ...] = ()
    awaits: str | None = None
    lacks: str | None = None
    rounds: Rounds | None = None
    before: tuple[tuple[int, int], ...] = ()

    @property
    def goal_words(self) -> str | None:
        """What of the goal it reaches where a part of the debt is to be closed: `closes 50%`; else None."""
        if self.closed_bps is None:
            return None
        part = format_units(self.closed_bps, 2).rstrip("0").rstrip(".")
        return f"closes {part}%"


NOT_ACTING = "not-acting"
"""Code of the refusal of a rule that may not act now: not armed, held, killed, halted, or behind another rebalance."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a rule does nothing now, in words a trader can act on. `code` is stable for scripts.

    Where a limit on cost suspends protection, `acts_below` is the health factor (wad) under which it does no longer.
    `failed` is the action whose call a simulation refused, where it was a call that it refused. `account`: whose money
    for gas is too little, where that is it. `alternatives`: the ways that were looked at, with cost and reason.
    """

    code: str
    reason: str
    acts_below: int | None = None
    failed: Action | None = None
    account: str | None = None
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A rule at a block: does it fire, why (not), what it would do, and what refuses it.

    `ahead`: what a calm rule would do where its trigger lies, sized with what is there now at the worst that its steps
    allow; not simulated. `waits`: it is beyond its trigger, but an engine would not act there, because it fired
    already, rests, is held back, waits for an answer or has done enough for an hour; only where a single look at the
    chain found it so. `problems`: what would be said of it were it armed now; where any is decisive it would not be
    armed anew; None: not asked. `in_rounds`: a round of its last firing is over, and its target is not met yet.
    """

    rule: str
    position: str
    block: BlockRef
    fires: bool
    why: str
    plan: Plan | None
    refused: Refusal | None
    ahead: Plan | Refusal | None = None
    waits: str | None = None
    problems: tuple[RuleProblem, ...] | None = None
    in_rounds: bool = False
