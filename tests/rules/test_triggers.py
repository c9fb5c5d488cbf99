"""Price triggers and part goals in a rules file: what they mean, what is wrong with them, what digests keep meaning."""

from __future__ import annotations

import pytest

from tui.model.rule import GoalKind, Rule, Trigger, TriggerKind
from tui.model.units import WAD
from tui.rules.load import parse_rules

TEXT = """\
[[rule]]
name = "guard"
position = "*"
mode = "auto"
when = {when}
target = {target}
[[rule.step]]
action = "{action}"
asset = "USDC"
"""
PART = '{ close = "50%" }'


def parsed(when: str, target: str = PART, action: str = "repay"):
    return parse_rules(TEXT.format(when=when, target=target, action=action), "r.toml")


def rule(when: str, target: str = PART) -> Rule:
    found = parsed(when, target)
    assert found.faults == ()
    return found.rules[0]


@pytest.mark.parametrize(
    ("when", "trigger"),
    [
        ('{ price_of = "WETH", below = "2000" }', Trigger(TriggerKind.PRICE_BELOW, 2000 * WAD, "WETH")),
        ('{ price_of = "WETH", above = "4000.5" }', Trigger(TriggerKind.PRICE_ABOVE, 40005 * WAD // 10, "WETH")),
        (
            '{ price_of = "WETH", in = "WBTC", below = "0.05" }',
            Trigger(TriggerKind.PRICE_BELOW, WAD // 20, "WETH", "WBTC"),
        ),
        (
            '{ price_of = "WETH", trailing = "10%" }',
            Trigger(TriggerKind.TRAILING, 0, "WETH", None, 1_000),
        ),
        ('{ price_of = "WETH", trailing = "0.1%" }', Trigger(TriggerKind.TRAILING, 0, "WETH", None, 10)),
        ('{ price_of = "WETH", trailing = "90%" }', Trigger(TriggerKind.TRAILING, 0, "WETH", None, 9_000)),
    ],
)
def test_a_price_is_read_exactly(when: str, trigger: Trigger) -> None:
    found = rule(when)
    assert found.trigger == trigger
    assert found.health_factor_below is None
    assert (found.goal.kind, found.close_bps, found.target_health_factor) == (GoalKind.CLOSE, 5_000, None)


def test_a_health_trigger_may_close_a_part_and_a_price_may_restore_health() -> None:
    assert rule('{ health_factor_below = "1.2" }', '{ close = "100%" }').close_bps == 10_000
    assert (
        rule('{ price_of = "WETH", below = "2000" }', '{ health_factor = "1.5" }').target_health_factor == 15 * 10**17
    )


def test_a_price_that_only_tells_needs_no_target() -> None:
    text = '[[rule]]\nname = "a"\nposition = "*"\nmode = "notify"\nwhen = { price_of = "WETH", below = "2000" }\n'
    found = parse_rules(text, "r.toml")
    assert found.faults == ()
    assert found.rules[0].goal.kind is GoalKind.NOTHING


WHEN_FAULTS = {
    "{ for_blocks = 2 }": (
        '5: when of rule "guard" has neither health_factor_below nor price_of; '
        'add health_factor_below = "1.25", or price_of = "WETH" with below, above or trailing'
    ),
    '{ health_factor_below = "1.2", price_of = "WETH", below = "2000" }': (
        '5: when of rule "guard" waits for a health factor and for a price; '
        "keep one of the two: write another rule for the other"
    ),
    '{ health_factor_below = "1.2", below = "2000" }': (
        '5: when of rule "guard" waits for a health factor and for a price; '
        "keep one of the two: write another rule for the other"
    ),
    '{ below = "2000" }': '5: when of rule "guard" has no price_of; add price_of = "WETH"',
    '{ price_of = "WETH" }': (
        '5: when of rule "guard" has none of below, above and trailing; '
        'add below = "2000", above = "2000" or trailing = "10%"'
    ),
    '{ price_of = "WETH", below = "2000", above = "4000" }': (
        '5: when of rule "guard" has below and above; keep one of them: write another rule for the other'
    ),
    '{ price_of = "WETH", in = "WETH", below = "1" }': (
        "5: in is WETH, whose price is asked for; name another asset, or take it out for dollars"
    ),
    '{ price_of = "WETH", below = 2000 }': (
        '5: below is a bare number, which is not read exactly; put it in quotes: below = "2000"'
    ),
    '{ price_of = "WETH", below = "0" }': '5: below is "0", but must be above zero; write it like "2000"',
    '{ price_of = "WETH", trailing = "0.05%" }': (
        '5: trailing is 0.05%, nearer than prices stand still; write a share from "0.1%" to "90%"'
    ),
    '{ price_of = "WETH", trailing = "90.01%" }': '5: trailing is "90.01%"; write a share above 0% and up to 90%',
    '{ price_of = "WETH", trailing = "0.105%" }': '5: trailing is "0.105%", which is finer than 0.01%; '
    'write "0.1%" or "0.11%"',
    '{ price_of = "WETH", belov = "2000" }': None,
    '{ price_of = "0x12", below = "2000" }': '5: "0x12" is not an address; write 0x and 40 hexadecimal digits',
}


@pytest.mark.parametrize("when", WHEN_FAULTS)
def test_one_fault_of_a_trigger_at_its_line(when: str) -> None:
    found = parsed(when)
    assert found.rules == ()
    wanted = WHEN_FAULTS[when]
    said = [str(fault).removeprefix("r.toml:") for fault in found.faults]
    if wanted is None:
        assert any("belov" in one and "did you mean below?" in one for one in said)
    else:
        assert said == [wanted]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ('{ close = "0%" }', '6: close is "0%"; write a share above 0% and up to 100%'),
        ('{ close = "100.01%" }', '6: close is "100.01%"; write a share above 0% and up to 100%'),
        ("{ close = 50 }", '6: close is a bare number, not a percentage; write it like close = "50%"'),
        (
            '{ close = "50%", health_factor = "1.5" }',
            '6: target of rule "guard" has both health_factor and close; keep one of the two',
        ),
    ],
)
def test_one_fault_of_a_part_at_its_line(target: str, said: str) -> None:
    found = parsed('{ price_of = "WETH", below = "2000" }', target)
    assert [str(fault).removeprefix("r.toml:") for fault in found.faults] == [said]


def test_collateral_that_is_added_closes_nothing() -> None:
    found = parsed('{ price_of = "WETH", below = "2000" }', action="add-collateral")
    assert [(fault.line, fault.field) for fault in found.faults] == [(8, "step.0.action")]


def test_a_share_of_the_loss_avoided_is_warned_of_beside_a_price() -> None:
    text = TEXT.format(when='{ price_of = "WETH", above = "4000" }', target=PART, action="repay")
    found = parse_rules(text + '[rule.limits]\nmax_cost_share = "10%"\n', "r.toml")
    assert [fault.field for fault in found.warnings] == ["limits.max_cost_share"]
    assert found.errors == ()


def test_each_meaning_has_its_own_digest() -> None:
    whens = [
        '{ health_factor_below = "1.2" }',
        '{ price_of = "WETH", below = "2000" }',
        '{ price_of = "WETH", above = "2000" }',
        '{ price_of = "WETH", in = "WBTC", below = "2000" }',
        '{ price_of = "WBTC", below = "2000" }',
        '{ price_of = "WETH", trailing = "10%" }',
        '{ price_of = "WETH", trailing = "11%" }',
    ]
    targets = ['{ close = "50%" }', '{ close = "51%" }', '{ health_factor = "1.5" }']
    digests = [rule(when, target).digest for when in whens for target in targets]
    assert len(set(digests)) == len(digests)
    assert (
        rule('{ price_of = "WETH", below = "2000" }').digest == rule('{ price_of = "WETH", below = "2000.0" }').digest
    )
