"""What of an aggregator's table reaches the engine: its time is cut to what the chain leaves, its key is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.quotes.test_foreign_calls import ROUTER
from tui.engine.freshness import GRACE_SECONDS, SILENT_AFTER_BLOCKS
from tui.model.network import AggregatorConfig, Network
from tui.wiring import _aggregators


def network(block_time: float, **options: object) -> Network:
    config = AggregatorConfig("1inch", "https://x.example", ROUTER, **options)  # type: ignore[arg-type]
    return Network("x", 1, block_time, 2, ("http://127.0.0.1:1",), aggregators=(config,))


@pytest.mark.parametrize(
    ("block_time", "wanted", "given"), [(0.25, 3.0, 0.583), (0.25, 0.4, 0.4), (2.0, 3.0, 2.333), (12.0, 3.0, 3.0)]
)
def test_it_gets_no_more_time_than_the_chain_leaves(block_time: float, wanted: float, given: float) -> None:
    ((made,), notices) = _aggregators(network(block_time, timeout=wanted))
    assert notices == ()
    assert made.timeout == pytest.approx(given, abs=0.001)
    # After it there is twice that time for all the rest before what was read is too old.
    assert 3 * made.timeout <= SILENT_AFTER_BLOCKS * block_time + GRACE_SECONDS + 0.001


def test_a_key_in_the_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").write_text("sk-0123456789\n")
    (tmp_path / "key").chmod(0o600)
    ((made,), notices) = _aggregators(network(2.0, key_file="~/key"))
    assert notices == ()
    assert made.venue == "1inch"
    assert "sk-0123456789" not in repr(made)
