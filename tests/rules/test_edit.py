"""Edits keep every comment and their order, always mean what was asked, and never overwrite another's change."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tui.model.rule import ActionKind, Step
from tui.rules.edit import (
    EditRefused,
    FileChanged,
    add_rule,
    add_step,
    change_step,
    move_step,
    remove_rule,
    remove_step,
    rename_rule,
    rule_names,
    save_rules,
    set_field,
    unset_field,
)
from tui.rules.load import load_rules, parse_rules
from tui.rules.template import TEMPLATE

TEXT = """\
# The heading of the file.

# guard: first line
# guard: second line
[[rule]]  # here it starts
name = "guard"           # a name
position = "aave-v3/core"
mode = "auto"
when = { health_factor_below = "1.25", for_blocks = 1 }  # trigger
target = { health_factor = "1.50" }

# cheap first
[[rule.step]]
action = "repay"
asset = "USDC"  # six decimals
max = "5000"
# still the first step

# then this
[[rule.step]]
action = "add-collateral"
asset = "WETH"

[rule.limits]
# dollars
max_cost_usd = "200"
cooldown = "5m"

# between the rules

# about the other
[[rule]]
name = 'other'
position = "*"
mode = "notify"
when.health_factor_below = "1.4"

# the end
"""
NEW_RULE = {
    "name": 'the "third"',
    "position": "*",
    "mode": "confirm",
    "when": {"health_factor_below": "1.3", "for_blocks": 2},
    "target": {"health_factor": "1.6"},
    "step": [{"action": "repay", "asset": "DAI"}, {"action": "add-collateral", "asset": "WBTC", "max": "1"}],
    "limits": {"cooldown": "1h"},
}


def comments(text: str) -> list[str]:
    return [line[line.index("#") :].rstrip() for line in text.splitlines() if "#" in line]


def replaced(old: str, new: str, text: str = TEXT) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("name", "field", "value", "expected"),
    [
        ("guard", "when.health_factor_below", "1.30", replaced('"1.25"', '"1.30"')),
        ("guard", "when.for_blocks", 3, replaced("for_blocks = 1", "for_blocks = 3")),
        ("guard", "mode", "notify", replaced('"auto"', '"notify"')),
        ("guard", "step.0.max", "1.5", replaced('"5000"', '"1.5"')),
        ("guard", "step.1.max", "2", replaced('asset = "WETH"\n', 'asset = "WETH"\nmax = "2"\n')),
        ("guard", "limits.max_base_fee_gwei", "9", replaced('"5m"\n', '"5m"\nmax_base_fee_gwei = "9"\n')),
        ("other", "name", "else", replaced("'other'", '"else"')),
        ("other", "when.for_blocks", 2, replaced('= "1.4"\n', '= "1.4"\nwhen.for_blocks = 2\n')),
        ("other", "target.health_factor", "2", replaced('= "1.4"\n', '= "1.4"\ntarget = { health_factor = "2" }\n')),
        ("other", "limits.cooldown", "1m", replaced('= "1.4"\n', '= "1.4"\n\n[rule.limits]\ncooldown = "1m"\n')),
    ],
)
def test_a_field_changes_and_nothing_else(name, field, value, expected):
    assert set_field(TEXT, name, field, value) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("step.0.max", replaced('max = "5000"\n', "")),
        ("limits.cooldown", replaced('cooldown = "5m"\n', "")),
        ("when.for_blocks", replaced(", for_blocks = 1 }", " }")),
        ("when.health_factor_below", replaced('health_factor_below = "1.25", ', "")),
        ("limits.max_cost_share", TEXT),
    ],
)
def test_a_field_is_removed_and_nothing_else(field, expected):
    assert unset_field(TEXT, "guard", field) == expected


def test_what_was_said_about_a_removed_field_stays():
    assert unset_field(TEXT, "guard", "step.0.asset") == replaced('asset = "USDC"  # six decimals', "# six decimals")
    assert unset_field(TEXT, "guard", "name") == replaced('name = "guard"           # a name', "# a name")


def test_a_step_becomes_one_of_another_kind_with_its_comments():
    sale = {"action": "deleverage", "collateral": "WETH", "debt": "USDC", "max_slippage": "0.5%"}
    text = change_step(TEXT, "guard", 0, sale, {"asset": "debt"})
    assert text == replaced(
        'action = "repay"\nasset = "USDC"  # six decimals\nmax = "5000"\n',
        'action = "deleverage"\ndebt = "USDC"  # six decimals\ncollateral = "WETH"\nmax_slippage = "0.5%"\n',
    )
    assert parse_rules(text, "r.toml").faults == ()
    back = change_step(text, "guard", 0, {"action": "repay", "asset": "USDC", "max": "5000"}, {"debt": "asset"})
    assert back == TEXT


def test_a_step_that_is_not_there_or_not_plain_is_not_changed():
    with pytest.raises(EditRefused, match="has no step 3"):
        change_step(TEXT, "guard", 2, {"action": "repay"})
    quoted = replaced('asset = "USDC"', '"asset" = "USDC"')
    with pytest.raises(EditRefused, match="not written as a plain key"):
        change_step(quoted, "guard", 0, {"action": "deleverage"}, {"asset": "debt"})


def test_a_new_rule_goes_to_the_end():
    text = add_rule(TEXT, NEW_RULE)
    assert text.startswith(TEXT)
    assert tomllib.loads(text)["rule"][2] == NEW_RULE
    assert parse_rules(text, "r.toml").faults == ()
    assert text.removeprefix(TEXT) == (
        '\n[[rule]]\nname = "the \\"third\\""\nposition = "*"\nmode = "confirm"\n'
        'when = { health_factor_below = "1.3", for_blocks = 2 }\ntarget = { health_factor = "1.6" }\n'
        '\n[[rule.step]]\naction = "repay"\nasset = "DAI"\n'
        '\n[[rule.step]]\naction = "add-collateral"\nasset = "WBTC"\nmax = "1"\n'
        '\n[rule.limits]\ncooldown = "1h"\n'
    )


def test_a_rule_can_be_added_to_nothing_and_to_the_template():
    assert rule_names(add_rule("", NEW_RULE)) == ('the "third"',)
    assert rule_names(add_rule(TEMPLATE, NEW_RULE)) == ("watch", 'the "third"')
    assert rule_names(add_rule("# no line end", NEW_RULE)) == ('the "third"',)


def test_a_rule_goes_with_its_own_comments():
    text = remove_rule(TEXT, "guard")
    assert text == "# The heading of the file.\n\n" + TEXT[TEXT.index("# between the rules") :]
    assert remove_rule(TEXT, "other") == TEXT[: TEXT.index("# about the other")] + "# the end\n"


def test_the_heading_of_the_file_is_no_comment_of_the_first_rule():
    text = '# heading\n# more\n[[rule]]\nname = "a"\n'
    assert remove_rule(text, "a") == "# heading\n# more\n"


def test_steps_are_added_in_their_place():
    step = {"action": "repay", "asset": "DAI"}
    block = '[[rule.step]]\naction = "repay"\nasset = "DAI"\n'
    first = add_step(TEXT, "guard", step, 0)
    assert first == replaced("# cheap first\n", block + "\n# cheap first\n")
    second = add_step(TEXT, "guard", step, 1)
    assert second == replaced("# then this\n", block + "\n# then this\n")
    last = add_step(TEXT, "guard", step)
    assert last == replaced('asset = "WETH"\n', 'asset = "WETH"\n\n' + block)
    only = add_step(TEXT, "other", step)
    assert only == replaced('= "1.4"\n', '= "1.4"\n\n' + block)


def test_steps_move_with_their_comments():
    moved = move_step(TEXT, "guard", 1, 0)
    one, other = TEXT.index("# cheap first"), TEXT.index("# then this")
    end = TEXT.index("\n[rule.limits]")
    assert moved == TEXT[:one] + TEXT[other:end] + "\n" + TEXT[one : other - 1] + TEXT[end:]
    assert move_step(moved, "guard", 0, 1) == TEXT
    assert move_step(TEXT, "guard", 1, 1) == TEXT


def test_a_step_is_removed_with_its_comments():
    text = remove_step(TEXT, "guard", 0)
    assert text == TEXT.replace(TEXT[TEXT.index("# cheap first") : TEXT.index("# then this")], "")
    assert "step" not in tomllib.loads(remove_step(text, "guard", 0))["rule"][0]


def test_a_rule_is_renamed_but_not_to_a_name_that_is_taken():
    assert rename_rule(TEXT, "guard", "sentry") == replaced('"guard"', '"sentry"')
    assert rename_rule(TEXT, "guard", "GUARD") == replaced('"guard"', '"GUARD"')
    with pytest.raises(EditRefused, match='a rule "Other" already'):
        rename_rule(TEXT, "guard", "Other")


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda: set_field(TEXT, "none", "mode", "auto"), 'no rule is called "none"'),
        (lambda: set_field(TEXT + TEXT, "guard", "mode", "auto"), 'more than one rule is called "guard"'),
        (lambda: set_field(TEXT, "guard", "step.2.max", "1"), "has no step 3"),
        (lambda: set_field(TEXT, "other", "step.0.max", "1"), "has no step 1"),
        (lambda: set_field(TEXT, "guard", "step.0", "1"), "only a field of a table"),
        (lambda: set_field(TEXT, "guard", "when.5", "1"), "only a field of a table"),
        (lambda: set_field(TEXT, "guard", "mode.x", "1"), "not a table|only a field"),
        (lambda: set_field(TEXT, "guard", "mode..x", "1"), "not a field"),
        (lambda: set_field(TEXT, "guard", "mode", 1.5), "float is not a value"),
        (lambda: set_field(TEXT, "guard", "mode", "\ud800"), "cannot be changed"),
        (lambda: set_field("a = [", "guard", "mode", "x"), "line 1 is not valid TOML"),
        (lambda: set_field("rule = 1", "guard", "mode", "x"), "not a list of tables"),
        (lambda: unset_field(TEXT, "guard", "limits"), "a table of its own"),
        (lambda: remove_step(TEXT, "guard", 2), "has no step 3"),
        (lambda: move_step(TEXT, "guard", 0, -1), "has no step 0"),
        (lambda: add_step(TEXT, "guard", {"action": "repay"}, 3), "no place 4"),
        (lambda: add_rule(TEXT, {"name": "Guard"}), 'a rule "Guard" already'),
        (lambda: add_rule('rule = [{ name = "a" }]', NEW_RULE), "inline list"),
        (lambda: add_step('rule = [{ name = "a" }]', "a", {"action": "repay"}), "inline list"),
        (lambda: remove_rule('rule = [{ name = "a" }]', "a"), "inline"),
    ],
)
def test_what_cannot_be_done_is_refused(edit, why):
    with pytest.raises(EditRefused, match=why):
        edit()


@pytest.mark.parametrize(
    "name", ['a "quoted" \\ name', "tab\there", "esc \x1b[0m", "é ☃ 🐍", "# no comment", "[x]", "'''"]
)
def test_any_text_survives_as_a_value(name):
    assert rule_names(rename_rule(TEXT, "guard", name))[0] == name


def test_windows_line_ends_and_byte_order_mark_stay():
    text = "\ufeff" + TEXT.replace("\n", "\r\n")
    for changed in (
        set_field(text, "guard", "step.1.max", "2"),
        add_rule(text, NEW_RULE),
        add_step(text, "guard", {"action": "repay", "asset": "DAI"}, 0),
        move_step(text, "guard", 0, 1),
    ):
        assert changed.startswith("\ufeff")
        assert changed.count("\n") == changed.count("\r\n")
        assert sorted(comments(changed)) == sorted(comments(TEXT))
        assert parse_rules(changed, "r.toml").errors == ()


def test_inline_rules_can_be_set():
    text = 'rule = [{ name = "a", when = {} }] # inline\n'
    text = set_field(text, "a", "when.for_blocks", 2)
    assert text == 'rule = [{ name = "a", when = { for_blocks = 2 } }] # inline\n'
    assert set_field(text, "a", "mode", "auto") == text.replace(" }]", ', mode = "auto" }]')


_names = st.sampled_from(["a", "b", "the 'third'", "é"])
_amounts = st.sampled_from(["1", "2.50", "1.05"])
_steps = st.fixed_dictionaries(
    {"action": st.sampled_from(["repay", "add-collateral"]), "asset": st.sampled_from(["DAI", "USDC.e"])},
    optional={"max": _amounts},
)


class Editing(RuleBasedStateMachine):
    """Random edits, held against the same edits of plain data; what is not removed keeps its comments in order."""

    @initialize(ending=st.sampled_from(["\n", "\r\n"]), start=st.sampled_from([TEXT, TEMPLATE]))
    def begin(self, ending, start):
        self.text = start.replace("\n", ending)
        self.kept = comments(start)
        self.data = tomllib.loads(start)

    def pick(self, data):
        return data.draw(st.integers(0, len(self.data["rule"]) - 1))

    def name_of(self, index):
        return self.data["rule"][index]["name"]

    @precondition(lambda self: self.data.get("rule"))
    @rule(
        data=st.data(),
        field=st.sampled_from(["when.for_blocks", "when.health_factor_below", "target.health_factor", "mode",
                               "limits.cooldown", "limits.max_cost_usd", "position"]),
        value=_amounts,
    )  # fmt: skip
    def set(self, data, field, value):
        index = self.pick(data)
        self.text = set_field(self.text, self.name_of(index), field, value)
        table, _, key = field.rpartition(".")
        holder = self.data["rule"][index]
        (holder.setdefault(table, {}) if table else holder)[key] = value

    @precondition(lambda self: self.data.get("rule"))
    @rule(data=st.data(), value=_amounts)
    def set_max(self, data, value):
        index = self.pick(data)
        steps = self.data["rule"][index].get("step", [])
        if steps:
            number = data.draw(st.integers(0, len(steps) - 1))
            self.text = set_field(self.text, self.name_of(index), f"step.{number}.max", value)
            steps[number]["max"] = value

    @precondition(lambda self: self.data.get("rule"))
    @rule(data=st.data(), name=_names)
    def rename(self, data, name):
        index = self.pick(data)
        if name not in [other["name"] for other in self.data["rule"]]:
            self.text = rename_rule(self.text, self.name_of(index), name)
            self.data["rule"][index]["name"] = name

    @rule(name=_names, steps=st.lists(_steps, max_size=2))
    def add(self, name, steps):
        if name not in [other["name"] for other in self.data.get("rule", [])]:
            new = {**NEW_RULE, "name": name, "step": steps}
            self.text = add_rule(self.text, new)
            written = {**new, "when": {**new["when"]}, "target": {**new["target"]}, "limits": {**new["limits"]}}
            written["step"] = [dict(step) for step in steps]
            if not steps:
                del written["step"]
            self.data.setdefault("rule", []).append(written)

    @precondition(lambda self: self.data.get("rule"))
    @rule(data=st.data(), step=_steps)
    def put_step(self, data, step):
        index = self.pick(data)
        steps = self.data["rule"][index].setdefault("step", [])
        at = data.draw(st.integers(0, len(steps)))
        self.text = add_step(self.text, self.name_of(index), step, at)
        steps.insert(at, dict(step))

    @precondition(lambda self: any(rule.get("step") for rule in self.data.get("rule", [])))
    @rule(data=st.data())
    def change(self, data):
        index = data.draw(st.sampled_from([at for at, rule in enumerate(self.data["rule"]) if rule.get("step")]))
        steps = self.data["rule"][index]["step"]
        number = data.draw(st.integers(0, len(steps) - 1))
        sale = "collateral" not in steps[number]
        asset = steps[number].get("asset", steps[number].get("debt", "DAI"))
        if sale:
            step = {"action": "deleverage", "collateral": "WETH", "debt": asset, "max_slippage": "1%"}
        else:
            step = {"action": "repay", "asset": asset, "max": "7"}
        renamed = {"asset": "debt"} if sale else {"debt": "asset"}
        self.text = change_step(self.text, self.name_of(index), number, step, renamed)
        steps[number] = step

    @precondition(lambda self: any(rule.get("step") for rule in self.data.get("rule", [])))
    @rule(data=st.data())
    def move(self, data):
        index = data.draw(st.sampled_from([at for at, rule in enumerate(self.data["rule"]) if rule.get("step")]))
        steps = self.data["rule"][index]["step"]
        number, to = data.draw(st.integers(0, len(steps) - 1)), data.draw(st.integers(0, len(steps) - 1))
        self.text = move_step(self.text, self.name_of(index), number, to)
        steps.insert(to, steps.pop(number))
        assert sorted(comments(self.text)) == sorted(self.kept)
        self.kept = comments(self.text)

    @precondition(lambda self: any(rule.get("step") for rule in self.data.get("rule", [])))
    @rule(data=st.data())
    def drop_step(self, data):
        index = data.draw(st.sampled_from([at for at, rule in enumerate(self.data["rule"]) if rule.get("step")]))
        steps = self.data["rule"][index]["step"]
        number = data.draw(st.integers(0, len(steps) - 1))
        self.text = remove_step(self.text, self.name_of(index), number)
        del steps[number]
        if not steps:
            del self.data["rule"][index]["step"]
        self.fewer()

    @precondition(lambda self: self.data.get("rule"))
    @rule(data=st.data())
    def drop(self, data):
        index = self.pick(data)
        self.text = remove_rule(self.text, self.name_of(index))
        del self.data["rule"][index]
        if not self.data["rule"]:
            del self.data["rule"]
        self.fewer()

    def fewer(self):
        """A removal leaves the other comments in their order."""
        left = comments(self.text)
        remaining = iter(self.kept)
        assert all(any(comment == other for other in remaining) for comment in left)
        self.kept = left

    @invariant()
    def means_the_same_and_keeps_the_comments(self):
        assert tomllib.loads(self.text) == self.data
        assert comments(self.text) == self.kept
        assert self.text.count("\n") == self.text.count("\r\n") or "\r" not in self.text


TestEditing = Editing.TestCase
TestEditing.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(st.text(max_size=80), st.sampled_from(["mode", "when.for_blocks", "step.0.max", "a.b.c"]))
def test_any_text_is_edited_or_refused(text, field):
    for source in (text, TEXT.replace("USDC", text, 1), TEXT.replace('"auto"', text, 1)):
        try:
            changed = set_field(source, "guard", field, "1")
        except EditRefused:
            continue
        (guard,) = [rule for rule in tomllib.loads(changed)["rule"] if rule["name"] == "guard"]
        for key in field.split("."):
            guard = guard[int(key) if key.isdigit() else key]
        assert guard == "1"


def test_saving_is_read_back(tmp_path: Path):
    path = tmp_path / "rules.toml"
    digest = save_rules(path, TEXT, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = load_rules(path)
    assert (loaded.text, loaded.digest) == (TEXT, digest)
    assert save_rules(path, TEXT + "\n", loaded.digest) == load_rules(path).digest
    assert [entry.name for entry in tmp_path.iterdir()] == ["rules.toml"]


def test_saving_keeps_mode_line_ends_and_link(tmp_path: Path):
    path, link = tmp_path / "rules.toml", tmp_path / "link.toml"
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    path.chmod(0o640)
    link.symlink_to(path)
    loaded = load_rules(link)
    save_rules(link, set_field(loaded.text, "guard", "mode", "notify"), loaded.digest)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_bytes() == TEXT.replace('"auto"', '"notify"').replace("\n", "\r\n").encode()


def test_a_file_that_changed_meanwhile_is_not_overwritten(tmp_path: Path):
    path = tmp_path / "rules.toml"
    digest = save_rules(path, TEXT, None)
    path.write_text(TEXT + "# by hand\n")
    for read in (digest, None):
        with pytest.raises(FileChanged, match="changed by something else"):
            save_rules(path, "# mine\n", read)
    path.unlink()
    with pytest.raises(FileChanged):
        save_rules(path, "# mine\n", digest)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "rules.toml"
    digest = save_rules(path, TEXT, None)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_rules(path, "# new\n", digest)
    assert path.read_text() == TEXT
    assert [entry.name for entry in tmp_path.iterdir()] == ["rules.toml"]


def test_what_could_not_be_read_again_is_not_saved(tmp_path: Path):
    with pytest.raises(EditRefused, match="larger than"):
        save_rules(tmp_path / "rules.toml", "#" * 300_000, None)
    with pytest.raises(EditRefused, match="UTF-8"):
        save_rules(tmp_path / "rules.toml", "\ud800", None)
    assert list(tmp_path.iterdir()) == []


def test_a_repayment_becomes_one_that_is_swapped_for_and_back_and_its_comments_stay() -> None:
    text = (
        '[[rule]]\nname = "guard"\nposition = "*"\nmode = "auto"\nwhen = { health_factor_below = "1.25" }\n'
        'target = { health_factor = "1.50" }\n\n[[rule.step]]\n# out of the wallet\naction = "repay"  # first\n'
        'asset = "USDC"\nmax = "2"\n'
    )
    swapped = set_field(set_field(text, "guard", "step.0.swap_from", "WETH"), "guard", "step.0.max_slippage", "0.5%")
    (found,) = parse_rules(swapped, "r.toml").rules
    assert found.steps == (Step(ActionKind.SWAP_TO_REPAY, "USDC", "2", "WETH", 50),)
    assert "# out of the wallet" in swapped
    assert "# first" in swapped
    back = unset_field(unset_field(swapped, "guard", "step.0.max_slippage"), "guard", "step.0.swap_from")
    assert back == text
