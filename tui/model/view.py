"""The one immutable picture that every pane and every headless output is drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tui.model.agreement import digest_of
from tui.model.block import BlockRef
from tui.model.intent import Firing
from tui.model.plan import Evaluation, Plan
from tui.model.position import Asset, Position
from tui.model.rule import Rule, RuleFault, TriggerKind
from tui.model.wallet import Wallet


class Protection(StrEnum):
    """What the engine is able and allowed to do right now."""

    READ_ONLY = "READ_ONLY"
    WATCHING = "WATCHING"
    ARMED = "ARMED"
    HELD = "HELD"


class RuleActivity(StrEnum):
    """What a rule is doing."""

    OFF = "off"
    INVALID = "invalid"
    DISARMED = "disarmed"
    ARMED = "armed"
    COUNTING = "counting"
    ASKING = "asking"
    FIRING = "firing"
    LATCHED = "latched"
    COOLING = "cooling"
    HELD = "held"


class Severity(StrEnum):
    """How much an activity line wants to be seen."""

    INFO = "info"
    GOOD = "good"
    WARNING = "warning"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class ProviderView:
    """One node: masked URL, state word (ok, lagging, wrong-chain, failing, lying), latency in milliseconds.

    `role` is `node`, or `relay` for a private relay, which is only sent to.
    """

    url: str
    state: str
    latency_ms: float | None
    detail: str = ""
    role: str = "node"


@dataclass(frozen=True, slots=True)
class ChainView:
    """The chain at a glance. `head_age` in seconds by the local clock since the head was received; None before any.

    `blind` says why nothing can be known now, or is None.
    """

    network: str
    chain_id: int
    block: BlockRef | None
    head_age: float | None
    block_time: float
    providers: tuple[ProviderView, ...]
    native_price_usd: int | None = None
    blind: str | None = None


@dataclass(frozen=True, slots=True)
class TriggerPrice:
    """At which price (8 decimals) of `asset` a rule would fire on a position; `distance_bps` of the present price
    (negative: it must fall), None where a price could not be had. `kind` says whether it waits for that price or for a
    health factor under or over a level, then `health_factor` (wad) is that level; for a pair `level` (wad) is the price
    in units of `quote`.
    """

    rule: str
    position: str
    asset: Asset
    price_usd: int
    distance_bps: int | None
    kind: TriggerKind = TriggerKind.HEALTH_BELOW
    level: int | None = None
    quote: Asset | None = None
    health_factor: int | None = None


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule and what it is doing. `detail` explains the activity in words; `armed_since` unix seconds."""

    rule: Rule
    activity: RuleActivity
    detail: str
    positions: tuple[str, ...]
    armed_since: float | None = None
    evaluation: Evaluation | None = None
    spent_today_usd: int = 0


@dataclass(frozen=True, slots=True)
class PositionView:
    """A position with the rule that watches it (None: none does) and the prices where it would fire.

    `own_key`: the key of its account is here. `payers`: the other accounts that sign for that rule once it is armed.
    """

    position: Position
    rule: str | None
    rule_activity: RuleActivity
    trigger_health_factor: int | None
    target_health_factor: int | None
    trigger_prices: tuple[TriggerPrice, ...] = ()
    own_key: bool = False
    label: str = ""
    payers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ActivityEntry:
    """One line of what happened: decisions, intents, outcomes, faults. `at` unix seconds; `number` only grows.

    `liquidated`: the position (id) whose liquidation the line tells.
    """

    number: int
    at: float
    block: int | None
    severity: Severity
    text: str
    firing_id: str | None = None
    liquidated: str | None = None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A simulated plan that waits for a yes. `expires_at` unix seconds."""

    id: str
    rule: str
    position: Position
    plan: Plan
    created_at: float
    expires_at: float

    @property
    def digest(self) -> str:
        """Names the plan as it is shown: the answer says which one was looked at."""
        return digest_of(self.plan)


@dataclass(frozen=True, slots=True)
class PricePoint:
    """A price (8 decimals) at a block's timestamp."""

    timestamp: int
    price_usd: int


@dataclass(frozen=True, slots=True)
class PriceHistory:
    """The prices seen of one asset, oldest first."""

    asset: Asset
    points: tuple[PricePoint, ...]


@dataclass(frozen=True, slots=True)
class HealthHistory:
    """The health factors seen of one position (wad), oldest first, with block timestamps."""

    position: str
    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """What a rule of mode notify waited for came true on a position, once for each `episode`; `text` says what."""

    rule: str
    position: str
    episode: str
    text: str


@dataclass(frozen=True, slots=True)
class ViewState:
    """Everything a screen may show, at one moment. `sequence` grows with every publication.

    `protection_why` is always a full sentence. `worth_knowing` lists what stops nothing by itself (a wallet that holds
    less than a step's maximum). `would_stop` lists what would stop a defence now, empty where
    nothing is known that would. `next_fire` is the nearest trigger. `held` says why the engine holds itself until a
    person goes on, `low_gas` by account what is too little, `policy_until` when the signer's permission ends (unix
    seconds), `degraded` why fewer nodes than the quorum had to do at this block, `signer` why nothing can be signed for
    what is armed, `troubles` by key what keeps a defence that has begun from going on, or an armed rule from acting,
    `notices` the newest of what came true for rules that only notify.
    """

    sequence: int
    at: float
    protection: Protection
    protection_why: str
    chain: ChainView
    positions: tuple[PositionView, ...] = ()
    wallets: tuple[Wallet, ...] = ()
    rules: tuple[RuleView, ...] = ()
    rule_faults: tuple[RuleFault, ...] = ()
    rules_file: str = ""
    activity: tuple[ActivityEntry, ...] = ()
    firings: tuple[Firing, ...] = ()
    confirmations: tuple[Confirmation, ...] = ()
    next_fire: TriggerPrice | None = None
    would_stop: tuple[str, ...] = ()
    worth_knowing: tuple[str, ...] = ()
    price_history: tuple[PriceHistory, ...] = ()
    health_history: tuple[HealthHistory, ...] = ()
    armed_since: float | None = None
    killed: bool = False
    read_only: bool = False
    held: str | None = None
    low_gas: tuple[tuple[str, str], ...] = ()
    policy_until: float | None = None
    degraded: str | None = None
    troubles: tuple[tuple[str, str], ...] = ()
    signer: str | None = None
    notices: tuple[Notice, ...] = ()


def empty_view(network: str, chain_id: int, block_time: float) -> ViewState:
    """What there is to show before anything was read."""
    return ViewState(
        sequence=0,
        at=0.0,
        protection=Protection.READ_ONLY,
        protection_why="Nothing has been read from the chain yet.",
        chain=ChainView(network, chain_id, None, None, block_time, (), blind="waiting for the first block"),
    )
