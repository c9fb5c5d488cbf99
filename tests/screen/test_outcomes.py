"""The page of outcomes: read when it opens and with each block, and honest about what is not known."""

from __future__ import annotations

from dataclasses import replace

from tests.screen.conftest import Open, text_of
from tests.support import views
from tests.support.fake_facade import FakeFacade
from tui.model.outcome import Outcome, Row, SoldAsset
from tui.screen.draw.outcomes import outcomes_lines
from tui.screen.outcomes import OutcomesPage


def texts(rows: tuple[Row, ...], width: int = 80) -> str:
    return text_of(outcomes_lines(rows, width, None))


def test_the_means_stand_first_and_the_newest_firing_next() -> None:
    drawn = texts(views.outcome_rows())
    assert "2 firings done" in drawn
    assert "health −0.000001   gas −$1.45   slippage +0.012%" in drawn
    assert drawn.index("19,482,900") < drawn.index("19,482,500") < drawn.index("19,482,110")
    assert "sold 7.0010 WETH of 7.0000 expected and 1.0000 wstETH of 1.0000 expected" in " ".join(drawn.split())


def test_what_is_not_known_is_a_question_mark() -> None:
    (failed,) = [row for row in views.outcome_rows() if row[0].id == "f-3"]
    drawn = texts((failed,))
    for name in ("health", "gas", "sale cost", "slippage"):
        (row,) = [one for one in drawn.splitlines() if one.strip().startswith(name) and "expected" not in one][-1:]
        assert row.split()[-2:] == ["?", "?"], row
    assert "? WETH of 7.0000 expected" in drawn


def test_nothing_signed_says_so_and_names_from_elsewhere_are_cleaned() -> None:
    assert "Nothing was signed yet" in texts(())
    firing, outcome = views.outcome_rows()[0]
    evil = "[red]\x1b[31mPWN\x07"
    drawn = texts(((replace(firing, rule=evil), Outcome(outcome.firing_id, sales=(SoldAsset(evil, 1),))),))
    assert "\x1b" not in drawn
    assert "\x07" not in drawn


async def test_o_opens_it_a_new_block_reads_again_and_esc_leaves(open_app: Open) -> None:
    facade = FakeFacade(views.watching())
    async with open_app(facade.view, (80, 24), facade=facade) as bench:
        await bench.press("o")
        assert isinstance(bench.app.screen, OutcomesPage)
        assert "Nothing was signed yet" in bench.text("#outcomes-text")
        facade.rows = views.outcome_rows()
        view = facade.view
        assert view.chain.block is not None
        later = replace(view.chain.block, number=view.chain.block.number + 1, hash="0x" + "77" * 32)
        bench.hands.steady += 10
        await bench.publish(replace(view, sequence=view.sequence + 1, chain=replace(view.chain, block=later)))
        assert "2 firings done" in bench.text("#outcomes-text")
        asked = len(bench.commands("outcomes"))
        bench.hands.steady += 10
        await bench.publish(replace(facade.view, sequence=facade.view.sequence + 1))
        assert len(bench.commands("outcomes")) == asked, "the same block is not read again"
        await bench.press("escape")
        assert not isinstance(bench.app.screen, OutcomesPage)


async def test_a_journal_that_cannot_be_read_is_told_on_the_page(open_app: Open) -> None:
    facade = FakeFacade(views.watching(), refuse={"outcomes": "the journal cannot be read: it is locked"})
    async with open_app(facade.view, (80, 24), facade=facade) as bench:
        await bench.press("o")
        assert "it is locked" in bench.text("#outcomes-text")
