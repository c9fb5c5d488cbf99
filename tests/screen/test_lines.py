"""Lines keep to their width whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.screen.lines import Lazy, Line, Span, cell, clip, heading, shorten, split, width_of, wrap

texts = st.text(st.sampled_from("ab c1…界ｗ[]$−"), max_size=60)
widths = st.integers(1, 80)


@given(texts, widths)
def test_shorten_never_exceeds_and_keeps_what_fits(text: str, width: int) -> None:
    short = shorten(text, width)
    assert cell_len(short) <= width
    assert short == text if cell_len(text) <= width else short.endswith("…")


@given(texts, widths, st.sampled_from(["left", "right", "center"]))
def test_cell_is_exactly_as_wide(text: str, width: int, align: str) -> None:
    assert cell_len(cell(text, width, align=align).text) == width  # type: ignore[arg-type]


@given(st.lists(texts, max_size=4), widths)
def test_clip_never_exceeds(parts: list[str], width: int) -> None:
    assert width_of(clip([Span(part) for part in parts], width)) <= width


@given(texts, texts, st.integers(4, 80))
def test_split_fills_the_width(left: str, right: str, width: int) -> None:
    assert width_of(split([Span(left)], [Span(right)], width).spans) == width


@given(texts, st.integers(4, 60))
def test_wrap_keeps_every_word_within_the_width(text: str, width: int) -> None:
    rows = wrap(text, width, "", "- ", "  ")
    assert all(cell_len(row.text) <= width for row in rows)
    joined = "".join(row.text[2:] for row in rows).replace(" ", "")
    assert joined == text.replace(" ", "")


@given(texts, texts, st.integers(4, 80))
def test_heading_fits(title: str, note: str, width: int) -> None:
    row = heading(title[:20], max(width, 50), note[:20])
    assert cell_len(row.text) == max(width, 50)


def test_a_line_knows_its_text() -> None:
    assert Line((Span("a", "x"), Span("b"))).text == "ab"


@given(st.integers(0, 3), st.integers(0, 9), st.integers(1, 3), st.lists(st.integers(-40, 40), max_size=8))
def test_lazy_lines_are_those_of_a_list_and_only_what_is_looked_at_is_made(
    head: int, count: int, height: int, looked_at: list[int]
) -> None:
    made: list[int] = []

    def make(entry: int) -> list[Line]:
        made.append(entry)
        return [Line((Span(f"{entry}.{part}"),)) for part in range(height)]

    top = [Line((Span(f"head {number}"),)) for number in range(head)]
    whole = [*top, *(row for entry in range(count) for row in make(entry))]
    made.clear()
    rows = Lazy(top, count, height, make)
    assert len(rows) == len(whole)
    for index in looked_at:
        if -len(whole) <= index < len(whole):
            assert rows[index] == whole[index]
        else:
            with pytest.raises(IndexError):
                rows[index]
    seen = {(index % len(whole) - head) // height for index in looked_at if -len(whole) <= index < len(whole)}
    assert sorted(made) == sorted(entry for entry in seen if entry >= 0)
    assert list(rows) == whole
    assert rows[1:4] == whole[1:4]
