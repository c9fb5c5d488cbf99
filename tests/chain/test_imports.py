"""What the chain room pulls in."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
import tui.chain.client
heavy = {"web3", "textual", "eth_account", "eth_abi", "websockets"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


def test_no_heavy_library_comes_along() -> None:
    result = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
