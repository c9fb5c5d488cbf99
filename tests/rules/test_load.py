"""Every fault of a rules file with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tui.model.rule import ActionKind, Limits, Mode, Severity, StalePrice, StandingAllowance, Step
from tui.model.units import parse_units
from tui.rules.load import MAX_FILE_BYTES, load_rule_files, load_rules, parse_rules, rule_digest
from tui.rules.template import TEMPLATE

ACCOUNT = "0x" + "ab" * 20
GUARD = """\
# my rules
[[rule]]
name = "guard"
position = "aave-v3/core"          # market
mode = "auto"
when = { health_factor_below = "1.25", for_blocks = 2 }
target = { health_factor = "1.50" }

[[rule.step]]                      # the waterfall
action = "repay"
asset = "USDC"
max = "5000"

[[rule.step]]
action = "add-collateral"
asset = "WETH"

[rule.limits]
max_cost_usd = "200"
max_cost_share = "25%"
max_base_fee_gwei = "500"
daily_spend_usd = "50000"
cooldown = "5m"
"""


def faults_of(text: str | bytes) -> list[str]:
    return [str(fault).removeprefix("r.toml:") for fault in parse_rules(text, "r.toml").faults]


def test_a_whole_rule():
    loaded = parse_rules(GUARD, "r.toml")
    assert loaded.faults == ()
    (rule,) = loaded.rules
    assert (rule.name, rule.position, rule.mode, rule.for_blocks) == ("guard", "aave-v3/core", Mode.AUTO, 2)
    assert rule.health_factor_below == parse_units("1.25", 18)
    assert rule.target_health_factor == parse_units("1.5", 18)
    assert rule.steps == (Step(ActionKind.REPAY, "USDC", "5000"), Step(ActionKind.ADD_COLLATERAL, "WETH"))
    assert rule.limits == Limits(200 * 10**8, 500 * 10**9, 50_000 * 10**8, 300, 2500)
    assert rule.source == "r.toml:2"
    assert loaded.line_of("guard", "when.for_blocks") == 6
    assert loaded.line_of("guard", "step.1.max") == 14
    assert loaded.line_of("guard") == 2


def test_what_a_rule_may_do_where_it_would_hold_back():
    words = 'stale_price = "act"\nstanding_allowance = "use"\n'
    loaded = parse_rules(GUARD + words, "r.toml")
    assert loaded.faults == ()
    limits = loaded.rules[0].limits
    assert (limits.stale_price, limits.standing_allowance) == (StalePrice.ACT, StandingAllowance.USE)
    said = parse_rules(GUARD + 'stale_price = "hold"\nstanding_allowance = "refuse"\n', "r.toml").rules[0]
    assert said.digest == parse_rules(GUARD, "r.toml").rules[0].digest, "the defaults, said or not, mean the same"


def test_an_emergency_is_a_health_factor_above_one_and_below_the_trigger():
    loaded = parse_rules(GUARD + 'emergency = "1.10"\n', "r.toml")
    assert loaded.faults == ()
    assert loaded.rules[0].limits.emergency == parse_units("1.1", 18)
    same = parse_rules(GUARD + 'emergency = "1.05"\n', "r.toml").rules[0]
    assert same.digest == parse_rules(GUARD, "r.toml").rules[0].digest
    (refused,) = faults_of(GUARD + 'emergency = "1.00"\n')
    assert "emergency is not above 1, where liquidation begins" in refused
    late = parse_rules(GUARD + 'emergency = "1.25"\n', "r.toml")
    assert [fault.severity for fault in late.faults] == [Severity.WARNING]
    assert len(late.rules) == 1, "a warning takes no rule away"
    assert "write an emergency below health_factor_below" in str(late.faults[0])


def test_the_least_rule():
    text = '[[rule]]\nname="a"\nposition="*"\nmode="notify"\nwhen.health_factor_below="1.1"\n'
    (rule,) = parse_rules(text, "r.toml").rules
    assert (rule.for_blocks, rule.steps, rule.limits) == (1, (), Limits())
    assert rule.target_health_factor == rule.health_factor_below


CASES = {
    # (line of GUARD to replace, what it becomes): the fault
    (3, 'name = ""'): '3: name is empty; write name = "guard"',
    (3, "name = 7"): '3: name is 7, not a text in quotes; write name = "guard"',
    (3, f'name = "{"x" * 41}"'): "3: name is 41 characters long; write at most 40",
    (3, 'name = "a\\u001b[31mb"'): (
        "3: name has characters that cannot be shown plainly; write letters, digits and single spaces"
    ),
    (3, 'name = "a\\u202eb"'): (
        "3: name has characters that cannot be shown plainly; write letters, digits and single spaces"
    ),
    (3, ""): '2: rule 1 has no name; add name = "guard"',
    (4, 'position = "aave-v3"'): (
        '4: position "aave-v3" names no market; '
        'write "aave-v3/core" for a market, "aave-v3/core/0x..." for one account, or "*" for all'
    ),
    (4, 'position = "aave v3/core"'): (
        '4: position "aave v3/core" is not market, market/account or *; write it like "aave-v3/core"'
    ),
    (4, 'position = "aave-v3/core/0x12"'): '4: "0x12" is not an address; write 0x and 40 hexadecimal digits',
    (4, 'position = "aave-v3/core/0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"[:0]'): None,
    (4, 'position = "a/b/0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"'): (
        '4: "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed" is mistyped: its capital letters do not match its digits; '
        "copy it again, or write it all in lower case if you are sure of it"
    ),
    (5, 'mode = "atuo"'): '5: mode is "atuo", which is none of "notify", "confirm" or "auto"; did you mean "auto"?',
    (
        5,
        'mode = "zzz"',
    ): '5: mode is "zzz", which is none of "notify", "confirm" or "auto"; write "notify", "confirm" or "auto"',
    (6, 'when = { health_factor_below = "1.25", for_blocks = 0 }'): (
        "6: for_blocks is 0; write a whole number from 1 to 100000"
    ),
    (6, 'when = { health_factor_below = "1.25", for_blocks = "2" }'): (
        '6: for_blocks is "2", not a whole number; write for_blocks = 1, without quotes'
    ),
    (6, 'when = { health_factor_below = "1.25", for_blocks = true }'): (
        "6: for_blocks is true, not a whole number; write for_blocks = 1, without quotes"
    ),
    (6, "when = { health_factor_below = 1.25 }"): (
        "6: health_factor_below is a bare number, which is not read exactly; "
        'put it in quotes: health_factor_below = "1.25"'
    ),
    (6, "when = { health_factor_below = inf }"): (
        "6: health_factor_below is a bare number, which is not read exactly; "
        'put it in quotes: health_factor_below = "1.25"'
    ),
    (6, 'when = { health_factor_below = "1.0" }'): (
        '6: health_factor_below is 1: at 1 the position is already liquidated; act earlier, for example at "1.25"'
    ),
    (6, 'when = { health_factor_below = "nan" }'): (
        '6: health_factor_below is "nan", not a plain decimal number; write it like "1.25"'
    ),
    (6, 'when = { health_factor_below = "1,25" }'): (
        '6: health_factor_below is "1,25", with separators between the digits; write it like "1.25"'
    ),
    (6, 'when = { health_factor_below = "1.1234567890123456789" }'): (
        '6: health_factor_below is "1.1234567890123456789", with more than 18 digits after the point; '
        'write it like "1.25"'
    ),
    (6, "when = {}"): (
        '6: when of rule "guard" has neither health_factor_below nor price_of; '
        'add health_factor_below = "1.25", or price_of = "WETH" with below, above or trailing'
    ),
    (6, "when = 5"): '6: when is 5, not a table; write when = { health_factor_below = "1.25", for_blocks = 1 }',
    (6, 'when = { health_factor_below = "1.25", blocks = 3 }'): (
        '6: when of rule "guard" has an unknown key "blocks"; did you mean for_blocks?'
    ),
    (6, ""): '2: rule "guard" has no when; add when = { health_factor_below = "1.25", for_blocks = 1 }',
    (7, 'target = { health_factor = "1.25" }'): (
        "7: target 1.25 is not above the trigger 1.25; "
        "write a target above health_factor_below, or the rule would fire again at once"
    ),
    (7, 'target = { health_factor = "101" }'): '7: health_factor is "101", more than can be meant; write at most 100',
    (7, 'target = { health_factor = "-2" }'): '7: health_factor is "-2", but must be above zero; write it like "1.50"',
    (7, ""): '2: rule "guard" has no target; add target = { health_factor = "1.50" }',
    (7, "[rule.target]\nhealth_factor = 2"): (
        '8: health_factor is a bare number, which is not read exactly; put it in quotes: health_factor = "2"'
    ),
    (10, 'action = "add_collateral"'): (
        '10: action is "add_collateral", which is none of "repay", "add-collateral", "repay-with-atokens", '
        '"deleverage", "switch-collateral", "switch-debt" or "boost"; did you mean "add-collateral"?'
    ),
    (10, ""): '9: step 1 of rule "guard" has no action; add action = "repay"',
    (11, 'asset = "0x1234"'): '11: "0x1234" is not an address; write 0x and 40 hexadecimal digits',
    (11, 'asset = "U\\u0000"'): (
        "11: asset has characters that cannot be shown plainly; write the token's symbol or address"
    ),
    (11, ""): '9: step 1 of rule "guard" has no asset; add asset = "USDC"',
    (12, 'max = "0.000"'): '12: max is "0.000", but must be above zero; write it like "5000"',
    (12, "max = 5000"): '12: max is a bare number, which is not read exactly; put it in quotes: max = "5000"',
    (12, 'max = "$5"'): '12: max is "$5", with a currency sign; write it like "5000"',
    (12, 'max = "50%"'): '12: max is "50%", a percentage where a plain number belongs; write it like "5000"',
    (12, f'max = "1{"0" * 31}"'): (f'12: max is "1{"0" * 31}", more than can be meant; write at most 10^30 tokens'),
    (12, "max = []"): '12: max is a list, not a number in quotes; write max = "5000"',
    (12, 'max_slippage = "1%"'): (
        '12: step 1 of rule "guard" has an unknown key "max_slippage"; remove it, or name in swap_from the token that '
        "is sold"
    ),
    (12, 'max = "1"\nmax = "2"'): "13: max is written twice, first on line 12; keep one of the two",
    (18, "[rule.limts]"): '18: rule "guard" has an unknown key "limts"; did you mean limits?',
    (19, 'max_cost_usd = "0"'): '19: max_cost_usd is "0", but must be above zero; write it like "200"',
    (20, 'max_cost_share = "25"'): (
        '20: max_cost_share is "25", not a percentage with at most two digits after the point; write it like "25%"'
    ),
    (20, 'max_cost_share = "101%"'): '20: max_cost_share is "101%"; write a share above 0% and up to 100%',
    (20, "max_cost_share = 25"): (
        '20: max_cost_share is a bare number, not a percentage; write it like max_cost_share = "25%"'
    ),
    (20, "max_cost_share = 0.25"): (
        '20: max_cost_share is a bare number, not a percentage; write it like max_cost_share = "25%"'
    ),
    (20, 'max_cost_share = "0.125%"'): (
        '20: max_cost_share is "0.125%", which is finer than 0.01%; write "0.12%" or "0.13%"'
    ),
    (21, 'max_base_fee_gwei = "9999999"'): (
        '21: max_base_fee_gwei is "9999999", more than can be meant; write at most 1,000,000 gwei'
    ),
    (23, "cooldown = 300"): '23: cooldown is 300, not a time; write it like "300s": a number and s, m, h or d',
    (23, 'cooldown = "5 minutes"'): (
        '23: cooldown is "5 minutes", not a time; write it like "5m": a number and s, m, h or d'
    ),
    (
        23,
        'stale_price = "ignore"',
    ): '23: stale_price is "ignore", which is none of "hold" or "act"; write "hold" or "act"',
    (23, "stale_price = 1"): '23: stale_price is 1, not a text in quotes; write stale_price = "hold"',
    (23, 'standing_allowance = "used"'): (
        '23: standing_allowance is "used", which is none of "refuse" or "use"; did you mean "use"?'
    ),
    (23, 'cooldown = "366d"'): '23: cooldown is "366d", longer than a year; write at most "365d"',
    (23, 'cooldown = "5m"\n[[rules]]'): '24: unknown key "rules"; did you mean [[rule]]?',
    (23, "cooldown = 1979-05-27"): (
        '23: cooldown is 1979-05-27, not a time; write it like "5m": a number and s, m, h or d'
    ),
    (23, "cooldown = " + "9" * 5000): (
        "23: a value without quotes is longer than 64 characters; write it plainly: a rule needs nothing of the kind"
    ),
    (23, "cooldown = " + "[" * 5000): (
        "23: brackets are nested deeper than 16; write it plainly: a rule needs nothing of the kind"
    ),
}
del CASES[(4, 'position = "aave-v3/core/0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"[:0]')]


@pytest.mark.parametrize(("change", "fault"), CASES.items(), ids=[change[1][:50] for change in CASES])
def test_one_fault_at_its_line(change, fault):
    line, instead = change
    lines = GUARD.split("\n")
    lines[line - 1] = instead
    loaded = parse_rules("\n".join(lines), "r.toml")
    assert [str(found) for found in loaded.faults] == [f"r.toml:{fault}"]
    assert all(str(found).isprintable() for found in loaded.faults)
    # A wrong key outside of any rule leaves the rules as they are.
    assert [rule.name for rule in loaded.rules] == (["guard"] if "[[rules]]" in instead else [])


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"# \xff", "1: byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"# ok\n\n\xc3", "3: byte 0xc3 is not UTF-8; save the file as UTF-8"),
        (b" " * (MAX_FILE_BYTES + 1), "1: larger than 256 KiB; split it into several files"),
        (b"\nrule = 1", "2: rule is not a list of tables; write [[rule]], with two brackets"),
        (b"[rule]\nname = 1", "1: rule is not a list of tables; write [[rule]], with two brackets"),
        (b"\nrule = [1]", "2: rule 1 is not a table; write [[rule]], then one key = value a line"),
    ],
)  # fmt: skip
def test_faults_of_whole_files(content, fault):
    assert faults_of(content) == [fault]


@pytest.mark.parametrize(
    ("content", "line", "fix"),
    [
        ("# a\n# \0", 2, "remove that character, or retype the line"),
        ("[[rule]", 1, "close every quote and bracket, and put one key = value on a line"),
        ("a\n= 1", 1, "close every quote and bracket, and put one key = value on a line"),
        (GUARD.replace('mode = "auto"', "mode = auto"), 5, 'put texts in quotes, as in mode = "notify"'),
        (GUARD.replace('mode = "auto"', 'mode = "auto'), 5, "remove that character, or retype the line"),
        (GUARD + 'x = """\n\n', 24, "close every quote and bracket, and put one key = value on a line"),
    ],
)
def test_what_is_no_toml_is_said_at_its_line(content, line, fix):
    """The words for it are the parser's; line and fix are ours."""
    loaded = parse_rules(content, "r.toml")
    (fault,) = loaded.faults
    assert fault.what.startswith("not valid TOML: ")
    assert (fault.line, fault.fix) == (line, fix)
    assert loaded.rules == ()


def test_all_faults_in_one_pass_and_the_other_rules_stay():
    text = GUARD + "\n" + GUARD.replace("1.25", "0.9").replace('"auto"', '"now"').replace("5m", "5") + "\n"
    text += GUARD.replace('"guard"', '"third"').replace("1.25", "1.3")
    loaded = parse_rules(text, "r.toml")
    assert [fault.line for fault in loaded.faults] == [27, 29, 30, 47]
    assert [rule.name for rule in loaded.rules] == ["guard", "third"]
    assert {fault.field for fault in loaded.faults} == {"name", "mode", "when.health_factor_below", "limits.cooldown"}


def test_a_rule_that_acts_needs_steps():
    text = GUARD[: GUARD.index("[[rule.step]]")]
    fault = '2: rule "guard" has mode "auto" but no step; '
    fault += 'add a [[rule.step]] with action and asset, or write mode = "notify"'
    assert faults_of(text) == [fault]
    assert faults_of(text.replace('"auto"', '"notify"')) == []


def test_names_that_differ_in_case_only_are_the_same():
    text = GUARD + GUARD.replace('"guard"', '"Guard"').replace("1.25", "1.3")
    assert faults_of(text) == ['26: rule name "Guard" is already used on line 3; give each rule its own name']


def test_a_rival_is_a_warning_and_stays_usable():
    text = GUARD + GUARD.replace('"guard"', '"other"').replace('"aave-v3/core"', f'"aave-v3/core/{ACCOUNT}"')
    loaded = parse_rules(text, "r.toml")
    (fault,) = loaded.faults
    assert (fault.line, fault.severity, fault.rule) == (29, Severity.WARNING, "other")
    assert loaded.errors == ()
    assert len(loaded.rules) == 2


def test_the_digest_is_of_the_meaning():
    digest = parse_rules(GUARD, "r.toml").rules[0].digest
    other = GUARD.replace("# my rules", "\n\n# changed").replace('"5m"', '"300s"').replace('"1.50"', "'1.500'")
    other = other.replace('"5000"', '"5000.00"').replace("aave-v3/core", "Aave-v3/Core")
    same = parse_rules(other, "other.toml").rules[0]
    assert same.digest == digest
    assert rule_digest(replace(same, source="elsewhere")) == digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"guard"', '"Guard"'),
        ("aave-v3/core", "*"),
        ('"auto"', '"confirm"'),
        ("1.25", "1.26"),
        ("for_blocks = 2", "for_blocks = 3"),
        ("1.50", "1.51"),
        ('"repay"', '"add-collateral"'),
        ("USDC", "usdc"),
        ('max = "5000"', 'max = "5001"'),
        ('max = "5000"', ""),
        ('"200"', '"201"'),
        ("25%", "26%"),
        ('"500"', '"501"'),
        ('"50000"', '"50001"'),
        ("5m", "6m"),
        ('"5m"', '"5m"\nstale_price = "act"'),
        ('"5m"', '"5m"\nstanding_allowance = "use"'),
        ('"5m"', '"5m"\nemergency = "1.10"'),
    ],
)
def test_every_change_of_meaning_changes_the_digest(old, new):
    changed = GUARD.replace(old, new)
    assert changed != GUARD
    assert parse_rules(changed, "r.toml").rules[0].digest != parse_rules(GUARD, "r.toml").rules[0].digest


def test_the_order_of_steps_is_meaning():
    steps = GUARD.index("[[rule.step]]"), GUARD.index("[[rule.step]]\naction"), GUARD.index("[rule.limits]")
    swapped = GUARD[: steps[0]] + GUARD[steps[1] : steps[2]] + GUARD[steps[0] : steps[1]] + GUARD[steps[2] :]
    one, other = parse_rules(GUARD, "r.toml").rules[0], parse_rules(swapped, "r.toml").rules[0]
    assert one.steps == other.steps[::-1]
    assert one.digest != other.digest


def test_a_checksummed_address_is_taken_in_lower_case():
    text = GUARD.replace("aave-v3/core", "aave-v3/core/0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
    assert parse_rules(text, "r.toml").rules[0].position == "aave-v3/core/0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"


def test_a_byte_order_mark_and_windows_line_ends_are_read():
    loaded = parse_rules("\ufeff" + GUARD.replace("\n", "\r\n"), "r.toml")
    assert loaded.faults == ()
    assert loaded.rules[0].digest == parse_rules(GUARD, "r.toml").rules[0].digest


def test_files_used_together_share_their_names(tmp_path: Path):
    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    one.write_text(GUARD)
    other.write_text("\n" + GUARD.replace('"guard"', '"GUARD"'))
    first, second = load_rule_files([one, other])
    assert (len(first.rules), len(second.rules)) == (1, 0)
    assert [str(fault) for fault in second.faults] == [
        f'{other}:4: rule name "GUARD" is already used at {one}:2; give each rule its own name'
    ]


def test_a_file_that_is_not_there_raises(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        load_rules(tmp_path / "none.toml")


def test_the_name_of_the_file_is_made_harmless():
    assert parse_rules("x = 1", "a\x1b[2J\n\u202eb.toml").faults[0].file == "a?[2J??b.toml"


def test_the_template_is_valid_and_signs_nothing():
    loaded = parse_rules(TEMPLATE, "rules.toml")
    assert loaded.faults == ()
    assert [(rule.name, rule.mode) for rule in loaded.rules] == [("watch", Mode.NOTIFY)]


def test_what_the_template_shows_is_valid_once_uncommented():
    lines = TEMPLATE.split("\n")
    start = lines.index("# [[rule]]")
    text = "\n".join([*lines[:start], *(line.removeprefix("# ").removeprefix("#") for line in lines[start:])])
    loaded = parse_rules(text, "rules.toml")
    assert loaded.faults == ()
    assert [rule.name for rule in loaded.rules] == ["watch", "guard"]


def test_a_digest_is_what_it_always_was():
    """Armed scopes and hysteresis are kept under it: words that a rule does not say must not change it."""
    digest = "458c900e3ad169959335346039c9dfc930b19e080e6a341f1bb9e8caca3bdc2e"
    (rule,) = parse_rules(GUARD, "r.toml").rules
    assert rule.digest == digest
    for default in ('order = "written"', "partial = false"):
        written = GUARD.replace('mode = "auto"', f'mode = "auto"\n{default}')
        assert parse_rules(written, "r.toml").rules[0].digest == digest


def test_the_rule_of_the_documentation_is_read_without_a_word():
    text = """
    [[rule]]
    name = "guard"
    position = "aave-v3/core"          # market, market/account, or "*"
    mode = "auto"                      # notify | confirm | auto
    when = { health_factor_below = "1.25", for_blocks = 1 }
    target = { health_factor = "1.50" }

    [[rule.step]]                      # the waterfall: in order, until the target is met
    action = "repay"                   # from the wallet
    asset = "USDC"
    max = "5000"

    [[rule.step]]
    action = "add-collateral"
    asset = "WETH"
    max = "2"

    [[rule.step]]
    action = "deleverage"              # sell collateral for debt, atomically where it can
    collateral = "WETH"
    debt = "USDC"
    max_slippage = "0.5%"

    [rule.limits]
    max_cost_usd = "200"
    max_cost_share = "25%"             # of the liquidation loss avoided
    max_base_fee_gwei = "500"
    daily_spend_usd = "50000"
    cooldown = "5m"
    """
    loaded = parse_rules(text, "rules.toml")
    assert loaded.faults == ()
    assert [step.action.value for step in loaded.rules[0].steps] == ["repay", "add-collateral", "deleverage"]
