"""Nodes start, end when told, and never outlive the process that started them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tui.practice.accounts import CHAIN_ID, DEV_ACCOUNTS
from tui.practice.errors import PracticeError
from tui.practice.node import Node, NodeKind, NodeProgram, anvil_on_path, find_program, pyevm_program, start_node

pytestmark = pytest.mark.node

ROOT = Path(__file__).resolve().parents[2]

HOLD = """
import sys, signal
from tui.practice.node import NodeKind, NodeProgram, start_node
node = start_node(NodeProgram(NodeKind(sys.argv[1]), "test", tuple(sys.argv[2:])))
print(node.process.pid, flush=True)
signal.pause()
"""


@pytest.fixture(params=["anvil", "pyevm"])
def program(request: pytest.FixtureRequest, anvil: NodeProgram) -> NodeProgram:
    return anvil if request.param == "anvil" else pyevm_program()


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_gone(pidfds: list[int], seconds: float = 60.0) -> bool:
    """Whether every process ends within ``seconds``; waits on the processes themselves."""
    poll = select.poll()
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
    left = set(pidfds)
    while left:
        ready = poll.poll(seconds * 1000)
        if not ready:
            return False
        for pidfd, _ in ready:
            poll.unregister(pidfd)
            left.discard(pidfd)
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_node_dies_with_its_parent_however_that_dies(program: NodeProgram, number: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", HOLD, program.kind.value, *program.command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    supervisor = int(parent.stdout.readline())
    (node,) = children(supervisor)
    (scratch,) = (
        Path(each)
        for each in Path(f"/proc/{supervisor}/cmdline").read_text().split("\0")
        if "trimtab-node-" in each and "/states" not in each
    )
    assert scratch.is_dir()
    pidfds = [os.pidfd_open(supervisor), os.pidfd_open(node)]
    try:
        parent.send_signal(number)
        parent.wait(timeout=60)
        assert wait_gone(pidfds)
        assert not scratch.exists()
    finally:
        for pidfd in pidfds:
            os.close(pidfd)
        parent.stdout.close()


def test_the_node_dies_with_its_supervisor(program: NodeProgram) -> None:
    node = start_node(program)
    (child,) = children(node.process.pid)
    pidfd = os.pidfd_open(child)
    try:
        os.kill(node.process.pid, signal.SIGKILL)
        assert wait_gone([pidfd])
    finally:
        os.close(pidfd)
        node.stop()


def test_the_node_outlives_the_thread_that_started_it(anvil: NodeProgram) -> None:
    started: list[Node] = []
    thread = threading.Thread(target=lambda: started.append(start_node(anvil)))
    thread.start()
    thread.join()
    node = started[0]
    try:
        assert [node.rpc.call("eth_chainId") for _ in range(3)] == [hex(CHAIN_ID)] * 3
        assert node.alive
    finally:
        node.stop()


def test_stop_ends_it_and_can_be_said_twice(program: NodeProgram) -> None:
    node = start_node(program)
    (child,) = children(node.process.pid)
    pidfd = os.pidfd_open(child)
    node.stop()
    node.stop()
    assert not node.alive
    assert wait_gone([pidfd], seconds=0)
    os.close(pidfd)


def test_both_nodes_have_the_same_accounts(program: NodeProgram) -> None:
    node = start_node(program)
    try:
        assert node.rpc.call("eth_accounts") == [account.lower() for account in DEV_ACCOUNTS]
        assert node.rpc.call("eth_chainId") == hex(CHAIN_ID)
    finally:
        node.stop()


def test_a_node_that_cannot_start_says_its_own_words(tmp_path: Path) -> None:
    program = NodeProgram(NodeKind.ANVIL, "broken", ("/bin/sh", "-c", "echo no such luck >&2; exit 3"))
    with pytest.raises(PracticeError, match=r"did not start\. no such luck"):
        start_node(program)


def test_a_command_that_is_not_there_is_said() -> None:
    with pytest.raises(PracticeError, match="/nowhere/anvil"):
        start_node(NodeProgram(NodeKind.ANVIL, "absent", ("/nowhere/anvil",)))


def test_a_dead_node_is_said(anvil: NodeProgram) -> None:
    node = start_node(anvil)
    (child,) = children(node.process.pid)
    pidfd = os.pidfd_open(child)
    os.kill(child, signal.SIGKILL)
    assert wait_gone([pidfd])
    os.close(pidfd)
    with pytest.raises(PracticeError, match=node.url):
        node.rpc.call("eth_chainId")
    node.process.wait(timeout=60)
    assert not node.alive
    node.stop()


def fake_anvil(folder: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = folder / "anvil"
    script.write_text(f"#!/bin/sh\necho 'anvil Version: {version}'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_an_anvil_on_path_is_preferred_when_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_anvil(tmp_path, "1.5.2-nightly", monkeypatch)
    program = anvil_on_path()
    assert program is not None
    assert program.version == "anvil-1.5.2-nightly"
    assert program.command[0] == str(tmp_path / "anvil")
    fake_anvil(tmp_path, "0.2.0", monkeypatch)
    assert anvil_on_path() is None


def test_without_npm_the_python_node_takes_over(
    artifact_folders: dict[str, Path], artifacts_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contracts = artifact_folders["contracts"]
    (tmp_path / contracts.name).symlink_to(contracts)
    monkeypatch.setenv("PATH", "")
    assert find_program(None, tmp_path).kind is NodeKind.PYEVM
    with pytest.raises(PracticeError, match="no npm on PATH"):
        find_program(NodeKind.ANVIL, tmp_path)
