"""The first run: where nothing is configured, a few questions in plain text, answered once and kept."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tui.config.options import Options, UsageError
from tui.config.paths import Paths, resolve_paths
from tui.config.settings import Settings, SettingsFault, load_settings, save_settings

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_NO_TERMINAL = (
    "nothing is configured yet and there is no terminal to ask on; give --network and --address or --keystore, "
    "or start `trimtab practice`"
)


def options_or_wizard(options: Options) -> Options | None:
    """The options with what the settings add; None where the newcomer chose the practice chain.

    Raises UsageError where the settings cannot be used, or questions cannot be asked.
    """
    try:
        paths = resolve_paths(options.config, options.state)
        settings = load_settings(paths.config)
    except (SettingsFault, OSError) as fault:
        raise UsageError(str(fault)) from fault
    completed = _with_settings(options, settings)
    if completed.network is not None or (paths.config / "network.toml").exists():
        return completed
    if not sys.stdin.isatty():
        raise UsageError(_NO_TERMINAL)
    return _ask(completed, settings, paths)


def _with_settings(options: Options, settings: Settings) -> Options:
    return replace(
        options,
        network=options.network or settings.network,
        rpc=options.rpc or settings.rpc,
        addresses=options.addresses or tuple(address.lower() for address in settings.addresses),
    )


def _ask(options: Options, settings: Settings, paths: Paths) -> Options | None:
    from tui.config.networks import builtin_names

    _say("Trimtab watches leveraged positions and defends them with your own key. Nothing is set up yet.\n")
    _say("  1  practice chain: real contracts on this machine, play money")
    _say("  2  watch my own positions: your node's URL and an address;")
    _say("     nothing can be signed until you arm a rule\n")
    if _question("Choose 1 or 2 [1]: ", lambda text: text if text in ("", "1", "2") else None) != "2":
        return None
    names = builtin_names()
    network = _question(f"Network ({', '.join(names)}, or a network file): ", lambda text: _network(text, names))
    url = _question("URL of your node (http or https, ws or wss): ", _url)
    address = _question("Address to watch (0x...): ", lambda text: text if _ADDRESS.fullmatch(text) else None)
    saved = save_settings(paths.config, replace(settings, network=network, rpc=(url,), addresses=(address,)))
    _say(f"\nKept in {saved}.\n")
    _ask_for_key(paths)
    _write_rules(paths)
    return _with_settings(options, load_settings(paths.config))


def _ask_for_key(paths: Paths) -> None:
    """A key is only needed to defend; it can be made or taken over now, or at any later time."""
    _say("A key file lets rules that you arm sign for its account. Watching needs none.")
    _say("  1  not now    2  encrypt the key I have    3  make a new key\n")
    choice = _question("Choose 1, 2 or 3 [1]: ", lambda text: text if text in ("", "1", "2", "3") else None)
    if choice in ("", "1"):
        _say("Later: `trimtab keystore import` or `trimtab keystore new`.\n")
        return
    from tui.headless.keystore_command import add_arguments, run_keystore

    command = "import" if choice == "2" else "new"
    parser = argparse.ArgumentParser(prog="trimtab keystore", allow_abbrev=False)
    add_arguments(parser)
    if run_keystore(parser.parse_args([command, "--config", str(paths.config)])) != 0:
        _say(f"No key file was made; try again with `trimtab keystore {command}`.\n")


def _write_rules(paths: Paths) -> None:
    """A rules file to begin with, where there is none: it only notifies until it is changed."""
    from tui.rules.template import TEMPLATE

    path = paths.config / "rules.toml"
    if not path.exists():
        path.write_text(TEMPLATE, encoding="utf-8")
        path.chmod(0o600)
        _say(f"Rules to begin with are in {path}; press e in the app to edit them.\n")


def _network(text: str, names: tuple[str, ...]) -> str | None:
    if text in names:
        return text
    path = Path(text).expanduser()
    return str(path.absolute()) if text and path.is_file() else None


def _url(text: str) -> str | None:
    return text if re.fullmatch(r"(https?|wss?)://\S+", text) else None


def _question(prompt: str, check: Callable[[str], str | None]) -> str:
    """Ask until `check` takes the answer. The end of input leaves."""
    while True:
        sys.stderr.write(prompt)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise UsageError(_NO_TERMINAL)
        answer = check(line.strip())
        if answer is not None:
            return answer
        _say("That cannot be used; try again, or leave with ctrl+c.")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
