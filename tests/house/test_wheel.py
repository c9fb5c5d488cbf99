"""The wheel holds what an installed Trimtab needs beside its code, and works without the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (built,) = folder.glob("*.whl")
    return built


def test_data_files_come_along(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    themes = {path.name for path in (ROOT / "themes").glob("*.toml")}
    assert themes
    assert {f"tui/_themes/{name}" for name in themes} <= names
    data = {
        str(path.relative_to(ROOT))
        for ending in ("*.hex", "*.json", "*.toml", "*.vy", "py.typed")
        for path in (ROOT / "tui").rglob(ending)
    }
    assert data
    assert data <= names


def test_it_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import tui; "
        f"assert tui.__file__.startswith({str(tmp_path)!r}), tui.__file__; "
        "from tui.config.paths import built_in_themes; from tui.config.networks import builtin_names; "
        "from tui.protocols.aave_v3 import lens; "
        "print(len(list(built_in_themes().glob('*.toml'))), len(builtin_names()))"
    )
    run = [sys.executable, "-P", "-c", code]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    count, networks = done.stdout.split()
    assert int(count) >= 2
    assert int(networks) >= 5
