"""One practice run from start to end: node, market, accounts, files, and the thread that lets time pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from eth_utils.address import to_checksum_address

from tui.practice.accounts import CHAIN_ID, EMODE_HOLDER, MULTI_HOLDER, TWIN
from tui.practice.artifacts import Progress, fetch, no_progress
from tui.practice.errors import PracticeError
from tui.practice.home import PracticeHome
from tui.practice.market import AaveVersion, Market
from tui.practice.node import Node, NodeKind, find_program
from tui.practice.packages import CONTRACTS
from tui.practice.positions import EMODE_RECIPE, MULTI_RECIPE, TRADER_RECIPE, TWIN_RECIPE, open_positions
from tui.practice.rpc import RpcError
from tui.practice.scenarios import PriceDriver, scenario_named
from tui.practice.state import start_market
from tui.practice.world import Clock, Step, World

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PracticeOptions:
    """What a practice run is asked for; times in seconds, ``speed`` scales the wall clock only."""

    state_dir: Path
    cache_dir: Path
    seed: int
    scenario: str = "calm"
    speed: float = 1.0
    block_time: float = 2.0
    node: NodeKind | None = None


class PracticeSession:
    """A practice run. ``prepare`` first; ``close`` always, it is harmless at any time."""

    def __init__(self, options: PracticeOptions) -> None:
        """Raises ``PracticeError`` for options that make no sense."""
        if not 0.1 <= options.block_time <= 600:
            raise PracticeError("A block time has to lie between 0.1 and 600 seconds.", "Choose another --block-time.")
        if not 0.01 <= options.speed <= 1000:
            raise PracticeError("A speed has to lie between 0.01 and 1000.", "Choose another --speed.")
        self.options = options
        self.scenario = scenario_named(options.scenario)
        self.home = PracticeHome(options.state_dir / "practice")
        self.failure: Exception | None = None
        self.last_step: Step | None = None
        self._lock: IO[str] | None = None
        self._node: Node | None = None
        self._market: Market | None = None
        self._world: World | None = None
        self._accounts: dict[str, str] = {}
        self._engine_state: Path | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # -- what there is once prepared

    @property
    def node(self) -> Node:
        return _prepared(self._node)

    @property
    def market(self) -> Market:
        return _prepared(self._market)

    @property
    def world(self) -> World:
        return _prepared(self._world)

    @property
    def rpc_url(self) -> str:
        return self.node.url

    @property
    def network_file(self) -> Path:
        return self.home.network_file

    @property
    def rules_file(self) -> Path:
        return self.home.rules_file

    @property
    def keystore(self) -> Path:
        return self.home.keystore

    @property
    def password_file(self) -> Path:
        return self.home.password_file

    @property
    def password(self) -> str:
        """The practice password, made to be shown."""
        return self.home.password()

    @property
    def engine_state(self) -> Path:
        """A fresh state directory for the engine: the chain forgets between runs, and so must the journal."""
        return _prepared(self._engine_state)

    @property
    def accounts(self) -> dict[str, str]:
        """Checksummed addresses: ``trader`` (whose key is in the keystore), ``twin``, ``emode``, ``multi``."""
        return dict(self._accounts)

    @property
    def wall_block_time(self) -> float:
        """Seconds of wall clock between blocks."""
        return self.options.block_time / self.options.speed

    # -- the run

    def prepare(self, progress: Progress = no_progress) -> None:
        """Fetch what is missing, start the node, deploy or load the market, open the positions, write the files.

        Raises:
            PracticeError: with what went wrong and how to mend it; everything started is ended again.
        """
        try:
            self._prepare(progress)
        except RpcError as error:
            self.close()
            raise PracticeError(f"The practice node refused a request: {error}", "Please report this.") from error
        except BaseException:
            self.close()
            raise

    def _prepare(self, progress: Progress) -> None:
        options = self.options
        self._lock = self.home.lock()
        program = find_program(options.node, options.cache_dir, progress)
        folders = fetch((CONTRACTS,), options.cache_dir)
        progress("the practice key", 0, 1)
        trader = to_checksum_address(self.home.trader())
        self._node, self._market = start_market(program, AaveVersion.V3_2, folders, options.cache_dir, progress)
        self._accounts = {"trader": trader, "twin": TWIN, "emode": EMODE_HOLDER, "multi": MULTI_HOLDER}
        progress("the positions", 0, 1)
        open_positions(
            self._node,
            self._market,
            {trader: TRADER_RECIPE, TWIN: TWIN_RECIPE, EMODE_HOLDER: EMODE_RECIPE, MULTI_HOLDER: MULTI_RECIPE},
        )
        driver = PriceDriver(self.scenario, options.seed, round(options.block_time * 1000))
        self._world = World(self._node.rpc, self._market, driver, tuple(self._accounts.values()))
        self._world.start()
        self._engine_state = self.home.new_run()
        self.home.write_network(self._market, self._node.url, self.wall_block_time)
        self.home.ensure_rules(trader)
        progress("the market is open", 1, 1)

    def describe(self) -> dict[str, Any]:
        """Everything a script needs to join in; JSON-ready."""
        return {
            "rpc": self.rpc_url,
            "chain_id": CHAIN_ID,
            "network": str(self.network_file),
            "rules": str(self.rules_file),
            "keystore": str(self.keystore),
            "password_file": str(self.password_file),
            "state": str(self.engine_state),
            "accounts": self.accounts,
            "scenario": self.scenario.name,
            "seed": self.options.seed,
            "speed": self.options.speed,
            "block_time": self.options.block_time,
            "node": self.node.program.version,
            "provider": self.market.provider,
        }

    def run(
        self,
        stop: threading.Event,
        on_step: Callable[[Step], None] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """Let the market live in this thread until ``stop`` is set.

        Raises:
            PracticeError: the node died or stopped answering.
        """

        def note(step: Step) -> None:
            self.last_step = step
            if on_step is not None:
                on_step(step)

        try:
            self.world.run(stop, self.wall_block_time, clock, note)
        except RpcError as error:
            raise PracticeError(
                f"The practice node refused a request: {error}", "Start the practice chain again."
            ) from error

    def start(self) -> None:
        """Let the market live in a thread of its own; what ends it early is kept in ``failure``."""

        def live() -> None:
            try:
                self.run(self._stop)
            except Exception as error:  # noqa: BLE001  # a thread has nobody to raise to: it is kept for the screen
                if not self._stop.is_set():
                    self.failure = error

        self._thread = threading.Thread(target=live, name="practice-market", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the market's thread and the node. Calling it again does nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None
        if self._node is not None:
            self._node.stop()
            self._node = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _prepared(value: _T | None) -> _T:
    if value is None:
        raise RuntimeError("the practice session is not prepared")
    return value
