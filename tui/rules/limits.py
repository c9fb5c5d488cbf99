"""The limits of a rule: what it may cost, and what it may do where it would hold back. In, and what they mean."""

from __future__ import annotations

from tui.model.rule import EMERGENCY_HEALTH, Limits, Severity, StalePrice, StandingAllowance, Trigger, TriggerKind
from tui.model.units import WAD
from tui.rules.fields import TableReader
from tui.rules.triggers import HIGHEST_HEALTH_FACTOR

MOST_USD = 10**12
MOST_GWEI = 10**6


def read_limits(reader: TableReader) -> Limits | None:
    """The limits of a rule's table; none of them where it has no such table; None where one is at fault."""
    if "limits" not in reader.table:
        reader.take("limits")
        return Limits()
    table = reader.subtable("limits", "[rule.limits]")
    if table is None:
        return None
    cost = table.decimal("max_cost_usd", 8, "200", MOST_USD, unit=" dollars")
    share = table.share("max_cost_share", "25%")
    base_fee = table.decimal("max_base_fee_gwei", 9, "500", MOST_GWEI, unit=" gwei")
    daily = table.decimal("daily_spend_usd", 8, "50000", MOST_USD, unit=" dollars")
    cooldown = table.duration("cooldown", 0)
    stale = table.choice("stale_price", tuple(StalePrice), required=False)
    standing = table.choice("standing_allowance", tuple(StandingAllowance), required=False)
    emergency = _read_emergency(table)
    table.finish()
    return Limits(
        cost,
        base_fee,
        daily,
        cooldown or 0,
        share,
        StalePrice.HOLD if stale is None else StalePrice(stale),
        StandingAllowance.REFUSE if standing is None else StandingAllowance(standing),
        EMERGENCY_HEALTH if emergency is None else emergency,
    )


def limits_meaning(limits: Limits) -> dict[str, object]:
    """What the limits mean, for a rule's digest: words that came later than the first five only where they are said."""
    meaning: dict[str, object] = {
        "limits": [
            limits.max_cost_usd,
            limits.max_cost_share_bps,
            limits.max_base_fee,
            limits.daily_spend_usd,
            limits.cooldown,
        ],
    }
    if limits.stale_price is not StalePrice.HOLD:
        meaning["stale_price"] = limits.stale_price.value
    if limits.standing_allowance is not StandingAllowance.REFUSE:
        meaning["standing_allowance"] = limits.standing_allowance.value
    if limits.emergency != EMERGENCY_HEALTH:
        meaning["emergency"] = limits.emergency
    return meaning


def warn_of_limits(reader: TableReader, trigger: Trigger, limits: Limits) -> None:
    """Warnings of limits that do not do with this trigger what they seem to do."""
    _warn_of_stale(reader, trigger, limits)
    _warn_of_share(reader, trigger, limits)
    _warn_of_emergency(reader, trigger, limits)


def _read_emergency(table: TableReader) -> int | None:
    """The health factor under which limits on cost give way: above 1, where there is still something to save."""
    health = table.decimal("emergency", 18, "1.05", HIGHEST_HEALTH_FACTOR)
    if health is not None and health <= WAD:
        table.fault("emergency", "emergency is not above 1, where liquidation begins", 'write it like "1.05"')
        return None
    return health


def _warn_of_emergency(reader: TableReader, trigger: Trigger, limits: Limits) -> None:
    """Limits that give way already where the rule fires are none, and that is seldom meant."""
    written = limits.emergency != EMERGENCY_HEALTH
    if written and trigger.kind is TriggerKind.HEALTH_BELOW and limits.emergency >= (trigger.level or 0):
        reader.faults.add(
            (*reader.path, "limits", "emergency"),
            f"{reader.name} fires only under its emergency: max_cost_share and max_base_fee_gwei hold nothing back",
            "write an emergency below health_factor_below",
            rule=reader.rule,
            severity=Severity.WARNING,
        )


def _warn_of_stale(reader: TableReader, trigger: Trigger, limits: Limits) -> None:
    """A price that is too old may be too high, and makes health high: on that nothing is paid back."""
    if trigger.stands_on_all and limits.stale_price is StalePrice.ACT:
        reader.faults.add(
            (*reader.path, "limits", "stale_price"),
            f'{reader.name} waits for high health, where stale_price = "act" lets it do nothing: an old price may be '
            "too high",
            "take it out",
            rule=reader.rule,
            severity=Severity.WARNING,
        )


def _warn_of_share(reader: TableReader, trigger: Trigger, limits: Limits) -> None:
    """A share of the loss avoided is next to nothing where a price fires far from liquidation, and where health is
    high.
    """
    far = trigger.by_value or trigger.kind is TriggerKind.HEALTH_ABOVE
    where = "at a price" if trigger.is_price else "under a best" if trigger.trails else "where health is high"
    if far and limits.max_cost_share_bps is not None:
        reader.faults.add(
            (*reader.path, "limits", "max_cost_share"),
            f"{reader.name} fires {where}, and max_cost_share weighs its cost by how near liquidation is",
            "use max_cost_usd: far from liquidation the rule would be held back",
            rule=reader.rule,
            severity=Severity.WARNING,
        )
