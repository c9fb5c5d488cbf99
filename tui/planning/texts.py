"""Amounts, ratios and steps in words, as plans and their refusals write them."""

from __future__ import annotations

from tui.model.position import Asset
from tui.model.rule import SALES, ActionKind, Step
from tui.model.text import clean_text, short_address
from tui.model.units import BPS, WAD, format_units, whole


def amount_text(amount: int, asset: Asset) -> str:
    """`5,214.20 USDC`, cut to what a reader needs: two digits for large amounts, six for small ones."""
    places = 2 if amount >= 100 * whole(asset.decimals) else 6
    text = format_units(amount, asset.decimals, min(places, asset.decimals))
    integer, point, fraction = text.partition(".")
    return f"{int(integer):,}{point}{fraction} {asset.symbol}"


def percent_text(part: int, of: int = WAD) -> str:
    """`0.91%`: a share with two digits, cut."""
    return f"{format_units(part * BPS // of, 2)}%"


def part_text(bps: int) -> str:
    """A part of a debt in basis points, as short as it can be: `50%`, `32.5%`."""
    text = format_units(bps, 2)
    return f"{text.rstrip('0').rstrip('.')}%"


def health_text(health_factor: int | None, places: int = 2) -> str:
    """A health factor (wad) cut to `places`, or "no debt"."""
    return "no debt" if health_factor is None else format_units(health_factor, 18, places)


def step_text(step: Step) -> str:
    """`repay USDC`, `repay USDC from WETH`, `deleverage WETH for USDC`, `switch-debt USDC to DAI`, `boost WETH with
    USDC`; where another account pays, `repay USDC from 0x7099…79c8`, `repay USDC from WETH of 0x7099…79c8`.
    """
    pays, bought = clean_text(step.collateral or "?"), clean_text(step.asset)
    if step.action is ActionKind.SWITCH_COLLATERAL:
        return f"{step.action} {pays} to {bought}"
    if step.action is ActionKind.SWITCH_DEBT:
        return f"{step.action} {bought} to {pays}"
    if step.action is ActionKind.BOOST:
        return f"{step.action} {bought} with {pays}"
    if step.action is ActionKind.SWAP_TO_REPAY:
        payer = "" if step.wallet is None else f" of {short_address(step.wallet)}"
        return f"{step.action.word} {bought} from {pays}{payer}"
    if step.action in SALES:
        return f"{step.action} {pays} for {bought}"
    payer = "" if step.wallet is None else f" from {short_address(step.wallet)}"
    return f"{step.action} {clean_text(step.asset)}{payer}"
