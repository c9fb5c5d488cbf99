"""Steps that trade in a rules file, sales and swaps and in how many rounds: read, told by line, part of the meaning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.conftest import guard
from tests.rules.test_load import faults_of
from tui.model.rule import ActionKind, Order, RoundsUse, Step
from tui.rules.load import parse_rules

SALE = guard("""\
order = "cheapest"

[[rule.step]]
action = "deleverage"
collateral = "WETH"
debt = "USDC"
max_slippage = "0.5%"
max = "3"

[[rule.step]]
action = "repay-with-atokens"
asset = "DAI"
max = "100.50"
""")


def test_a_sale_and_a_repay_out_of_the_supply():
    loaded = parse_rules(SALE, "r.toml")
    assert loaded.faults == ()
    (rule,) = loaded.rules
    assert rule.order is Order.CHEAPEST
    assert rule.steps == (
        Step(ActionKind.DELEVERAGE, "USDC", "3", "WETH", 50),
        Step(ActionKind.REPAY_WITH_ATOKENS, "DAI", "100.5"),
    )
    by_address = parse_rules(SALE.replace('"WETH"', '"0x' + "AB" * 20 + '"'), "r.toml").rules[0]
    assert by_address.steps[0].collateral == "0x" + "ab" * 20


SALE_CASES = {
    (7, 'order = "cheap"'): ('7: order is "cheap", which is none of "written" or "cheapest"; did you mean "cheapest"?'),
    (7, "ordre = 'written'"): '7: rule "guard" has an unknown key "ordre"; did you mean order?',
    (10, 'action = "deleverag"'): (
        '10: action is "deleverag", which is none of "repay", "add-collateral", "repay-with-atokens", "deleverage", '
        '"switch-collateral", "switch-debt" or "boost"; '
        'did you mean "deleverage"?'
    ),
    (10, 'action = "sell"'): (
        '10: action is "sell", which is none of "repay", "add-collateral", "repay-with-atokens", "deleverage", '
        '"switch-collateral", "switch-debt" or "boost"; '
        'write "repay", "add-collateral", "repay-with-atokens", "deleverage", "switch-collateral", "switch-debt" or '
        '"boost"'
    ),
    (10, ""): '9: step 1 of rule "guard" has no action; add action = "repay"',
    (11, ""): '9: step 1 of rule "guard" has no collateral; add collateral = "WETH"',
    (11, 'collateral = "USDC"'): (
        '12: step 1 of rule "guard" sells USDC for itself; '
        'name what is sold, or write action = "repay-with-atokens" with asset = "USDC"'
    ),
    (11, 'collateral = "WETH\\u202e"'): (
        "11: collateral has characters that cannot be shown plainly; write the token's symbol or address"
    ),
    (12, ""): '9: step 1 of rule "guard" has no debt; add debt = "USDC"',
    (12, 'debt = "0x12"'): '12: "0x12" is not an address; write 0x and 40 hexadecimal digits',
    (13, ""): '9: step 1 of rule "guard" has no max_slippage; add max_slippage = "0.5%"',
    (13, 'max_slippage = "0%"'): '13: max_slippage is "0%"; write a share above 0% and up to 20%',
    (13, 'max_slippage = "20.01%"'): '13: max_slippage is "20.01%"; write a share above 0% and up to 20%',
    (13, 'max_slippage = "-1%"'): '13: max_slippage is "-1%"; write a share above 0% and up to 20%',
    (13, 'max_slippage = "0.5"'): (
        '13: max_slippage is "0.5", not a percentage with at most two digits after the point; write it like "0.5%"'
    ),
    (13, "max_slippage = 0.5"): (
        '13: max_slippage is a bare number, not a percentage; write it like max_slippage = "0.5%"'
    ),
    (13, "max_slippage = 1"): (
        '13: max_slippage is a bare number, not a percentage; write it like max_slippage = "1%"'
    ),
    (13, 'max_slippage = "0.125%"'): (
        '13: max_slippage is "0.125%", which is finer than 0.01%; write "0.12%" or "0.13%"'
    ),
    (13, 'max_slippage = "0.001%"'): '13: max_slippage is "0.001%", which is finer than 0.01%; write "0.01%"',
    (14, 'max = "3 WETH"'): '14: max is "3 WETH", not a plain decimal number; write it like "2"',
    (14, 'asset = "USDC"'): (
        '14: step 1 of rule "guard" has an unknown key "asset"; '
        "write collateral (what is sold) and debt (what is repaid) instead"
    ),
    (19, 'collateral = "DAI"'): (
        '19: step 2 of rule "guard" has an unknown key "collateral"; remove it: it belongs to "deleverage" steps'
    ),
}


@pytest.mark.parametrize(("change", "fault"), SALE_CASES.items(), ids=[change[1][:40] for change in SALE_CASES])
def test_one_fault_of_a_sale_at_its_line(change, fault):
    line, instead = change
    lines = SALE.split("\n")
    lines[line - 1] = instead
    loaded = parse_rules("\n".join(lines), "r.toml")
    assert [str(found) for found in loaded.faults] == [f"r.toml:{fault}"]
    assert loaded.rules == ()


def test_a_mistyped_key_of_a_sale_is_told_as_such():
    told = faults_of(SALE.replace("max_slippage", "slippage"))
    assert told == [
        '9: step 1 of rule "guard" has no max_slippage; add max_slippage = "0.5%"',
        '13: step 1 of rule "guard" has an unknown key "slippage"; did you mean max_slippage?',
    ]


def test_the_same_sale_twice_is_a_fault():
    twice = SALE + SALE[SALE.index("[[rule.step]]") : SALE.rindex("[[rule.step]]")]
    assert faults_of(twice) == [
        '22: step 3 of rule "guard" sells WETH for USDC, as step 1 does; '
        "keep one of the two, with the max and max_slippage that you mean"
    ]
    head, mark, tail = twice.rpartition('collateral = "WETH"')
    assert mark
    assert faults_of(head + 'collateral = "WBTC"' + tail) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"deleverage"\ncollateral = "WETH"', '"deleverage"\ncollateral = "WBTC"'),
        ('debt = "USDC"', 'debt = "DAI"'),
        ('"0.5%"', '"0.51%"'),
        ('max = "3"', 'max = "4"'),
        ('order = "cheapest"', ""),
        ('"repay-with-atokens"', '"repay"'),
    ],
)
def test_every_change_of_a_sale_changes_the_digest(old, new):
    assert old in SALE
    changed = parse_rules(SALE.replace(old, new), "r.toml").rules[0]
    assert changed.digest != parse_rules(SALE, "r.toml").rules[0].digest


def test_a_part_of_the_way_is_a_word_of_its_own_and_meaning():
    assert not parse_rules(SALE, "r.toml").rules[0].partial
    written = SALE.replace('order = "cheapest"', 'order = "cheapest"\npartial = true')
    (rule,) = parse_rules(written, "r.toml").rules
    assert rule.partial
    assert rule.digest != parse_rules(SALE, "r.toml").rules[0].digest


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ('"true"', '"true", neither true nor false; write partial = true, without quotes'),
        ('"False "', '"False", neither true nor false; write partial = false, without quotes'),
        ("1", "1, neither true nor false; write partial = true, without quotes"),
        ("[true]", "a list, neither true nor false; write partial = true, without quotes"),
    ],
)
def test_yes_and_no_stand_without_quotes(value, told):
    assert faults_of(SALE.replace('order = "cheapest"', f"partial = {value}")) == [f"7: partial is {told}"]


@given(st.integers(0, 3000), st.integers(0, 4))
def test_percentages_are_read_exactly(hundredths, more):
    """Whole basis points above nothing and up to the highest are read as they are; anything else is a fault."""
    text = f"{hundredths // 100}.{hundredths % 100:02d}" + (f"00{more}" if more else "")
    loaded = parse_rules(SALE.replace('"0.5%"', f'"{text}%"'), "r.toml")
    if more or not 0 < hundredths <= 2000:
        assert loaded.rules == ()
        assert [fault.field for fault in loaded.faults] == ["step.0.max_slippage"]
    else:
        assert loaded.rules[0].steps[0].max_slippage_bps == hundredths


SWAP = guard("""\

[[rule.step]]
action = "repay"
asset = "USDC"
swap_from = "WETH"
max_slippage = "0.5%"
max = "2"
""")


def test_a_repayment_that_is_swapped_for():
    loaded = parse_rules(SWAP, "r.toml")
    assert loaded.faults == ()
    (rule,) = loaded.rules
    assert rule.steps == (Step(ActionKind.SWAP_TO_REPAY, "USDC", "2", "WETH", 50),)
    assert rule.steps[0].action.word == "repay"
    plain = parse_rules(SWAP.replace('swap_from = "WETH"\nmax_slippage = "0.5%"\n', ""), "r.toml").rules[0]
    assert plain.steps == (Step(ActionKind.REPAY, "USDC", "2"),)
    assert plain.digest != rule.digest


SWAP_CASES = {
    (9, 'action = "swap-to-repay"'): (
        '9: action is "swap-to-repay", which is none of "repay", "add-collateral", "repay-with-atokens", "deleverage", '
        '"switch-collateral", "switch-debt" or "boost"; write "repay", "add-collateral", "repay-with-atokens", '
        '"deleverage", "switch-collateral", "switch-debt" or "boost"'
    ),
    (10, ""): '8: step 1 of rule "guard" has no asset; add asset = "USDC"',
    (11, ""): (
        '11: step 1 of rule "guard" has an unknown key "max_slippage"; remove it, or name in swap_from the token that '
        "is sold"
    ),
    (11, 'swap_from = "USDC"'): (
        '10: step 1 of rule "guard" sells USDC for itself; take swap_from and max_slippage out: what is held of it '
        "repays without an exchange"
    ),
    (11, 'swap_form = "WETH"'): '11: step 1 of rule "guard" has an unknown key "swap_form"',
    (12, ""): '8: step 1 of rule "guard" has no max_slippage; add max_slippage = "0.5%"',
    (12, 'max_slippage = "21%"'): '12: max_slippage is "21%"; write a share above 0% and up to 20%',
    (13, 'collateral = "WETH"'): (
        '13: step 1 of rule "guard" has an unknown key "collateral"; write swap_from (the wallet\'s token that is '
        "sold) and asset (what is repaid) instead"
    ),
}


@pytest.mark.parametrize(("change", "expected"), SWAP_CASES.items(), ids=lambda value: str(value)[:40])
def test_faults_of_a_swap_name_the_line_and_the_fix(change, expected):
    number, line = change
    lines = SWAP.split("\n")
    lines[number - 1 : number] = [line] if line else []
    said = [str(fault) for fault in parse_rules("\n".join(lines), "r.toml").faults]
    assert any(fault.startswith(f"r.toml:{expected}") for fault in said), said


def test_only_a_repayment_is_swapped_for():
    loaded = parse_rules(SWAP.replace('action = "repay"', 'action = "add-collateral"'), "r.toml")
    assert any('unknown key "swap_from"; remove it: only "repay" steps swap' in str(fault) for fault in loaded.faults)


@pytest.mark.parametrize("use", list(RoundsUse))
def test_rounds_are_a_word_of_three_and_the_usual_one_changes_no_meaning(use: RoundsUse) -> None:
    plain = parse_rules(SALE, "r.toml").rules[0]
    said = parse_rules(SALE.replace('max = "3"', f'max = "3"\nrounds = "{use.value}"'), "r.toml")
    assert said.faults == ()
    assert said.rules[0].steps[0].rounds is use
    assert (said.rules[0].digest == plain.digest) is (use is RoundsUse.IF_NEEDED)


def test_rounds_are_for_a_deleverage_alone() -> None:
    wrong = parse_rules(SALE.replace('max = "3"', 'max = "3"\nrounds = "often"'), "r.toml")
    assert any(
        'rounds is "often", which is none of "if-needed", "always" or "never"' in str(one) for one in wrong.faults
    )
    other = parse_rules(SALE.replace('max = "100.50"', 'rounds = "always"'), "r.toml")
    assert any('unknown key "rounds"' in str(fault) for fault in other.faults)
