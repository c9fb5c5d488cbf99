"""Compiles our contracts: ``python -m tui.protocols.aave_v3.contracts.compile`` (needs vyper 0.4.3).

``Lens.vy`` into ``Lens.hex`` and ``Deleverage.vy`` into ``Deleverage.json``.
"""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "Lens.vy"
COMPILED = HERE / "Lens.hex"
HELPER_SOURCE = HERE / "Deleverage.vy"
HELPER_COMPILED = HERE / "Deleverage.json"


def compile_lens() -> str:
    """The text ``Lens.hex`` should hold: runtime code of ``Lens.vy`` as hex, 100 digits a line.

    The oldest opcodes that the compiler knows of are asked for (no PUSH0, no MCOPY): chains lag behind each other.
    """
    from vyper.compiler import compile_code  # a development tool, absent where Trimtab runs
    from vyper.compiler.settings import OptimizationLevel, Settings

    settings = Settings(optimize=OptimizationLevel.GAS, evm_version="paris")
    output = compile_code(SOURCE.read_text(), output_formats=["bytecode_runtime"], settings=settings)
    code = str(output["bytecode_runtime"]).removeprefix("0x")
    return "".join(code[start : start + 100] + "\n" for start in range(0, len(code), 100))


def compile_helper() -> str:
    """The text ``Deleverage.json`` should hold: ABI, creation code and runtime code (without its immutables).

    Cancun's opcodes: whom the helper acts for lives in transient storage alone.
    """
    from vyper.compiler import compile_code  # a development tool, absent where Trimtab runs
    from vyper.compiler.settings import OptimizationLevel, Settings

    settings = Settings(optimize=OptimizationLevel.GAS, evm_version="cancun")
    formats = ["abi", "bytecode", "bytecode_runtime"]
    output = compile_code(HELPER_SOURCE.read_text(), output_formats=formats, settings=settings)
    return json.dumps({name: output[name] for name in formats}, indent=1) + "\n"


if __name__ == "__main__":
    COMPILED.write_text(compile_lens())
    HELPER_COMPILED.write_text(compile_helper())
