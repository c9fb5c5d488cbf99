"""What an engine is made of and for: the outside world (`Ports`) and what is watched (`Setup`). Holds, does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tui.engine.configwatch import ConfigWatch
from tui.model.network import Network
from tui.ports.aggregator import Aggregator
from tui.ports.chain import Broadcaster, Events, Fees, Heads, Reader, Simulator
from tui.ports.clock import Clock
from tui.ports.journal import Journal, JournalReader
from tui.ports.signer import Signer
from tui.protocols.base import LendingMarket
from tui.quotes.base import Dialect, Quoter, Swapper


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world, as the engine takes it. Without `journal` and `signer` it only watches; `record` is then what
    it may read of the journal that another engine writes. Without `events`, what happened while nothing watched stays
    untold.
    """

    heads: Heads
    reader: Reader
    simulator: Simulator
    fees: Fees
    broadcaster: Broadcaster
    clock: Clock
    journal: Journal | None
    signer: Signer | None
    record: JournalReader | None = None
    events: Events | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """What is watched and with what. `keystores` maps own accounts (lower-case) to key files, `labels` names some.
    `config` watches the files that this was made from: where one changes, nothing stays armed. `dialects` are how the
    calls of the `aggregators` read.
    """

    network: Network
    markets: tuple[LendingMarket, ...]
    accounts: tuple[str, ...]
    rules_files: tuple[Path, ...]
    keystores: Mapping[str, Path] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    read_only_why: str = ""
    notices: tuple[str, ...] = ()
    config: ConfigWatch = field(default_factory=lambda: ConfigWatch(()))
    quoters: tuple[Quoter, ...] = ()
    swapper: Swapper | None = None
    aggregators: tuple[Aggregator, ...] = ()
    dialects: tuple[Dialect, ...] = ()
