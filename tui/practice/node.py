"""Local nodes as supervised child processes: anvil from PATH or the cache, or the Python node."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tui.practice import supervise
from tui.practice.accounts import BLOCK_GAS_LIMIT, CHAIN_ID, DEV_ACCOUNTS, DEV_BALANCE_ETHER, MNEMONIC
from tui.practice.artifacts import Progress, anvil_package, fetch, no_progress
from tui.practice.errors import PracticeError
from tui.practice.packages import CONTRACTS, Package
from tui.practice.rpc import Rpc, RpcError

_MIN_ANVIL = (1, 4)
_START_TIMEOUT_S = 30.0
_KEPT_STATES = 128


class NodeKind(Enum):
    """Which program plays the chain."""

    ANVIL = "anvil"
    PYEVM = "pyevm"


@dataclass(frozen=True, slots=True)
class NodeProgram:
    """A node that can be started: its kind, exact version (part of the state cache's key) and command."""

    kind: NodeKind
    version: str
    command: tuple[str, ...]


class Node:
    """A running node. It ends with ``stop``, with this object, and with this process however that ends."""

    def __init__(self, program: NodeProgram, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.program = program
        self.url = f"http://127.0.0.1:{port}"
        self.rpc = Rpc(self.url)
        self.process = process
        self._log = log
        self._finalizer = weakref.finalize(self, _stop, process, log)

    @property
    def kind(self) -> NodeKind:
        return self.program.kind

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def log_tail(self) -> str:
        """The last lines the node wrote, for an error message."""
        try:
            return self._log.read_text(errors="replace")[-2000:].strip()
        except OSError:
            return ""

    def stop(self) -> None:
        """End the node and wait until it is gone. Calling it again does nothing."""
        self.rpc.close()
        self._finalizer()


def find_program(
    choice: NodeKind | None, cache: Path, progress: Progress = no_progress, extra: tuple[Package, ...] = ()
) -> NodeProgram:
    """Find (or fetch) a node: anvil on PATH, anvil from the registry, else the Python node.

    ``choice`` None takes the first that works. ``extra`` packages are fetched in the same go.

    Raises:
        PracticeError: no node can be had; it names every reason.
    """
    packages = (CONTRACTS, *extra)
    if choice is NodeKind.PYEVM:
        fetch(packages, cache, progress)
        return pyevm_program()
    on_path = anvil_on_path()
    if on_path is not None:
        fetch(packages, cache, progress)
        return on_path
    try:
        package = anvil_package()
        folders = fetch((*packages, package), cache, progress)
        return anvil_program(folders[package.label] / "anvil", package.version)
    except PracticeError as no_anvil:
        if choice is NodeKind.ANVIL:
            raise
        try:
            program = pyevm_program()
        except PracticeError as no_pyevm:
            raise PracticeError(
                f"No practice node can be had. {no_anvil.what} {no_pyevm.what}", f"{no_anvil.mend} {no_pyevm.mend}"
            ) from no_anvil
        fetch(packages, cache, progress)
        return program


def anvil_on_path() -> NodeProgram | None:
    """The anvil on PATH, None when there is none or it is too old to behave as expected."""
    path = shutil.which("anvil")
    if path is None:
        return None
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    matched = re.search(r"(\d+)\.(\d+)\.(\d+)\S*", said)
    if matched is None or (int(matched[1]), int(matched[2])) < _MIN_ANVIL:
        return None
    return anvil_program(Path(path), matched[0])


def anvil_program(binary: Path, version: str) -> NodeProgram:
    """anvil with the practice chain's accounts and rules."""
    command = (
        str(binary),
        f"--mnemonic={MNEMONIC}",
        f"--chain-id={CHAIN_ID}",
        f"--accounts={len(DEV_ACCOUNTS)}",
        f"--balance={DEV_BALANCE_ETHER}",
        f"--gas-limit={BLOCK_GAS_LIMIT}",
        "--hardfork=osaka",
        "--no-request-size-limit",
        # Without a bound it writes a megabyte of state to disk for every block.
        f"--prune-history={_KEPT_STATES}",
        "--quiet",
    )
    return NodeProgram(NodeKind.ANVIL, f"anvil-{version}", command)


def pyevm_program() -> NodeProgram:
    """The Python node.

    Raises:
        PracticeError: its packages are not installed.
    """
    if importlib.util.find_spec("eth") is None:
        raise PracticeError(
            "The Python node's packages are not installed.", "Install them once: pip install 'trimtab[pyevm]'."
        )
    from importlib.metadata import version  # only this branch needs it

    return NodeProgram(NodeKind.PYEVM, f"py-evm-{version('py-evm')}", (sys.executable, "-m", "tui.practice.pyevm_node"))


def start_node(
    program: NodeProgram, *, load_state: Path | None = None, timestamp: int | None = None, port: int | None = None
) -> Node:
    """Start a node on loopback and wait until it answers.

    ``load_state`` is a file written by ``save_state`` on the same program; ``timestamp`` (Unix seconds) is the
    genesis block's, for a fresh chain. ``port`` None takes a free one.

    Raises:
        PracticeError: the node does not start; its own last words are in the message.
    """
    port = port or _free_port()
    log = Path(tempfile.mkdtemp(prefix="trimtab-node-")) / "log"
    command = [*program.command, f"--port={port}"]
    if program.kind is NodeKind.ANVIL:
        command.append(f"--cache-path={log.parent / 'states'}")
    if load_state is not None:
        command.append(f"--load-state={load_state}")
    if timestamp is not None:
        command.append(f"--timestamp={timestamp}")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(supervise.__file__)), str(log.parent), *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=_package_root(),
            start_new_session=True,
        )
    node = Node(program, process, port, log)
    try:
        _wait_until_up(node)
    except BaseException:
        node.stop()
        raise
    return node


def save_state(node: Node, path: Path) -> None:
    """Write the node's whole state to ``path``, atomically, for ``start_node(load_state=...)``."""
    dumped: str = node.rpc.call("anvil_dumpState")
    content = bytes.fromhex(dumped.removeprefix("0x"))
    if node.kind is NodeKind.ANVIL:
        import gzip  # the node packs what it hands out, and wants it unpacked in a file

        content = gzip.decompress(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def _package_root() -> Path:
    return Path(__file__).resolve().parents[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(node: Node) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if not node.alive:
            break
        try:
            node.rpc.call("eth_chainId")
        except (PracticeError, RpcError):
            time.sleep(0.005)
        else:
            return
    said = node.log_tail()
    raise PracticeError(
        f"The practice node ({node.program.version}) did not start. {said}".strip(),
        "Try the other node (--node anvil or --node pyevm).",
    )


def _stop(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(log.parent, ignore_errors=True)
