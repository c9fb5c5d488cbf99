"""Which prices matter for a position: where it would be liquidated, where its rule would fire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tui.model.position import Asset, Position
from tui.model.view import PositionView, PriceHistory, ViewState
from tui.screen.clean import clean_text
from tui.screen.draw.chart import Level
from tui.screen.figures import distance_bps


@dataclass(frozen=True, slots=True)
class Nearest:
    """The liquidation price that is nearest: of one asset, or of several that move together (`together` of them)."""

    symbol: str
    price_usd: int
    distance_bps: int
    together: int = 1


def prices_of(position: Position) -> Iterator[tuple[Asset, int | None, int | None]]:
    """Every asset of a position with its price and its liquidation price."""
    for supplied in position.collateral:
        yield supplied.asset, supplied.price_usd, supplied.liquidation_price_usd
    for owed in position.debt:
        yield owed.asset, owed.price_usd, owed.liquidation_price_usd


def nearest_liquidation(position: Position) -> Nearest | None:
    """The nearest of all liquidation prices, None where there is none or nothing is known."""
    if position.unknown is not None:
        return None
    now = {asset.address: current for asset, current, _ in prices_of(position)}
    found: list[Nearest] = []
    for asset, current, there in prices_of(position):
        away = distance_bps(current, there)
        if there is not None and away is not None:
            found.append(Nearest(clean_text(asset.symbol, 12), there, away))
    for group in position.groups:
        away = distance_bps(now.get(group.lead.address), group.price_usd)
        if away is not None:
            found.append(Nearest(clean_text(group.lead.symbol, 12), group.price_usd, away, len(group.assets)))
    return min(found, key=lambda entry: (abs(entry.distance_bps), entry.together), default=None)


def chart_assets(view: ViewState, chosen: PositionView | None) -> list[PriceHistory]:
    """The histories worth a chart for the chosen position: its collateral first, then its debt, then the rest."""
    histories = {history.asset.address: history for history in view.price_history}
    wanted: list[str] = []
    if chosen is not None:
        wanted = [asset.address for asset, _, _ in prices_of(chosen.position)]
        steady = {debt.asset.address for debt in chosen.position.debt}
        wanted.sort(key=lambda address: address in steady)
    order = list(dict.fromkeys(address for address in wanted if address in histories))
    if not order:
        order = list(histories)
    return [histories[address] for address in order]


def levels_for(asset: Asset, chosen: PositionView | None) -> list[Level]:
    """The lines to draw on the chart of `asset`: the liquidation price and each trigger price."""
    if chosen is None or chosen.position.unknown is not None:
        return []
    levels = [
        Level(there, "liquidation", "threshold")
        for one, _, there in prices_of(chosen.position)
        if one.address == asset.address and there is not None
    ]
    levels += [
        Level(trigger.price_usd, "trigger", "trigger")
        for trigger in chosen.trigger_prices
        if trigger.asset.address == asset.address
    ]
    return levels
