"""`trimtab rules check FILE...` as a script meets it."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from tui.headless.rules_command import add_arguments, run_rules
from tui.rules.template import TEMPLATE


def run(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="trimtab")
    add_arguments(parser.add_subparsers(required=True).add_parser("rules"))
    return run_rules(parser.parse_args(["rules", "check", *words]))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.toml"
    path.write_text(TEMPLATE)
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.toml"
    path.write_text('\n[[rule]]\nname = "a"\nposition = "*"\nmode = "notfy"\nwhen.health_factor_below = 1.2\n')
    return path


def test_no_faults(good, capsys):
    assert run(str(good)) == 0
    assert capsys.readouterr() == ("", "1 rule, no faults\n")


def test_one_line_a_fault(good, bad, capsys):
    assert run(str(good), str(bad)) == 1
    out, err = capsys.readouterr()
    assert out == (
        f'{bad}:2: rule "a" has no target; add target = {{ health_factor = "1.50" }}\n'
        f'{bad}:5: mode is "notfy", which is none of "notify", "confirm" or "auto"; did you mean "notify"?\n'
        f"{bad}:6: health_factor_below is a bare number, which is not read exactly; "
        'put it in quotes: health_factor_below = "1.2"\n'
    )
    assert err == "1 rule usable, 3 faults\n"


def test_names_across_files(good, tmp_path, capsys):
    other = tmp_path / "other.toml"
    other.write_text(TEMPLATE)
    assert run(str(good), str(other)) == 1
    assert capsys.readouterr().out.startswith(f'{other}:7: rule name "watch" is already used at {good}:6;')


def test_warnings_are_talk(tmp_path, capsys):
    rule = (
        '[[rule]]\nname = "{}"\nposition = "*"\nmode = "auto"\nwhen.health_factor_below = "1.2"\n'
        'target.health_factor = "1.5"\n[[rule.step]]\naction = "repay"\nasset = "USDC"\n'
    )
    path = tmp_path / "rules.toml"
    path.write_text(rule.format("a") + rule.format("b"))
    assert run(str(path)) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0].startswith(f'warning: {path}:14: rule "b" has the trigger of rule "a"')
    assert err.splitlines()[1] == "2 rules, no faults"


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir])
def test_a_file_that_cannot_be_read(make, good, bad, tmp_path, capsys):
    path = tmp_path / "none\x1b.toml"
    make(path)
    assert run(str(path), str(bad)) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"{tmp_path}/none?.toml: ")
    assert len(out.splitlines()) == 3


def test_no_file_is_a_usage_fault(capsys):
    with pytest.raises(SystemExit) as left:
        run()
    assert left.value.code == 2


def test_nothing_heavy_is_imported(good):
    program = (
        "import argparse, sys\n"
        "from tui.headless.rules_command import add_arguments, run_rules\n"
        "parser = argparse.ArgumentParser(); add_arguments(parser)\n"
        "code = run_rules(parser.parse_args(sys.argv[1:]))\n"
        "heavy = {name.partition('.')[0] for name in sys.modules} & "
        "{'textual', 'web3', 'httpx', 'eth_account', 'eth_hash', 'rich', 'tomlkit'}\n"
        "sys.exit(f'imported {heavy}' if heavy else code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "check", str(good)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "1 rule, no faults\n")


def test_faults_of_a_sale_stand_at_their_lines(tmp_path, capsys):
    path = tmp_path / "sale.toml"
    path.write_text(
        '[[rule]]\nname = "a"\nposition = "*"\nmode = "auto"\nwhen.health_factor_below = "1.2"\n'
        'target.health_factor = "1.5"\n[[rule.step]]\naction = "deleverage"\ncollateral = "WETH"\n'
        'debt = "WETH"\nslippage = "0.5%"\n'
    )
    assert run(str(path)) == 1
    assert capsys.readouterr().out == (
        f'{path}:7: step 1 of rule "a" has no max_slippage; add max_slippage = "0.5%"\n'
        f'{path}:10: step 1 of rule "a" sells WETH for itself; '
        'name what is sold, or write action = "repay-with-atokens" with asset = "WETH"\n'
        f'{path}:11: step 1 of rule "a" has an unknown key "slippage"; did you mean max_slippage?\n'
    )
