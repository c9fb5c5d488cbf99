"""What a node may do with HTTP itself, on real sockets: every oddity is that node's fault and ends nothing else."""

from __future__ import annotations

import gzip
import resource
import zlib
from collections.abc import AsyncIterator

import pytest

from tests.support.clock import FakeClock
from tests.support.proxy import Proxy, coded, proxies
from tui.chain.client import ChainClient, open_chain
from tui.chain.rpc import MAX_RETRY_AFTER, RpcClient, RpcError, RpcUnreachable
from tui.model.network import Network
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.practice.node import Node

FAR = b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
EMPTY = b"content-length: 0\r\n\r\n"


def status(line: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 " + line, *headers, EMPTY))


HOSTILE = {
    "a date beyond all calendars": status(b"503 X", b"retry-after: " + FAR),
    "not a number": status(b"429 X", b"retry-after: nan"),
    "infinite patience": status(b"429 X", b"retry-after: inf"),
    "patience of the past": status(b"503 X", b"retry-after: -1e308"),
    "more patience than a float has": status(b"503 X", b"retry-after: " + b"9" * 5000),
    "another script": status(b"402 X", "retry-after: \u0663\u0663".encode()),
    "a header that is no text": status(b"429 X", b"retry-after: \xff\xfe\xe2\x80\xae"),
    "retry-after twice": status(b"429 X", b"retry-after: 1", b"retry-after: " + FAR),
    "no status": status(b"000 X"),
    "an unknown status": status(b"999 X"),
    "another protocol": status(b"101 Switching", b"upgrade: x"),
    "an endless greeting": b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
    "no HTTP": b"garbage\r\n\r\n",
    "a redirect to nowhere": status(b"302 X", b"location: http://[::1"),
    "a redirect to a strange name": status(b"307 X", b"location: http://xn--a/"),
    "a charset of its own": status(b"200 X", b"content-type: application/json; charset=nonsense"),
    "cookies for ever": status(b"200 X", b"set-cookie: a=b; expires=" + FAR),
    "gzip that is none": b"HTTP/1.1 200 X\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nabcde",
    "a coding nobody asked for": b"HTTP/1.1 200 X\r\ncontent-encoding: br\r\ncontent-length: 3\r\n\r\nabc",
    "codings without end": b"HTTP/1.1 200 X\r\ncontent-encoding: " + b",".join([b"gzip"] * 2000) + b"\r\n" + EMPTY,
    "chunks of no size": b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\n",
    "chunks of a negative size": b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nabcde\r\n",
    "a length that is no number": b"HTTP/1.1 200 X\r\ncontent-length: ten\r\n\r\n0123456789",
    "two lengths": b"HTTP/1.1 200 X\r\ncontent-length: 2\r\ncontent-length: 9\r\n\r\n{}",
    "a megabyte of headers": b"HTTP/1.1 200 X\r\n" + b"a: " + b"b" * (1 << 20) + b"\r\n" + EMPTY,
    "ids of a thousand digits": status(b"200 X")[: -len(EMPTY)]
    + b"content-length: 1043\r\n\r\n"
    + b'{"jsonrpc":"2.0","result":"0x1","id":' + b"9" * 1000 + b"      ",
}  # fmt: skip


@pytest.fixture
async def proxy(node: Node) -> AsyncIterator[Proxy]:
    async with proxies(node.url) as (made,):
        yield made


@pytest.fixture
async def behind(proxy: Proxy, network: Network) -> AsyncIterator[ChainClient]:
    clock = FakeClock()
    client = open_chain(Network("bare", network.chain_id, 2.0, 2, (proxy.url,)), clock)
    yield client
    await client.aclose()


async def outcome(url: str, **options: float) -> RpcUnreachable:
    client = RpcClient(url, **options)  # type: ignore[arg-type]
    try:
        with pytest.raises(RpcUnreachable) as caught:
            await client.call("eth_chainId")
    finally:
        await client.aclose()
    assert all(char.isprintable() for char in str(caught.value))
    wait = caught.value.retry_after
    assert wait is None or 0 <= wait <= MAX_RETRY_AFTER
    return caught.value


@pytest.mark.parametrize("oddity", list(HOSTILE))
async def test_an_odd_answer_is_its_nodes_fault(proxy: Proxy, oddity: str) -> None:
    proxy.raw(HOSTILE[oddity])
    await outcome(proxy.url, timeout=5)


@pytest.mark.parametrize("oddity", list(HOSTILE))
async def test_every_part_of_the_chain_goes_on_after_it(
    proxy: Proxy, behind: ChainClient, node: Node, oddity: str
) -> None:
    fault = proxy.raw(HOSTILE[oddity])
    assert await behind.heads.poll() is None
    (told,) = await behind.broadcaster.send(b"\x02" + b"\x01" * 100, "0x" + "11" * 32)
    assert told.kind == "no-answer"
    with pytest.raises((ChainUnreachable, ReadFailed)):
        await behind.broadcaster.receipt("0x" + "11" * 32)
    assert fault.hits
    proxy.heal()
    clock = behind.pool.clock
    assert isinstance(clock, FakeClock)
    clock.advance(MAX_RETRY_AFTER)
    node.rpc.call("evm_mine")
    assert await behind.heads.poll() is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999/",
        "http://a..b/",
        "http://" + "a" * 300 + "/",
        "http://xn--a/",
        "http://exa mple/",
        "http://127.0.0.1:0/",
        "http://\u202e.com/",
        "http://127.0.0.1:1/\x00",
    ],
)
async def test_a_url_that_leads_nowhere_is_said_not_raised(url: str, network: Network) -> None:
    await outcome(url, timeout=5)
    client = open_chain(Network("bare", network.chain_id, 2.0, 2, (url,)), FakeClock())
    try:
        assert await client.heads.poll() is None
        with pytest.raises((ChainUnreachable, ReadFailed)):
            await client.reader.block_by_number(0)
        (told,) = await client.broadcaster.send(b"\x02", "0x" + "11" * 32)
        assert told.kind == "no-answer"
    finally:
        await client.aclose()


@pytest.mark.parametrize("wait", ["0", "7", "29.5", "86400", "999999999999"])
async def test_patience_is_granted_up_to_a_bound(proxy: Proxy, wait: str) -> None:
    proxy.http(503, retry_after=wait)
    error = await outcome(proxy.url)
    assert error.kind == "server-error"
    assert error.retry_after == min(float(wait), MAX_RETRY_AFTER)


def bomb(layers: int, megabytes: int = 1024) -> bytes:
    """A gigabyte of blanks as gzip, then as often again as wanted: a few kilobytes. Only its very end is missing."""
    squeezing = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = squeezing.compress(b"") + squeezing.flush(zlib.Z_FULL_FLUSH)
    one = squeezing.compress(b" " * (1 << 20)) + squeezing.flush(zlib.Z_FULL_FLUSH)
    found = head + one * megabytes
    for _ in range(layers - 1):
        found = gzip.compress(found)
    return found


@pytest.mark.parametrize(("coding", "layers", "kind"), [("gzip", 1, "oversized"), ("gzip, gzip", 2, "malformed")])
async def test_a_gigabyte_in_a_few_bytes_costs_no_memory(proxy: Proxy, coding: str, layers: int, kind: str) -> None:
    body = bomb(layers)
    proxy.raw(coded(coding, lambda _: body))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (await outcome(proxy.url, timeout=20)).kind == kind
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 128, f"{grown:.0f} MiB more"


async def test_one_gzip_is_asked_for_and_read(proxy: Proxy, node: Node) -> None:
    proxy.raw(coded("gzip", gzip.compress))
    client = RpcClient(proxy.url)
    try:
        assert await client.call("eth_chainId") == node.rpc.call("eth_chainId")
    finally:
        await client.aclose()


@pytest.mark.parametrize(
    "squeeze",
    [
        lambda body: gzip.compress(body)[:-9],
        lambda body: gzip.compress(body) + b"more",
        lambda body: gzip.compress(body) * 2,
        zlib.compress,
    ],
)
async def test_gzip_that_does_not_end_where_it_says_is_refused(proxy: Proxy, squeeze: object) -> None:
    assert callable(squeeze)
    proxy.raw(coded("gzip", squeeze))
    assert (await outcome(proxy.url)).kind == "malformed"


async def test_cookies_are_not_kept(proxy: Proxy) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"result":"0x1"}'
    proxy.raw(b"HTTP/1.1 200 X\r\nset-cookie: a=b\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    client = RpcClient(proxy.url)
    try:
        await client.call("eth_chainId")
        assert not list(client._client.cookies.jar)
    finally:
        await client.aclose()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-32016, "over rate limit"),
        (-32000, "daily request count exceeded, request rate limited"),
        (-32007, "50/second request limit reached - reduce calls per second"),
        (-32003, "daily request limit reached - upgrade your account"),
        (-32090, "Too many requests, retry in 10s"),
        (-32000, "Your app has exceeded its compute units per second capacity"),
        (-32099, "monthly quota reached"),
        (-32005, "query rate too high"),
        (429, "whatever"),
    ],
)
async def test_a_limit_told_as_a_json_rpc_error(proxy: Proxy, code: int, words: str) -> None:
    proxy.refuse("eth_chainId", words, code=code)
    assert (await outcome(proxy.url)).kind == "rate-limited"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-32000, "execution reverted: daily limit exceeded"),
        (-32015, "VM execution error: revert, rate limit"),
        (-32000, "exceeds block gas limit"),
        (-32000, "replacement transaction underpriced"),
        (-32000, "tx fee (1.00 ether) exceeds the configured cap (0.00 ether)"),
        (-32000, "nonce too high"),
        (-32000, "insufficient funds for gas * price + value"),
        (-32005, "query returned more than 10000 results"),
        (3, "rate limit"),
    ],
)
async def test_other_errors_are_answers(proxy: Proxy, code: int, words: str) -> None:
    proxy.refuse("eth_chainId", words, code=code)
    client = RpcClient(proxy.url)
    try:
        with pytest.raises(RpcError) as caught:
            await client.call("eth_chainId")
    finally:
        await client.aclose()
    assert caught.value.code == code


@pytest.mark.parametrize("hidden", ["\u200b", "\u202e", "\x1b", "\x00", "\ufeff"])
async def test_a_token_that_a_node_repeats_with_something_unseen_in_it_is_not_shown(proxy: Proxy, hidden: str) -> None:
    token = "q7Zk29sLmXw83VbTjc0R"
    proxy.refuse("eth_chainId", f"no access for {token[:7]}{hidden}{token[7:]}", code=3)
    client = RpcClient(f"{proxy.url}v2/{token}")
    try:
        with pytest.raises(RpcError) as caught:
            await client.call("eth_chainId")
    finally:
        await client.aclose()
    assert token not in str(caught.value)
