"""What travels inside the app: a new view, and an action that something on screen was asked to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from tui.model.view import ViewState


class ViewArrived(Message):
    """A new view from the engine. Of several that wait, only the newest is handled."""

    def __init__(self, view: ViewState) -> None:
        super().__init__()
        self.view = view

    def can_replace(self, message: Message) -> bool:
        """A newer view makes an older one pointless."""
        return isinstance(message, ViewArrived)


class Wanted(Message):
    """An action of the registry that a click asked for."""

    def __init__(self, action_id: str) -> None:
        super().__init__()
        self.action_id = action_id


class Chosen(Message):
    """A row of a pane that a click or a key chose; `tag` names what the row stands for."""

    def __init__(self, pane: str, tag: str) -> None:
        super().__init__()
        self.pane = pane
        self.tag = tag
