"""The `[[swap]]` tables of aggregators in a network file: from options to configurations, or to what is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from tui.model.network import AggregatorConfig, SwapConfig
from tui.rules.spans import Path

MOST_SECONDS = 3.0
"""How long an aggregator may be given at most: a defence waits for it."""
_ADDRESS = re.compile(r"0x[0-9a-f]{40}", re.ASCII)
_NEEDED: Mapping[str, tuple[str, ...]] = {"0x": ("url", "router", "registry"), "1inch": ("url", "router")}
_MORE: Mapping[str, tuple[str, ...]] = {"0x": ("spender", "key_file", "timeout"), "1inch": ("key_file", "timeout")}


class Faults(Protocol):
    """Where faults of a file are collected, with their lines."""

    def add(self, path: Path, what: str, fix: str) -> None:
        """A fault at a key."""

    def warn_unknown(self, table: Mapping[str, object], path: Path, known: tuple[str, ...]) -> None:
        """Say which keys mean nothing."""


def aggregators_of(
    tables: Sequence[tuple[Path, str, Mapping[str, object]]], swaps: Sequence[SwapConfig], faults: Faults
) -> tuple[AggregatorConfig, ...]:
    """The aggregators of a file, from where each table stands, its kind and its options, which have their right types.

    Each needs an exchange beside it that is asked on the chain itself: that is taken whenever the aggregator fails.
    """
    has_fallback = any(one.kind == "uniswap-v3" and one.options.get("router02") is not None for one in swaps)
    found: dict[str, AggregatorConfig] = {}
    for path, kind, options in tables:
        needed = _NEEDED[kind]
        faults.warn_unknown(options, path, (*needed, *_MORE[kind]))
        if kind in found:
            faults.add(path, f'swap "{kind}" is there twice', "keep one of the two")
        if not has_fallback:
            what = f'swap "{kind}" has no exchange to fall back on'
            faults.add(path, what, 'add a [[swap]] table of kind "uniswap-v3" with router02')
        for key in needed:
            if key not in options:
                faults.add(path, f"{key} is missing", f"add {key} = ...")
        addresses = {key: _address(options, path, key, faults) for key in ("router", "spender", "registry")}
        url, key_file, timeout = options.get("url"), options.get("key_file"), options.get("timeout")
        config = AggregatorConfig(
            kind=kind,
            url=url if isinstance(url, str) else "",
            router=addresses["router"] or "",
            spender=addresses["spender"] if kind == "0x" else None,
            registry=addresses["registry"] if kind == "0x" else None,
            key_file=key_file if isinstance(key_file, str) else None,
        )
        found[kind] = replace(config, timeout=timeout) if isinstance(timeout, float) else config
    return tuple(found.values())


def _address(options: Mapping[str, object], path: Path, key: str, faults: Faults) -> str | None:
    value = options.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or _ADDRESS.fullmatch(value) is None:
        faults.add((*path, key), f"{key} is not an address", "write 0x and 40 hex digits")
        return None
    return value
