"""What is asked of each aggregator, and what its answer comes to. No IO here; answers are hostile until checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlencode

import orjson

from tui.model.network import AggregatorConfig
from tui.model.swap import SwapAnswer, SwapOrder
from tui.model.units import UINT256_MAX
from tui.ports.aggregator import NoOffer
from tui.quotes.base import Dialect
from tui.quotes.foreign import MOST_BYTES, Unbound
from tui.quotes.one_inch import OneInch
from tui.quotes.zero_x import ZeroX

SLIPPAGE_BPS = 100
"""What services are told that may be lost. It binds nobody: what must come out is written into the call by us."""
_WHOLE = re.compile(r"[0-9]{1,78}", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


class Service(Protocol):
    """One kind of service: how it is asked, and how its answers read."""

    @property
    def dialect(self) -> Dialect:
        """How its calls read."""

    def query(self, order: SwapOrder) -> str:
        """Path and query of a request, after the URL of the network file."""

    def headers(self, key: str | None) -> Mapping[str, str]:
        """What goes along; `key` is the secret that the service knows its user by."""

    def read(self, raw: bytes, order: SwapOrder) -> SwapAnswer:
        """The offer in an answer, held to the order. Raises NoOffer."""


class ZeroXService:
    """Swap API v2 with allowances that stand to AllowanceHolder."""

    def __init__(self, config: AggregatorConfig, chain_id: int) -> None:
        self._chain_id = chain_id
        self.dialect: Dialect = ZeroX(config.router, config.spender or config.router, config.registry or "")

    def query(self, order: SwapOrder) -> str:
        """See Service.query."""
        asked = {
            "chainId": self._chain_id,
            "sellToken": order.sold.address,
            "buyToken": order.bought.address,
            "sellAmount": order.amount_in,
            "taker": order.account,
            "slippageBps": SLIPPAGE_BPS,
        }
        return f"/swap/allowance-holder/quote?{urlencode(asked)}"

    def headers(self, key: str | None) -> Mapping[str, str]:
        """See Service.headers."""
        return {"0x-version": "v2"} if key is None else {"0x-version": "v2", "0x-api-key": key}

    def read(self, raw: bytes, order: SwapOrder) -> SwapAnswer:
        """See Service.read."""
        told = _object(_json(raw), "the answer")
        if told.get("liquidityAvailable") is False:
            raise NoOffer("it finds nobody who would trade", fault=False)
        _same_token(told.get("sellToken"), order.sold.address, "token to sell")
        _same_token(told.get("buyToken"), order.bought.address, "token to buy")
        # Less, where a fee is taken out of it first: all of it is what the call itself has to name.
        if _whole(told.get("sellAmount"), "sellAmount") > order.amount_in:
            raise NoOffer("it answers for another amount than was asked for")
        spender = told.get("allowanceTarget")
        if _address(spender, "allowanceTarget") != self.dialect.spender:
            raise NoOffer("it wants an allowance for another contract than the network file names")
        call = _object(told.get("transaction"), "transaction")
        return _adopted(self.dialect, order, call, _whole(told.get("buyAmount"), "buyAmount"))


class OneInchService:
    """Classic swap, version 6."""

    def __init__(self, config: AggregatorConfig, chain_id: int) -> None:
        self._chain_id = chain_id
        self.dialect: Dialect = OneInch(config.router)

    def query(self, order: SwapOrder) -> str:
        """See Service.query."""
        asked = {
            "src": order.sold.address,
            "dst": order.bought.address,
            "amount": order.amount_in,
            "from": order.account,
            "origin": order.account,
            "receiver": order.account,
            "slippage": SLIPPAGE_BPS // 100,
            "disableEstimate": "true",  # the allowance stands only once our own transactions before it are mined
            "allowPartialFill": "false",
            "compatibility": "true",
        }
        return f"/{self._chain_id}/swap?{urlencode(asked)}"

    def headers(self, key: str | None) -> Mapping[str, str]:
        """See Service.headers."""
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def read(self, raw: bytes, order: SwapOrder) -> SwapAnswer:
        """See Service.read."""
        told = _object(_json(raw), "the answer")
        call = _object(told.get("tx"), "tx")
        return _adopted(self.dialect, order, call, _whole(told.get("dstAmount"), "dstAmount"))


def service_of(config: AggregatorConfig, chain_id: int) -> Service:
    """The service that a `[[swap]]` table names. Raises ValueError for a kind that is none."""
    if config.kind == "0x":
        return ZeroXService(config, chain_id)
    if config.kind == "1inch":
        return OneInchService(config, chain_id)
    raise ValueError(f"swap {config.kind}: not an aggregator")


def _adopted(dialect: Dialect, order: SwapOrder, call: Mapping[str, object], out: int) -> SwapAnswer:
    if _whole(call.get("value"), "value") != 0:
        raise NoOffer("it wants native coin sent along")
    to, data = _address(call.get("to"), "to"), _bytes(call.get("data"))
    if out < order.least_out:
        raise NoOffer("less would come out than is to be repaid", fault=False)
    try:
        return SwapAnswer(order, dialect.adopt(order, to, data), out)
    except ValueError as wrong:
        raise NoOffer(str(wrong), fault=not isinstance(wrong, Unbound)) from None


def _json(raw: bytes) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise NoOffer("its answer is not JSON, was cut short or is nested too deep") from None
    except Exception as error:  # noqa: BLE001 - whatever an answer does to a reader is the answer's fault
        raise NoOffer(f"its answer cannot be read ({type(error).__name__})") from None


def _object(told: object, called: str) -> Mapping[str, object]:
    if not isinstance(told, dict):
        raise NoOffer(f"in its answer {called} is no object")
    return told


def _whole(told: object, called: str) -> int:
    """A whole number as decimal text (a plain number is taken too): base units."""
    if type(told) is int and 0 <= told <= UINT256_MAX:
        return told
    if not isinstance(told, str) or _WHOLE.fullmatch(told) is None or int(told) > UINT256_MAX:
        raise NoOffer(f"in its answer {called} is no amount")
    return int(told)


def _address(told: object, called: str) -> str:
    if not isinstance(told, str) or _ADDRESS.fullmatch(told) is None:
        raise NoOffer(f"in its answer {called} is no address")
    return told.lower()


def _same_token(told: object, wanted: str, called: str) -> None:
    if _address(told, called) != wanted:
        raise NoOffer(f"it answers for another {called} than was asked for")


def _bytes(told: object) -> bytes:
    """Calldata. Its length is bounded before anything is decoded."""
    if not isinstance(told, str) or not told.startswith("0x") or len(told) > 2 + 2 * MOST_BYTES:
        raise NoOffer("in its answer the call is no bytes, or far too many")
    try:
        data = bytes.fromhex(told[2:])
    except ValueError:
        raise NoOffer("in its answer the call is no bytes") from None
    if 2 * len(data) + 2 != len(told):  # bytes.fromhex skips blanks
        raise NoOffer("in its answer the call is no bytes")
    return data
