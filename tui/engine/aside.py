"""What is only shown may fail: it is told beside the rest, and no defence waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tui.crash import described
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.journal import JournalError


class Aside:
    """Collects `lines` on what could not be told, for the list of what would stop a defence."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def telling(self, what: str) -> Iterator[None]:
        """An unexpected error inside ends the block and no more. Errors of the chain and of the record go on up."""
        try:
            yield
        except (ChainUnreachable, ReadFailed, JournalError):
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours in what is shown must not keep a rule from acting
            self.lines.append(f"{what} cannot be told ({described(error)})")
