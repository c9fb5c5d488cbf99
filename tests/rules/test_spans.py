"""Positions of keys in TOML texts, held against what tomllib makes of the same text."""

from __future__ import annotations

import tomllib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.rules.spans import MAX_NESTING, Kind, scan

TEXT = (
    '''# a comment
title = """first
second = "not a key"
\\""" third"""  # after

[[rule]]  # one
name = 'it'''
    + "'"
    + """
"quoted key" . "d\\u006ft" = 1
when = { below = "1 # no comment", deep = { blocks = 2 } }
list = [ # comment ] here
  1, "two]",
  { x = 1 },  # x

]
raw = \'\'\'
[not] a = header\'\'\'\'

[[rule.step]]
a = 1979-05-27 07:32:00
[[rule.step]]
  a.b = 1
[rule.limits]
z = 1
[[rule]]
[[rule.step]]
last = 1"""
)


def paths_of(value: object, path: tuple = ()) -> list[tuple]:
    members: list = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    found = [path] if path else []
    for key, member in members:
        found += paths_of(member, (*path, key))
    return found


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_key_has_its_line(end):
    found = scan(TEXT.replace("\n", end))
    assert found.stopped_at is None
    expected = {
        ("title",): 2,
        ("rule",): 6,
        ("rule", 0): 6,
        ("rule", 0, "name"): 7,
        ("rule", 0, "quoted key"): 8,
        ("rule", 0, "quoted key", "dot"): 8,
        ("rule", 0, "when"): 9,
        ("rule", 0, "when", "below"): 9,
        ("rule", 0, "when", "deep"): 9,
        ("rule", 0, "when", "deep", "blocks"): 9,
        ("rule", 0, "list"): 10,
        ("rule", 0, "list", 0): 11,
        ("rule", 0, "list", 1): 11,
        ("rule", 0, "list", 2): 12,
        ("rule", 0, "list", 2, "x"): 12,
        ("rule", 0, "raw"): 15,
        ("rule", 0, "step"): 18,
        ("rule", 0, "step", 0): 18,
        ("rule", 0, "step", 0, "a"): 19,
        ("rule", 0, "step", 1): 20,
        ("rule", 0, "step", 1, "a"): 21,
        ("rule", 0, "step", 1, "a", "b"): 21,
        ("rule", 0, "limits"): 22,
        ("rule", 0, "limits", "z"): 23,
        ("rule", 1): 24,
        ("rule", 1, "step"): 25,
        ("rule", 1, "step", 0): 25,
        ("rule", 1, "step", 0, "last"): 26,
    }
    assert found.lines == expected
    assert sorted(map(str, paths_of(tomllib.loads(TEXT)))) == sorted(map(str, expected))


def test_values_are_cut_exactly():
    found = scan(TEXT)
    for entry in found.entries:
        if entry.kind is Kind.KEY and entry.path[-1] not in ("a", "b"):
            value = tomllib.loads("v = " + TEXT[entry.value_start : entry.value_end])["v"]
            holder = tomllib.loads(TEXT)
            for part in entry.path:
                holder = holder[part]
            assert value == holder


def test_a_missing_key_has_the_line_of_its_table():
    assert scan(TEXT).line_of(("rule", 1, "step", 0, "none", 4)) == 25
    assert scan(TEXT).line_of(("none",)) == 1


def test_nesting_is_limited_without_recursion():
    deep = scan("\n\na = " + "[" * 100_000)
    assert (deep.limit, deep.stopped_line) == (f"brackets are nested deeper than {MAX_NESTING}", 3)
    assert scan("a" + ".a" * 100_000 + " = 1").limit == f"a key has more than {MAX_NESTING} parts"
    assert scan("a = " + "9" * 100).limit is not None


_scalars = st.one_of(
    st.integers(-(10**15), 10**15).map(str),
    st.booleans().map(lambda value: str(value).lower()),
    st.sampled_from(
        ['"a"', "'#'", '"]}"', '""', "''", '"\\""', '"""x\n\\"""y"""', "'''\n[a]\n'''", '""""q"""', "1979-05-27"]
    ),
)
_keys = st.sampled_from(["a", "b", '"c d"', "'e.f'", "g.h", '"\\u0041"', "-1"])
_gap = st.sampled_from(["", " ", "\t"])
_break = st.sampled_from(["", "\n", " # ] comment\n", "\n\n  "])


@st.composite
def _lists(draw, inner):
    members = draw(st.lists(inner, max_size=3))
    text = "["
    for member in members:
        text += draw(_break) + member + draw(_break) + ","
    return text + draw(_break) + "]"


@st.composite
def _tables(draw, inner):
    members = [f"{draw(_gap)}{key}{draw(_gap)}={draw(_gap)}{draw(inner)}" for key in draw(st.sets(_keys, max_size=3))]
    return "{" + ",".join(members) + draw(_gap) + "}"


_values = st.recursive(_scalars, lambda inner: st.one_of(_lists(inner), _tables(inner)), max_leaves=6)
_lines = st.one_of(
    st.tuples(_gap, _keys, _values).map(lambda parts: f"{parts[0]}{parts[1]} = {parts[2]}"),
    st.sampled_from(["[t]", "[[l]]", "[[l.m]]", "[l.n]", "# note", "", "[[ l . 'm' ]] # x", "[t.u]"]),
)


@given(st.lists(_lines, max_size=10), st.sampled_from(["\n", "\r\n"]))
def test_a_text_that_tomllib_reads_is_scanned_whole(lines, end):
    text = end.join(lines)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        scan(text)
        return
    found = scan(text)
    assert found.stopped_at is None
    assert set(paths_of(data)) == set(found.lines)
    assert not found.duplicates()
    assert all(one.start <= other.start for one, other in pairwise(found.entries))
    assert all(text.count("\n", 0, entry.start) + 1 == entry.line for entry in found.entries)


@given(st.text(alphabet="a.=[]{}\"'#\\\n\r, 1é", max_size=60))
def test_no_text_stops_the_scanner_but_by_saying_so(text):
    found = scan(text)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert found.stopped_at is None
