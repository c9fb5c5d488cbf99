"""The most that gas of one transaction may come to for the signer: what it is given when a rule is armed, and what
every plan is held to, so that nothing is planned which the signer would refuse.

The signer knows no prices and takes nothing wider later: the caps are in wei, of the price and the chain at arming.
"""

from __future__ import annotations

from dataclasses import dataclass

from tui.model.plan import FeeQuote, PlannedCall, Refusal
from tui.model.rule import Rule
from tui.model.units import USD, WAD, format_units, usd_text

MAX_FEE_PER_GAS = 5_000 * 10**9
"""Wei a unit of gas that any chain may ask for ..."""
STORM = 50
"""... or so many times the base fee at arming, on a chain whose gas is counted in larger figures."""
DEFAULT_FEE_USD = 5_000 * USD
"""What gas of one transaction may cost where the rule sets no `max_cost_usd`, at the price at arming."""
DEFAULT_FEE_WEI = WAD // 2
"""The same where the native coin has no price, or `STORM` times what `DEFAULT_GAS` costs at arming, if that is more."""
DEFAULT_GAS = 1_000_000
FEE_ROOM = 4
"""Dollars become wei at the price at arming. Gas limits are booked dearer than what is used, and a coin that loses half
of its price meanwhile makes twice as many wei of the same dollars."""


@dataclass(frozen=True, slots=True)
class FeeCap:
    """The most wei that one transaction's gas may come to, and a unit of it."""

    wei: int
    per_gas: int

    def ceiling(self, gas: int) -> int:
        """The most wei a unit of gas for a transaction of so much gas."""
        return min(self.per_gas, self.wei // gas) if gas > 0 else self.per_gas


def fee_cap(rule: Rule, native_price_usd: int | None, base_fee: int) -> FeeCap:
    """What the signer allows for `rule`, armed when the native coin cost `native_price_usd` (8 decimals, None: not
    known) and a unit of gas `base_fee` wei.
    """
    per_gas = max(MAX_FEE_PER_GAS, STORM * base_fee)
    limit = rule.limits.max_cost_usd
    if native_price_usd:
        return FeeCap((DEFAULT_FEE_USD if limit is None else limit) * WAD * FEE_ROOM // native_price_usd, per_gas)
    return FeeCap(max(DEFAULT_FEE_WEI, STORM * base_fee * DEFAULT_GAS), per_gas)


def cap_words(cap: FeeCap, native_price_usd: int | None) -> str:
    """The cap for whoever arms a rule, in the coin and in dollars of now."""
    worth = "" if not native_price_usd else f", ${usd_text(cap.wei * native_price_usd // WAD)} now"
    coin, gwei = format_units(cap.wei, 18, 4), format_units(cap.per_gas, 9, 0)
    return f"the signer pays at most {coin} of the native coin{worth}, and {gwei} gwei, for gas of a transaction"


def over_cap(cap: FeeCap, fees: FeeQuote, gas: int) -> Refusal | None:
    """Why a transaction of so much gas would not be signed at the fees of now, or None."""
    asked, most = fees.base_fee + fees.priority_fee, cap.ceiling(gas)
    if asked <= most:
        return None
    return Refusal(
        "signer-fee",
        f"gas costs {format_units(asked, 9, 2)} gwei, and the signer is armed to pay {format_units(most, 9, 2)} at "
        f"the most for a transaction of {gas} gas ({format_units(cap.wei, 18, 4)} of the native coin): protection is "
        "suspended until gas costs less, or until the rule is armed again",
    )


def largest(calls: tuple[PlannedCall, ...], unsimulated: int) -> int:
    """The gas limit of the dearest of `calls`; `unsimulated` stands for one that has none yet."""
    return max((call.gas_limit or unsimulated for call in calls), default=unsimulated)
