"""Which positions a rule watches."""

from __future__ import annotations

import pytest

from tui.model.position import MarketKey, PositionKey
from tui.rules.load import parse_rules
from tui.rules.match import covers, overlap, rules_for

ACCOUNT = "0x" + "ab" * 20
KEY = PositionKey(MarketKey("aave-v3", "Core"), ACCOUNT)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", True),
        ("aave-v3/core", True),
        ("AAVE-V3/CORE", True),
        (f"aave-v3/core/{ACCOUNT}", True),
        (f"aave-v3/core/{ACCOUNT.upper().replace('X', 'x')}", True),
        ("aave-v3", False),
        ("aave-v3/cor", False),
        ("aave-v3/core2", False),
        ("compound-v3/core", False),
        (f"aave-v3/core/0x{'cd' * 20}", False),
        (f"aave-v3/core/{ACCOUNT}/x", False),
    ],
)
def test_covers(pattern, expected):
    assert covers(pattern, KEY) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("*", "a/b", True),
        ("a/b", "A/B/0x1", True),
        ("a/b", "a/b", True),
        ("a/b/0x1", "a/b/0x2", False),
        ("a/b", "a/bc", False),
        ("a/b", "c/b/0x1", False),
    ],
)
def test_overlap_goes_both_ways(one, other, expected):
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


def test_several_rules_watch_a_position_in_the_order_of_the_file():
    rule = '[[rule]]\nname="{}"\nposition="{}"\nmode="notify"\nwhen.health_factor_below="1.1"\n'
    text = rule.format("z", "*") + rule.format("no", "x/y") + rule.format("a", "aave-v3/core")
    assert [found.name for found in rules_for(parse_rules(text, "r").rules, KEY)] == ["z", "a"]
