"""What is fuzzed: each reader of foreign input, fed bytes, gives back everything that a person might be shown.

A reader may refuse in the one way it says it does; any other exception is a defect, and so is an escape code.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from tests.quotes.test_foreign_calls import ORDER, REGISTRY, ROUTER, one_inch, zero_x
from tests.support import views
from tests.vault.conftest import write_key_file
from tui.aggregators.answers import service_of
from tui.chain.batch import BadBatchAnswer, unpack
from tui.chain.reverts import revert_reason
from tui.chain.wallets import decode_wallets
from tui.config.networks import parse_network
from tui.config.settings import SettingsFault, load_settings
from tui.model.block import BlockRef
from tui.model.calls import CallResult
from tui.model.network import AggregatorConfig, MarketConfig
from tui.model.rule import RuleFault
from tui.model.view import ActivityEntry, Severity
from tui.model.wallet import WalletQuery
from tui.ports.aggregator import NoOffer
from tui.protocols import erc20
from tui.protocols.aave_v3.configured import make_market
from tui.rules.edit import EditRefused, set_field
from tui.rules.load import parse_rules
from tui.rules.template import TEMPLATE
from tui.screen.draw.activity import activity_lines
from tui.screen.draw.detail import detail_lines
from tui.screen.draw.positions import positions_lines
from tui.screen.draw.rules import rules_lines
from tui.screen.draw.status import Local, status_lines
from tui.screen.form import read_rules
from tui.screen.keymap import parse_keymap
from tui.screen.themes import parse_theme
from tui.vault import protocol
from tui.vault.errors import KeystoreError, printable
from tui.vault.keystore import parse_keystore
from tui.vault.ledger import _read_line
from tui.vault.service import Service

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "0x" + "a1" * 20
KEY = bytes.fromhex("8f2a" * 16)

RULES = b"""\
[[rule]]
name = "guard"
position = "aave-v3/core"
mode = "auto"
when = { health_factor_below = "1.25", for_blocks = 2 }
target = { health_factor = "1.50" }

[[rule.step]]
action = "repay"
asset = "USDC"
max = "5000"

[rule.limits]
max_cost_usd = "200"
max_cost_share = "25%"
cooldown = "5m"
"""
NETWORK = b"""\
name = "practice"
chain_id = 31337
block_time = 2.0
confirmations = 2
rpc = ["http://127.0.0.1:8545/v2/secret-token-1234"]
quorum = 1
native_usd_feed = "0x5f4ec3df9cbd43714fe2740f5e3616155c5b8419"

[[market]]
protocol = "aave-v3"
name = "core"
pool_addresses_provider = "0x2f39d218133afab8f2b819b1066c7e434ad94e9e"

[helpers]
deleverage = "0x2f39d218133afab8f2b819b1066c7e434ad94e9e"
"""
SETTINGS = b'network = "base"\ntheme = "keel"\nrpc = ["https://x.example/secret-token-1234"]\naddresses = ["0x12"]\n'
KEYMAP = b'kill = "ctrl+k"\nleave = "q,ctrl+l"\narm = "a"\ntheme = "f5"\n'


@dataclass(frozen=True, slots=True)
class Target:
    """A reader: its seeds, words that mean something to it, and how to call it."""

    name: str
    seeds: Sequence[bytes]
    words: Sequence[bytes]
    run: Callable[[bytes], str]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def rules(data: bytes) -> str:
    found = parse_rules(data, "rules.toml")
    said = [str(fault) for fault in found.faults] + [f"{rule.name} {rule.position}" for rule in found.rules]
    with contextlib.suppress(ValueError):
        read_rules(_text(data))
    with contextlib.suppress(EditRefused):
        set_field(_text(data), "guard", "mode", "notify")
    return "\n".join(said)


def network(data: bytes) -> str:
    found = parse_network(data, "network.toml")
    assert found.network is not None or found.errors
    said = "\n".join((*found.errors, *found.warnings))
    assert "secret-token" not in said
    return said


def settings(data: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "settings.toml").write_bytes(data)
        try:
            load_settings(Path(folder))
        except SettingsFault as fault:
            said = str(fault)
        else:
            said = ""
    assert "secret-token" not in said
    return said


def keymap(data: bytes) -> str:
    return "\n".join(parse_keymap(_text(data), "keymap.toml")[1])


def theme(data: bytes) -> str:
    try:
        return parse_theme(_text(data), "theme.toml").title
    except ValueError as error:
        return str(error)


def keystore(data: bytes) -> str:
    try:
        parse_keystore(data, Path("key.json"))
    except KeystoreError as error:
        return str(error)
    return ""


_SERVICES: list[tuple[tempfile.TemporaryDirectory[str], Service]] = []


def signer(data: bytes) -> str:
    if not _SERVICES:
        folder = tempfile.TemporaryDirectory()
        _SERVICES.append((folder, Service(Path(folder.name) / "state")))
    with contextlib.suppress(protocol.ProtocolError, ValueError):
        _read_line(data)
    try:
        message = protocol.decode_body(data)
    except protocol.ProtocolError as error:
        return str(error)
    reply = _SERVICES[0][1].handle(message)
    assert reply.get("error") != "internal", reply
    protocol.encode_frame(reply)
    return printable(reply.get("reason", ""))  # as the other end of the pipe does


def lens(data: bytes) -> str:
    """Through the adapter, to the figures of a position."""
    market = make_market(
        MarketConfig("aave-v3", "core", {"pool_addresses_provider": "0x2f39d218133afab8f2b819b1066c7e434ad94e9e"})
    )
    block = BlockRef(20, "0x" + "11" * 32, "0x" + "10" * 32, 1_700_000_000, 10**9)
    reading = market.decode(block, [ACCOUNT], [CallResult(data)])
    said = [reading.error or "", reading.version, *(asset.symbol for asset in reading.assets)]
    for position in reading.positions:
        said += [position.unknown or "", *position.notes]
        assert position.unknown is not None or position.status
    return "\n".join(said)


def abi(data: bytes) -> str:
    said = [erc20.decode_text(data) or "", revert_reason(data)]
    results = [CallResult(data[at * 7 :]) for at in range(5)]
    erc20.decode_permit(results, ACCOUNT, 1)
    erc20.decode_decimals(data)
    with contextlib.suppress(BadBatchAnswer):
        unpack(data, 3)
    query = WalletQuery(ACCOUNT, (views.WETH, views.USDC), (ACCOUNT,))
    many = [CallResult(data[at:]) for at in range(40)]
    said += [wallet.account for wallet in decode_wallets([query], many, [1], 1)]
    return "\n".join(said)


def offers(data: bytes) -> str:
    """The answer of an aggregator: whatever is taken of it does what was ordered, and nothing else."""
    said = []
    for kind in ("0x", "1inch"):
        service = service_of(AggregatorConfig(kind, "https://x.example", ROUTER, registry=REGISTRY), 1)
        try:
            answer = service.read(data, ORDER)
        except NoOffer as none:
            said.append(str(none))
            continue
        call = answer.call
        assert (call.to, call.spender, call.amount_in) == (ROUTER, ROUTER, ORDER.amount_in)
        assert (call.least_out, answer.order) == (ORDER.least_out, ORDER)
        assert answer.out >= ORDER.least_out
        assert ORDER.least_out.to_bytes(32, "big") in call.data
        said.append(call.venue)
    return "\n".join(said)


def screen(data: bytes) -> str:
    """A symbol as the chain gave it, and the same unclean everywhere a text can stand on the screen."""
    told = erc20.decode_text(data) or "?"
    drawn = []
    for evil in (told, _text(data)):
        view = views.armed()
        position = replace(views.leveraged(symbol=evil), notes=(evil,), native=MappingProxyType({evil[:64]: evil}))
        first = replace(view.positions[0], position=position, label=evil, rule=evil)
        rule = replace(view.rules[0], rule=replace(view.rules[0].rule, name=evil), detail=evil)
        view = replace(
            view,
            positions=(first, *view.positions[1:]),
            rules=(rule,),
            rule_faults=(RuleFault("rules.toml", 3, evil, evil),),
            activity=(ActivityEntry(1, views.NOW, 1, Severity.ALARM, evil),),
            would_stop=(evil,),
            protection_why=evil,
            chain=replace(view.chain, network=evil, blind=evil),
        )
        for width in (40, 120):
            rows = [
                *positions_lines(view, width, None),
                *detail_lines(view, first, width),
                *rules_lines(view, width, None, views.NOW),
                *activity_lines(view, width, None),
                *status_lines(view, Local(views.NOW, True, evil, False), width),
            ]
            assert len(rows) < 2_000
            drawn += [row.text for row in rows]
    return "\n".join(drawn)


def lens_seed() -> bytes:
    """One account with 10 of one asset supplied and 18,000 of another owed, as the lens would answer."""
    ray = 10**27

    def configuration(decimals: int) -> int:
        return 8000 | 8300 << 16 | 10500 << 32 | decimals << 48 | 1 << 56 | 1 << 58

    def reserve(number: int, decimals: int, price: int, symbol: bytes) -> list[int]:
        return [
            0, 0x1000 + number, configuration(decimals), ray, 0, ray, 0, 1_700_000_000 | number << 64, 0x2000 + number,
            0x3000 + number, 0x4000 + number, 0, price, 0x5000 + number, 1_699_999_000, 10**24, 10**20, decimals,
            int.from_bytes(symbol.ljust(32, b"\0"), "big"), len(symbol),
        ]  # fmt: skip

    account = [0, int(ACCOUNT, 16), 0b1001, 0, 3_000_000_000_000, 1_800_000_000_000, 0, 8300, 8000, 1383333333333333333]
    words = [1, 1_700_000_000, 20, 0x6000, 0x7000, 3, 10**8, 0, 1, 2, 1, 1, 0]
    words += reserve(0, 18, 3_000 * 10**8, b"WETH") + reserve(1, 6, 10**8, b"USDC")
    words += [*account, 2, 0, 10 * 10**18, 0, 0, 1, 0, 18_000 * 10**6, 0]
    words += [0, 1, 9000, 9300, 10100, 0, 0, 1, 1, 0, 0, int.from_bytes(b"ETH".ljust(32, b"\0"), "big"), 3]
    return b"".join(word.to_bytes(32, "big") for word in (32, len(words), *words))


def abi_text(text: bytes) -> bytes:
    padded = text.ljust((len(text) + 31) // 32 * 32, b"\0")
    return (32).to_bytes(32, "big") + len(text).to_bytes(32, "big") + padded


def offer_seeds() -> list[bytes]:
    """A good answer of each aggregator, as their services word it."""
    call = {"from": ORDER.account, "to": ROUTER, "value": "0", "gas": 0, "data": "0x" + one_inch().hex()}
    told = {
        "liquidityAvailable": True, "sellToken": ORDER.sold.address, "buyToken": ORDER.bought.address,
        "sellAmount": str(ORDER.amount_in), "buyAmount": str(ORDER.least_out), "allowanceTarget": ROUTER,
        "transaction": {**call, "data": "0x" + zero_x().hex()},
    }  # fmt: skip
    return [json.dumps(told).encode(), json.dumps({"dstAmount": str(ORDER.least_out), "tx": call}).encode()]


def signer_seeds() -> list[bytes]:
    request = {
        "intent_id": "i", "chain_id": 1, "account": ACCOUNT, "nonce": 0, "to": ACCOUNT, "value": 0, "data": "0x01",
        "gas": 21000, "max_fee_per_gas": 1, "max_priority_fee_per_gas": 1,
    }  # fmt: skip
    policy = {
        "chain_id": 1, "account": ACCOUNT, "calls": [{"to": ACCOUNT, "selector": "0x573ade81", "rules": []}],
        "permits": [], "daily_caps": [], "max_fee_per_gas": 1, "max_gas": 1, "max_fee_wei": 1,
        "max_daily_fee_wei": 1, "expires_at": 2**40, "max_value": 0,
    }  # fmt: skip
    entry = {
        "time": 1, "chain_id": 1, "account": ACCOUNT, "nonce": 0, "intent_id": "i", "meaning": "0x00",
        "cancel": False, "fee_added": 0, "spends": [{"token": ACCOUNT, "amount": 1}],
    }  # fmt: skip
    messages: list[dict[str, object]] = [
        {"id": 1, "op": "status"},
        {"id": 2, "op": "lock"},
        {"id": 3, "op": "unlock", "path": "/nowhere/key.json", "password": "x"},
        {"id": 4, "op": "set_policy", "policy": policy},
        {"id": 5, "op": "sign_transaction", "request": request},
        entry,
    ]
    return [json.dumps(message).encode() for message in messages]


def keystore_seed() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_key_file(Path(folder) / "k" / "key.json", KEY, "seven green bottles", cost=1).read_bytes()


def targets() -> tuple[Target, ...]:
    """All of them but the answers of a node, which come over a real connection."""
    themes = [path.read_bytes() for path in sorted((ROOT / "themes").glob("*.toml"))]
    texts = [abi_text(b"USDC"), abi_text("ETH ★".encode()), b"MKR".ljust(32, b"\0"), bytes.fromhex("08c379a0")]
    texts += [bytes.fromhex("08c379a0") + abi_text(b"too little"), bytes.fromhex("4e487b71") + (17).to_bytes(32, "big")]
    return (
        Target("rules TOML", [RULES, TEMPLATE.encode()], [b"[[rule]]", b"[rule.limits]", b'"repay"', b"= "], rules),
        Target("network TOML", [NETWORK], [b"[[market]]", b"[[swap]]", b"rpc = [", b'"https://'], network),
        Target("settings TOML", [SETTINGS], [b"rpc = [", b"= "], settings),
        Target("keymap TOML", [KEYMAP], [b"ctrl+", b"= ", b"f12"], keymap),
        Target("theme TOML", themes, [b"[roles]", b"#ffffff", b"bold "], theme),
        Target("keystore files", [keystore_seed()], [b'"kdf"', b'"n":', b"scrypt"], keystore),
        Target("signer messages", signer_seeds(), [b'"op":', b'"id":', b'"calls":'], signer),
        Target("lens answers", [lens_seed()], [], lens),
        Target("offers of aggregators", offer_seeds(), [b'"data":"0x', b"0000", b'"to":', b'"0"'], offers),
        Target("ABI answers", texts, [], abi),
        Target("symbols on the screen", texts, [], screen),
    )
