"""The deleverage helper from outside: where it stands, which code must stand there, and the calldata it takes.

Sans-IO. Its address follows from its code, the market's pool and the router alone (CREATE2 through the deterministic
deployer that stands at the same address on nearly every chain), so it is known before anybody has deployed it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from tui.model.pinned import AUTHORIZATION_GAS as AUTHORIZATION_GAS
from tui.model.pinned import DEPLOYER as DEPLOYER
from tui.model.pinned import NO_CODE, PinnedCode
from tui.model.pinned import delegate_of as delegate_of
from tui.model.units import UINT256_MAX
from tui.protocols.erc20 import address_word, word

DEPLOYER_CODE = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f580151560395781"
    "82fd5b8082525050506014600cf3"
)
"""What must stand at DEPLOYER for anything here to be right: its calldata is a salt and creation code.

anvil is born with it; the Python node is not, and takes DEPLOYER_TRANSACTION.
"""
DEPLOYER_MAKER = "0x3fab184622dc19b6109349b94811493bf2a45362"
"""Who signed DEPLOYER_TRANSACTION; nobody knows its key. It needs DEPLOYER_WEI first."""
DEPLOYER_WEI = 10**16
DEPLOYER_TRANSACTION = bytes.fromhex(
    "f8a58085174876e800830186a08080b853604580600e600039806000f350fe7fffffffffffffffffffffffffffffffffffffffffffffff"
    "ffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf31ba02222222222222222"
    "222222222222222222222222222222222222222222222222a0222222222222222222222222222222222222222222222222222222222222"
    "2222"
)
"""Makes the deployer on a chain that lacks it. Without a chain id, at 100 gwei: some nodes refuse the one, and where
the base fee is above the other it waits.
"""

SALT = b"trimtab deleverage".ljust(32, b"\0")

DELEVERAGE = bytes.fromhex("03b65d76")
"""deleverage(address,address,uint256,uint256,uint256,uint256,uint256,bytes32[3])"""
DELEVERAGE_WITH_PERMIT = bytes.fromhex("4d06b794")
"""deleverage_with_permit(address,address,uint256,uint256,uint256,uint256,uint256,bytes32[3],uint8,bytes32,bytes32)"""

ALL_OF_IT = UINT256_MAX
"""As an amount: all that is owed when the transaction runs."""
MAX_POOLS = 3
_HOP = 23

CLEARED = NO_CODE.address
"""Delegating to this address takes a delegation away."""


@dataclass(frozen=True, slots=True)
class Order:
    """One deleverage. Addresses in hex; amounts in base units; `min_health` in wad; `deadline` unix seconds.

    `amount` of debt to repay (ALL_OF_IT: whatever is owed), `max_sold` of collateral at most, `path` as Uniswap packs
    it for an exact output: debt, fee, ..., collateral. An empty one is packed as no pools at all: the shape of a call
    whose route is not known yet, which the helper refuses.
    """

    debt: str
    collateral: str
    amount: int
    max_sold: int
    min_health: int
    deadline: int
    path: bytes


@dataclass(frozen=True)
class Helper:
    """The helper of one market: `pool` and `router` (SwapRouter02) are part of its code."""

    pool: str
    router: str

    @cached_property
    def creation_code(self) -> bytes:
        """Code and constructor arguments."""
        return _compiled()[0] + address_word(self.pool) + address_word(self.router)

    @cached_property
    def address(self) -> str:
        """Where it stands once deployed, on every chain with this pool and router (lower-case hex)."""
        made = _keccak(b"\xff" + bytes.fromhex(DEPLOYER[2:]) + SALT + _keccak(self.creation_code))
        return "0x" + made[12:].hex()

    @cached_property
    def code(self) -> bytes:
        """The code that must stand there: the compiled one, then its own address, the pool and the router."""
        return _compiled()[1] + address_word(self.address) + address_word(self.pool) + address_word(self.router)

    @cached_property
    def code_hash(self) -> str:
        """keccak256 of `code`: what EXTCODEHASH of the address answers, and what a delegation is pinned to."""
        return "0x" + _keccak(self.code).hex()

    @cached_property
    def pinned(self) -> PinnedCode:
        """All that names this very code to whoever signs for an account to run it."""
        return PinnedCode(self.address, self.code_hash, "0x" + SALT.hex(), "0x" + _keccak(self.creation_code).hex())

    @property
    def deploy_data(self) -> bytes:
        """Calldata for DEPLOYER. It reverts where the helper stands already."""
        return SALT + self.creation_code

    @property
    def delegation(self) -> bytes:
        """The code of an account that is delegated to this helper, whole; `code` must stand at `address` as well."""
        return self.pinned.account_code


def deleverage_data(order: Order) -> bytes:
    """Calldata of `deleverage`. Raises ValueError where the helper could not take the order."""
    return DELEVERAGE + _words(order)


def deleverage_with_permit_data(order: Order, v: int = 0, r: bytes = bytes(32), s: bytes = bytes(32)) -> bytes:
    """Calldata of `deleverage_with_permit`; without a signature its three words, the last ones, are zero.

    The permit is one of the collateral's aToken, for the helper, for exactly `max_sold`, with the order's deadline.
    Raises ValueError where the helper could not take the order.
    """
    return DELEVERAGE_WITH_PERMIT + _words(order) + word(v) + r.rjust(32, b"\0") + s.rjust(32, b"\0")


def _words(order: Order) -> bytes:
    pools = _pools(order) if order.path else 0
    if order.max_sold >= UINT256_MAX:
        raise ValueError("a sale without a limit")
    numbers = (order.amount, order.max_sold, order.min_health, order.deadline, pools)
    words = (address_word(order.debt), address_word(order.collateral), *(word(one) for one in numbers))
    return b"".join(words) + order.path.ljust(96, b"\0")


def _pools(order: Order) -> int:
    pools, rest = divmod(len(order.path) - 20, _HOP)
    if rest or not 1 <= pools <= MAX_POOLS:
        raise ValueError(f"a path of {len(order.path)} bytes is not one through one to {MAX_POOLS} pools")
    debt, collateral = bytes.fromhex(order.debt[2:]), bytes.fromhex(order.collateral[2:])
    if order.path[:20] != debt or order.path[-20:] != collateral:
        raise ValueError("the path does not lead from the debt to the collateral")
    return pools


@cache
def _compiled() -> tuple[bytes, bytes]:
    """Creation code and runtime code of the helper, without arguments and immutables."""
    import json

    text = (Path(__file__).parent / "contracts" / "Deleverage.json").read_text()
    artifact: dict[str, str] = json.loads(text)
    return bytes.fromhex(artifact["bytecode"][2:]), bytes.fromhex(artifact["bytecode_runtime"][2:])


def _keccak(data: bytes) -> bytes:
    from eth_hash.auto import keccak  # loads a native library: not at import time

    return bytes(keccak(data))
