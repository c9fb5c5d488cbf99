"""What a node may send back, and that nothing of it gets through but a whole, well-formed answer."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.http import answer, bad_server
from tui.chain import hexes
from tui.chain.hexes import Malformed
from tui.chain.rpc import Request, RpcClient, RpcError, RpcUnreachable
from tui.model.masking import mask_url, scrub, secrets_in

TOKEN = "q7Zk29sLmXw83VbTjc0R"
ASK = [Request("a", (1,)), Request("b"), Request("c")]


def body(raw: bytes, status: int = 200, **headers: str) -> Callable[[Any], tuple[int, dict[str, str], bytes]]:
    return lambda _: (status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


async def fails(reply: Callable[[Any], Any], kind: str, **options: Any) -> RpcUnreachable:
    async with bad_server(reply) as server:
        client = RpcClient(f"{server.url}v2/{TOKEN}?key={TOKEN}x", **options)
        try:
            with pytest.raises(RpcUnreachable) as caught:
                await client.batch(ASK)
        finally:
            await client.aclose()
    assert caught.value.kind == kind
    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(caught.value) + repr(client)
    return caught.value


async def test_ids_in_any_order_find_their_requests() -> None:
    def backwards(request: Any) -> tuple[int, dict[str, str], bytes]:
        items = [{"jsonrpc": "2.0", "id": one["id"], "result": one["method"]} for one in reversed(request)]
        return 200, {}, orjson.dumps(items)

    async with bad_server(backwards) as server:
        client = RpcClient(server.url)
        assert await client.batch(ASK) == ["a", "b", "c"]
        assert client.stats.round_trips == 1
        await client.aclose()


async def test_one_error_stays_in_its_place() -> None:
    def partly(request: Any) -> tuple[int, dict[str, str], bytes]:
        items = [{"jsonrpc": "2.0", "id": one["id"], "result": "0x1"} for one in request]
        items[1] = {"jsonrpc": "2.0", "id": request[1]["id"], "error": {"code": 3, "message": "no", "data": "0xaa"}}
        return 200, {}, orjson.dumps(items)

    async with bad_server(partly) as server:
        client = RpcClient(server.url)
        first, second, third = await client.batch(ASK)
        await client.aclose()
    assert (first, third) == ("0x1", "0x1")
    assert isinstance(second, RpcError)
    assert (second.code, second.message, second.data) == (3, "no", "0xaa")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda items: items[:-1],
        lambda items: [*items, items[0]],
        lambda items: [*items[:-1], items[0]],
        lambda items: [*items[:-1], {"jsonrpc": "2.0", "id": 10**6, "result": 1}],
        lambda items: [*items[:-1], {"jsonrpc": "2.0", "id": str(items[-1]["id"]), "result": 1}],
        lambda items: [*items[:-1], {"jsonrpc": "2.0", "id": float(items[-1]["id"]), "result": 1}],
        lambda items: [*items[:-1], {"jsonrpc": "2.0", "id": True, "result": 1}],
        lambda items: [*items[:-1], {"jsonrpc": "2.0", "id": items[-1]["id"]}],
        lambda items: [*items[:-1], {"jsonrpc": "2.0", "id": items[-1]["id"], "error": "x"}],
        lambda items: [*items[:-1], None],
        lambda items: items[0],
        lambda items: "text",
        lambda items: 5,
        lambda items: None,
    ],
)
async def test_a_batch_that_is_not_whole_is_refused_whole(spoil: Callable[[Any], Any]) -> None:
    def reply(request: Any) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, orjson.dumps(spoil(orjson.loads(answer(request, "0x1")[2])))

    await fails(reply, "malformed")


async def test_json_cut_short() -> None:
    await fails(lambda request: (200, {}, answer(request, "0x" + "ab" * 500)[2][:-3]), "malformed")


async def test_a_connection_cut_in_the_answer() -> None:
    await fails(lambda request: (200, {}, [answer(request, "0x1")[2][:20]]), "connect")


async def test_a_connection_closed_before_the_answer_is_tried_once_more() -> None:
    closes = [True, False, False]

    def reply(request: Any) -> Any:
        return "close" if closes.pop(0) else answer(request, "0x1")

    async with bad_server(reply) as server:
        client = RpcClient(server.url)
        assert await client.call("m") == "0x1"
        assert client.stats.round_trips == 1
        closes[:] = [True, True]
        with pytest.raises(RpcUnreachable) as caught:
            await client.call("m")
        assert caught.value.kind == "connect"
        assert closes == []
        await client.aclose()


async def test_deep_nesting() -> None:
    await fails(body(b"[" * 100_000 + b"]" * 100_000), "malformed")


async def test_a_giant_is_cut_off_while_it_comes() -> None:
    sent: list[int] = []

    def giant(_: Any) -> tuple[int, dict[str, str], Any]:
        def pieces() -> Any:
            for _ in range(1600):
                sent.append(1)
                yield b" " * 65536

        return 200, {}, pieces()

    await fails(giant, "oversized", max_answer_bytes=1_000_000)
    assert len(sent) < 400


async def test_a_small_answer_that_unpacks_to_a_giant() -> None:
    await fails(
        body(gzip.compress(b" " * 30_000_000), content_encoding="gzip"), "oversized", max_answer_bytes=1_000_000
    )


async def test_a_node_that_never_answers() -> None:
    async with bad_server(lambda _: None) as server:
        client = RpcClient(server.url, timeout=0.05)
        with pytest.raises(RpcUnreachable) as caught:
            await client.call("eth_chainId")
        await client.aclose()
    assert caught.value.kind == "timeout"


async def test_http_refusals_are_told_apart() -> None:
    limited = await fails(body(b"slow down", 429, retry_after="7"), "rate-limited")
    assert limited.retry_after == 7
    assert (await fails(body(b"", 429, retry_after="99999999"), "rate-limited")).retry_after == 30
    assert (await fails(body(b"", 429, retry_after="soon"), "rate-limited")).retry_after is None
    await fails(body(b"", 402), "payment")
    await fails(body(b"", 503), "server-error")
    await fails(body(b"", 403), "refused")
    await fails(body(b"", 301, location="http://127.0.0.1:9/"), "refused")
    await fails(body(b"", 413), "too-large")


async def test_a_rate_limit_in_json_is_one_too() -> None:
    def reply(request: Any) -> tuple[int, dict[str, str], bytes]:
        error = {"code": -32005, "message": f"too many requests for {TOKEN}"}
        return 200, {}, orjson.dumps([{"jsonrpc": "2.0", "id": one["id"], "error": error} for one in request])

    await fails(reply, "rate-limited")


async def test_a_node_without_batches_is_asked_one_by_one() -> None:
    def reply(request: Any) -> tuple[int, dict[str, str], bytes]:
        if isinstance(request, list):
            return 200, {}, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no batches"}}'
        return answer(request, request["method"])

    async with bad_server(reply) as server:
        client = RpcClient(server.url)
        assert await client.batch(ASK) == ["a", "b", "c"]
        assert await client.batch(ASK) == ["a", "b", "c"]
        await client.aclose()
    assert sum(isinstance(request, list) for request in server.requests) == 1


async def test_more_than_a_batch_goes_out_in_parts() -> None:
    async with bad_server(lambda request: answer(request, "0x1")) as server:
        client = RpcClient(server.url)
        assert await client.batch([Request("m")] * 250) == ["0x1"] * 250
        await client.aclose()
    assert sorted(len(request) for request in server.requests) == [50, 100, 100]


async def test_an_error_in_words_survives_an_http_error() -> None:
    def reply(request: Any) -> tuple[int, dict[str, str], bytes]:
        error = {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32000, "message": f"bad \x1b[31m{TOKEN}"}}
        return 400, {}, orjson.dumps(error)

    async with bad_server(reply) as server:
        client = RpcClient(f"{server.url}{TOKEN}")
        with pytest.raises(RpcError) as caught:
            await client.call("m")
        await client.aclose()
    assert TOKEN not in caught.value.message
    assert "\x1b" not in caught.value.message


async def test_no_url_in_the_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with bad_server(lambda request: answer(request, "0x1")) as server:
        client = RpcClient(f"{server.url}{TOKEN}")
        await client.call("m")
        await client.aclose()
    assert TOKEN not in caplog.text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["id", "result", "error", "code", "message", "data"]), inner, max_size=4
                )
            ),
            max_leaves=12,
        ).map(orjson.dumps),
    )
)
def test_any_body_gives_an_answer_or_a_declared_error(raw: bytes) -> None:
    client = RpcClient("http://127.0.0.1:9")
    with suppress(orjson.JSONDecodeError, RpcUnreachable):
        answers = client._match(orjson.loads(raw), 1, 2)
        assert len(answers) == 2


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://eth.example.org/v2/q7Zk29sLmXw83VbTjc0R", "https://eth.example.org/v2/***"),
        ("https://user:pa55word@node.example.org:8545/", "https://***@node.example.org:8545/"),
        ("https://node.example.org/rpc?apikey=q7Zk29", "https://node.example.org/rpc?***"),
        ("https://q7Zk29sLmXw83VbTjc0R.example.org/rpc", "https://***.example.org/rpc"),
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("http://[::1]:8545/", "http://[::1]:8545/"),
        ("https://mainnet.example.org/eth/v3/0123456789abcdef", "https://mainnet.example.org/eth/v3/***"),
        ("https://[broken", "***"),
    ],
)
def test_masked(url: str, shown: str) -> None:
    assert mask_url(url) == shown


@given(
    st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), min_size=12, max_size=40), st.integers(0, 4)
)
def test_no_token_survives_masking_or_scrubbing(secret: str, place: int) -> None:
    token = f"{secret}X9"
    url = (
        f"https://example.org/v2/{token}",
        f"https://example.org/?key={token}",
        f"https://{token}:x@example.org/",
        f"https://me:{token}@example.org/",
        f"https://example.org/{token}/rpc",
    )[place]
    assert token not in mask_url(url)
    assert token.lower() not in scrub(f"bad key {token} / {token.lower()}", secrets_in(url)).lower()


def test_only_http_is_asked() -> None:
    for url in ("ftp://example.org", "file:///etc/passwd", "ws://example.org", "example.org"):
        with pytest.raises(ValueError, match="not an http"):
            RpcClient(url)


@given(st.one_of(st.none(), st.integers(), st.text(max_size=80), st.lists(st.none())))
def test_hex_readers_raise_nothing_but_malformed(value: object) -> None:
    for read in (hexes.quantity, hexes.data, hexes.hash32, hexes.address):
        try:
            read(value)
        except Malformed:
            continue
        assert str(value).startswith("0x")
