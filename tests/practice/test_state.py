"""A deployed state is built once, found again, and never trusted when broken."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support.chain import Chain
from tui.practice.market import AaveVersion, Market
from tui.practice.node import NodeProgram
from tui.practice.state import start_market, state_directory

pytestmark = pytest.mark.node


def start(
    program: NodeProgram, folders: dict[str, Path], cache: Path, version: AaveVersion = AaveVersion.V3_2
) -> tuple[list[str], Market, dict[str, int]]:
    """What was said while starting, the market, and facts about the chain that came up."""
    said: list[str] = []
    node, market = start_market(program, version, folders, cache, lambda what, _done, _total: said.append(what))
    chain = Chain(node, market)
    try:
        feed = chain.call(chain.token("USDC").feed, "latestTimestamp()", ["uint256"])
        return said, market, {"feed": feed, "block": int(chain.block()["timestamp"], 16), "weth": chain.price("WETH")}
    finally:
        node.stop()


def test_the_second_start_deploys_nothing(
    anvil: NodeProgram, artifact_folders: dict[str, Path], tmp_path: Path
) -> None:
    said, market, _ = start(anvil, artifact_folders, tmp_path)
    assert "Aave v3.2" in said
    again, same, _ = start(anvil, artifact_folders, tmp_path)
    assert again == []
    assert same == market


def test_a_loaded_market_is_fresh(anvil: NodeProgram, artifact_folders: dict[str, Path], artifacts_dir: Path) -> None:
    began = int(time.time())
    _, _, facts = start(anvil, artifact_folders, artifacts_dir)
    assert facts["weth"] == 3000 * 10**8
    assert facts["feed"] == facts["block"]
    assert began <= facts["block"] <= int(time.time()) + 2


@pytest.mark.parametrize("name", ["market.json", "state"])
def test_a_broken_state_is_built_anew(
    anvil: NodeProgram, artifact_folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    start(anvil, artifact_folders, tmp_path)
    file = state_directory(tmp_path, anvil, AaveVersion.V3_2) / name
    file.write_bytes(file.read_bytes()[:1000])
    said, _, facts = start(anvil, artifact_folders, tmp_path)
    assert "Aave v3.2" in said
    assert facts["weth"] == 3000 * 10**8


def test_versions_and_nodes_do_not_share_a_state(anvil: NodeProgram, tmp_path: Path) -> None:
    newer = NodeProgram(anvil.kind, "anvil-9.9.9", anvil.command)
    found = {state_directory(tmp_path, program, version) for program in (anvil, newer) for version in AaveVersion}
    assert len(found) == 4


def test_states_nobody_uses_are_forgotten(
    anvil: NodeProgram, artifact_folders: dict[str, Path], tmp_path: Path
) -> None:
    old, recent = (tmp_path / f"state-anvil-v3.2-{name}" for name in ("old", "recent"))
    for directory in (old, recent):
        directory.mkdir()
        (directory / "market.json").write_text("{}")
    month_ago = time.time() - 30 * 86_400
    os.utime(old / "market.json", (month_ago, month_ago))
    start(anvil, artifact_folders, tmp_path)
    assert not old.exists()
    assert recent.exists()
