"""A practice run from start to end: its files, its description, the command line."""

from __future__ import annotations

import argparse
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.support.chain import Chain
from tui.practice.command import add_arguments, run_practice
from tui.practice.errors import PracticeError
from tui.practice.session import PracticeOptions, PracticeSession
from tui.protocols.aave_v3.helper import Helper
from tui.rules.load import load_rules
from tui.vault.keystore import address_of, decrypt

pytestmark = pytest.mark.node

ROOT = Path(__file__).resolve().parents[2]
WAD = 10**18
KEYS = {
    "rpc",
    "chain_id",
    "network",
    "rules",
    "keystore",
    "password_file",
    "state",
    "accounts",
    "scenario",
    "seed",
    "speed",
    "block_time",
    "node",
    "provider",
}


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state directory for all: the key is made once, as on a user's machine."""
    return tmp_path_factory.mktemp("state")


def options(state_dir: Path, cache: Path, **changes: object) -> PracticeOptions:
    fields: dict[str, object] = {"state_dir": state_dir, "cache_dir": cache, "seed": 1, **changes}
    return PracticeOptions(**fields)  # type: ignore[arg-type]


@pytest.fixture
def session(state_dir: Path, artifacts_dir: Path) -> Iterator[PracticeSession]:
    session = PracticeSession(options(state_dir, artifacts_dir, scenario="crash"))
    session.prepare()
    yield session
    session.close()


def test_describe_has_what_a_script_needs(session: PracticeSession) -> None:
    described = json.loads(json.dumps(session.describe()))
    assert set(described) == KEYS
    assert set(described["accounts"]) == {"trader", "twin", "emode", "multi"}
    for name in ("network", "rules", "keystore", "password_file", "state"):
        assert Path(described[name]).exists(), name


def test_the_key_opens_and_is_the_traders(session: PracticeSession) -> None:
    key = decrypt(session.keystore, session.password)
    assert address_of(key) == session.accounts["trader"].lower()
    for path in (session.keystore, session.password_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(session.home.directory.stat().st_mode) == 0o700


def test_the_network_file_names_what_is_on_the_chain(session: PracticeSession) -> None:
    network = tomllib.loads(session.network_file.read_text())
    assert network["rpc"] == [session.rpc_url]
    assert isinstance(network["block_time"], float)
    chain = Chain(session.node, session.market)
    (market,) = network["market"]
    assert chain.call(market["pool_addresses_provider"], "getPool()", ["address"]) == session.market.pool
    assert chain.call(network["native_usd_feed"], "latestAnswer()", ["int256"]) > 0
    assert chain.call(network["wrapped_native"], "symbol()", ["string"]) == "WETH"
    (swap,) = network["swap"]
    assert chain.call(swap["router02"], "factory()", ["address"]) == swap["factory"]
    assert swap["kind"] == "uniswap-v3"
    assert chain.call(swap["quoter_v2"], "factory()", ["address"]) == swap["factory"]
    helper = Helper(session.market.pool.lower(), swap["router02"].lower())
    assert network["helpers"] == {"deleverage": session.market.helper}
    assert session.market.helper.lower() == helper.address
    assert chain.rpc("eth_getCode", helper.address, "latest") == "0x" + helper.code.hex()


def test_the_rules_are_valid_and_guard_the_trader(session: PracticeSession) -> None:
    rules = load_rules(session.rules_file)
    assert not rules.faults
    (rule,) = rules.rules
    assert rule.name == "guard"
    assert rule.position.lower() == f"aave-v3/core/{session.accounts['trader']}".lower()


def test_key_and_edited_rules_survive_and_the_journal_starts_anew(state_dir: Path, artifacts_dir: Path) -> None:
    seen = []
    for text in ("# mine now\n", None):
        session = PracticeSession(options(state_dir, artifacts_dir))
        session.prepare()
        seen.append((session.accounts["trader"], session.keystore.read_bytes(), session.engine_state))
        if text is None:
            assert session.rules_file.read_text() == "# mine now\n"
            session.rules_file.unlink()
        else:
            session.rules_file.write_text(text)
        session.close()
    assert seen[0][:2] == seen[1][:2]
    assert seen[0][2] != seen[1][2]
    assert list(seen[1][2].iterdir()) == []


def test_two_runs_do_not_share_a_directory(session: PracticeSession, state_dir: Path, artifacts_dir: Path) -> None:
    second = PracticeSession(options(state_dir, artifacts_dir))
    with pytest.raises(PracticeError, match="is running on"):
        second.prepare()
    assert session.node.alive


def test_the_market_runs_in_its_thread_until_closed(state_dir: Path, artifacts_dir: Path) -> None:
    session = PracticeSession(options(state_dir, artifacts_dir, speed=1000.0))
    session.prepare()
    stepped = threading.Event()
    session.start()
    thread = session._thread
    assert thread is not None
    while session.last_step is None or session.last_step.number < 3:
        assert not stepped.wait(0.01)
    session.close()
    assert not thread.is_alive()
    assert session.failure is None


def test_a_node_that_dies_is_a_failure_that_is_said(session: PracticeSession) -> None:
    session.node.process.kill()
    session.node.process.wait()
    with pytest.raises(PracticeError, match="does not answer"):
        session.run(threading.Event(), clock=iter(range(0, 10**6, 10)).__next__)


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"block_time": 0.0}, "block time"), ({"speed": -1.0}, "speed"), ({"scenario": "moon"}, "no scenario")],
)
def test_senseless_options_are_refused(tmp_path: Path, changes: dict[str, object], what: str) -> None:
    with pytest.raises(PracticeError, match=what):
        PracticeSession(options(tmp_path, tmp_path, **changes))


def parse(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(argv)


def test_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_practice(parse("--list")) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == ["calm", "slide", "crash", "wick", "gas-storm", "depeg", "rates"]


def test_an_unknown_scenario_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_practice(parse("--scenario", "moon", "--state", str(tmp_path))) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Choose one of" in said.err


def test_the_app_gets_a_living_session_that_ends_with_it(
    state_dir: Path, artifacts_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home(tmp_path, artifacts_dir)))
    seen: list[PracticeSession] = []

    def open_app(session: PracticeSession) -> int:
        assert session.node.rpc.call("eth_chainId")
        seen.append(session)
        return 7

    assert run_practice(parse("--state", str(state_dir)), open_app) == 7
    with pytest.raises(RuntimeError, match="not prepared"):
        _ = seen[0].node


def cache_home(tmp_path: Path, artifacts_dir: Path) -> Path:
    """An XDG cache home in which the practice cache is the tests' one."""
    (tmp_path / "trimtab").mkdir()
    (tmp_path / "trimtab" / "practice").symlink_to(artifacts_dir)
    return tmp_path


RUN = """
import argparse, sys
from tui.practice.command import add_arguments, run_practice
parser = argparse.ArgumentParser()
add_arguments(parser)
sys.exit(run_practice(parser.parse_args()))
"""


def headless(state_dir: Path, home: Path, *argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, "--headless", "--state", str(state_dir), *argv],
        cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_headless_prints_one_line_and_ends_by_signal(
    state_dir: Path, artifacts_dir: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    argv = ("--scenario", "crash", "--seed", "11", "--speed", "20")
    process = headless(state_dir, cache_home(tmp_path, artifacts_dir), *argv)
    described = json.loads(read_line(process.stdout))
    assert set(described) == KEYS
    assert (described["scenario"], described["seed"]) == ("crash", 11)
    process.send_signal(number)
    rest, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert rest == ""
    assert "Traceback" not in said


def test_headless_without_a_node_says_so(state_dir: Path, tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", RUN, "--headless", "--state", str(tmp_path), "--node", "anvil"],
        cwd=ROOT,
        env={"PATH": "", "XDG_CACHE_HOME": str(tmp_path / "empty"), "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
        | {"PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 3
    assert process.stdout == ""
    assert "trimtab practice: " in process.stderr
    assert "Traceback" not in process.stderr


def test_the_options_cost_nothing_to_know() -> None:
    code = "import sys, argparse; from tui.practice.command import add_arguments; "
    code += "add_arguments(argparse.ArgumentParser()); print(sorted(set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for heavy in ("textual", "web3", "httpx", "eth_abi", "eth_account", "rich", "tui.vault", "eth"):
        assert f"'{heavy}'" not in done.stdout


def test_a_whole_run_needs_no_key_library_in_this_process(state_dir: Path, artifacts_dir: Path, tmp_path: Path) -> None:
    code = RUN.replace(
        "sys.exit(run_practice(parser.parse_args()))",
        "run_practice(parser.parse_args(), lambda session: print(sorted(sys.modules)) or 0)",
    )
    environ = {**os.environ, "XDG_CACHE_HOME": str(cache_home(tmp_path, artifacts_dir))}
    done = subprocess.run(
        [sys.executable, "-c", code, "--state", str(state_dir)],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for unwanted in ("web3", "eth_account", "textual", "eth_tester"):
        assert f"'{unwanted}'" not in done.stdout
