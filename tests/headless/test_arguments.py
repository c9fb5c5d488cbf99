"""What is said of arguments that are wrong repeats no value of them: a token or a password may be among them."""

from __future__ import annotations

import pytest

from tui.cli import build_parser

TOKEN = "q7Zk29sLmXw83VbTjc0R"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--rcp", f"http://h.example/{TOKEN}"], "h.example"),
        ([f"--rcp=https://h.example/v2/{TOKEN}"], "--rcp"),
        (["run", "--rcp", f"wss://user:{TOKEN}@h.example/"], "--rcp"),
        (["run", "--json", "--pasword", TOKEN], "--pasword"),
        ([f"http://h.example/{TOKEN}"], "h.example"),
        (["doctor", "--quorum", f"http://h.example/?key={TOKEN}"], "trimtab"),
        (["run", "--log-level", f"http://h.example/{TOKEN}"], "--log-level"),
    ],
)
def test_a_wrong_argument_is_named_without_its_value(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser(words).parse_args(words)
    said = "".join(capsys.readouterr())
    assert ended.value.code == 2
    assert named in said
    assert TOKEN not in said
