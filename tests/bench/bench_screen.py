"""What the screen costs: first frame and memory against a bare one-widget Textual app, and a repaint of 50 positions.

Run: python -m tests.bench.bench_screen
Both apps are started in turns in processes of their own, from process start to the first painted frame; compare the
ratios (aims: first frame at most 2.0, memory at most 3.0), not the seconds.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace

from tests.support import views
from tui.model.position import PositionKey
from tui.model.view import ViewState
from tui.screen.app import TrimtabApp

ROUNDS = 11
_TAIL = """
import json, resource, time
def done(app):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"at": time.monotonic(), "rss": peak}))
    app.exit()
"""
_BARE = (
    _TAIL
    + """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("hello")
    def on_mount(self):
        self.call_after_refresh(done, self)
Bare().run(headless=True, size=(120, 40))
"""
)
_OURS = (
    _TAIL
    + """
import asyncio
from tui.screen.app import TrimtabApp
async def never():
    await asyncio.Event().wait()
class Probe(TrimtabApp):
    def _begin(self):
        done(self)
Probe(never).run(headless=True, size=(120, 40))
"""
)
_LIVE = (
    _TAIL
    + """
import asyncio
from tests.support import views
from tui.screen.app import TrimtabApp
facade = views.FakeFacade(views.armed())
class Probe(TrimtabApp):
    def show_view(self, view):
        super().show_view(view)
        self.call_after_refresh(done, self)
Probe(lambda: views.started(facade)).run(headless=True, size=(120, 40))
"""
)


def start(code: str) -> tuple[float, float]:
    """Seconds to the frame and the peak memory in MB of one process."""
    before = time.monotonic()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    said = json.loads(out.splitlines()[-1])
    return said["at"] - before, said["rss"] / 1024


def many(count: int) -> ViewState:
    """A view of `count` positions."""
    view = views.armed()
    shown = []
    for index in range(count):
        one = view.positions[index % 3]
        key = PositionKey(one.position.key.market, f"0x{index:040x}")
        shown.append(replace(one, position=replace(one.position, key=key)))
    return replace(view, positions=tuple(shown))


async def repaints(count: int, rounds: int = 30) -> list[float]:
    """Seconds of the loop's time to draw a view in which every price has changed."""
    base = many(count)
    facade = views.FakeFacade(base)
    app = TrimtabApp(lambda: views.started(facade), clock=lambda: views.NOW, ticking=False)
    spent: list[float] = []
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        for index in range(rounds):
            shown = tuple(
                replace(
                    one,
                    position=replace(one.position, health_factor=(one.position.health_factor or 0) + index * 10**15),
                )
                for one in base.positions
            )
            view = replace(base, sequence=index + 100, positions=shown)
            before = time.perf_counter()
            app.show_view(view)
            spent.append(time.perf_counter() - before)
            await pilot.pause()
    return spent


def main() -> None:
    """Measure and print."""
    start(_BARE)
    start(_OURS)
    bare: list[tuple[float, float]] = []
    ours: list[tuple[float, float]] = []
    live: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        bare.append(start(_BARE))
        ours.append(start(_OURS))
        live.append(start(_LIVE))
    frame = [statistics.median(one[0] for one in runs) for runs in (bare, ours)]
    memory = [statistics.median(one[1] for one in runs) for runs in (bare, live)]
    for name, (small, own), unit, aim in (("first frame", frame, "s", 2.0), ("peak memory", memory, "MB", 3.0)):
        ratio = own / small
        sys.stdout.write(f"{name}: bare {small:.3g} {unit}, trimtab {own:.3g} {unit}, ratio {ratio:.2f} (aim {aim})\n")
    for count in (3, 50):
        spent = sorted(1000 * one for one in asyncio.run(repaints(count)))
        middle, late = statistics.median(spent), spent[int(0.95 * len(spent))]
        sys.stdout.write(f"repaint of {count} positions: median {middle:.1f} ms, p95 {late:.1f} ms (aim 20)\n")


if __name__ == "__main__":
    main()
