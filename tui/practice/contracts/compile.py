"""Compiles ``Feed.vy`` into ``Feed.json``: ``python -m tui.practice.contracts.compile`` (needs vyper 0.4.3)."""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "Feed.vy"
COMPILED = HERE / "Feed.json"


def compile_feed() -> str:
    """The text ``Feed.json`` should hold: ABI and deployment bytecode of ``Feed.vy``."""
    from vyper.compiler import compile_code  # a development tool, absent where Trimtab runs
    from vyper.compiler.settings import OptimizationLevel, Settings

    settings = Settings(optimize=OptimizationLevel.GAS, evm_version="cancun")
    output = compile_code(SOURCE.read_text(), output_formats=["abi", "bytecode"], settings=settings)
    return json.dumps({"abi": output["abi"], "bytecode": output["bytecode"]}, indent=1) + "\n"


if __name__ == "__main__":
    COMPILED.write_text(compile_feed())
