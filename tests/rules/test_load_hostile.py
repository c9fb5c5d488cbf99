"""Whatever stands in a rules file: it is read or its faults are told, and nothing raises."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.test_load import GUARD
from tui.rules.load import parse_rules


def _never_raises(content: bytes) -> None:
    loaded = parse_rules(content, "r.toml")
    assert loaded == parse_rules(content, "r.toml")
    lines = content.count(b"\n") + 1
    for fault in loaded.faults:
        assert 1 <= fault.line <= lines
        assert str(fault).isprintable()
        assert fault.fix
    faulty = {fault.line for fault in loaded.errors}
    try:
        data = tomllib.loads(content.decode().removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        assert faulty
        assert not loaded.rules
        return
    assert loaded.errors or len(loaded.rules) == len(data.get("rule", []))


HOSTILE = {
    "brackets": b"a=" + b"[" * 50_000,
    "tables": b"a=" + b"{a=" * 50_000,
    "parts": b"[" + b"a." * 50_000 + b"a]",
    "decimal": b"a=" + b"9" * 200_000,
    "hexadecimal": b"a=0x" + b"f" * 50_000,
    "not finite": b"a=1e400\n[[rule]]\nwhen=nan",
    "no date": b"a=1979-99-99T99:99:99",
    "surrogate": b'"\\ud800"=1',
    "quotes": b"a=" + b'"""' * 30_000,
    "backslashes": b'a="""' + b'\\"""' * 30_000,
    "rules": b"[[rule]]\n" * 20_000,
    "steps": b"[[rule.step]]\n" * 10_000,
    "keys": b"".join(b"k%d=1\n" % number for number in range(20_000)),
    "headers": b"".join(b"[a.b.c.d.e.f.g.h%d]\n" % number for number in range(8_000)),
    "comments": b"#\n" * 80_000,
    "long list": b"a=[" + b"1," * 80_000 + b"]",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_faults(content):
    loaded = parse_rules(content, "r.toml")
    assert loaded.rules == ()
    assert loaded.errors or content == HOSTILE["comments"]
    assert all(str(fault).isprintable() for fault in loaded.faults)


@given(st.binary(max_size=200))
def test_no_bytes_raise(content):
    _never_raises(content)


_tokens = st.sampled_from(
    ["[[rule]]\n", "[[rule.step]]\n", "[rule.limits]\n", "[rule]\n", "name", "when", "step", "limits", "target", "max",
     "mode", "action", "asset", "cooldown", ".", " = ", "\n", '"', "'", '"""', "{", "}", "[", "]", ",", "1", "-", "1e9",
     "inf", "nan", "true", '"1.25"', '"auto"', '"deleverage"', '"\\u0000"', '"[red]"', '"\\u202e"', "0x", "#", "\\",
     "\x00", "\x1b", "1979-05-27", "9" * 70, "é", "\ud7ff"]
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, len(GUARD)), st.integers(0, 12), _tokens), min_size=1, max_size=5))
def test_no_mutation_of_a_valid_file_raises(mutations):
    text = GUARD
    for at, cut, token in mutations:
        text = text[:at] + token + text[at + cut :]
    _never_raises(text.encode())


_wild = st.recursive(
    st.sampled_from(
        ['"1.25"', '"auto"', "1", "1.5", "nan", "inf", "true", '""', "1979-05-27", '"*"', '"0x"', '"5m"', '"25%"']
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda items: "[" + ", ".join(items) + "]"),
        st.dictionaries(st.sampled_from(["a", "health_factor", "for_blocks", "action"]), inner, max_size=2).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        ),
    ),
    max_leaves=4,
)


@given(st.dictionaries(st.integers(3, 23), _wild, min_size=1, max_size=4))
def test_no_value_of_a_wrong_type_raises(values):
    lines = GUARD.split("\n")
    for line, value in values.items():
        key, equals, _ = lines[line - 1].partition("=")
        if equals:
            lines[line - 1] = f"{key}= {value}"
    _never_raises("\n".join(lines).encode())
