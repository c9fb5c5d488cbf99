"""Which positions a rule watches: `*`, a market, or one account in a market. Case never matters.

Several rules may watch one position, each with its own state. They act in the order of the file, and as one account
has one nonce at a time, at most one plan is live per (chain, account): the first that fires holds the others back.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from tui.model.position import PositionKey
from tui.model.rule import Rule

EVERYTHING = "*"


def covers(pattern: str, key: PositionKey) -> bool:
    """Whether the `position` text of a rule means this position."""
    return pattern == EVERYTHING or _parts(pattern) in (_parts(str(key)), _parts(str(key.market)))


def applies(rule: Rule, key: PositionKey) -> bool:
    """Whether `rule` watches this position."""
    return covers(rule.position, key)


def names_account(rule: Rule) -> bool:
    """Whether `rule` watches one account that it names."""
    return len(_parts(rule.position)) == 3


def may_defend(rule: Rule, key: PositionKey, own: Container[str]) -> bool:
    """Whether `rule` may act on a position as far as whose it is goes: it watches it, and the account's key is here
    (`own`, lower-case) or other wallets pay and the rule names the account. Nobody's debt is paid because of a market's
    name, or a star.
    """
    return applies(rule, key) and (key.account in own or (bool(rule.wallets) and names_account(rule)))


def rules_for(rules: Iterable[Rule], key: PositionKey) -> tuple[Rule, ...]:
    """The rules that watch a position, in their order: the first is the first to act."""
    return tuple(rule for rule in rules if applies(rule, key))


def overlap(one: str, other: str) -> bool:
    """Whether two `position` texts can mean the same position."""
    if EVERYTHING in (one, other):
        return True
    shorter, longer = sorted((_parts(one), _parts(other)), key=len)
    return longer[: len(shorter)] == shorter


def _parts(pattern: str) -> tuple[str, ...]:
    return tuple(part.casefold() for part in pattern.split("/"))
