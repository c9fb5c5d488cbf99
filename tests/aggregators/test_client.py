"""An aggregator over real HTTP: what is asked, what is taken, and every oddity there can be, within its time."""

from __future__ import annotations

import gzip
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from tests.quotes.test_foreign_calls import (
    ACCOUNT,
    NOBODY,
    ORDER,
    OTHER,
    REGISTRY,
    ROUTER,
    USDC,
    WETH,
    one_inch,
    zero_x,
)
from tests.support.http import Get, Reply, bad_server
from tui.aggregators.client import MAX_ANSWER_BYTES, HttpAggregator
from tui.model.network import AggregatorConfig
from tui.ports.aggregator import NoOffer

KEY = "sk-live-0123456789"
Answer = dict[str, Any]


def good(kind: str) -> Answer:
    if kind == "1inch":
        call = {"from": ACCOUNT, "to": ROUTER, "data": "0x" + one_inch().hex(), "value": "0", "gas": 0}
        return {"dstAmount": str(ORDER.least_out + 7), "tx": call}
    call = {"to": ROUTER, "data": "0x" + zero_x().hex(), "gas": "1", "value": "0"}
    return {
        "liquidityAvailable": True,
        "sellToken": WETH.address,
        "buyToken": USDC.address.upper().replace("0X", "0x"),
        "sellAmount": str(ORDER.amount_in),
        "buyAmount": str(ORDER.least_out + 7),
        "allowanceTarget": ROUTER,
        "transaction": call,
    }


def says(answer: object) -> Reply:
    return 200, {"content-type": "application/json"}, orjson.dumps(answer)


Open = Callable[..., Any]


@pytest.fixture(params=["0x", "1inch"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def asked(kind: str) -> AsyncIterator[Open]:
    """An aggregator of a server that answers what it is told to, and the requests that come."""
    async with AsyncExitStack() as stack:

        async def make(reply: Reply | Callable[[Any], Reply], **options: Any) -> tuple[HttpAggregator, list[Get]]:
            answer = reply if callable(reply) else lambda _request: reply
            server = await stack.enter_async_context(bad_server(answer))
            named = {"timeout": 2.0, "registry": REGISTRY if kind == "0x" else None, **options}
            path = named.pop("path", "v6.1")
            made = HttpAggregator(AggregatorConfig(kind, f"{server.url}{path}", ROUTER, **named), 31337, KEY)
            stack.push_async_callback(made.aclose)
            return made, server.requests

        yield make


async def refusal(made: HttpAggregator) -> NoOffer:
    with pytest.raises(NoOffer) as caught:
        await made.ask(ORDER)
    said = str(caught.value)
    assert KEY not in said
    assert said.isprintable()
    assert len(said) < 300
    return caught.value


async def test_a_good_answer_is_an_offer(kind: str, asked: Open) -> None:
    made, requests = await asked(says(good(kind)))
    answer = await made.ask(ORDER)
    assert (answer.order, answer.out, answer.call.venue) == (ORDER, ORDER.least_out + 7, kind)
    assert (answer.call.amount_in, answer.call.least_out) == (ORDER.amount_in, ORDER.least_out)
    (request,) = requests
    if kind == "0x":
        assert request.path == "/v6.1/swap/allowance-holder/quote"
        assert request.headers["0x-api-key"] == KEY
        assert request.query == {
            "chainId": "31337", "sellToken": WETH.address, "buyToken": USDC.address,
            "sellAmount": str(ORDER.amount_in), "taker": ACCOUNT, "slippageBps": "100",
        }  # fmt: skip
    else:
        assert request.path == "/v6.1/31337/swap"
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.query == {
            "src": WETH.address, "dst": USDC.address, "amount": str(ORDER.amount_in), "from": ACCOUNT,
            "origin": ACCOUNT, "receiver": ACCOUNT, "slippage": "1", "disableEstimate": "true",
            "allowPartialFill": "false", "compatibility": "true",
        }  # fmt: skip
    assert request.headers["user-agent"] == "trimtab"


def _call(answer: Answer) -> Answer:
    return answer["transaction"] if "transaction" in answer else answer["tx"]


TWISTS: dict[str, tuple[Callable[[Answer], object], str]] = {
    "another contract": (lambda it: _call(it).update(to=OTHER), "another contract called"),
    "no contract": (lambda it: _call(it).update(to=None), "to is no address"),
    "native coin": (lambda it: _call(it).update(value="1"), "native coin sent along"),
    "no value": (lambda it: _call(it).pop("value"), "value is no amount"),
    "a call that is none": (lambda it: _call(it).update(data="0xzz"), "the call is no bytes"),
    "blanks in the call": (lambda it: _call(it).update(data="0x07 ed"), "the call is no bytes"),
    "a call without end": (lambda it: _call(it).update(data="0x" + "00" * 40_000), "far too many"),
    "an approval": (lambda it: _call(it).update(data="0x095ea7b3" + "00" * 400), "0x095ea7b3, and only"),
    "no call": (lambda it: (it.pop("tx", 0), it.pop("transaction", 0)), "is no object"),
    "an amount of hex": (lambda it: it.update(dstAmount="0x10", buyAmount="0x10"), "Amount is no amount"),
    "an amount beyond all": (lambda it: it.update(dstAmount="9" * 78, buyAmount="9" * 78), "Amount is no amount"),
    "a negative amount": (lambda it: it.update(dstAmount=-5, buyAmount=-5), "Amount is no amount"),
    "an amount with a point": (lambda it: it.update(dstAmount=1.5, buyAmount=1.5), "Amount is no amount"),
    "a truth for an amount": (lambda it: it.update(dstAmount=True, buyAmount=True), "Amount is no amount"),
}


@pytest.mark.parametrize("twist", list(TWISTS))
async def test_an_answer_that_does_not_fit_is_no_offer(kind: str, asked: Open, twist: str) -> None:
    answer = good(kind)
    change, said = TWISTS[twist]
    change(answer)
    made, _ = await asked(says(answer))
    none = await refusal(made)
    assert said in str(none)
    assert none.fault


async def test_too_little_or_nobody_is_no_offer_and_no_fault(kind: str, asked: Open) -> None:
    little = str(ORDER.least_out - 1)
    made, _ = await asked(says({**good(kind), "dstAmount": little, "buyAmount": little}))
    none = await refusal(made)
    assert ("less would come out" in str(none), none.fault) == (True, False)


@pytest.mark.parametrize("kind", ["0x"], indirect=True)
async def test_a_call_that_binds_nothing_is_no_offer_and_no_fault(asked: Open) -> None:
    answer = good("0x")
    answer["transaction"]["data"] = "0x" + zero_x(bought=NOBODY, receiver=NOBODY, least=0).hex()
    made, _ = await asked(says(answer))
    none = await refusal(made)
    assert ("leaves what must come out to its actions" in str(none), none.fault) == (True, False)


@pytest.mark.parametrize("kind", ["0x"], indirect=True)
async def test_that_nobody_trades_is_no_fault(asked: Open) -> None:
    made, _ = await asked(says({"liquidityAvailable": False, "zid": "0x00"}))
    none = await refusal(made)
    assert ("nobody who would trade" in str(none), none.fault) == (True, False)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("sellToken", OTHER, "another token to sell"),
        ("buyToken", WETH.address, "another token to buy"),
        ("sellAmount", str(ORDER.amount_in + 1), "another amount"),
        ("allowanceTarget", OTHER, "an allowance for another contract"),
        ("allowanceTarget", None, "allowanceTarget is no address"),
    ],
)
@pytest.mark.parametrize("kind", ["0x"], indirect=True)
async def test_what_0x_says_beside_its_call_has_to_fit_too(asked: Open, key: str, value: object, said: str) -> None:
    made, _ = await asked(says({**good("0x"), key: value}))
    assert said in str(await refusal(made))


@pytest.mark.parametrize("kind", ["0x"], indirect=True)
async def test_what_0x_trades_may_be_less_by_its_fee(asked: Open) -> None:
    made, _ = await asked(says({**good("0x"), "sellAmount": str(ORDER.amount_in * 9_985 // 10_000)}))
    assert (await made.ask(ORDER)).call.amount_in == ORDER.amount_in


BODIES: dict[str, tuple[Reply, str]] = {
    "no JSON": ((200, {}, b"<html>"), "not JSON"),
    "nothing": ((200, {}, b""), "not JSON"),
    "a list": ((200, {}, b"[]"), "is no object"),
    "a number": ((200, {}, b"7"), "is no object"),
    "deep": ((200, {}, b"[" * 200_000), "nested too deep"),
    "huge": ((200, {}, b" " * (MAX_ANSWER_BYTES + 1)), "more than 262,144 bytes"),
    "huge when inflated": ((200, {"content-encoding": "gzip"}, gzip.compress(b" " * 50_000_000)), "more than 262,144"),
    "coded twice": ((200, {"content-encoding": "gzip, gzip"}, b"x"), "coded in a way that was not asked for"),
    "no gzip": ((200, {"content-encoding": "gzip"}, b"abcde"), "does not decompress"),
    "a redirect": ((302, {"location": "http://127.0.0.1:9/"}, b""), "points elsewhere (HTTP 302)"),
    "no key": ((401, {}, b"{}"), "does not accept the key (HTTP 401)"),
    "too often": ((429, {}, b""), "fewer requests (HTTP 429)"),
    "trouble": ((502, {}, b"<html>"), "trouble of its own (HTTP 502)"),
    "a reason": ((400, {}, b'{"description":"too\x1b[31m \xe2\x80\xae odd"}'), "refuses (HTTP 400"),
    "a reason with the key": ((400, {}, f'{{"reason":"{KEY} is odd"}}'.encode()), "refuses (HTTP 400: *** is odd)"),
    "a reason without end": ((418, {}, b'{"message":"' + b"x" * 9_999 + b'"}'), "refuses (HTTP 418: xxx"),
    "hung up": ("close", "cannot be reached"),
}


@pytest.mark.parametrize("body", list(BODIES))
async def test_an_odd_answer_is_no_offer(asked: Open, body: str) -> None:
    reply, said = BODIES[body]
    made, requests = await asked(reply)
    none = await refusal(made)
    assert said in str(none)
    assert none.fault
    assert len(requests) == 1  # neither a second try nor the place that a redirect names


async def test_silence_ends_with_its_time(asked: Open) -> None:
    made, _ = await asked(lambda _request: None, timeout=0.3)
    began = time.monotonic()
    assert "did not answer within 0.3 s" in str(await refusal(made))
    assert time.monotonic() - began < 5


async def test_nobody_there_is_no_offer(kind: str) -> None:
    made = HttpAggregator(AggregatorConfig(kind, "http://127.0.0.1:9", ROUTER), 1, KEY)
    assert "cannot be reached" in str(await refusal(made))
    await made.aclose()


async def test_the_key_and_what_the_url_may_hide_are_in_no_text(kind: str, asked: Open) -> None:
    made, _ = await asked((400, {}, b'{"reason":"bad path /v6.1/SECRETpath99"}'), path="v6.1/SECRETpath99")
    assert "SECRETpath99" not in str(await refusal(made))
    assert "SECRETpath99" not in repr(made)
    assert KEY not in repr(made)


async def test_no_proxy_of_the_environment_is_asked(asked: Open, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    made, _ = await asked(says(good(kind)))
    assert (await made.ask(ORDER)).out == ORDER.least_out + 7
