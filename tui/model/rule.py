"""A rule: when to act on which position, how far, with what, within which limits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tui.model.units import WAD


class Mode(StrEnum):
    """What a firing rule may do by itself."""

    NOTIFY = "notify"
    CONFIRM = "confirm"
    AUTO = "auto"


class ActionKind(StrEnum):
    """A defence. The words are those of the rules file, but for the last: there it is a `repay` with `swap_from`."""

    REPAY = "repay"
    ADD_COLLATERAL = "add-collateral"
    REPAY_WITH_ATOKENS = "repay-with-atokens"
    DELEVERAGE = "deleverage"
    SWITCH_COLLATERAL = "switch-collateral"
    SWITCH_DEBT = "switch-debt"
    BOOST = "boost"
    SWAP_TO_REPAY = "swap-to-repay"

    @property
    def word(self) -> str:
        """What a rules file writes for it."""
        return "repay" if self is ActionKind.SWAP_TO_REPAY else self.value


FILE_ACTIONS = tuple(kind.value for kind in ActionKind if kind is not ActionKind.SWAP_TO_REPAY)
"""What a step's `action` may be in a rules file."""

FROM_WALLET = frozenset({ActionKind.REPAY, ActionKind.ADD_COLLATERAL})
"""Defences that are paid for out of the wallet; the others live off the position itself."""
SALES = frozenset(
    {
        ActionKind.DELEVERAGE,
        ActionKind.SWITCH_COLLATERAL,
        ActionKind.SWITCH_DEBT,
        ActionKind.BOOST,
        ActionKind.SWAP_TO_REPAY,
    }
)
"""What swaps on an exchange: a loan is repaid or supplied, and bought back with what is withdrawn or borrowed. The last
takes no loan: the wallet sells a token of its own, and repays with what comes out.
"""
SUPPLYING = frozenset({ActionKind.SWITCH_COLLATERAL, ActionKind.BOOST})
"""Sales whose loan is supplied; the others repay with it."""
BORROWING = frozenset({ActionKind.SWITCH_DEBT, ActionKind.BOOST})
"""Sales that pay by borrowing; the others withdraw collateral, or take from the wallet."""


EMERGENCY_HEALTH = 105 * WAD // 100
"""Under this health factor a limit on cost gives way, where a rule does not say another."""

REPAYING = frozenset({ActionKind.REPAY, ActionKind.REPAY_WITH_ATOKENS, ActionKind.DELEVERAGE, ActionKind.SWAP_TO_REPAY})
"""Defences after which less is owed."""


class Order(StrEnum):
    """In which order a rule's steps are taken."""

    WRITTEN = "written"
    CHEAPEST = "cheapest"


class RoundsUse(StrEnum):
    """When a `deleverage` goes in rounds by the account itself. The words are those of the rules file."""

    IF_NEEDED = "if-needed"
    """Where no helper stands."""
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the waterfall. `asset` is a symbol or an address: what is repaid or supplied.

    A sale also names in `collateral` what pays for it (what is sold: collateral that is withdrawn, a token that is
    borrowed, or one of the wallet) and the loss that it may take against the market's own prices, `max_slippage_bps`.
    Its `asset` is what is bought: the debt repaid, the collateral received. `maximum` is a decimal text in whole
    tokens, of what pays in a sale, else of the asset; it stays text until the token's decimals are known from the
    chain. None: no such limit. `wallet` (lower-case hex) is the account whose wallet pays for it and whose key signs
    it; None: the position's own. `rounds` is for a `deleverage`.
    """

    action: ActionKind
    asset: str
    maximum: str | None = None
    collateral: str | None = None
    max_slippage_bps: int | None = None
    wallet: str | None = None
    rounds: RoundsUse = RoundsUse.IF_NEEDED

    @property
    def names(self) -> tuple[str, ...]:
        """The assets that it names, what is sold first."""
        return (self.asset,) if self.collateral is None else (self.collateral, self.asset)

    def signer(self, account: str) -> str:
        """Whose key signs what it does for a position of `account` (lower-case hex), and whose wallet pays for it."""
        return account if self.wallet is None else self.wallet


class TriggerKind(StrEnum):
    """What a rule waits for. The words are those of the rules file."""

    HEALTH_BELOW = "health_factor_below"
    HEALTH_ABOVE = "health_factor_above"
    PRICE_BELOW = "below"
    PRICE_ABOVE = "above"
    TRAILING = "trailing"
    HEALTH_TRAILING = "health_factor_trailing"


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a rule fires: health under `level` or over it, a price of `asset` under or above it, or one of both that
    fell `trailing_bps` below the best that was seen of it.

    `level` in wad: a health factor, or the price in dollars, or in units of `quote` where that is set. It is 0 in a
    trailing trigger, whose level follows what it trails. `asset` and `quote` are symbols or addresses.
    """

    kind: TriggerKind
    level: int = 0
    asset: str | None = None
    quote: str | None = None
    trailing_bps: int | None = None

    @property
    def is_price(self) -> bool:
        """Whether it waits for a price, and not for a health factor."""
        return self.kind in (TriggerKind.PRICE_BELOW, TriggerKind.PRICE_ABOVE, TriggerKind.TRAILING)

    @property
    def trails(self) -> bool:
        """Whether its level follows the best that was seen."""
        return self.kind in (TriggerKind.TRAILING, TriggerKind.HEALTH_TRAILING)

    @property
    def by_value(self) -> bool:
        """Whether it is held against a value that is read at each block and may be in doubt by itself: a price, or the
        health that it trails. Such a rule fires once.
        """
        return self.is_price or self.trails

    @property
    def stands_on_all(self) -> bool:
        """Whether every price that health stands on has to be beyond doubt for it, whatever `stale_price` says."""
        return self.kind in (TriggerKind.HEALTH_ABOVE, TriggerKind.HEALTH_TRAILING)

    @property
    def field(self) -> str:
        """The dotted key of its level in the rules file."""
        return f"when.{self.kind.value}"

    @property
    def names(self) -> tuple[str, ...]:
        """The assets whose prices it needs."""
        return tuple(name for name in (self.asset, self.quote) if name is not None)


class GoalKind(StrEnum):
    """What a firing is to achieve. The words are those of the rules file."""

    HEALTH = "health_factor"
    CLOSE = "close"
    NOTHING = "nothing"
    """A price trigger that only tells."""


@dataclass(frozen=True, slots=True)
class Goal:
    """How far a rule goes. `value`: the health factor in wad, or the part in basis points that is repaid of every debt
    that the steps name.
    """

    kind: GoalKind
    value: int = 0


def health_below(level: int) -> Trigger:
    """The trigger of a health factor (wad)."""
    return Trigger(TriggerKind.HEALTH_BELOW, level)


def health_above(level: int) -> Trigger:
    """The trigger of a boost, or of a take-profit: a health factor (wad) that is passed upwards."""
    return Trigger(TriggerKind.HEALTH_ABOVE, level)


def restore(health_factor: int) -> Goal:
    """The goal of a health factor (wad)."""
    return Goal(GoalKind.HEALTH, health_factor)


def close(bps: int) -> Goal:
    """The goal of repaying a part, in basis points, of every debt that the steps name."""
    return Goal(GoalKind.CLOSE, bps)


class StalePrice(StrEnum):
    """What a rule does where a price of its position is too old, or from the future."""

    HOLD = "hold"
    ACT = "act"
    """Repay all the same, and nothing but repay: paying debt back never harms, at whatever price."""


class StandingAllowance(StrEnum):
    """What a rule does where the market may take more of the wallet's token than the plan needs."""

    REFUSE = "refuse"
    USE = "use"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a rule may cost. Dollars with 8 decimals, base fee in wei, cooldown in seconds; None: no such limit.

    `max_cost_share_bps` caps the cost as a share of the liquidation loss that acting avoids. `emergency` (wad): under
    this health factor that share and `max_base_fee` give way up to the whole loss. The last two say what the rule may
    do under circumstances in which it would otherwise hold back.
    """

    max_cost_usd: int | None = None
    max_base_fee: int | None = None
    daily_spend_usd: int | None = None
    cooldown: int = 0
    max_cost_share_bps: int | None = None
    stale_price: StalePrice = StalePrice.HOLD
    standing_allowance: StandingAllowance = StandingAllowance.REFUSE
    emergency: int = EMERGENCY_HEALTH


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: when (`trigger`), how far (`goal`), by which `steps`. `order` says whether its steps are a waterfall as
    written, or a choice of which the cheapest that reaches the goal is taken. `digest` identifies its exact meaning:
    an armed rule whose digest changes is disarmed. `source` is "FILE:LINE" of where it was read, for messages.
    `partial`: it may be armed though its steps do not reach the goal with what is there, because a part of the way is
    better than none of it.
    """

    name: str
    position: str
    mode: Mode
    trigger: Trigger
    for_blocks: int
    goal: Goal
    steps: tuple[Step, ...]
    limits: Limits
    digest: str
    source: str = ""
    order: Order = Order.WRITTEN
    partial: bool = False

    def signers(self, account: str) -> tuple[str, ...]:
        """The accounts whose keys its steps need on a position of `account` (lower-case hex), each once, as written.

        A rule without steps signs nothing and needs none.
        """
        return tuple(dict.fromkeys(step.signer(account) for step in self.steps))

    @property
    def wallets(self) -> tuple[str, ...]:
        """The accounts that its steps name to pay for them, each once."""
        return tuple(dict.fromkeys(step.wallet for step in self.steps if step.wallet is not None))

    @property
    def boosts(self) -> bool:
        """Whether it takes on more leverage where health is high, and defends nothing."""
        return self.trigger.kind is TriggerKind.HEALTH_ABOVE and self.goal.kind is not GoalKind.CLOSE

    @property
    def closes_when_high(self) -> bool:
        """Whether it closes a part of the debt where health is high: a take-profit on health."""
        return self.trigger.kind is TriggerKind.HEALTH_ABOVE and self.goal.kind is GoalKind.CLOSE

    @property
    def health_factor_below(self) -> int | None:
        """The trigger's health factor in wad; None where a price triggers it, or health above one."""
        return self.trigger.level if self.trigger.kind is TriggerKind.HEALTH_BELOW else None

    @property
    def health_factor_above(self) -> int | None:
        """The health factor in wad above which it boosts or closes a part; None where it waits for anything else."""
        return self.trigger.level if self.trigger.kind is TriggerKind.HEALTH_ABOVE else None

    @property
    def target_health_factor(self) -> int | None:
        """The goal's health factor in wad; None where it closes a part of the debt, or only tells."""
        return self.goal.value if self.goal.kind is GoalKind.HEALTH else None

    @property
    def close_bps(self) -> int | None:
        """The part of the debts that it repays, in basis points; None where it restores a health factor."""
        return self.goal.value if self.goal.kind is GoalKind.CLOSE else None


class Severity(StrEnum):
    """An error makes its rule unusable; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class RuleFault:
    """One thing wrong in a rules file: where, what and how to mend it. `field` is the dotted key for an editor."""

    file: str
    line: int
    what: str
    fix: str
    rule: str | None = None
    field: str | None = None
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}; {self.fix}"


@dataclass(frozen=True, slots=True)
class RuleProblem:
    """One thing wrong with a rule on a position: `words` say what, `fix` how to mend it; `code` is stable.

    `step` is the number of the step (from 0), None where it is about the rule. `decisive`: such a rule is not armed
    anew, because it could never do what it says, or not from what is there now. What only leaves a step aside is not:
    other steps may make up for it, and where they do not, the target is out of reach, which is decisive.
    """

    code: str
    step: int | None
    words: str
    fix: str
    decisive: bool

    def __str__(self) -> str:
        return f"{self.words}; {self.fix}"
