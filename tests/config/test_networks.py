"""Network files: what is taken, and what a hostile or mistyped one is told, with its line."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.config.networks import (
    MAX_FILE_BYTES,
    NetworkFault,
    builtin_names,
    builtin_network,
    load_network,
    parse_network,
)

PROVIDER = "0x2f39d218133AFaB8F2B819B1066c7E434Ad94E9e"
WHOLE = f"""\
name = "practice"
chain_id = 31337
block_time = 2.0            # seconds
confirmations = 2           # blocks until an outcome is final
rpc = ["http://127.0.0.1:8545", "wss://example.org/v2/secret-token-1234"]
quorum = 1
wrapped_native = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"
native_usd_feed = "0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419"
multicall3 = "0xcA11bde05977b3631167028862bE2a173976CA11"

[[market]]
protocol = "aave-v3"
name = "core"
pool_addresses_provider = "{PROVIDER}"

[[market]]
protocol = "morpho-blue"
name = "blue"
address = "{PROVIDER}"
markets = ["0x{"aB" * 32}"]

[[swap]]
kind = "uniswap-v3"
factory = "{PROVIDER}"

[helpers]
deleverage = "{PROVIDER}"
"""
AGGREGATED = f"""\
name = "x"
chain_id = 1
block_time = 12
[[swap]]
kind = "uniswap-v3"
factory = "{PROVIDER}"
quoter_v2 = "{PROVIDER}"
router02 = "{PROVIDER}"

[[swap]]
kind = "0x"
url = "https://service.example/secret-token-1234"
router = "{PROVIDER}"
registry = "{PROVIDER}"
key_file = "~/keys/0x"
timeout = 2

[[swap]]
kind = "1inch"
url = "https://other.example/swap/v6.1"
router = "{PROVIDER}"
"""
SMALL = 'name = "x"\nchain_id = 1\nblock_time = 12\n'


def errors(text: str | bytes) -> tuple[str, ...]:
    reading = parse_network(text if isinstance(text, bytes) else text.encode(), "net.toml")
    assert (reading.network is None) == bool(reading.errors)
    return reading.errors


def test_every_part_of_a_file() -> None:
    network = parse_network(WHOLE.encode(), "net.toml").network
    assert network is not None
    assert (network.name, network.chain_id, network.block_time) == ("practice", 31337, 2.0)
    assert (network.confirmations, network.quorum, len(network.rpc)) == (2, 1, 2)
    assert network.wrapped_native == "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"
    core, blue = network.markets
    assert (core.protocol, core.name) == ("aave-v3", "core")
    assert core.options == {"pool_addresses_provider": PROVIDER.lower()}
    assert blue.options["markets"] == ("0x" + "ab" * 32,)
    assert network.swaps[0].kind == "uniswap-v3"
    assert network.helpers == {"deleverage": PROVIDER.lower()}


def test_what_may_be_left_out() -> None:
    network = parse_network(SMALL.encode(), "net.toml").network
    assert network is not None
    assert (network.confirmations, network.quorum, network.rpc, network.markets) == (2, 1, (), ())


def test_how_old_a_price_may_be_is_a_choice_for_each_market() -> None:
    text = (
        SMALL
        + '[[market]]\nprotocol = "p"\nname = "a"\nprice_heartbeat = "90m"\n[[market]]\nprotocol = "p"\nname = "b"'
    )
    network = parse_network(text.encode(), "net.toml").network
    assert network is not None
    assert [market.price_heartbeat for market in network.markets] == [5_400, 25 * 3_600]
    assert network.markets[0].options == {}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "name is missing"),
        (SMALL.replace("1\n", '"one"\n'), 2, "chain_id is out of range"),
        (SMALL.replace("= 1\n", "= true\n"), 2, "chain_id"),
        (SMALL.replace("= 1\n", "= 99999999999999999999\n"), 2, "chain_id"),
        (SMALL.replace("12", "nan"), 3, "block_time"),
        (SMALL.replace("12", "inf"), 3, "block_time"),
        (SMALL.replace("12", "0"), 3, "block_time"),
        (SMALL.replace("12", "[1]"), 3, "block_time"),
        (SMALL.replace('"x"', '"a b"'), 1, "plain name"),
        (SMALL.replace('"x"', "['x']"), 1, "plain name"),
        (SMALL + "confirmations = 0", 4, "confirmations"),
        (SMALL + 'rpc = "http://x"', 4, "list"),
        (SMALL + 'rpc = ["file:///etc/passwd"]', 4, "rpc"),
        (SMALL + 'rpc = ["http://"]', 4, "rpc"),
        (SMALL + 'rpc = ["http://a:99999/"]', 4, "rpc"),
        (SMALL + 'rpc = ["http://a\\u0007/"]', 4, "rpc"),
        (SMALL + "rpc = [5]", 4, "rpc"),
        (SMALL + 'rpc = ["http://a", "ws://b"]\nquorum = 2', 5, "only 1 http(s)"),
        (SMALL + 'wrapped_native = "0x12"', 4, "not an address"),
        (SMALL + f'wrapped_native = "{PROVIDER.replace("AF", "aF")}"', 4, "mistyped"),
        (SMALL + 'market = "core"', 4, "list of"),
        (SMALL + "market = [1]", 4, "list of"),
        (SMALL + '[[market]]\nname = "core"', 4, "protocol is missing"),
        (SMALL + '[[market]]\nprotocol = "p"\nname = "core"\nprovider = 0.5', 7, "provider"),
        (SMALL + '[[market]]\nprotocol = "p"\nname = "core"\nprovider = "0x1"', 7, "not an address"),
        (SMALL + '[[market]]\nprotocol = "p"\nname = "core"\nids = [["a"]]', 7, "list of lists"),
        (SMALL + '[[market]]\nprotocol = "p"\nname = "c"\n[[market]]\nprotocol = "p"\nname = "c"', 7, "there twice"),
        (SMALL + '[[market]]\nprotocol = "p"\nname = "c"\nprice_heartbeat = 90', 7, "price_heartbeat is not a time"),
        (SMALL + '[[market]]\nprotocol = "p"\nname = "c"\nprice_heartbeat = "0s"', 7, 'like "25h"'),
        (SMALL + '[[market]]\nprotocol = "p"\nname = "c"\nprice_heartbeat = "999d"', 7, "at most a year"),
        (SMALL + "helpers = 5", 4, "helpers is not a table"),
        (SMALL + '[helpers]\nx = "0x1"', 5, "not an address"),
        (SMALL + "chain_id = 2", 4, "written twice, first on line 2"),
        (SMALL + "oops", 4, "not valid TOML"),
        (SMALL + 'x = "\x00"', 4, "not valid TOML"),
        (SMALL + "x = " + "[" * 5000, 4, ""),
        (SMALL + "x = " + "9" * 100_000, 4, ""),
    ],
)
def test_faults_name_line_what_and_fix(text: str, line: int, words: str) -> None:
    first = errors(text)[0] if line == 1 else next(e for e in errors(text) if e.startswith(f"net.toml:{line}: "))
    assert words in first
    assert ";" in first
    assert first.isprintable()


def test_a_token_in_a_bad_url_is_not_repeated() -> None:
    (only,) = errors(SMALL + 'rpc = ["htp://host/secret-token-1234"]')
    assert "secret" not in only


def test_all_faults_at_once_in_the_order_of_the_file() -> None:
    found = errors('name = 1\nchain_id = 0\nblock_time = "x"\nquorum = -1\n')
    assert [int(text.split(":")[1]) for text in found] == [1, 2, 3, 4]


def test_bytes_that_are_no_text_and_files_without_end() -> None:
    assert "UTF-8" in errors(b'name = "x"\n\xff')[0]
    assert errors(b'name = "x"\n\xff')[0].startswith("net.toml:2:")
    assert "larger than" in errors(b"#" * (MAX_FILE_BYTES + 1))[0]
    assert errors("\ufeff" + SMALL) == ()


def test_unknown_keys_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "net.toml"
    file.write_text(SMALL + "wraped_native = 5\n")
    with caplog.at_level(logging.WARNING):
        load_network(file)
    assert f"{file}:4: wraped_native means nothing here; did you mean wrapped_native?" in caplog.text


def test_a_file_with_faults_is_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "net.toml"
    file.write_text("chain_id = 0\n")
    with pytest.raises(NetworkFault, match="chain_id is out of range"):
        load_network(file)
    with pytest.raises(FileNotFoundError):
        load_network(tmp_path / "none.toml")


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
def test_nothing_a_file_holds_raises(content: bytes) -> None:
    reading = parse_network(content, "net.toml")
    assert reading.network is not None or reading.errors


VALUES = st.recursive(
    st.sampled_from(["1", "0", "-5", "1.5", "nan", '"x"', '"0x"', f'"{PROVIDER}"', "true", "1979-05-27", '"http://a"']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
        | st.lists(inner, max_size=2).map(
            lambda parts: "{" + ", ".join(f"k{i} = {p}" for i, p in enumerate(parts)) + "}"
        )
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(["name", "chain_id", "block_time", "rpc", "quorum", "market", "swap", "helpers", "multicall3"])


@given(st.dictionaries(KEYS, VALUES))
def test_no_value_of_any_type_raises(table: dict[str, str]) -> None:
    text = "".join(f"{key} = {value}\n" for key, value in table.items())
    reading = parse_network(text.encode(), "net.toml")
    assert reading.network is not None or reading.errors


def test_the_networks_that_come_along() -> None:
    expected = {"ethereum": 1, "arbitrum": 42161, "base": 8453, "optimism": 10, "polygon": 137}
    assert {name: builtin_network(name).chain_id for name in builtin_names()} == expected
    for name in expected:
        network = builtin_network(name)
        assert network.name == name
        assert network.rpc == ()
        assert network.native_usd_feed is not None
        assert network.wrapped_native is not None
        assert network.markets[0].name == "core"


def test_chains_that_charge_for_data_name_who_tells_it() -> None:
    told = {name: builtin_network(name).l1_fee_oracle for name in builtin_names()}
    predeploy = "0x420000000000000000000000000000000000000f"
    assert told == {"arbitrum": None, "base": predeploy, "ethereum": None, "optimism": predeploy, "polygon": None}
    mistyped = parse_network(f'{SMALL}l1_fee_oracle = "0x42"\n'.encode(), "f")
    assert mistyped.network is None
    assert mistyped.errors == ("f:4: l1_fee_oracle is not an address; write 0x and 40 hex digits",)


def test_a_name_that_is_none_of_them() -> None:
    for name in ("mainnet", "../chains/base", "", "base.toml"):
        with pytest.raises(NetworkFault, match="use one of arbitrum, base"):
            builtin_network(name)


def test_a_private_relay_and_going_on_with_fewer_nodes() -> None:
    text = SMALL + 'quorum = 2\nrpc = ["http://a.example", "http://b.example"]\ndegraded = "de-risk"\n'
    network = parse_network(f'{text}[relay]\nurl = "https://relay.example/{"k3y" * 9}"\n'.encode(), "f").network
    assert network is not None
    assert network.degraded == "de-risk"
    assert network.relay is not None
    assert network.relay.public_after == 3
    assert "k3y" not in repr(network)
    longer = parse_network(f'{SMALL}[relay]\nurl = "https://relay.example"\npublic_after = 9\n'.encode(), "f").network
    assert longer is not None
    assert longer.relay is not None
    assert (longer.relay.public_after, longer.degraded) == (9, "")


def test_a_budget_of_requests() -> None:
    for text, budget in ((SMALL, None), (f"{SMALL}rpc_budget = 20\n", 20)):
        network = parse_network(text.encode(), "f").network
        assert network is not None
        assert network.rpc_budget == budget


def test_how_far_a_block_may_be_from_the_clock() -> None:
    for chain_id, block_time, extra, late_after in (
        (1, 12.0, "", 60.0),
        (1, 20.0, "", 100.0),
        (42161, 0.25, "", 60.0),
        (31337, 2.0, "", None),
        (1337, 2.0, "", None),
        (31337, 2.0, 'max_lag = "90s"', 90.0),
        (1, 12.0, 'max_lag = "2h"', 7200.0),
    ):
        text = f'name = "a"\nchain_id = {chain_id}\nblock_time = {block_time}\n{extra}\n'
        reading = parse_network(text.encode(), "f")
        assert reading.network is not None, reading.errors
        assert reading.network.late_after == late_after
    (error,) = parse_network(f"{SMALL}max_lag = 60\n".encode(), "f").errors
    assert error.startswith("f:4: max_lag is not a time of at most a year")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("rpc_budget = 0", "f:4: rpc_budget is out of range or not a whole number; write a number from 1 to 100000"),
        ('rpc_budget = "many"', "f:4: rpc_budget is out of range"),
        ('degraded = "de-risk"', "f:4: degraded lowers a quorum, and there is none"),
        ('degraded = "yes"', "f:4: degraded is not a way to go on"),
        ("degraded = true", "f:4: degraded is not a way to go on"),
        ("relay = 5", "f:4: relay is not a table"),
        ('[relay]\nurl = "wss://relay.example"', "f:5: url is not an http or https URL"),
        ('[relay]\nurl = "https://relay.example"\npublic_after = 0', "f:6: public_after is out of range"),
        ("[relay]\npublic_after = 3", "f:4: url is missing"),
    ],
)
def test_a_relay_or_degraded_mode_that_cannot_be_used(extra: str, message: str) -> None:
    (error,) = parse_network((SMALL + extra).encode(), "f").errors
    assert error.startswith(message)


def test_aggregators_stand_apart_from_the_exchanges() -> None:
    reading = parse_network(AGGREGATED.encode(), "net.toml")
    assert (reading.errors, reading.warnings) == ((), ())
    network = reading.network
    assert network is not None
    assert [one.kind for one in network.swaps] == ["uniswap-v3"]
    first, second = network.aggregators
    pinned = PROVIDER.lower()
    assert (first.kind, first.router, first.registry, first.key_file) == ("0x", pinned, pinned, "~/keys/0x")
    assert (first.spender, first.timeout) == (None, 2.0)
    assert (second.kind, second.router, second.registry, second.key_file) == ("1inch", pinned, None, None)
    assert second.timeout == 1.5
    assert "secret-token" not in repr(network)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("timeout = 2", "timeout = 3.5", 16, "is not a time that a defence may wait; write seconds from 0.1 to 3"),
        ("timeout = 2", "timeout = 0", 16, "from 0.1 to 3"),
        ("timeout = 2", "timeout = nan", 16, "from 0.1 to 3"),
        ("timeout = 2", "timeout = true", 16, "from 0.1 to 3"),
        ("https://service", "http://service", 12, "would send the key for everybody to read; use https"),
        ("https://service", "ftp://service", 12, "URL that cannot be used"),
        ("secret-token-1234", "x?token=secret-token-1234", 12, "without ? and #"),
        ('key_file = "~/keys/0x"', 'key_file = "keys/0x"', 15, "is not the whole path of a file"),
        ('key_file = "~/keys/0x"', "key_file = 7", 15, "is not the whole path of a file"),
        (f'registry = "{PROVIDER}"\n', "", 10, "registry is missing; add registry = ..."),
        (f'registry = "{PROVIDER}"', 'registry = "here"', 14, "registry is not an address"),
        (f'registry = "{PROVIDER}"', 'spender = "0x12"', 14, "is not an address"),
        ('kind = "1inch"', 'kind = "0x"', 18, 'swap "0x" is there twice; keep one of the two'),
        (f'router02 = "{PROVIDER}"\n', "", 9, "has no exchange to fall back on; add a [[swap]] table of kind"),
    ],
)  # fmt: skip
def test_an_aggregator_that_cannot_be_used_is_told_with_its_line(old: str, new: str, line: int, said: str) -> None:
    found = errors(AGGREGATED.replace(old, new, 1))
    assert any(fault.startswith(f"net.toml:{line}: ") and said in fault for fault in found), found
    assert "secret-token" not in "\n".join(found)


def test_a_key_of_another_kind_means_nothing_there() -> None:
    reading = parse_network(f'{AGGREGATED}registry = "{PROVIDER}"\n'.encode(), "net.toml")
    assert reading.network is not None
    assert reading.network.aggregators[1].registry is None
    assert "registry means nothing here" in reading.warnings[0]
