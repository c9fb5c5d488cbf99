"""What the practice chain fetches: each package's version, pinned hash, and the few files taken from it.

Nothing here is shipped: licences of some contracts allow local practice, not redistribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Registry(Enum):
    """Whose ordinary client fetches the package."""

    PIP = "pip"
    NPM = "npm"


@dataclass(frozen=True, slots=True)
class Package:
    """A pinned package.

    ``archive_hash`` is ``sha256:<hex>`` or ``sha512:<base64>`` of the archive as the registry serves it.
    ``tree_hash`` is the hex SHA-256 over the extracted files (see ``artifacts.tree_hash``), so that the
    cache is checked against this source at every start and not only when it was filled.
    ``files`` maps a path inside the archive to the name it gets in the cache.
    """

    label: str
    registry: Registry
    name: str
    version: str
    archive_hash: str
    tree_hash: str
    files: tuple[tuple[str, str], ...]

    @property
    def directory(self) -> str:
        """Folder name in the cache; changes with the version and with what is taken from it."""
        return f"{self.label}-{self.version}-{self.tree_hash[:12]}"


AAVE_LIBRARIES = (
    "SupplyLogic",
    "BorrowLogic",
    "LiquidationLogic",
    "EModeLogic",
    "BridgeLogic",
    "ConfiguratorLogic",
    "PoolLogic",
    "FlashLoanLogic",
)

_WHEEL = (
    *(
        f"aave_v3/{name}"
        for name in (
            "PoolAddressesProvider",
            "ACLManager",
            "AaveProtocolDataProvider",
            "PoolInstance",
            "PoolConfiguratorInstance",
            "ATokenInstance",
            "VariableDebtTokenInstance",
            "DefaultReserveInterestRateStrategyV2",
            "AaveOracle",
            "MintableERC20",
            "WETH9",
            *AAVE_LIBRARIES,
        )
    ),
    "centre/FiatTokenV2_1",
    "uniswap_v3/UniswapV3Factory",
    "uniswap_v3/UniswapV3Pool",
    "uniswap_v3/NonfungiblePositionManager",
    "uniswap_v3/QuoterV2",
    "uniswap-swap-contracts/SwapRouter02",
)

_CORE = (
    "protocol/configuration/PoolAddressesProviderRegistry",
    "protocol/configuration/PoolAddressesProvider",
    "protocol/configuration/ACLManager",
    "protocol/pool/Pool",
    "protocol/pool/PoolConfigurator",
    "protocol/pool/DefaultReserveInterestRateStrategy",
    "protocol/tokenization/AToken",
    "protocol/tokenization/StableDebtToken",
    "protocol/tokenization/VariableDebtToken",
    "misc/AaveProtocolDataProvider",
    "misc/AaveOracle",
    *(f"protocol/libraries/logic/{name}" for name in AAVE_LIBRARIES),
)


def _hardhat_path(path: str) -> str:
    return f"package/artifacts/contracts/{path}.sol/{path.rsplit('/', 1)[-1]}.json"


CONTRACTS = Package(
    label="contracts",
    registry=Registry.PIP,
    name="web3-ethereum-defi",
    version="1.2",
    archive_hash="sha256:906579bfdb25d9aaa906543ce55a9d62e21a545e196e0230cb467c8b4406869d",
    tree_hash="feadf01c46a376b6f5ba1103aad095ae1e4b4865ada5043c982fcb2744b21d6f",
    files=tuple((f"eth_defi/abi/{path}.json", f"{path}.json") for path in _WHEEL),
)
"""Aave V3.2, Uniswap V3, Circle's USDC and WETH9, all with their bytecode."""

AAVE_V30 = Package(
    label="aave-v3.0",
    registry=Registry.NPM,
    name="@aave/core-v3",
    version="1.19.3",
    archive_hash="sha512:Xr7+VcoU5b4mPwM4IUCnskw3lciwrnL4Xloyad8GOddYeixnri2lZYobNmErm1LwE50vqjI0O+9QGNKY2TDkeQ==",
    tree_hash="5bf43cf0006d8b2131e36900250a0410cf94d9cb86d64731e2c0a7a703b976a9",
    files=tuple((_hardhat_path(path), f"aave_v3_0/{path.rsplit('/', 1)[-1]}.json") for path in _CORE),
)
"""Aave V3.0, for proving the reader against the older contracts; a practice run does not need it."""

ANVIL_VERSION = "1.7.1"
ANVIL_LINUX_AMD64 = Package(
    label="anvil-linux-amd64",
    registry=Registry.NPM,
    name="@foundry-rs/anvil-linux-amd64",
    version=ANVIL_VERSION,
    archive_hash="sha512:+XmShybEaxfCrr0OUUZwYEy2OnYZt5pHH9TzBtLv3+VrK0O/ANuNSVEahqNhKHlgX7GRJ59383ofNhxkRWIYTg==",
    tree_hash="0767c073ed04e7cbd39919f237de5f33cc55e577e0a55c383da62372a44e88ee",
    files=(("package/bin/anvil", "anvil"),),
)

ANVIL_BY_PLATFORM: dict[tuple[str, str], Package] = {
    ("linux", "x86_64"): ANVIL_LINUX_AMD64,
    ("linux", "amd64"): ANVIL_LINUX_AMD64,
}
"""(sys.platform, lower-case machine) to the package that holds the node; others use PATH or the Python node."""

ANVIL_MIN_GLIBC = (2, 35)
