"""The steps of a rule's waterfall: which keys each kind of step has, and what is wrong with what they hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tui.model.rule import BORROWING, FILE_ACTIONS, FROM_WALLET, SALES, ActionKind, Mode, RoundsUse, Step
from tui.model.text import clean_text
from tui.rules.fields import TableReader, closest, plain_decimal, quoted

MAX_STEPS = 16
MOST_TOKENS = 10**30
TOKEN_TEXT_DECIMALS = 36
MOST_SLIPPAGE_BPS = 2000
"""A sale that may lose more than a fifth is a mistake, or somebody else's gain."""

SWAP_FROM = "swap_from"
"""The key by which a `repay` names the token that the wallet sells for what it repays."""

_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}", re.ASCII)
_NOT_A_SALE = MappingProxyType(
    dict.fromkeys(("collateral", "debt", "max_slippage", "rounds"), 'remove it: it belongs to "deleverage" steps')
    | dict.fromkeys(("from", "to"), 'remove it: it belongs to "switch-collateral" and "switch-debt" steps')
    | {SWAP_FROM: 'remove it: only "repay" steps swap what they repay with'}
)
_SWAPS_NOTHING = MappingProxyType(
    {**_NOT_A_SALE, "max_slippage": "remove it, or name in swap_from the token that is sold"}
)
_NO_WALLET = (
    'remove it: only "repay" and "add-collateral" can be paid for by another account, this acts on the position itself'
)


@dataclass(frozen=True, slots=True)
class SaleKeys:
    """Under which keys a sale names what pays for it (what its `max` counts) and what is bought, and what they are, in
    words for people; with an example of each.
    """

    pays: str
    buys: str
    paying: str
    buying: str
    examples: tuple[str, str]


SALE_KEYS: Mapping[ActionKind, SaleKeys] = MappingProxyType(
    {
        ActionKind.DELEVERAGE: SaleKeys("collateral", "debt", "what is sold", "what is repaid", ("WETH", "USDC")),
        ActionKind.SWITCH_COLLATERAL: SaleKeys(
            "from", "to", "the collateral that is sold", "the one that is supplied in its place", ("WETH", "USDC")
        ),
        ActionKind.SWITCH_DEBT: SaleKeys(
            "to", "from", "the debt that is taken on", "the one that is repaid", ("DAI", "USDC")
        ),
        ActionKind.BOOST: SaleKeys("debt", "collateral", "what is borrowed", "what is bought", ("USDC", "WETH")),
        ActionKind.SWAP_TO_REPAY: SaleKeys(
            SWAP_FROM, "asset", "the wallet's token that is sold", "what is repaid", ("WETH", "USDC")
        ),
    }
)
"""The keys of each kind of sale."""


def read_steps(reader: TableReader, mode: str | None) -> tuple[Step, ...]:
    """The steps of the rule that `reader` stands in; faults where they are none."""
    value = reader.take("step")
    if value is None or value == []:
        if mode in (Mode.CONFIRM, Mode.AUTO):
            line = reader.faults.scan.line_of(reader.path)
            what = f'{reader.name} has mode "{mode}" but no step'
            fix = 'add a [[rule.step]] with action and asset, or write mode = "notify"'
            reader.faults.add((*reader.path, "step"), what, fix, rule=reader.rule, line=line)
        return ()
    if not isinstance(value, list):
        reader.fault("step", "step is not a list of tables", "write [[rule.step]], with two brackets")
        return ()
    if len(value) > MAX_STEPS:
        reader.faults.add(
            (*reader.path, "step", MAX_STEPS), f"more than {MAX_STEPS} steps", "remove some", rule=reader.rule
        )
    steps: list[Step] = []
    pairs: dict[tuple[ActionKind, str, str], int] = {}
    for number, table in enumerate(value[:MAX_STEPS]):
        path = (*reader.path, "step", number)
        name = f"step {number + 1} of {reader.name}"
        if not isinstance(table, dict):
            reader.faults.add(
                path, f"{name} is not a table", "write [[rule.step]], then action and asset", rule=reader.rule
            )
            continue
        inner = TableReader(reader.faults, table, path, name, reader.rule)
        step = _read_step(inner)
        if step is None:
            continue
        steps.append(step)
        if step.collateral is not None:
            first = pairs.setdefault((step.action, step.collateral, step.asset), number)
            if first != number:
                what = f"{name} sells {step.collateral} for {step.asset}, as step {first + 1} does"
                key = SALE_KEYS[step.action].pays
                inner.fault(key, what, "keep one of the two, with the max and max_slippage that you mean")
    return tuple(steps)


def _read_step(reader: TableReader) -> Step | None:
    said = reader.table.get("action")
    action = reader.choice("action", FILE_ACTIONS)
    if _means_sale(said, reader.table):
        return _read_sale(reader, action)
    asset = read_asset(reader, "asset", "USDC")
    maximum = _read_maximum(reader, "5000")
    pays = _meant(said) in (*FROM_WALLET, None)
    wallet = _read_wallet(reader) if pays else None
    known = _SWAPS_NOTHING if _meant(said) is ActionKind.REPAY else _NOT_A_SALE
    reader.finish(known if pays else {**known, "wallet": _NO_WALLET})
    if action is None or asset is None:
        return None
    return Step(ActionKind(action), asset, maximum, wallet=wallet)


def _read_wallet(reader: TableReader) -> str | None:
    """The account that pays (lower-case), None where the position's own does, or with a fault noted."""
    wallet = reader.text("wallet", '"0x..."', required=False)
    if wallet is None or not is_address(reader, "wallet", wallet):
        return None
    if not int(wallet, 16):
        reader.fault(
            "wallet", "wallet is the zero address, which nobody has the key of", "write your account's address"
        )
        return None
    return wallet.lower()


def _meant(action: object) -> ActionKind | None:
    """Which action is meant, mistyped or not; None where that cannot be told."""
    meant = closest(action, FILE_ACTIONS) if isinstance(action, str) else None
    return None if meant is None else ActionKind(meant)


def _means_sale(action: object, table: Mapping[str, object]) -> bool:
    """Whether the fields of a sale are to be expected: a mistyped action must not make its fields faults as well."""
    meant = _meant(action)
    if meant is ActionKind.REPAY:
        return SWAP_FROM in table
    if meant is not None:
        return meant in SALES
    return "asset" not in table and not _NOT_A_SALE.keys().isdisjoint(table)


def _meant_sale(action: object, table: Mapping[str, object]) -> ActionKind:
    """Which sale is meant, mistyped or not."""
    meant = _meant(action)
    if meant is ActionKind.REPAY:
        return ActionKind.SWAP_TO_REPAY
    if meant is not None:
        return meant
    return ActionKind.SWITCH_COLLATERAL if "from" in table or "to" in table else ActionKind.DELEVERAGE


def _read_sale(reader: TableReader, action: str | None) -> Step | None:
    kind = _meant_sale(reader.table.get("action"), reader.table)
    keys = SALE_KEYS[kind]
    # In the order of the file's words: what it is about first.
    order = (keys.buys, keys.pays) if kind in BORROWING else (keys.pays, keys.buys)
    examples = dict(zip((keys.pays, keys.buys), keys.examples, strict=True))
    named = {key: read_asset(reader, key, examples[key]) for key in order}
    collateral, debt = named[keys.pays], named[keys.buys]
    slippage = reader.share("max_slippage", "0.5%", MOST_SLIPPAGE_BPS, required=True)
    maximum = _read_maximum(reader, "2")
    rounds = None
    if kind is ActionKind.DELEVERAGE:
        rounds = reader.choice("rounds", tuple(RoundsUse), required=False)
    written = f"write {keys.pays} ({keys.paying}) and {keys.buys} ({keys.buying}) instead"
    others = {"asset", "collateral", "debt", "from", "to", SWAP_FROM} - set(order)
    pays_itself = kind is ActionKind.SWAP_TO_REPAY
    wallet = _read_wallet(reader) if pays_itself else None
    misplaced = dict.fromkeys(others, written)
    reader.finish(misplaced if pays_itself else {**misplaced, "wallet": _NO_WALLET})
    if collateral is not None and collateral == debt:
        fix = f'name what is sold, or write action = "repay-with-atokens" with asset = {quoted(debt)}'
        if kind is ActionKind.SWAP_TO_REPAY:
            fix = "take swap_from and max_slippage out: what is held of it repays without an exchange"
        elif kind is not ActionKind.DELEVERAGE:
            fix = f"name two assets: {keys.paying}, and {keys.buying}"
        reader.fault(order[-1], f"{reader.name} sells {collateral} for itself", fix)
        return None
    if action is None or collateral is None or debt is None or slippage is None:
        return None
    use = RoundsUse.IF_NEEDED if rounds is None else RoundsUse(rounds)
    return Step(kind, debt, maximum, collateral, slippage, wallet, use)


def _read_maximum(reader: TableReader, example: str) -> str | None:
    maximum = reader.decimal("max", TOKEN_TEXT_DECIMALS, example, MOST_TOKENS, unit=" tokens")
    return None if maximum is None else plain_decimal(maximum, TOKEN_TEXT_DECIMALS)


def read_asset(reader: TableReader, key: str, example: str) -> str | None:
    """A symbol or an address (lower-case) at a key that must be there, or None with a fault noted."""
    asset = reader.text(key, f'"{example}"')
    if asset is None:
        return None
    if asset[:2].lower() == "0x":
        return asset.lower() if is_address(reader, key, asset) else None
    if clean_text(asset) != asset:
        reader.fault(key, f"{key} has characters that cannot be shown plainly", "write the token's symbol or address")
        return None
    return asset


def is_address(reader: TableReader, key: str, text: str) -> bool:
    """Whether a text is an address, its checksum right where it has one; else with a fault noted."""
    if _ADDRESS.fullmatch(text) is None:
        reader.fault(key, f"{quoted(text)} is not an address", "write 0x and 40 hexadecimal digits")
        return False
    digits = text[2:]
    if digits in (digits.lower(), digits.upper()) or digits == _checksummed(digits.lower()):
        return True
    fix = "copy it again, or write it all in lower case if you are sure of it"
    reader.fault(key, f"{quoted(text)} is mistyped: its capital letters do not match its digits", fix)
    return False


def _checksummed(digits: str) -> str:
    """The mixed-case form of EIP-55, without the 0x."""
    from eth_hash.auto import keccak  # only mixed-case addresses need it, and it takes a while to import

    nibbles = keccak(digits.encode("ascii")).hex()
    return "".join(
        digit.upper() if int(nibble, 16) >= 8 else digit for digit, nibble in zip(digits, nibbles, strict=False)
    )
