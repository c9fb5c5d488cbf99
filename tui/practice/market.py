"""The whole practice market: tokens, feeds, Aave, Uniswap and the background crowd, on any unlocked local node."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import orjson
from eth_utils.address import to_checksum_address

from tui.practice.aave import deploy_v30, deploy_v32
from tui.practice.accounts import ARBITRAGEUR, BORROWER, CHAIN_ID, LIQUIDATOR, OWNER, SUPPLIER
from tui.practice.artifacts import Progress, no_progress
from tui.practice.deploy import CREATE_GAS, Deployer
from tui.practice.errors import PracticeError
from tui.practice.packages import AAVE_V30, CONTRACTS
from tui.practice.rpc import Rpc
from tui.practice.tokens import ASSETS, MAX_UINT256, deploy_tokens, give
from tui.practice.uniswap import Pool, deploy_uniswap
from tui.protocols.aave_v3.helper import (
    DEPLOYER,
    DEPLOYER_CODE,
    DEPLOYER_MAKER,
    DEPLOYER_TRANSACTION,
    DEPLOYER_WEI,
    Helper,
)

VARIABLE_RATE = 2

_WORKING_CAPITAL_USD = 900_000_000
"""What the liquidator and the arbitrageur each hold of every asset."""

_DECIDING_SOURCES = (
    "aave",
    "abi",
    "accounts",
    "deploy",
    "market",
    "node",
    "packages",
    "pyevm_chain",
    "pyevm_json",
    "pyevm_transactions",
    "tokens",
    "uniswap",
)


class AaveVersion(Enum):
    """Which Aave contracts the market is made of."""

    V3_0 = "v3.0"
    V3_2 = "v3.2"


@dataclass(frozen=True, slots=True)
class Token:
    """One reserve: the token, its aToken and variable debt token, and its USD feed."""

    symbol: str
    address: str
    decimals: int
    a_token: str
    v_token: str
    feed: str

    @property
    def unit(self) -> int:
        """Base units in one token."""
        return int(10**self.decimals)


@dataclass(frozen=True, slots=True)
class Market:
    """Every address of a deployed practice market, all checksummed."""

    version: AaveVersion
    chain_id: int
    provider: str
    pool: str
    configurator: str
    oracle: str
    data_provider: str
    acl: str
    tokens: dict[str, Token]
    uniswap_factory: str
    quoter_v2: str
    router02: str
    position_manager: str
    pools: tuple[Pool, ...]
    helper: str

    @property
    def wrapped_native(self) -> str:
        return self.tokens["WETH"].address

    @property
    def native_usd_feed(self) -> str:
        return self.tokens["WETH"].feed

    def to_json(self) -> str:
        """A JSON document that ``from_json`` reads back."""
        return json.dumps({**dataclasses.asdict(self), "version": self.version.value}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Market:
        """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything but ``to_json``'s output."""
        fields: dict[str, Any] = orjson.loads(text)
        return cls(
            **{
                **fields,
                "version": AaveVersion(fields["version"]),
                "tokens": {symbol: Token(**token) for symbol, token in fields["tokens"].items()},
                "pools": tuple(Pool(**pool) for pool in fields["pools"]),
            }
        )


def deploy_market(rpc: Rpc, version: AaveVersion, folders: dict[str, Path], progress: Progress = no_progress) -> Market:
    """Deploy the market on a node that mines by itself. ``folders`` is what ``artifacts.fetch`` returned.

    Raises:
        PracticeError: a transaction failed.
    """
    deployer = Deployer(rpc, OWNER)
    contracts = folders[CONTRACTS.label]
    progress("tokens and price feeds", 0, 4)
    tokens, feeds = deploy_tokens(deployer, contracts)
    progress(f"Aave {version.value}", 1, 4)
    if version is AaveVersion.V3_2:
        aave = deploy_v32(deployer, contracts, tokens, feeds)
    else:
        aave = deploy_v30(deployer, folders[AAVE_V30.label], tokens, feeds)
    progress("Uniswap V3", 2, 4)
    uniswap = deploy_uniswap(deployer, contracts, tokens)
    helper = _deploy_helper(deployer, aave.pool, uniswap.router02)
    market = Market(
        version=version,
        chain_id=CHAIN_ID,
        provider=aave.provider,
        pool=aave.pool,
        configurator=aave.configurator,
        oracle=aave.oracle,
        data_provider=aave.data_provider,
        acl=aave.acl,
        tokens={
            asset.symbol: Token(
                asset.symbol,
                tokens[asset.symbol],
                asset.decimals,
                aave.a_tokens[asset.symbol],
                aave.v_tokens[asset.symbol],
                feeds[asset.symbol],
            )
            for asset in ASSETS
        },
        uniswap_factory=uniswap.factory,
        quoter_v2=uniswap.quoter_v2,
        router02=uniswap.router02,
        position_manager=uniswap.position_manager,
        pools=uniswap.pools,
        helper=helper,
    )
    progress("suppliers and borrowers", 3, 4)
    _fill(deployer, market, tokens)
    progress("the market is deployed", 4, 4)
    return market


def _deploy_helper(deployer: Deployer, pool: str, router: str) -> str:
    """The deleverage helper, made where it stands on every chain: by the deterministic deployer.

    Raises:
        PracticeError: a transaction failed, or the code there is not the helper's.
    """
    rpc, helper = deployer.rpc, Helper(pool.lower(), router.lower())
    if rpc.call("eth_getCode", DEPLOYER, "latest") == "0x":  # anvil is born with it
        rpc.call("anvil_setBalance", DEPLOYER_MAKER, hex(DEPLOYER_WEI))
        rpc.call("eth_sendRawTransaction", "0x" + DEPLOYER_TRANSACTION.hex())
    deployer.send(DEPLOYER, "0x" + helper.deploy_data.hex(), gas=CREATE_GAS)
    deployer.flush()
    made, maker = (rpc.call("eth_getCode", address, "latest") for address in (helper.address, DEPLOYER))
    if (made, maker) != ("0x" + helper.code.hex(), "0x" + DEPLOYER_CODE.hex()):
        raise PracticeError("The deleverage helper is not what it should be.", "Please report this.")
    return to_checksum_address(helper.address)


def _fill(deployer: Deployer, market: Market, tokens: dict[str, str]) -> None:
    """A supplier for depth and a borrower for rates; the borrower's health outlives every scenario."""
    share = {SUPPLIER: 1, BORROWER: 4}  # fifths of the depth
    for asset in ASSETS:
        for account, fifths in share.items():
            give(deployer, tokens, asset.symbol, asset.supplied * asset.unit * fifths // 5, account)
    deployer.flush()
    for asset in ASSETS:
        token = tokens[asset.symbol]
        for account, fifths in share.items():
            deployer.do(token, "approve(address,uint256)", market.pool, MAX_UINT256, sender=account)
            deployer.do(
                market.pool,
                "supply(address,uint256,address,uint16)",
                token,
                asset.supplied * asset.unit * fifths // 5,
                account,
                0,
                sender=account,
            )
    deployer.flush()
    for asset in ASSETS:
        deployer.do(
            market.pool,
            "borrow(address,uint256,uint256,uint16,address)",
            tokens[asset.symbol],
            asset.borrowed * asset.unit,
            VARIABLE_RATE,
            0,
            BORROWER,
            sender=BORROWER,
        )
    deployer.flush()
    for asset in ASSETS:
        token = tokens[asset.symbol]
        for account, spender in ((LIQUIDATOR, market.pool), (ARBITRAGEUR, market.router02)):
            give(deployer, tokens, asset.symbol, _WORKING_CAPITAL_USD * asset.unit // asset.price_usd, account)
            deployer.do(token, "approve(address,uint256)", spender, MAX_UINT256, sender=account)
    deployer.flush()


def deployment_digest() -> str:
    """Hex SHA-256 over the sources that decide what a deployed market looks like; part of the state cache's key."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for name in _DECIDING_SOURCES:
        digest.update((here / f"{name}.py").read_bytes())
    digest.update((here / "contracts" / "Feed.json").read_bytes())
    nowhere = "0x" + "00" * 20
    digest.update(Helper(nowhere, nowhere).deploy_data)  # its code and salt: its address follows from them
    return digest.hexdigest()
