"""The practice run's files: the trader's keystore and password, the network file and the rules file."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tui.practice.accounts import CHAIN_ID
from tui.practice.errors import PracticeError
from tui.practice.market import Market

MARKET_NAME = "core"
_KEPT_RUNS = 5
_WORDS = (
    "anchor ballast beacon bosun bowline capstan cleat compass dinghy ensign fathom forestay galley gunwale halyard "
    "harbor hawser helm hull jetty jib keel lantern leeward locker mainsail mast mooring oar outrigger pilot porthole "
    "quarter ratline reef rigging rudder sextant sheet shroud spar spinnaker stanchion starboard stern tack thwart "
    "tiller topsail transom trim wake warp winch windlass windward yard yawl"
)


@dataclass(frozen=True, slots=True)
class PracticeHome:
    """Where everything of a practice run lives, all under one private directory."""

    directory: Path

    @property
    def keystore(self) -> Path:
        return self.directory / "keystore.json"

    @property
    def password_file(self) -> Path:
        return self.directory / "password"

    @property
    def network_file(self) -> Path:
        return self.directory / "network.toml"

    @property
    def rules_file(self) -> Path:
        return self.directory / "rules.toml"

    def lock(self) -> IO[str]:
        """Hold the directory for this process; the lock ends with the returned file.

        Raises:
            PracticeError: another practice chain runs on it, or it cannot be made.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = (self.directory / "lock").open("a")
        except OSError as error:
            raise PracticeError(
                f"The practice directory {self.directory} cannot be used: {error.strerror}.",
                "Mend its permissions, or choose another with --state.",
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            raise PracticeError(
                f"A practice chain is running on {self.directory} already.",
                "Leave it first, or start this one with another --state directory.",
            ) from None
        return handle

    def trader(self) -> str:
        """Address of the practice key, made with its password at the first run; takes seconds then.

        Raises:
            PracticeError: the key file is there but cannot be used.
        """
        # The vault is the only place that knows keys; importing it here keeps it off everyone else's start.
        from tui.vault.errors import KeystoreError
        from tui.vault.files import read_private
        from tui.vault.keystore import create_keystore, parse_keystore

        try:
            if self.keystore.exists() and self.password_file.exists():
                document = parse_keystore(read_private(self.keystore), self.keystore)
                if document.address is not None:
                    return document.address
            if self.keystore.exists():
                # Without its password (or its address) the key opens nothing; it was for practice only.
                self.keystore.rename(self.keystore.with_name(f"keystore.{secrets.token_hex(4)}.unusable"))
            password = "-".join(secrets.choice(_WORDS.split()) for _ in range(5))
            _write(self.password_file, password + "\n", 0o600)
            return create_keystore(self.keystore, password)
        except KeystoreError as error:
            raise PracticeError(
                f"The practice key cannot be used: {error}",
                f"It guards nothing of value: remove {self.directory} and start again.",
            ) from error

    def password(self) -> str:
        """The practice password, to be shown."""
        return self.password_file.read_text().strip()

    def new_run(self) -> Path:
        """A fresh directory for what the engine remembers: the chain begins anew each time, and so must its journal."""
        runs = self.directory / "runs"
        runs.mkdir(mode=0o700, exist_ok=True)
        numbers = sorted(int(path.name) for path in runs.iterdir() if path.name.isdigit())
        for old in numbers[: -_KEPT_RUNS + 1]:
            shutil.rmtree(runs / str(old), ignore_errors=True)
        fresh = runs / str((numbers[-1] if numbers else 0) + 1)
        fresh.mkdir(mode=0o700)
        return fresh

    def write_network(self, market: Market, url: str, block_time_s: float) -> None:
        """The network file of this run; ``block_time_s`` is how often a block comes by the wall clock."""
        text = f'''\
# Written anew by every practice run: edits do not last.
name = "practice"
chain_id = {CHAIN_ID}
block_time = {block_time_s:g}
confirmations = 2
rpc = ["{url}"]
quorum = 1
wrapped_native = "{market.wrapped_native}"
native_usd_feed = "{market.native_usd_feed}"

[[market]]
protocol = "aave-v3"
name = "{MARKET_NAME}"
pool_addresses_provider = "{market.provider}"

[[swap]]
kind = "uniswap-v3"
factory = "{market.uniswap_factory}"
quoter_v2 = "{market.quoter_v2}"
router02 = "{market.router02}"
bases = ["{market.tokens["USDC"].address}"]

[helpers]
deleverage = "{market.helper}"
'''
        if block_time_s.is_integer():
            text = text.replace(f"block_time = {block_time_s:g}\n", f"block_time = {block_time_s:.1f}\n")
        _write(self.network_file, text, 0o600)

    def ensure_rules(self, trader: str) -> None:
        """The first run's rules file. One that is there is the user's and stays as it is."""
        if self.rules_file.exists():
            return
        text = f"""\
# Your practice rules. This file is yours: it is written once and never touched again.
# Try: trimtab rules check {self.rules_file}

[[rule]]
name = "guard"
position = "aave-v3/{MARKET_NAME}/{trader}"
mode = "confirm"                       # notify | confirm | auto
when = {{ health_factor_below = "1.25", for_blocks = 1 }}
target = {{ health_factor = "1.50" }}

[[rule.step]]                          # first: pay debt back from the wallet
action = "repay"
asset = "USDC"
max = "25000"

[[rule.step]]                          # then, if that is not enough: more collateral
action = "add-collateral"
asset = "WETH"
max = "5"

[rule.limits]
max_cost_usd = "200"
max_base_fee_gwei = "500"
daily_spend_usd = "60000"
cooldown = "10s"
"""
        _write(self.rules_file, text, 0o600)


def _write(path: Path, text: str, mode: int) -> None:
    """Replace ``path`` in one step, with ``mode`` from the first byte on."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
