"""What the screen reads and writes: themes, the keymap, pictures of itself. Faults are said, never raised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.screen.conftest import Hands, Open
from tests.support import views
from tests.support.fake_facade import FakeFacade, started
from tui.screen.actions import BY_ID, key_name, keys_of
from tui.screen.keymap import parse_keymap, read_keymap
from tui.screen.themes import FALLBACK, load_themes, parse_theme, plain_theme, theme_directories

ROOT = Path(__file__).resolve().parents[2]
KEEL = (ROOT / "themes" / "keel.toml").read_text(encoding="utf-8")


# ---- themes


def luminance(color: tuple[int, int, int]) -> float:
    """Relative luminance by WCAG 2.1."""
    parts = [value / 255 for value in color]
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """Contrast ratio by WCAG 2.1."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_themes_that_come_along_are_whole() -> None:
    found, faults = load_themes(theme_directories())
    assert faults == []
    assert {"keel", "chart", "signal"} <= found.keys()
    assert {one.theme.dark for one in found.values()} == {True, False}


@pytest.mark.parametrize("name", ["keel", "chart", "signal"])
def test_every_role_can_be_read(name: str) -> None:
    found, _ = load_themes(theme_directories())
    theme = found[name]
    ground = tuple(int((theme.theme.background or "")[index : index + 2], 16) for index in (1, 3, 5))
    decoration = {"rule", "faint"}
    for role, style in theme.styles.items():
        if style.color is None or style.color.triplet is None or role in decoration:
            continue
        behind = style.bgcolor.triplet if style.bgcolor is not None else None
        least = 3.0 if role in ("stale", "label") else 4.5
        assert contrast(tuple(style.color.triplet), tuple(behind or ground)) >= least, (name, role)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("name =", "not valid TOML"),
        ('name = "Bad Name"', "name must be"),
        (KEEL.replace('primary = "#4fb3c8"', 'primary = "blue"'), "colour primary must be written #rrggbb"),
        (KEEL.replace('primary = "#4fb3c8"', ""), "colours are missing: primary"),
        (KEEL.replace("primary =", "primry ="), "there is no colour 'primry'"),
        (KEEL.replace("muted =", "mooted ="), "there is no role 'mooted'"),
        (KEEL.replace('muted = "#8099a8"', 'muted = "boldish #8099a8"'), "role muted must be a style"),
    ],
)
def test_a_bad_theme_is_refused_in_words(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=r"x\.toml: ") as caught:
        parse_theme(text, "x.toml")
    assert fault in str(caught.value)


def test_a_role_left_out_is_drawn_plainly() -> None:
    found = parse_theme(KEEL.replace('curve = "#9bd4ee"', ""), "x.toml")
    assert set(found.styles) == set(FALLBACK)
    assert set(plain_theme().styles) == set(FALLBACK)


async def test_a_theme_of_the_users_own_wins_and_a_broken_one_is_said(hands: Hands, open_app: Open) -> None:
    folder = hands.config / "themes"
    folder.mkdir()
    (folder / "mine.toml").write_text(KEEL.replace('"keel"', '"mine"').replace("Keel (dark)", "Mine"), encoding="utf-8")
    (folder / "broken.toml").write_text("name =", encoding="utf-8")
    (folder / "binary.toml").write_bytes(b"\xff\xfe")
    hands.theme = "mine"
    async with open_app(views.armed()) as bench:
        assert bench.app.theme == "mine"
        assert "broken.toml: not valid TOML" in bench.said()
        assert "binary.toml: cannot be read" in bench.said()


async def test_a_theme_that_is_not_there_is_said(hands: Hands, open_app: Open) -> None:
    hands.theme = "nowhere"
    async with open_app(views.armed()) as bench:
        assert bench.app.theme == "keel"
        assert "There is no usable theme 'nowhere'" in bench.said()


async def test_without_any_theme_file_it_still_draws(
    hands: Hands, monkeypatch: pytest.MonkeyPatch, open_app: Open
) -> None:
    from tui.screen import themes

    monkeypatch.setattr(themes, "theme_directories", lambda user=None: [])
    async with open_app(views.armed()) as bench:
        assert "ARMED" in bench.text("#status")
        assert "No theme file was found" in bench.said()


# ---- keymap


def test_a_keymap_moves_keys() -> None:
    keymap, faults = parse_keymap('arm = "ctrl+a"\nhelp = "f1, h"\n', "keymap.toml")
    assert faults == []
    assert keymap == {"arm": "ctrl+a", "help": "f1,h"}
    assert keys_of(BY_ID["kill"], {"kill": "f10"}) == ["f10", "f12"]
    assert key_name("ctrl+k") == "^k"
    assert key_name("question_mark") == "?"
    assert key_name("f12") == "F12"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("arm = ", "not valid TOML"),
        ('fly = "f"', "there is no action 'fly'"),
        ("arm = 3", "arm must be a key"),
        ('arm = "no way"', "'no way' is not a key"),
        ('arm = "f12"', "f12 cannot be given away"),
        ('leave = "ctrl+q"', "ctrl+q cannot be given away"),
        ('kill = "k"', "works while typing"),
        ('arm = "d"', "d is used by both"),
        ('kill = "ctrl+s"', "ctrl+s is used by both"),
    ],
)
def test_a_bad_keymap_is_said_and_changes_nothing(text: str, fault: str) -> None:
    keymap, faults = parse_keymap(text, "keymap.toml")
    assert keymap == {}
    assert len(faults) == 1
    assert fault in faults[0]
    assert faults[0].startswith("keymap.toml: ")


def test_keys_may_be_swapped() -> None:
    keymap, faults = parse_keymap('arm = "d"\ndisarm = "a"\n', "keymap.toml")
    assert faults == []
    assert keymap == {"arm": "d", "disarm": "a"}


def test_no_keymap_is_no_fault(tmp_path: Path) -> None:
    assert read_keymap(tmp_path / "keymap.toml") == ({}, [])
    (tmp_path / "keymap.toml").mkdir()
    assert "cannot be read" in read_keymap(tmp_path / "keymap.toml")[1][0]


async def test_a_moved_key_works_everywhere_it_is_shown(hands: Hands, open_app: Open) -> None:
    (hands.config / "keymap.toml").write_text('disarm = "ctrl+d"\nkill = "f10"\nfly = "f"\n', encoding="utf-8")
    async with open_app(views.armed()) as bench:
        assert "there is no action 'fly'" in bench.said()
        assert "^d disarm" in bench.text("#footer")
        assert "F10 kill switch" in bench.text("#footer")
        await bench.press("d")
        assert bench.commands("disarm") == []
        await bench.press("ctrl+d")
        assert len(bench.commands("disarm")) == 1
        await bench.press("ctrl+k")
        assert bench.commands("kill") == []
        await bench.press("f10")
        assert len(bench.commands("kill")) == 1
        bench.hands.steady += 10
        await bench.publish(replace(views.armed(), sequence=80))
        await bench.press("f12")
        assert len(bench.commands("kill")) == 2


# ---- pictures


async def test_the_screen_is_written_as_svg(open_app: Open, hands: Hands) -> None:
    async with open_app(views.armed()) as bench:
        await bench.press("x")
        files = list((hands.state / "exports").iterdir())
        assert [one.name for one in files] == ["trimtab-20260921-141320.svg"]
        assert str(files[0]) in bench.said()
        text = files[0].read_text(encoding="utf-8")
        assert text.startswith("<svg")
        assert "guard" in text


async def test_a_picture_that_cannot_be_written_is_said(open_app: Open, hands: Hands) -> None:
    hands.state.write_text("a file where a directory should be", encoding="utf-8")
    async with open_app(views.armed()) as bench:
        await bench.press("x")
        assert "Could not write" in bench.said()


async def test_without_a_state_directory_nothing_is_written(hands: Hands) -> None:
    from tui.screen.app import TrimtabApp
    from tui.screen.export import export_screen

    app = TrimtabApp(lambda: started(FakeFacade(views.armed())), ticking=False)
    assert export_screen(app)[1] == "warning"
