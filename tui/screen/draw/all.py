"""Everything that draws, in one import: done in a thread once the first frame is on the terminal."""

from __future__ import annotations

from tui.screen.draw import activity, chart, detail, gauge, levels, outcomes, plan, positions, rules, status

__all__ = ["activity", "chart", "detail", "gauge", "levels", "outcomes", "plan", "positions", "rules", "status"]
