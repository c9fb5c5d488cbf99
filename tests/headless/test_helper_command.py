"""`trimtab helper` against a real market: what it tells, what it deploys, what it takes back, and when it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.chain import ETHER, Chain, keyed_account
from tests.support.deleverage import Holder, code_at, remove_code, the_helper
from tests.support.program import network_file, run_trimtab, terminal
from tests.vault.conftest import write_key_file
from tui.cli import main
from tui.config.networks import builtin_names, builtin_network
from tui.config.options import UsageError
from tui.headless.helper_reading import differences, markets_of, router_of
from tui.journal.store import open_journal
from tui.model.network import MarketConfig, Network, SwapConfig
from tui.practice.tokens import MAX_UINT256
from tui.protocols.aave_v3.helper import DEPLOYER, DEPLOYER_MAKER, DEPLOYER_TRANSACTION, Helper

pytestmark = pytest.mark.usefixtures("warm_programs")

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A key file with the quickest derivation that is still taken, its password's file, its account."""
    folder = tmp_path_factory.mktemp("keys")
    password = folder / "password"
    password.touch(0o600)
    password.write_text(PASSWORD)
    address, secret = keyed_account(9)
    path = write_key_file(folder / "trader.json", secret, PASSWORD)
    return path, password, address.lower()


@pytest.fixture
def network(market_v32: Chain, tmp_path: Path, warm_signers: None) -> Path:
    market = market_v32.market
    path = network_file(tmp_path / "network.toml", [market_v32.url], market.provider, market.native_usd_feed)
    swap = f'\n[[swap]]\nkind = "uniswap-v3"\nfactory = "{market.uniswap_factory}"\n'
    swap += f'quoter_v2 = "{market.quoter_v2}"\nrouter02 = "{market.router02}"\n'
    path.write_text(path.read_text() + swap)
    return path


@pytest.fixture
def tick(market_v32: Chain) -> Iterator[Callable[[], None]]:
    """From when this is called on, the chain makes blocks by itself, quickly."""

    def start() -> None:
        market_v32.rpc("evm_setAutomine", False)
        market_v32.rpc("evm_setIntervalMining", 1)

    yield start
    market_v32.rpc("evm_setIntervalMining", 0)


def words(tmp_path: Path, network: Path, *more: object) -> list[str]:
    return [
        *map(str, ("--network", network, "--state", tmp_path / "state", "--config", tmp_path / "config")),
        *map(str, more),
    ]


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["helper", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.node
def test_show_and_verify_tell_what_stands_there(
    market_v32: Chain, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    helper, holder = the_helper(market_v32), Holder(market_v32, 41)
    common = words(tmp_path, network)
    code, out, _ = told(capsys, "show", *common, "--address", holder.address)
    assert code == 0
    for line in (helper.address, helper.code_hash, helper.pool, helper.router, "as packaged", "delegated to nobody"):
        assert line in out
    assert f"may take  nothing of {holder.address.lower()}" in out
    holder.approve(helper, 15 * ETHER // 10)
    assert holder.delegated(helper.address).ok
    _, out, _ = told(capsys, "show", *common, "--address", holder.address)
    assert "may take  1.500000000000000000 aWETH" in out
    assert f"delegated to {helper.address}: the helper, code as packaged" in out
    code, out, _ = told(capsys, "show", *common, "--address", holder.address, "--json")
    answer = json.loads(out)
    assert answer["helpers"][0]["allowed"] == [
        {
            "token": market_v32.token("WETH").a_token.lower(),
            "symbol": "aWETH",
            "amount": str(15 * ETHER // 10),
            "decimals": 18,
        }
    ]
    assert answer["delegation"] == {"delegate": helper.address, "is_helper": True}
    assert told(capsys, "verify", *common)[0] == 0

    spoiled = helper.code[:40] + bytes([helper.code[40] ^ 1]) + helper.code[41:]
    market_v32.rpc("anvil_setCode", helper.address, "0x" + spoiled.hex())
    market_v32.mine()
    code, out, _ = told(capsys, "verify", *common)
    assert (code, "DIFFERS" in out, "from byte 40 on" in out) == (1, True, True)
    _, out, _ = told(capsys, "show", *common, "--address", holder.address)
    assert "NOT THE PACKAGED CODE" in out
    assert f"delegated to {helper.address}: NOT one of these helpers" in out
    remove_code(market_v32, helper.address)
    market_v32.mine()
    code, out, _ = told(capsys, "verify", *common, "--json")
    (row,) = json.loads(out)["helpers"]
    assert (code, row["deployed"], row["as_packaged"], row["allowed"]) == (1, False, False, None)
    assert row["credit"] is None


@pytest.mark.node
def test_a_network_file_that_names_another_helper_is_told(
    market_v32: Chain, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network.write_text(network.read_text() + f'\n[helpers]\ndeleverage = "{market_v32.market.pool}"\n')
    code, out, _ = told(capsys, "verify", *words(tmp_path, network))
    assert (code, "names another helper" in out) == (1, True)
    code, out, _ = told(capsys, "verify", *words(tmp_path, network), "--json")
    assert (code, len(json.loads(out)["helpers"][0]["faults"])) == (1, 1)


@pytest.mark.node
async def test_deploy_asks_for_nothing_twice_and_ends_at_the_packaged_code(
    market_v32: Chain, tick: Callable[[], None], network: Path, tmp_path: Path, key: tuple[Path, Path, str]
) -> None:
    helper = the_helper(market_v32)
    remove_code(market_v32, helper.address)
    market_v32.set_ether(key[2], 10 * ETHER)
    tick()
    common = words(tmp_path, network, "--keystore", key[0], "--password-file", key[1], "--yes")
    code, out, err = await run_trimtab("helper", "deploy", *common, "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert (answer["address"], answer["as_packaged"]) == (helper.address, True)
    assert code_at(market_v32, helper.address) == helper.code
    assert "never above" in err
    assert "$" in err
    assert f'deleverage = "{helper.address}"' in err
    journal = open_journal(tmp_path / "state")
    (firing,) = journal.firings()
    (intent,) = firing.intents
    journal.close()
    assert [one["hash"] for one in answer["outcome"]["transactions"]] == [intent.included_hash]
    assert (firing.rule, firing.state, firing.cost_usd is not None) == ("by hand: deploy the helper", "DONE", True)
    code, out, err = await run_trimtab("helper", "deploy", *common)
    assert (code, out.strip()) == (0, helper.address)
    assert "already" in err


@pytest.mark.node
async def test_deploy_refuses_what_it_must_not_do(
    market_v32: Chain, network: Path, tmp_path: Path, key: tuple[Path, Path, str]
) -> None:
    helper = the_helper(market_v32)
    signing = words(tmp_path, network, "--keystore", key[0], "--password-file", key[1])
    code, _, err = await run_trimtab("helper", "deploy", *signing)
    assert (code, "give --yes" in err) == (2, True)
    held = open_journal(tmp_path / "state")
    code, _, err = await run_trimtab("helper", "deploy", *signing, "--yes")
    held.close()
    assert (code, "is at work on" in err, "stop it" in err) == (4, True, True)
    market_v32.rpc("anvil_setCode", helper.address, "0x6001")
    market_v32.mine()
    code, _, err = await run_trimtab("helper", "deploy", *signing, "--yes")
    assert (code, "Never use it" in err) == (1, True)
    remove_code(market_v32, helper.address, DEPLOYER)
    market_v32.mine()
    code, _, err = await run_trimtab("helper", "deploy", *signing, "--yes")
    assert code == 4
    assert DEPLOYER_MAKER in err
    assert DEPLOYER_TRANSACTION.hex() in err


@pytest.mark.node
async def test_at_a_terminal_it_asks_and_anything_but_yes_is_no(
    market_v32: Chain, network: Path, tmp_path: Path, key: tuple[Path, Path, str]
) -> None:
    helper = the_helper(market_v32)
    remove_code(market_v32, helper.address)
    market_v32.set_ether(key[2], 10 * ETHER)
    market_v32.mine()
    async with terminal("helper", "deploy", *words(tmp_path, network, "--keystore", key[0])) as shown:
        await shown.shows("[y/N]")
        shown.press("\r")
        await shown.shows("nothing was signed")
        assert await shown.ended() == 1
    assert code_at(market_v32, helper.address) == b""


@pytest.mark.node
async def test_revoke_takes_everything_back_and_the_delegation_as_well(
    market_v32: Chain, tick: Callable[[], None], network: Path, tmp_path: Path, key: tuple[Path, Path, str]
) -> None:
    helper = the_helper(market_v32)
    market_v32.set_ether(key[2], 10 * ETHER)
    market_v32.rpc("anvil_setCode", key[2], "0x" + helper.delegation.hex())
    for symbol, amount in (("WETH", MAX_UINT256), ("USDC", 7)):
        market_v32.rpc("anvil_impersonateAccount", key[2])
        market_v32.send(key[2], market_v32.token(symbol).a_token, "approve(address,uint256)", helper.address, amount)
    tick()
    common = words(tmp_path, network, "--keystore", key[0], "--password-file", key[1], "--yes")
    code, _, err = await run_trimtab("helper", "revoke", *common)
    assert "now       any amount of aWETH" in err
    assert "now       0.000007 aUSDC" in err
    assert "revoked, final" in err
    assert (code, "taken away, final" in err) == (0, True), err
    assert code_at(market_v32, key[2]) == b""
    for symbol in ("WETH", "USDC"):
        token = market_v32.token(symbol).a_token
        assert market_v32.call(token, "allowance(address,address)", ["uint256"], key[2], helper.address) == 0
    code, _, err = await run_trimtab("helper", "revoke", *common)
    assert (code, "nothing to revoke" in err) == (0, True)
    market_v32.rpc("anvil_setCode", key[2], "0xef0100" + "bb" * 20)
    code, _, err = await run_trimtab("helper", "revoke", *common)
    assert (code, "none of Trimtab's helpers" in err, "undelegate" in err) == (1, True, True), err


@pytest.mark.node
async def test_credit_that_was_given_is_shown_and_taken_back(
    market_v32: Chain, tick: Callable[[], None], network: Path, tmp_path: Path, key: tuple[Path, Path, str]
) -> None:
    helper = the_helper(market_v32)
    market_v32.set_ether(key[2], 10 * ETHER)
    market_v32.rpc("anvil_impersonateAccount", key[2])
    credit = {symbol: market_v32.token(symbol).v_token for symbol in ("USDC", "WETH")}
    for symbol, most in (("USDC", 1_234_500_000), ("WETH", MAX_UINT256)):
        market_v32.send(key[2], credit[symbol], "approveDelegation(address,uint256)", helper.address, most)
    market_v32.send(key[2], market_v32.token("DAI").a_token, "approve(address,uint256)", helper.address, 7)
    common = words(tmp_path, network, "--keystore", key[0])
    code, out, err = await run_trimtab("helper", "show", *common)
    assert code == 0, err
    assert f"may borrow 1234.500000 USDC on {key[2]}" in out
    assert f"may borrow any amount of WETH on {key[2]}" in out
    assert "may take  nothing" not in out
    _, out, _ = await run_trimtab("helper", "show", *common, "--json")
    (row,) = json.loads(out)["helpers"]
    assert [one["symbol"] for one in row["allowed"]] == ["aDAI"]
    assert {"token": credit["USDC"].lower(), "symbol": "USDC", "amount": "1234500000", "decimals": 6} in row["credit"]
    assert len(row["credit"]) == 2

    tick()
    code, _, err = await run_trimtab("helper", "revoke", *common, "--password-file", key[1], "--yes")
    assert code == 0, err
    assert "now       credit for 1234.500000 USDC" in err
    assert "by        " in err
    assert "3 transactions" in err
    assert "revoked, final: the helper may take nothing" in err
    for token in credit.values():
        left = market_v32.call(token, "borrowAllowance(address,address)", ["uint256"], key[2], helper.address)
        assert left == 0
    _, out, _ = await run_trimtab("helper", "show", *common)
    assert f"may take  nothing of {key[2]}" in out
    assert "may borrow" not in out


HELPER = Helper("0x" + "11" * 20, "0x" + "22" * 20)


@pytest.mark.parametrize(
    ("code", "told_as"),
    [
        (HELPER.code, ()),
        (b"", ("nothing is deployed there",)),
        (HELPER.code + b"\0", (f"its code is {len(HELPER.code) + 1} bytes long, the helper's is {len(HELPER.code)}",)),
        (b"\xff" + HELPER.code[1:], ("its code differs from the helper's from byte 0 on",)),
        (
            HELPER.code[:-32] + bytes(12) + b"\x33" * 20,
            (f"it was made for another router: 0x{'33' * 20}, not {HELPER.router}",),
        ),
        (
            HELPER.code[:-64] + bytes(12) + b"\x33" * 20 + HELPER.code[-32:],
            (f"it was made for another pool: 0x{'33' * 20}, not {HELPER.pool}",),
        ),
    ],
)
def test_differences_say_where_they_are(code: bytes, told_as: tuple[str, ...]) -> None:
    assert differences(HELPER, code) == told_as


def test_a_dirty_word_in_an_address_is_a_difference() -> None:
    dirty = HELPER.code[:-32] + b"\x01" + HELPER.code[-31:]
    assert differences(HELPER, dirty) != ()


def test_markets_and_router_come_from_the_network_or_say_what_is_missing(network_of: Any) -> None:
    assert router_of(network_of()) == "0x" + "ab" * 20
    with pytest.raises(UsageError, match="router02"):
        router_of(network_of(swaps=(SwapConfig("other", {"router02": "0x" + "ab" * 20}),)))
    assert [one.name for one in markets_of(network_of(), None)] == ["core", "prime"]
    assert [one.name for one in markets_of(network_of(), "prime")] == ["prime"]
    assert [one.name for one in markets_of(network_of(), "aave-v3/prime")] == ["prime"]
    with pytest.raises(UsageError, match="there are: core, prime"):
        markets_of(network_of(), "nowhere")
    with pytest.raises(UsageError, match="no aave-v3 market"):
        markets_of(network_of(markets=(MarketConfig("morpho-blue", "blue"),)), None)


@pytest.fixture
def network_of() -> Any:
    def made(**changes: Any) -> Network:
        parts: dict[str, Any] = {
            "swaps": (SwapConfig("uniswap-v3", {"router02": "0x" + "AB" * 20}),),
            "markets": (
                MarketConfig("aave-v3", "core"),
                MarketConfig("morpho-blue", "blue"),
                MarketConfig("aave-v3", "prime"),
            ),
        }
        return Network("test", 1, 12.0, 2, ("http://127.0.0.1:1",), **{**parts, **changes})

    return made


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_network_says_where_its_helpers_would_stand(name: str) -> None:
    network = builtin_network(name)
    router = router_of(network)
    assert len({Helper("0x" + "11" * 20, router).address for _ in markets_of(network, None)}) == 1
