"""The app: paints before anything is ready, then renders views and sends commands; knows no chain and no key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import tzinfo
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from tui.crash import FIX, described, worded
from tui.screen import themes
from tui.screen.actions import BY_ID, Action, Situation, Where, actions_in, key_name, keys_of, reason_against
from tui.screen.base import ViewMixin, bindings_for
from tui.screen.clean import clean_text
from tui.screen.commands import HANDLERS
from tui.screen.keymap import read_keymap
from tui.screen.main import CSS as MAIN_CSS
from tui.screen.main import MainScreen
from tui.screen.messages import ViewArrived

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.style import Style

    from tui.engine.facade import EngineFacade
    from tui.model.view import ViewState
    from tui.screen.draw.status import Local

DISARM_WITHIN = 5.0
"""Seconds an engine has to disarm a rule when the screen is left."""
REPAINT_EVERY = 0.5
"""Data repaints at most twice a second; what a trader must not miss is painted at once."""


class TrimtabApp(App[None]):
    """The whole screen. `start` builds the engine and hands its facade back; it runs after the first frame.

    `clock` gives unix seconds and `monotonic` seconds for pacing; `zone` None means the machine's own. `state` is
    where exports go, `config` where a keymap and themes of the user's own are looked for.
    """

    TITLE = "Trimtab"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings_for(Where.EVERYWHERE),
        Binding("ctrl+q", "app.do('leave')", "leave", priority=True, show=False),
        Binding("ctrl+c", "app.do('leave')", "leave", show=False),
    ]
    CSS = f"""
    {MAIN_CSS}
    Toast {{ background: $panel; color: $foreground; }}
    ModalScreen {{ background: $background 60%; align: center middle; }}
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[EngineFacade]],
        *,
        config: Path | None = None,
        state: Path | None = None,
        stop: Callable[[], Awaitable[None]] | None = None,
        network: str = "",
        theme: str = themes.DEFAULT,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        zone: tzinfo | None = None,
        ticking: bool = True,
        password_hint: str = "",
        keep_theme: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self._start, self._stop = start, stop
        self.config_directory, self.state_directory = config, state
        self.clock, self.monotonic, self.zone = clock, monotonic, zone
        self._network = network
        self._view: ViewState | None = None
        self.begun = False
        self.facade: EngineFacade | None = None
        self.failed: str | None = None
        self.kill_asked = False
        self.farewell: str | None = None
        self.stopped_watching: Callable[[], None] | None = None
        self._waiting: ViewState | None = None
        self._painted_at = float("-inf")
        self.ticking = ticking
        self.password_hint = password_hint
        self.keep_theme = keep_theme
        self._departing = False
        self._confirmations_seen: set[str] = set()
        self.keymap, self._faults = read_keymap(config / "keymap.toml") if config else ({}, [])
        self.set_keymap(self.keymap)
        self._first_theme(theme)

    # ---- themes

    def _first_theme(self, wanted: str) -> None:
        """Only the theme that is drawn with is read before the first frame."""
        user = self.config_directory / "themes" if self.config_directory else None
        self._theme_directories = themes.theme_directories(user)
        first = themes.load_one(self._theme_directories, wanted)
        self._theme_missing = wanted if first is None else ""
        if first is None:
            first = themes.load_one(self._theme_directories, themes.DEFAULT) or themes.plain_theme()
        self.theme_files = {first.theme.name: first}
        self.register_theme(first.theme)
        self.styles_by_role: dict[str, Style] = dict(first.styles)
        # Set without its watcher, which would style everything a second time before the first frame.
        self.set_reactive(App.theme, first.theme.name)
        self.stylesheet.set_variables(self.get_css_variables())
        self.set_class(first.theme.dark, "-dark-mode", update=False)
        self.set_class(not first.theme.dark, "-light-mode", update=False)

    def _other_themes(self) -> list[str]:
        """Read all themes; what is wrong with them in words."""
        found, faults = themes.load_themes(self._theme_directories)
        for name, one in found.items():
            if name not in self.theme_files:
                self.theme_files[name] = one
                self.register_theme(one.theme)
        if not found:
            faults.append("No theme file was found; drawing with plain colours.")
        elif self._theme_missing:
            faults.append(f"There is no usable theme {self._theme_missing!r}; there are {', '.join(found)}.")
        return faults

    def use_theme(self, name: str) -> None:
        """Draw everything in another theme."""
        self.styles_by_role = dict(self.theme_files[name].styles)
        self.theme = name
        for screen in self.screen_stack:
            if isinstance(screen, ViewMixin):
                screen.repaint()

    # ---- life

    def get_default_screen(self) -> Screen[None]:
        """The main screen is the one at the bottom."""
        return MainScreen(self.size)

    def on_mount(self) -> None:
        """Start the engine once the first frame is on the terminal."""
        if self.ticking:
            self.set_interval(1.0, self.tick)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self.run_worker(self._connect(), group="start", exit_on_error=False)

    async def _connect(self) -> None:
        await asyncio.to_thread(import_module, "tui.screen.draw.all")
        self.begun = True
        self.show_view(self.view)
        for fault in (*self._faults, *self._other_themes()):
            self.say(fault, "warning")
        facade = await self._start()
        self.facade = facade
        self.stopped_watching = facade.subscribe(lambda view: void(self.post_message(ViewArrived(view))))
        if self.kill_asked:
            self.pull_kill_switch("the kill key was pressed while starting")
        self.show_view(facade.view)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A start that failed is said where the state is always said."""
        if event.worker.group == "start" and event.state is WorkerState.ERROR:
            self.failed = clean_text(f"The engine could not start: {worded(event.worker.error)}", 300)
            self.show_view(self.view)

    async def on_unmount(self) -> None:
        """Nothing of the engine outlives the screen."""
        if self.stopped_watching is not None:
            self.stopped_watching()
        if self._stop is not None:
            await self._stop()

    def _fatal_error(self) -> None:
        """One line where Textual would print a traceback with every variable: one of them may be a password."""
        error = self._exception
        self.bell()
        self.panic(Text(f"trimtab: {described(getattr(error, 'error', error))}; {FIX}"))

    def depart(self) -> None:
        """Disarm everything, then end the screen and say on the terminal that nothing is watched."""
        if not self._departing:
            self._departing = True
            self.run_worker(self._depart(), group="departure", exit_on_error=False)

    async def _depart(self) -> None:
        from tui.engine.facade import CommandRefused
        from tui.screen.departure import armed_rules, farewell, open_firings

        disarmed: list[str] = []
        refused: list[str] = []
        view = self.view if self.facade is None else self.facade.view
        running = len(open_firings(view))
        for entry in armed_rules(view):
            name = entry.rule.name
            if self.facade is None:
                continue
            try:
                # It is no order to forget: a stop that has closed its part would close it once more when armed again.
                left = self.facade.disarm(name, "the screen was left", by_hand=False)
                await asyncio.wait_for(left, DISARM_WITHIN)
            except CommandRefused as error:
                refused.append(f"{name}: {error}")
            except TimeoutError:
                refused.append(f"{name}: the engine did not answer")
            else:
                disarmed.append(name)
        self.farewell = farewell(view, disarmed, refused, running)
        self.exit(message=Text(self.farewell))

    # ---- views

    @property
    def view(self) -> ViewState:
        """The view that is drawn; before any, one that says that nothing is known."""
        if self._view is None:
            from tui.model.view import empty_view

            self._view = empty_view(self._network, 0, 12.0)
        return self._view

    @property
    def ready(self) -> bool:
        """Whether there is an engine to talk to."""
        return self.facade is not None

    def local(self) -> Local:
        """What only the screen knows."""
        from tui.screen.draw.status import Local

        return Local(self.clock(), self.ready, self.failed, self.kill_asked)

    def situation(self) -> Situation:
        """What the actions of the screen on top are judged by."""
        screen = self.screen
        return screen.situation() if isinstance(screen, ViewMixin) else Situation(self.view, self.ready)

    def on_view_arrived(self, message: ViewArrived) -> None:
        """Paint at once what must not be missed, else at most twice a second."""
        message.stop()
        since = self.monotonic() - self._painted_at
        if is_urgent(self.view, message.view) or since >= REPAINT_EVERY:
            self.show_view(message.view)
            return
        if self._waiting is None:
            self.set_timer(REPAINT_EVERY - since, self._paint_waiting)
        self._waiting = message.view

    def _paint_waiting(self) -> None:
        if self._waiting is not None:
            self.show_view(self._waiting)

    def show_view(self, view: ViewState) -> None:
        """Draw a view on every screen that is open."""
        self._waiting = None
        self._painted_at = self.monotonic()
        self._view = view
        if view.killed:
            self.kill_asked = False
        for screen in self.screen_stack:
            if isinstance(screen, ViewMixin):
                screen.show_view(view)
                screen.refresh_footer()
        self.offer_confirmation()

    def tick(self) -> None:
        """A second passed: ages and countdowns move."""
        for screen in self.screen_stack:
            if isinstance(screen, ViewMixin):
                screen.tick()

    def offer_confirmation(self) -> None:
        """Open the dialog of a plan that waits and was not shown yet."""
        if not self.view.confirmations or self.view.read_only:
            return
        from tui.screen.dialogs.confirm import ConfirmDialog

        if any(isinstance(screen, ConfirmDialog) for screen in self.screen_stack):
            return
        for confirmation in self.view.confirmations:
            if confirmation.id not in self._confirmations_seen and confirmation.expires_at > self.clock():
                self._confirmations_seen.add(confirmation.id)
                self.push_screen(ConfirmDialog(confirmation))
                return

    # ---- actions

    def do(self, action_id: str) -> None:
        """Do an action of the registry, or say why not."""
        action = BY_ID[action_id]
        reason = reason_against(action, self.situation())
        if reason is not None:
            self.say(reason, "warning")
            return
        handler = getattr(self.screen, "do_" + action_id.replace("-", "_"), None)
        if handler is not None:
            handler()
        else:
            HANDLERS[action_id](self)

    def action_do(self, action_id: str) -> None:
        """What every binding calls."""
        self.do(action_id)

    def action_help_quit(self) -> None:
        """Ctrl+C leaves as Ctrl+Q does."""
        self.do("leave")

    async def action_quit(self) -> None:
        """Leaving always goes through the registry."""
        self.do("leave")

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette is made of the registry; what makes no sense now says why."""
        from functools import partial

        where = screen.where if isinstance(screen, ViewMixin) else Where.MAIN
        now = screen.situation() if isinstance(screen, ViewMixin) else self.situation()
        for action in (*actions_in(where), *actions_in(Where.EVERYWHERE)):
            if action.id == "palette":
                continue
            reason = reason_against(action, now)
            keys = " ".join(key_name(key) for key in keys_of(action, self.keymap))
            text = f"{action.help} [{keys}]" if reason is None else f"Not now: {reason}"
            yield SystemCommand(palette_title(action), text.replace("[", r"\["), partial(self.do, action.id))

    def say(self, text: str, severity: str = "information") -> None:
        """A passing message, as plain text."""
        level = severity if severity in ("information", "warning", "error") else "information"
        self.notify(clean_text(text, 400), severity=level, markup=False, timeout=8)  # type: ignore[arg-type]

    def pull_kill_switch(self, why: str) -> None:
        """Tell the engine at once; before there is one, as soon as there is."""
        self.kill_asked = True
        self.show_view(self.view)
        if self.facade is not None:
            self.run_worker(self._kill(self.facade, why), group="kill", exit_on_error=False)

    async def _kill(self, facade: EngineFacade, why: str) -> None:
        from tui.engine.facade import CommandRefused

        try:
            await facade.kill(True, why)
        except CommandRefused as refused:
            self.say(f"THE KILL SWITCH COULD NOT BE PULLED: {refused}", "error")
        self.kill_asked = False
        self.show_view(facade.view)

    def send(self, command: Coroutine[Any, Any, None], what: str) -> None:
        """Send a command to the engine; a refusal is said."""
        self.run_worker(self._send(command, what), group="commands", exit_on_error=False)

    async def _send(self, command: Coroutine[Any, Any, None], what: str) -> None:
        from tui.engine.facade import CommandRefused

        try:
            await command
        except CommandRefused as refused:
            self.say(f"Could not {what}: {refused}", "error")


def palette_title(action: Action) -> str:
    """The name of an action in the palette."""
    return action.label[0].upper() + action.label[1:]


def is_urgent(before: ViewState, after: ViewState) -> bool:
    """Whether something changed that may not wait half a second."""

    def key(view: ViewState) -> tuple[object, ...]:
        return (
            view.protection,
            view.killed,
            view.chain.blind is None,
            tuple(one.id for one in view.confirmations),
            tuple(
                (firing.id, firing.state, tuple(intent.state for intent in firing.intents)) for firing in view.firings
            ),
            tuple((rule.rule.name, rule.activity) for rule in view.rules),
        )

    return key(before) != key(after)


def void(_: object) -> None:
    """Nothing, where a callback must answer nothing."""
