"""What the signer has said of its limits of the day: kept until that day is over, or something is armed anew.

It counts signatures, what reverted among them, because it sees no chain and believes nobody who tells it of one. What
it would refuse is not planned meanwhile, or it would be asked for it at every block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tui.engine.carrying import DAY_IS_USED
from tui.model.plan import Plan, PlannedCall, Refusal
from tui.model.position import Asset
from tui.model.rule import Rule
from tui.model.signing import DayUsed, day_used
from tui.model.text import clean_text, short_address
from tui.model.units import format_units
from tui.planning.payers import sender_of
from tui.planning.texts import amount_text
from tui.ports.clock import Clock

_DAY = 24 * 60 * 60
_Key = tuple[str, str | None]
"""Account, and token (None: gas)."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What was said on a day (of unix time)."""

    day: int
    used: DayUsed


class SignerDays:
    """Remembers what was refused. `armed_at` tells when anything was armed last (unix seconds): what the signer is then
    given may be wider.
    """

    def __init__(self, clock: Clock, armed_at: Callable[[], float]) -> None:
        self._clock = clock
        self._armed_at = armed_at
        self._seen_at = 0.0
        self._told: dict[_Key, _Told] = {}

    def heard(self, rule: Rule, plan: Plan, refused: Refusal | None) -> Refusal | None:
        """The same refusal, in words for a person where it is of a limit of the day, which is kept."""
        used = None if refused is None or refused.code != DAY_IS_USED else day_used(refused.reason)
        if refused is None or refused.account is None or used is None:
            return refused
        self._forget()
        self._told[refused.account, used.token] = _Told(self._today(), used)
        told = self.refuse(rule, plan)
        return refused if told is None else told[0]

    def refuse(self, rule: Rule, plan: Plan) -> tuple[Refusal, tuple[int, ...]] | None:
        """Why the signer would not sign a plan today, as far as it has said so, and the numbers of the steps that do
        not fit into what is left, one after another: without them it may be done. None where nothing is known against
        it.
        """
        self._forget()
        account = plan.position.account
        for (owner, token), told in self._told.items():
            own = [call for call in plan.calls if sender_of(call, account) == owner]
            wants = [(call.step, _wants(call, token, plan.fees.max_fee)) for call in own]
            wanted, left = sum(amount for _, amount in wants), max(told.used.cap - told.used.spent, 0)
            if wanted > left:
                words = _words(rule, plan, owner, replace(told.used, asked=wanted))
                return Refusal(DAY_IS_USED, words, account=owner), _too_much(wants, left)
        return None

    def _today(self) -> int:
        return int(self._clock.now()) // _DAY

    def _forget(self) -> None:
        """What was said of another day, or before something was armed, is not known any more."""
        armed_at, today = self._armed_at(), self._today()
        if armed_at != self._seen_at:
            self._seen_at = armed_at
            self._told.clear()
        for key in [key for key, told in self._told.items() if told.day != today]:
            del self._told[key]


def _wants(call: PlannedCall, token: str | None, max_fee: int) -> int:
    """What the signer counts for a call: base units of `token`, wei of gas at `max_fee` where that is None."""
    if token is None:
        return call.gas_limit * max_fee
    if call.spend_word is None or call.spend_token is None or call.spend_token.lower() != token:
        return 0
    start = 4 + 32 * call.spend_word
    return int.from_bytes(call.data[start : start + 32], "big")


def _too_much(wants: list[tuple[int | None, int]], left: int) -> tuple[int, ...]:
    """The steps whose transactions want more than the ones before them leave; what is for no step goes first."""
    by_step: dict[int, int] = {}
    for step, amount in wants:
        if step is None:
            left -= amount
        elif amount:
            by_step[step] = by_step.get(step, 0) + amount
    found = []
    for step, amount in by_step.items():
        if amount > left:
            found.append(step)
        else:
            left -= amount
    return tuple(found)


def _words(rule: Rule, plan: Plan, account: str, used: DayUsed) -> str:
    """The refusal for whoever can do something about it."""
    if used.token is None:
        spent, asked, cap = (f"{format_units(wei, 18, 6)} of the native coin" for wei in _figures(used))
        mend = "max_cost_usd"
    else:
        asset = _assets(plan).get(used.token)
        spent, asked, cap = (_amount(units, asset) for units in _figures(used))
        mend = "daily_spend_usd"
    where = rule.source.rpartition(":")[0] or rule.source
    return (
        f"the signer signs for {cap} a day with the key of {short_address(account)}, has signed for {spent} today, and "
        f"{asked} are wanted: protection is suspended until tomorrow (00:00 UTC), or until {mend} of the rule is "
        f"raised in {clean_text(where, 200)} and it is armed again; what reverted counts too, because the signer "
        "cannot see the chain"
    )


def _figures(used: DayUsed) -> tuple[int, int, int]:
    return used.spent, used.asked, used.cap


def _amount(units: int, asset: Asset | None) -> str:
    return f"{units} base units" if asset is None else amount_text(units, asset)


def _assets(plan: Plan) -> Mapping[str, Asset]:
    """What the steps of a plan move, by address."""
    found: dict[str, Asset] = {}
    for step in plan.steps:
        found[step.action.asset.address.lower()] = step.action.asset
        if step.action.sale is not None:
            found[step.action.sale.collateral.address.lower()] = step.action.sale.collateral
    return found
