"""Deploys real Aave V3 markets, version 3.2 and 3.0, over given tokens and feeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eth_abi.abi import encode as abi_encode

from tui.practice.abi import created_address
from tui.practice.deploy import HEAVY_CALL_GAS, Deployer
from tui.practice.packages import AAVE_LIBRARIES
from tui.practice.tokens import ASSETS, ETH_EMODE, FEED_UNIT, STABLE_EMODE, Asset

ZERO_ADDRESS = "0x0000000000000000000000000000000000000000"
EMODES = ((ETH_EMODE, "ETH correlated"), (STABLE_EMODE, "Stablecoins"))
EMODE_LTV, EMODE_THRESHOLD, EMODE_BONUS = 9300, 9500, 10100

_RAY_PER_BPS = 10**23
_FLASH_PREMIUM_BPS = 5
_PROTOCOL_FEE_BPS = 1000


@dataclass(frozen=True, slots=True)
class AaveAddresses:
    """Where a deployed Aave V3 market lives; ``a_tokens`` and ``v_tokens`` by symbol of the asset."""

    provider: str
    pool: str
    configurator: str
    oracle: str
    data_provider: str
    acl: str
    a_tokens: dict[str, str]
    v_tokens: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Core:
    provider: str
    pool: str
    configurator: str
    data_provider: str
    acl: str


def deploy_v32(deployer: Deployer, contracts: Path, tokens: dict[str, str], feeds: dict[str, str]) -> AaveAddresses:
    """Aave V3.2: virtual accounting, liquid e-modes with bitmaps, no stable debt."""
    folder = contracts / "aave_v3"
    core = _deploy_core(deployer, folder, "PoolInstance", "PoolConfiguratorInstance")
    oracle = _deploy_oracle(deployer, folder, core, tokens, feeds)
    a_token = deployer.create(folder / "ATokenInstance.json", core.pool)
    v_token = deployer.create(folder / "VariableDebtTokenInstance.json", core.pool)
    strategy = deployer.create(folder / "DefaultReserveInterestRateStrategyV2.json", core.provider)
    reserves = [
        (
            a_token,
            v_token,
            True,
            strategy,
            tokens[asset.symbol],
            deployer.sender,
            ZERO_ADDRESS,
            *_token_names(asset),
            b"",
            abi_encode(
                ["(uint16,uint32,uint32,uint32)"],
                [(asset.optimal_usage, asset.base_rate, asset.slope1, asset.slope2)],
            ),
        )
        for asset in ASSETS
    ]
    row = "(address,address,bool,address,address,address,address,string,string,string,string,bytes,bytes)"
    _init_reserves(deployer, core, f"initReserves({row}[])", reserves)
    for category, label in EMODES:
        deployer.do(
            core.configurator,
            "setEModeCategory(uint8,uint16,uint16,uint16,string)",
            category,
            EMODE_LTV,
            EMODE_THRESHOLD,
            EMODE_BONUS,
            label,
        )
    for asset in ASSETS:
        _configure(deployer, core, asset, tokens[asset.symbol])
        if asset.emode:
            for function in ("setAssetCollateralInEMode", "setAssetBorrowableInEMode"):
                deployer.do(
                    core.configurator, f"{function}(address,uint8,bool)", tokens[asset.symbol], asset.emode, True
                )
    deployer.flush()
    return _addresses(deployer, core, oracle, tokens)


def deploy_v30(deployer: Deployer, aave_v30: Path, tokens: dict[str, str], feeds: dict[str, str]) -> AaveAddresses:
    """Aave V3.0: one e-mode category an asset, stable debt tokens present."""
    folder = aave_v30 / "aave_v3_0"
    core = _deploy_core(deployer, folder, "Pool", "PoolConfigurator")
    oracle = _deploy_oracle(deployer, folder, core, tokens, feeds)
    a_token = deployer.create(folder / "AToken.json", core.pool)
    s_token = deployer.create(folder / "StableDebtToken.json", core.pool)
    v_token = deployer.create(folder / "VariableDebtToken.json", core.pool)
    reserves = []
    for asset in ASSETS:
        rates = [n * _RAY_PER_BPS for n in (asset.optimal_usage, asset.base_rate, asset.slope1, asset.slope2)]
        strategy = deployer.create(
            folder / "DefaultReserveInterestRateStrategy.json",
            core.provider,
            *rates,
            *(0, 0, 0, 0),
            2000 * _RAY_PER_BPS,
        )
        reserves.append(
            (
                a_token,
                s_token,
                v_token,
                asset.decimals,
                strategy,
                tokens[asset.symbol],
                deployer.sender,
                ZERO_ADDRESS,
                *_token_names(asset),
                f"Aave Stable Debt {asset.symbol}",
                f"stableDebt{asset.symbol}",
                b"",
            )
        )
    row = (
        "(address,address,address,uint8,address,address,address,address,"
        "string,string,string,string,string,string,bytes)"
    )
    _init_reserves(deployer, core, f"initReserves({row}[])", reserves)
    for category, label in EMODES:
        deployer.do(
            core.configurator,
            "setEModeCategory(uint8,uint16,uint16,uint16,address,string)",
            category,
            EMODE_LTV,
            EMODE_THRESHOLD,
            EMODE_BONUS,
            ZERO_ADDRESS,
            label,
        )
    for asset in ASSETS:
        _configure(deployer, core, asset, tokens[asset.symbol])
        if asset.emode:
            deployer.do(core.configurator, "setAssetEModeCategory(address,uint8)", tokens[asset.symbol], asset.emode)
    deployer.flush()
    return _addresses(deployer, core, oracle, tokens)


def _deploy_core(deployer: Deployer, folder: Path, pool_name: str, configurator_name: str) -> _Core:
    """Provider, access control, logic libraries and the two proxied contracts."""
    owner = deployer.sender
    provider = deployer.create(folder / "PoolAddressesProvider.json", "Practice", owner)
    deployer.do(provider, "setACLAdmin(address)", owner)
    acl = deployer.create(folder / "ACLManager.json", provider)
    deployer.do(provider, "setACLManager(address)", acl)
    deployer.do(acl, "addPoolAdmin(address)", owner)
    deployer.do(acl, "addEmergencyAdmin(address)", owner)
    data_provider = deployer.create(folder / "AaveProtocolDataProvider.json", provider)
    deployer.do(provider, "setPoolDataProvider(address)", data_provider)
    libraries: dict[str, str] = {}
    for name in AAVE_LIBRARIES:
        libraries[name] = deployer.create(folder / f"{name}.json", libraries=libraries)
    pool_logic = deployer.create(folder / f"{pool_name}.json", provider, libraries=libraries)
    configurator_logic = deployer.create(folder / f"{configurator_name}.json", libraries=libraries)
    deployer.do(provider, "setPoolImpl(address)", pool_logic)
    deployer.do(provider, "setPoolConfiguratorImpl(address)", configurator_logic)
    # The provider makes the two proxies, its first and second creation.
    pool, configurator = created_address(provider, 1), created_address(provider, 2)
    deployer.do(configurator, "updateFlashloanPremiumTotal(uint128)", _FLASH_PREMIUM_BPS)
    return _Core(provider, pool, configurator, data_provider, acl)


def _deploy_oracle(deployer: Deployer, folder: Path, core: _Core, tokens: dict[str, str], feeds: dict[str, str]) -> str:
    symbols = [asset.symbol for asset in ASSETS]
    oracle = deployer.create(
        folder / "AaveOracle.json",
        core.provider,
        [tokens[symbol] for symbol in symbols],
        [feeds[symbol] for symbol in symbols],
        ZERO_ADDRESS,
        ZERO_ADDRESS,
        FEED_UNIT,
    )
    deployer.do(core.provider, "setPriceOracle(address)", oracle)
    return oracle


def _token_names(asset: Asset) -> tuple[str, str, str, str]:
    symbol = asset.symbol
    return f"Aave {symbol}", f"a{symbol}", f"Aave Variable Debt {symbol}", f"variableDebt{symbol}"


def _init_reserves(deployer: Deployer, core: _Core, signature: str, reserves: Sequence[tuple[object, ...]]) -> None:
    for start in range(0, len(reserves), 2):  # two at a time fit under the gas cap of a transaction
        deployer.do(core.configurator, signature, reserves[start : start + 2], gas=HEAVY_CALL_GAS)


def _configure(deployer: Deployer, core: _Core, asset: Asset, token: str) -> None:
    def set_(function: str, *args: object) -> None:
        deployer.do(core.configurator, function, token, *args)

    set_(
        "configureReserveAsCollateral(address,uint256,uint256,uint256)",
        asset.ltv,
        asset.liquidation_threshold,
        asset.liquidation_bonus,
    )
    set_("setReserveBorrowing(address,bool)", True)
    set_("setReserveFlashLoaning(address,bool)", True)
    set_("setReserveFactor(address,uint256)", asset.reserve_factor)
    set_("setLiquidationProtocolFee(address,uint256)", _PROTOCOL_FEE_BPS)


def _addresses(deployer: Deployer, core: _Core, oracle: str, tokens: dict[str, str]) -> AaveAddresses:
    (pool,), (configurator,) = deployer.read_many(
        [
            (core.provider, "getPool()", ["address"], ()),
            (core.provider, "getPoolConfigurator()", ["address"], ()),
        ]
    )
    if (pool, configurator) != (core.pool, core.configurator):
        raise AssertionError("the provider made its proxies in another order")
    rows = deployer.read_many(
        [
            (core.data_provider, "getReserveTokensAddresses(address)", ["address", "address", "address"], (token,))
            for token in tokens.values()
        ]
    )
    return AaveAddresses(
        provider=core.provider,
        pool=core.pool,
        configurator=core.configurator,
        oracle=oracle,
        data_provider=core.data_provider,
        acl=core.acl,
        a_tokens={symbol: row[0] for symbol, row in zip(tokens, rows, strict=True)},
        v_tokens={symbol: row[2] for symbol, row in zip(tokens, rows, strict=True)},
    )
