"""Lines keep to their width whatever is in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.screen.lines import Line, Span, cell, clip, heading, shorten, split, width_of, wrap

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
