"""The one interface that every lending protocol satisfies. Sans-IO: calls out, bytes in, exact integers throughout.

Engine, rules and screen speak to a market through this alone; nothing of one protocol's shape leaks out of its room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tui.model.block import BlockRef
from tui.model.calls import Call, CallResult, EventQuery, Log
from tui.model.impossible import ActionImpossible as ActionImpossible
from tui.model.pinned import PinnedCode
from tui.model.plan import Action, PlannedCall, SaleTerms
from tui.model.position import Asset, Held, MarketKey, Position
from tui.model.rule import ActionKind
from tui.model.snapshot import Listing
from tui.model.wallet import Wallet


@dataclass(frozen=True, slots=True)
class MarketReading:
    """A market at one block: a position per account asked for, in that order, and what the market lists.

    `version` is the protocol's version as the chain tells it; `fingerprint` names implementation and oracle, so that
    a change under us is noticed. `error` is set where nothing could be read: then every position is unknown.
    `identity`, `listings`: as in MarketFacts. `proxies`: addresses (lower-case hex) whose code can be replaced behind
    them (EIP-1967), so that it wants to be looked at.
    """

    positions: tuple[Position, ...]
    assets: tuple[Asset, ...]
    version: str
    fingerprint: str
    error: str | None = None
    identity: tuple[tuple[str, str], ...] = ()
    listings: tuple[Listing, ...] = ()
    proxies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Liquidation:
    """One liquidation as the market told it: whose, and base units of the collateral taken and of the debt cleared.
    Addresses in lower-case hex.
    """

    account: str
    collateral: str
    taken: int
    debt: str
    cleared: int


class LendingMarket(Protocol):
    """One configured market of one protocol."""

    @property
    def key(self) -> MarketKey:
        """`aave-v3/core`."""

    @property
    def actions(self) -> frozenset[ActionKind]:
        """The defences that this protocol's adapter can build."""

    def read_calls(self, accounts: Sequence[str]) -> tuple[Call, ...]:
        """The reads that give every position of `accounts` (lower-case hex), prices and market state at one block."""

    def decode(self, block: BlockRef, accounts: Sequence[str], results: Sequence[CallResult]) -> MarketReading:
        """Positions from the answers of `read_calls(accounts)`.

        Each position's health factor is computed here from balances, indices, prices and thresholds, and held
        against the contract's own answer in the same results: a difference of one wei makes the position unknown.
        Never raises for what a node may answer: what cannot be read is unknown with its reason.
        """

    def find_asset(self, position: Position, name: str) -> Asset | None:
        """The market's asset of a symbol (exact, unique) or an address; None where it lists no such asset, or where
        two assets share the symbol.
        """

    def price_usd(self, position: Position, asset: Asset) -> int | None:
        """The market's own price of an asset it lists (8 decimals), at the position's block; None where unknown."""

    def held(self, position: Position) -> Held | None:
        """What a position is made of, in parts that neither prices nor interest change: only what somebody does to it.
        What the holder switched off as collateral backs nothing; a mode that lowers thresholds once it is left is a
        part by itself. None where it cannot be told.
        """

    def after(self, position: Position, actions: Sequence[Action]) -> Position:
        """The exact position that `actions`, done in order in this block, would leave: the contract's own rounding.

        Raises ActionImpossible where the contract would revert or the amount exceeds what is owed or allowed.
        """

    def repriced(self, position: Position, prices_usd: Mapping[str, int]) -> Position:
        """The same position with other prices (8 decimals, by asset address), health and values computed anew."""

    def ceiling(self, position: Position, kind: ActionKind, asset: Asset, collateral: Asset | None = None) -> int:
        """The most base units that `kind` could use of `asset` here: what is owed, or what a supply cap leaves. In a
        sale `collateral` is what pays: how much of that can be had is not looked at.

        Raises ActionImpossible where it can do nothing at all, with the reason (paused, frozen, cap reached ...).
        """

    def spender(self, kind: ActionKind) -> str | None:
        """Who must be allowed to take the wallet's token for `kind`."""

    def calls_for(self, position: Position, action: Action, wallet: Wallet, deadline: int) -> tuple[PlannedCall, ...]:
        """The transactions that do `action` from `wallet`, in order: a permit call where the token has permits, else
        an exact approval (after a reset to zero where something smaller stands) and the call. `deadline` is unix time.
        """

    def sale_calls(
        self,
        position: Position,
        collateral: Asset,
        debt: Asset | None = None,
        kind: ActionKind = ActionKind.DELEVERAGE,
    ) -> tuple[Call, ...]:
        """The reads, at one block, that tell the terms on which a sale of `kind` can be paid for with `collateral`
        (withdrawn or borrowed, as the kind has it); none where this market cannot do it. `debt` is what is bought:
        repaid or supplied; None: the one asset that is owed, where it is one.
        """

    def sale_terms(
        self,
        position: Position,
        collateral: Asset,
        results: Sequence[CallResult],
        debt: Asset | None = None,
        kind: ActionKind = ActionKind.DELEVERAGE,
    ) -> SaleTerms:
        """The terms from the answers of `sale_calls` for the same `debt` and `kind`. Never raises for what a node may
        answer: `impossible` says it.
        """

    def sale_shape(self, position: Position, collateral: Asset, kind: ActionKind = ActionKind.DELEVERAGE) -> SaleTerms:
        """The terms as far as they are known without asking (who sells, which token it takes, the dearest usual
        premium): for previews, and for what a signer may be asked. Raises ActionImpossible where there are none.
        """

    def sold_in(self, logs: Sequence[Log], owner: str, token: str) -> int | None:
        """Base units of `token` that the transaction with these events, all that it has, really sold (or borrowed, as
        the kind has it) for `owner`, who owns the position or pays for it; addresses in lower-case hex. None where no
        event that can be trusted says so.
        """

    def liquidation_query(self, accounts: Sequence[str]) -> EventQuery | None:
        """Which events tell that one of `accounts` (lower-case hex) was liquidated; None before the first reading."""

    def liquidation_told(self, log: Log) -> Liquidation | None:
        """What such an event says; None for any other."""

    @property
    def account_code(self) -> PinnedCode | None:
        """The code that an account may run as its own (EIP-7702) to do this market's sales by itself, once a reading
        has told which; None where there is none.
        """

    def moved_in(self, logs: Sequence[Log], owner: str, token: str) -> int:
        """Base units of `token` that came into the wallet of `owner` in the transactions with these events, less what
        went out; under 0 where more went out.
        """

    def repaid_in(self, logs: Sequence[Log], owner: str, token: str) -> int:
        """Base units of a debt in `token` that the transactions with these events repaid for `owner`, whoever paid."""

    def typical_gas(self, call: PlannedCall) -> int:
        """Units of gas that a call of this shape usually takes: for comparing plans before any is simulated."""
