"""A running node with the market on it, from the cached state where there is one, else deployed and cached.

A state is keyed by node, versions and the deploying sources, and never leaves the user's cache directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from pathlib import Path

from tui.practice.accounts import OWNER
from tui.practice.artifacts import Progress, locked, no_progress
from tui.practice.deploy import Deployer
from tui.practice.errors import PracticeError
from tui.practice.market import AaveVersion, Market, deploy_market, deployment_digest
from tui.practice.node import Node, NodeProgram, save_state, start_node

_GENESIS_AGE_S = 3600
"""The chain begins this long before its deployment, so that its own blocks never run ahead of the clock."""
_FORGET_AFTER_S = 14 * 86_400


def state_directory(cache: Path, program: NodeProgram, version: AaveVersion) -> Path:
    """Where the state of ``version`` on ``program`` is kept under ``cache``."""
    key = hashlib.sha256(f"{program.version}\0{version.value}\0{deployment_digest()}".encode()).hexdigest()[:16]
    return cache / f"{_label(program, version)}{key}"


def _label(program: NodeProgram, version: AaveVersion) -> str:
    return f"state-{program.kind.value}-{version.value}-"


def start_market(
    program: NodeProgram,
    version: AaveVersion,
    folders: dict[str, Path],
    cache: Path,
    progress: Progress = no_progress,
    port: int | None = None,
) -> tuple[Node, Market]:
    """Start a node that mines by itself, with the market deployed and its feeds fresh.

    Raises:
        PracticeError: the node does not start or the deployment failed.
    """
    directory = state_directory(cache, program, version)
    loaded = _load(program, directory, port)
    if loaded is None:
        with locked(cache / ".state.lock"):
            loaded = _load(program, directory, port) or _build(program, version, folders, directory, progress, port)
            _forget_old(cache, _label(program, version), directory)
    return loaded


def _load(program: NodeProgram, directory: Path, port: int | None) -> tuple[Node, Market] | None:
    """None when there is no usable state; a broken one is treated as none and built anew."""
    try:
        market = Market.from_json((directory / "market.json").read_text())
        os.utime(directory / "market.json")  # used today: not to be forgotten
        node = start_node(program, load_state=directory / "state", port=port)
    except (OSError, ValueError, KeyError, TypeError, PracticeError):
        return None
    try:
        refresh_feeds(node, market)
    except BaseException:
        node.stop()
        raise
    return node, market


def _build(
    program: NodeProgram,
    version: AaveVersion,
    folders: dict[str, Path],
    directory: Path,
    progress: Progress,
    port: int | None,
) -> tuple[Node, Market]:
    progress("starting the node", 0, 4)
    node = start_node(program, timestamp=int(time.time()) - _GENESIS_AGE_S, port=port)
    try:
        market = deploy_market(node.rpc, version, folders, progress)
        save_state(node, directory / "state")
        refresh_feeds(node, market)
        # Written last: it is what makes the state count as complete.
        temporary = directory / ".market.json"
        temporary.write_text(market.to_json())
        temporary.replace(directory / "market.json")
    except BaseException:
        node.stop()
        raise
    return node, market


def _forget_old(cache: Path, label: str, current: Path) -> None:
    """Remove states of other versions that nobody has started from for long."""
    for directory in cache.glob(f"{label}*"):
        with contextlib.suppress(OSError):
            if directory != current and time.time() - (directory / "market.json").stat().st_mtime > _FORGET_AFTER_S:
                shutil.rmtree(directory)


def refresh_feeds(node: Node, market: Market) -> None:
    """Bring the chain's clock to now and have every feed publish its price again, so that none looks stale."""
    deployer = Deployer(node.rpc, OWNER)
    latest = int(node.rpc.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    node.rpc.call("evm_setNextBlockTimestamp", max(int(time.time()), latest + 1))
    answers = deployer.read_many([(token.feed, "latestAnswer()", ["int256"], ()) for token in market.tokens.values()])
    for token, (answer,) in zip(market.tokens.values(), answers, strict=True):
        deployer.do(token.feed, "setAnswer(int256)", answer)
    deployer.flush()
