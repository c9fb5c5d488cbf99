"""A few transactions that a person asks for outright, with all that the record gives to a rule's: a firing, nonces of
their own, durable bytes before any is sent, fees raised within a ceiling, a signer that signs these very bytes alone.

Alone on the state directory: two records of one account's nonces would each take the other's for a stranger's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from tui.engine.engine import HELD_KEY
from tui.engine.executor import CannotCancel, Executor, Verify
from tui.engine.intents import awaits_signature, call_of, living, senders
from tui.engine.lifecycle import is_cancelling
from tui.engine.sending import Notify
from tui.model.block import BlockRef
from tui.model.calls import Call, Simulation
from tui.model.data_fee import DataFees
from tui.model.errand import Errand
from tui.model.intent import Firing, FiringState, IntentState
from tui.model.network import Network
from tui.model.pinned import pinned_text
from tui.model.plan import FeeQuote, PlanCost, PlannedCall
from tui.model.position import PositionKey
from tui.model.signing import AllowedCall, SignerRefused, SignerUnavailable, SigningPolicy
from tui.model.text import clean_text, short_address
from tui.model.units import WAD, format_units
from tui.model.wallet import WalletQuery
from tui.planning.fee_caps import DEFAULT_FEE_WEI
from tui.planning.policy import DAILY_FEE_FACTOR
from tui.planning.simulation import with_margin
from tui.ports.chain import Broadcaster, ChainUnreachable, Fees, Reader, ReadFailed, Simulator
from tui.ports.clock import Clock
from tui.ports.journal import Journal
from tui.ports.signer import Signer
from tui.protocols import chainlink, op_stack

BY_HAND = "by hand: "
"""How the record's names of such firings begin."""
POLICY_SECONDS = 6 * 60 * 60
"""How long the signer may raise the fees of what was asked for, unless it is asked for again."""

Judge = Callable[[Simulation], str | None]


class CannotDo(Exception):
    """Nothing was signed for what was asked; the text says why and how to mend it."""


class NotFinal(Exception):
    """Something was signed or may have been, and its end is not seen here; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Hands:
    """The outside world. `heads` gives every new head once."""

    heads: AsyncIterator[BlockRef]
    reader: Reader
    simulator: Simulator
    fees: Fees
    broadcaster: Broadcaster
    clock: Clock
    journal: Journal
    signer: Signer


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants done. `judge` says what is wrong with a simulation of `calls` followed by `reads`, if
    anything is.
    """

    name: str
    position: PositionKey
    calls: tuple[PlannedCall, ...]
    reads: tuple[Call, ...]
    judge: Judge

    @property
    def account(self) -> str:
        """Whose key signs."""
        return self.position.account

    @property
    def digest(self) -> str:
        """Identifies exactly these calls of this account."""
        parts = [self.account, *map(_meaning, self.calls)]
        return sha256("\n".join(parts).encode()).hexdigest()


def _meaning(call: PlannedCall) -> str:
    delegate = pinned_text(call.delegate)
    return f"{call.to} {call.value} {call.data.hex()}" + ("" if delegate is None else f" {delegate}")


def is_by_hand(firing: Firing) -> bool:
    """Whether a person asked for it outright. A rule may have any name, but never fires without a health factor."""
    return firing.rule.startswith(BY_HAND) and firing.health_factor_before is None


class ByHand:
    """Drafts a wish, and carries it out once the person has said yes to the draft. `newest` is the last head seen.

    All methods raise JournalError, ChainUnreachable and ReadFailed beside what they name.
    """

    def __init__(self, hands: Hands, network: Network, killed: Callable[[], bool], notify: Notify) -> None:
        self._hands = hands
        self._network = network
        self._killed = killed
        self.newest: BlockRef | None = None
        self._executor = Executor(
            hands.journal,
            hands.signer,
            hands.broadcaster,
            hands.reader,
            hands.clock,
            network.chain_id,
            network.confirmations,
            killed,
            notify,
        )

    async def head(self) -> BlockRef:
        """The next new head."""
        self.newest = await anext(self._hands.heads)
        return self.newest

    async def bind(self) -> None:
        """Tie the record to this very chain, before anything is asked of it."""
        genesis = await self._hands.reader.block_by_number(0)
        if genesis is not None:
            self._hands.journal.bind_chain(self._network.chain_id, genesis.hash)

    def left_over(self, account: str) -> tuple[Firing, ...]:
        """What was asked for by hand earlier and has no end yet. Raises CannotDo where a rule's firing has none."""
        firings = self._hands.journal.open_firings(self._network.chain_id)
        found = [one for one in firings if one.account == account or account in senders(living(one))]
        for firing in found:
            if firing.state is FiringState.RUNNING and not is_by_hand(firing):
                raise CannotDo(
                    f"transactions of the rule {clean_text(firing.rule, 40)} are not final yet; start the engine that "
                    "sent them (`trimtab run` or the app), let it finish them, then stop it and try again"
                )
        return tuple(firing for firing in found if is_by_hand(firing))

    async def finish(self, account: str, keystore: Path, password: str) -> tuple[Firing, ...]:
        """Carry on with what `left_over` tells, as an engine does at its start; what became of each.

        Raises CannotDo, NotFinal.
        """
        ended: list[Firing] = []
        for left in self.left_over(account):
            if left.state is not FiringState.RUNNING:
                self._executor.drop_firing(left.id, "stopped before anything was signed")
                continue
            living = [intent for intent in left.intents if not intent.state.is_final]
            if living:
                ceiling = max(intent.fee_ceiling for intent in living)
                await self._unlock(account, keystore, password, [call_of(intent) for intent in living], ceiling)
            await self._executor.recover()
            ended.append(await self._take_up(self._firing(left.id)))
        return tuple(ended)

    async def _take_up(self, firing: Firing) -> Firing:
        if firing.state is FiringState.TRIGGERED:
            self._executor.drop_firing(firing.id, "stopped before anything was signed")
            return self._firing(firing.id)
        block = await self.head()
        fees = await self._hands.fees.quote(block)
        if awaits_signature(firing):
            verify = self._verify(firing.account, block, (), _no_fault)
            await self._executor.resume_reserved(firing, fees, verify)
            firing = self._firing(firing.id)
        for intent in firing.intents:
            # What may not be sent any more, or would not go through, gives its nonce back.
            unsigned = intent.state is IntentState.RESERVED and awaits_signature(firing)
            if (intent.withheld or unsigned) and not intent.state.is_final and not is_cancelling(intent):
                try:
                    await self._executor.cancel(intent.id, fees)
                except CannotCancel as cannot:
                    raise NotFinal(f"{intent.words}: {cannot}") from cannot
        return await self._follow(firing.id)

    async def draft(self, wish: Wish, block: BlockRef) -> Errand:
        """The wish with gas, fees and cost, simulated at `block`. Raises CannotDo."""
        refusal = self._refusal(wish.account) or self._hands.reader.degraded(block)
        if refusal is not None:
            raise CannotDo(refusal)
        _, (wallet,) = await self._hands.reader.read_all(block, (), [WalletQuery(wish.account)])
        price, data_fees = await self._price(block), await self._data_fees(block)
        simulation = await self._hands.simulator.simulate(block, wish.account, wish.calls, wish.reads)
        wrong = _fault(wish.calls, simulation, wish.judge)
        if wrong is not None:
            raise CannotDo(wrong)
        calls = tuple(
            replace(call, gas_used=done.gas_used, gas_limit=with_margin(done.gas_used))
            for call, done in zip(wish.calls, simulation.calls, strict=True)
        )
        fees = await self._hands.fees.quote(block)
        gas, used = sum(call.gas_limit for call in calls), sum(call.gas_used for call in calls)
        l1_fee = 0 if data_fees is None else data_fees.of_calls(calls)
        data = l1_fee or 0
        needed = gas * fees.max_fee + data + sum(call.value for call in calls)
        if wallet.native is None:
            raise CannotDo("the account's balance for gas could not be read")
        if wallet.native < needed:
            raise CannotDo(
                f"it may take {format_units(needed, 18, 6)} of the native coin, {short_address(wish.account)} has "
                f"{format_units(wallet.native, 18, 6)}; add some"
            )
        wei = used * (fees.base_fee + fees.priority_fee) + data
        priced = None if l1_fee is None else price
        cost = PlanCost(
            used,
            wei,
            None if priced is None else wei * priced // WAD,
            gas_ceiling_usd=None if priced is None else (gas * fees.ceiling + data) * priced // WAD,
            l1_fee_wei=l1_fee,
            l1_data_usd=0 if l1_fee == 0 else None if priced is None else data * priced // WAD,
            gas_limit=gas,
        )
        return Errand(BY_HAND + wish.name, wish.digest, wish.position, block, calls, fees, cost)

    async def carry_out(self, wish: Wish, agreed: Errand, keystore: Path, password: str) -> Firing:
        """Sign, send and follow to a final block what was drafted: the firing at its end.

        It is simulated once more, at a new block. No attempt pays more than the ceiling that was agreed to. Raises
        CannotDo, NotFinal.
        """
        await self._unlock(wish.account, keystore, password, agreed.calls, agreed.fees.ceiling)
        block = await self.head()
        refusal = self._refusal(wish.account)
        if refusal is not None:
            raise CannotDo(refusal)
        fresh = await self._hands.fees.quote(block)
        if fresh.base_fee >= agreed.fees.ceiling:
            raise CannotDo("the base fee rose above the most that was agreed to; try again")
        max_fee = min(fresh.max_fee, agreed.fees.ceiling)
        fees = FeeQuote(fresh.base_fee, max_fee, min(fresh.priority_fee, max_fee), agreed.fees.ceiling)
        nonce = await self._hands.broadcaster.nonce(wish.account, block.hash)
        firing = self._latch(agreed, block, nonce)
        verify = self._verify(wish.account, block, wish.reads, wish.judge)
        await self._executor.execute(
            firing, replace(agreed, block=block, fees=fees), verify, mined_nonces={wish.account: nonce}
        )
        firing = self._firing(firing.id)
        if firing.state in (FiringState.TRIGGERED, FiringState.PLANNED):
            self._executor.drop_firing(firing.id, "another plan of the account is under way")
            firing = self._firing(firing.id)
        if firing.state is FiringState.DROPPED:
            raise CannotDo(self._refusal(wish.account) or firing.reason)
        return await self._book(await self._follow(firing.id))

    async def _book(self, firing: Firing) -> Firing:
        """What its gas really cost in dollars, where the price is to be had."""
        wei = firing.gas_paid_wei
        price = await self._price(self.newest or await self.head())
        if price is not None and wei is not None:
            self._executor.book_outcome(firing.id, None, wei * price // WAD)
        return self._firing(firing.id)

    async def _price(self, block: BlockRef) -> int | None:
        """The native coin in dollars (8 decimals), None where it cannot be had."""
        feed = self._network.native_usd_feed
        if feed is None:
            return None
        try:
            rounds, decimals = await self._hands.reader.read(block, chainlink.price_calls(feed))
        except (ReadFailed, ChainUnreachable):
            return None
        return chainlink.decode_price(rounds, decimals, block.timestamp)

    async def _data_fees(self, block: BlockRef) -> DataFees | None:
        """What layer 1 charges for data, None where the network names no oracle of it."""
        oracle = self._network.l1_fee_oracle
        if oracle is None:
            return None
        asked = op_stack.DataFeeReading(oracle)
        try:
            return asked.decode(await self._hands.reader.read(block, asked.calls()))
        except (ReadFailed, ChainUnreachable):
            return DataFees()

    def _latch(self, errand: Errand, block: BlockRef, nonce: int) -> Firing:
        """One firing for the same calls at the same nonce, however often they are asked for."""
        episode = f"nonce {nonce}, {errand.rule_digest}"
        firing = self._executor.open_firing(
            rule=errand.rule,
            rule_digest=errand.rule_digest,
            episode=episode,
            position=str(errand.position),
            account=errand.position.account,
            block=block,
            health_factor=None,
        )
        if firing is not None:
            return firing
        known = self._hands.journal.firing_of(errand.rule, episode)
        if known is None or known.state is not FiringState.DROPPED:
            raise CannotDo("the record has it under this nonce already; `trimtab journal` shows what became of it")
        return self._executor.reopen_firing(known.id, "asked for again")

    async def _follow(self, firing_id: str) -> Firing:
        while (firing := self._firing(firing_id)).state.is_open:
            stuck = self._stuck(firing)
            if stuck is not None:
                raise NotFinal(stuck)
            await self._executor.on_head(await self.head())
        return firing

    def _stuck(self, firing: Firing) -> str | None:
        halted = self._hands.journal.halted(self._network.chain_id, firing.account)
        if halted is not None:
            return f"{short_address(firing.account)} is halted: {halted}"
        if any(one.withheld and not one.state.is_final and not is_cancelling(one) for one in firing.intents):
            return (
                "the kill switch came before it was sent, and it is not sent any more; run the same command again to "
                "cancel it and free its nonce"
            )
        if awaits_signature(firing):
            return "it was not signed to its end, and nothing was sent; run the same command again to go on with it"
        return None

    def _refusal(self, account: str) -> str | None:
        if self._killed():
            return "the kill switch is on; release it with `trimtab kill --off`"
        held = self._hands.journal.meta(HELD_KEY)
        if held:
            return f"the engine holds itself: {clean_text(held, 200)}; look, then `trimtab resume`"
        halted = self._hands.journal.halted(self._network.chain_id, account)
        return (
            None
            if halted is None
            else f"{short_address(account)} is halted: {halted}; look, start the engine, then `trimtab resume`"
        )

    def _verify(self, account: str, block: BlockRef, reads: tuple[Call, ...], judge: Judge) -> Verify:
        async def verify(calls: Sequence[PlannedCall]) -> str | None:
            return _fault(calls, await self._hands.simulator.simulate(block, account, calls, reads), judge)

        return verify

    async def _unlock(
        self, account: str, keystore: Path, password: str, calls: Sequence[PlannedCall], ceiling: int
    ) -> None:
        """Open the key with a policy for exactly these calls."""
        policy = policy_for(self._network.chain_id, account, calls, ceiling, self._hands.clock.now())
        try:
            opened = await self._hands.signer.unlock(keystore, password)
            if opened.lower() != account:
                raise CannotDo(f"the key file opens {opened}, not {account}")
            await self._hands.signer.set_policy(policy)
        except (SignerRefused, SignerUnavailable) as refused:
            raise CannotDo(str(refused)) from refused

    def _firing(self, firing_id: str) -> Firing:
        firing = self._hands.journal.firing(firing_id)
        assert firing is not None, f"no firing {firing_id}"
        return firing


def policy_for(chain_id: int, account: str, calls: Sequence[PlannedCall], ceiling: int, now: float) -> SigningPolicy:
    """What the signer may sign: these calls byte for byte, each with its own value, at `ceiling` wei a gas at most.

    The daily limit leaves room for what rules may have used of the same day: each transaction is bound by its own.
    """
    fees = [call.gas_limit * ceiling for call in calls]
    return SigningPolicy(
        chain_id=chain_id,
        account=account,
        calls=tuple(
            AllowedCall(call.to, "0x" + call.selector.hex(), max_value=call.value, data_hash=_data_hash(call.data))
            for call in calls
            if call.delegate is None
        ),
        permits=(),
        daily_caps=(),
        max_fee_per_gas=ceiling,
        max_gas=max(call.gas_limit for call in calls),
        max_fee_wei=max(fees),
        max_daily_fee_wei=sum(fees) + DEFAULT_FEE_WEI * DAILY_FEE_FACTOR,
        expires_at=int(now) + POLICY_SECONDS,
        max_value=max(call.value for call in calls),
        delegates=tuple(call.delegate for call in calls if call.delegate is not None),
    )


def _fault(calls: Sequence[PlannedCall], simulation: Simulation, judge: Judge) -> str | None:
    for call, done in zip(calls, simulation.calls, strict=True):
        if not done.ok:
            return f"simulated, “{call.words}” fails: {clean_text(done.error or 'no reason given', 200)}"
    return judge(simulation)


def _no_fault(_simulation: Simulation) -> str | None:
    return None


def _data_hash(data: bytes) -> str:
    from eth_hash.auto import keccak  # loads a native library: not at import time

    return "0x" + keccak(data).hex()
