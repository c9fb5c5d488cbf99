"""The screen as an SVG file in the state directory."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.screen.app import TrimtabApp


def export_screen(app: TrimtabApp) -> tuple[str, str]:
    """Write what is on screen and answer what to say, with its severity. The file is whole or not there."""
    if app.state_directory is None:
        return "There is no state directory to export to.", "warning"
    folder = app.state_directory / "exports"
    moment = datetime.fromtimestamp(app.clock(), tz=UTC).strftime("%Y%m%d-%H%M%S")
    target = folder / f"trimtab-{moment}.svg"
    svg = app.export_screenshot(title="Trimtab")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(svg)
        Path(temporary).replace(target)
    except OSError as error:
        return f"Could not write {target}: {error.strerror or error}", "error"
    return f"Screen written to {target}", "information"
