"""What a step of the waterfall says once it is of another kind: which keys it gets, and with what in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tui.model.position import Collateral, Debt, Position
from tui.model.rule import FROM_WALLET, ActionKind
from tui.rules.match import covers
from tui.rules.steps import SALE_KEYS, SWAP_FROM
from tui.screen.clean import clean_text
from tui.screen.form import is_sale

USUAL_SLIPPAGE = "0.5%"
_KEYS = frozenset(
    {"action", "asset", "collateral", "debt", "from", "to", "max_slippage", "max", "wallet", "rounds", SWAP_FROM}
)
USUAL_COLLATERAL, USUAL_DEBT = "WETH", "USDC"


def changed_step(
    before: Mapping[str, Any], action: str, pattern: str, positions: Sequence[Position], known: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The step with `action`, which wants other keys, and the keys that go on under another name.

    A maximum never goes along: it would be in tokens of something else. What no step has stays: it is for its writer
    to mend. `pattern` is what the rule watches,
    `positions` are those on the screen, `known` what the same step said when it was of that kind before.
    """
    strange = {key: value for key, value in before.items() if key not in _KEYS}
    if not is_sale(action) and not is_sale(str(before.get("action"))) and "asset" in before:
        # Between steps that are paid for without an exchange nothing changes but that; a swap is for repaying alone.
        gone = {SWAP_FROM, "max_slippage"} if action != ActionKind.REPAY else set()
        gone |= {"max"} if gone and SWAP_FROM in before else set()
        swaps = {key: known[key] for key in (SWAP_FROM, "max_slippage") if SWAP_FROM in known and not gone}
        gone |= {"wallet"} if action not in FROM_WALLET else set()
        payer = {key: known[key] for key in ("wallet",) if key in known and key not in before and key not in gone}
        kept = {key: value for key, value in before.items() if key not in gone}
        return {**kept, "action": action, **swaps, **payer}, {}
    if not is_sale(action):
        asset = before.get("debt") or USUAL_DEBT
        wanted = ["max", *(("wallet",) if action in FROM_WALLET else ())]
        wanted += [SWAP_FROM, "max_slippage"] if action == ActionKind.REPAY else []
        kept = {key: known[key] for key in wanted if key in known}
        return {"action": action, "asset": asset, **kept, **strange}, {"debt": "asset"} if "debt" in before else {}
    watched = [one for one in positions if one.unknown is None and covers(pattern, one.key)]
    supplied = _by_value(one for position in watched for one in position.collateral)
    owed = _by_value(one for position in watched for one in position.debt)
    if action != ActionKind.DELEVERAGE:
        return _reshaping(ActionKind(action), known, supplied, owed) | strange, {}
    asset = before.get("asset") or (owed[0] if owed else USUAL_DEBT)
    step: dict[str, Any]
    if asset in supplied and asset not in owed:
        debt = known.get("debt") or next((name for name in [*owed, USUAL_DEBT] if name != asset), "")
        step, renamed = {"action": action, "collateral": asset, "debt": debt}, {"asset": "collateral"}
    else:
        collateral = known.get("collateral") or next(
            (name for name in [*supplied, USUAL_COLLATERAL] if name != asset), ""
        )
        step, renamed = {"action": action, "collateral": collateral, "debt": asset}, {"asset": "debt"}
    step["max_slippage"] = known.get("max_slippage") or USUAL_SLIPPAGE
    if "max" in known and known.get("collateral") == step["collateral"]:
        step["max"] = known["max"]
    return step | strange, renamed if "asset" in before else {}


def _reshaping(kind: ActionKind, known: Mapping[str, Any], supplied: list[str], owed: list[str]) -> dict[str, Any]:
    """A switch or a boost, with what the positions hold and owe where the step did not say it before."""
    keys = SALE_KEYS[kind]
    pays = (owed or [USUAL_DEBT])[0] if kind is ActionKind.BOOST else (supplied or [USUAL_COLLATERAL])[0]
    buys = (supplied or [USUAL_COLLATERAL])[0] if kind is ActionKind.BOOST else USUAL_DEBT
    if kind is ActionKind.SWITCH_DEBT:
        buys = (owed or [USUAL_DEBT])[0]
        pays = USUAL_DEBT
    if pays == buys:
        other = next(one for one in (USUAL_DEBT, USUAL_COLLATERAL) if one != pays)
        pays, buys = (other, buys) if kind is ActionKind.SWITCH_DEBT else (pays, other)
    named = {keys.pays: known.get(keys.pays) or pays, keys.buys: known.get(keys.buys) or buys}
    kept = {"max": known["max"]} if "max" in known else {}
    return {"action": kind.value, **named, "max_slippage": known.get("max_slippage") or USUAL_SLIPPAGE, **kept}


def _by_value(held: Iterable[Collateral | Debt]) -> list[str]:
    """Symbols of what there is, the largest first."""
    there = sorted((one for one in held if one.amount), key=lambda one: -(one.value_usd or 0))
    return list(dict.fromkeys(clean_text(one.asset.symbol, 24) for one in there))
