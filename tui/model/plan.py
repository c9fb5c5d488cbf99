"""What a rule would do at one block: actions with sizes, the calls they become, costs, and what simulation said."""

from __future__ import annotations

from dataclasses import dataclass

from tui.model.block import BlockRef
from tui.model.position import Asset, PositionKey
from tui.model.rule import ActionKind
from tui.model.signing import WordRule


@dataclass(frozen=True, slots=True)
class Action:
    """Do `kind` with exactly `amount` base units of `asset`."""

    kind: ActionKind
    asset: Asset
    amount: int


@dataclass(frozen=True, slots=True)
class PermitNeed:
    """An EIP-2612 signature that a call wants in its calldata. All integers in base units; `deadline` unix seconds."""

    token: str
    name: str
    version: str
    domain_separator: str
    spender: str
    value: int
    nonce: int
    deadline: int


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One transaction to be. `data` is final unless `permit` is set: then the three signature words (v, r, s) at the
    end of `data` are zero until the permit is signed, and `stand_in` are the calls that have the same effect
    without a signature, for simulating before anything is signed.

    `words` says in plain words what the call does; `rules` are what the signer checks by itself.
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
    """Dollars with 8 decimals; None where the native coin's price is not known. `gas_units` over all calls."""

    gas_units: int
    gas_wei: int
    gas_usd: int | None
    swap_usd: int = 0

    @property
    def total_usd(self) -> int | None:
        """Gas and swap together, or None."""
        return None if self.gas_usd is None else self.gas_usd + self.swap_usd


@dataclass(frozen=True, slots=True)
class Plan:
    """A sized plan at one block. Health factors in wad. `shortfall` says in words what the waterfall cannot reach."""

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


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a rule does nothing now, in words a trader can act on. `code` is stable for scripts."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A rule at a block: does it fire, why (not), what it would do, and what refuses it."""

    rule: str
    position: str
    block: BlockRef
    fires: bool
    why: str
    plan: Plan | None
    refused: Refusal | None
