"""One aggregator over HTTP: a GET, bounded in time and size, no redirects, no proxies, no second try.

The key of its user is held here alone, goes out in a header and into no text, whatever the service answers.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
import orjson

from tui.aggregators.answers import Service, service_of
from tui.certificates import verification_aside
from tui.inflow import Inflow, is_gzip
from tui.model.masking import mask_url, scrub, secrets_in
from tui.model.network import AggregatorConfig
from tui.model.swap import SwapAnswer, SwapOrder
from tui.ports.aggregator import NoOffer
from tui.quotes.base import Dialect

MAX_ANSWER_BYTES = 256 * 1024
"""Where an answer is cut off; usual ones have ten to thirty thousand bytes."""
_MOST_SAID = 100
_REASONS = ("description", "reason", "message", "error", "name")

# httpx logs every URL it asks at INFO, and that of a service may hold a token.
for _noisy in ("httpx", "httpcore"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)


class HttpAggregator:
    """A service as its `[[swap]]` table names it; `key` is what its file holds. It is asked nothing before an order."""

    def __init__(self, config: AggregatorConfig, chain_id: int, key: str | None) -> None:
        self._service: Service = service_of(config, chain_id)
        self._url = config.url.rstrip("/")
        self._headers: Mapping[str, str] = self._service.headers(key)
        self._secrets = (*(() if key is None else (key,)), *secrets_in(config.url))
        self._client: httpx.AsyncClient | None = None
        self.timeout = config.timeout
        self.shown_url = mask_url(config.url)

    def __repr__(self) -> str:
        return f"HttpAggregator({self.venue}, {self.shown_url})"

    @property
    def venue(self) -> str:
        """Its name, for people."""
        return self.dialect.venue

    @property
    def dialect(self) -> Dialect:
        """How its calls read."""
        return self._service.dialect

    async def ask(self, order: SwapOrder) -> SwapAnswer:
        """See Aggregator.ask."""
        try:
            async with asyncio.timeout(self.timeout):
                raw = await self._get(self._service.query(order))
        except (TimeoutError, httpx.TimeoutException):
            raise NoOffer(f"it did not answer within {self.timeout:g} s") from None
        except NoOffer:
            raise
        except zlib.error:
            raise NoOffer("its answer does not decompress") from None
        except Exception as error:  # noqa: BLE001 - no header or body may end more than its own request
            raise NoOffer(f"it cannot be reached ({type(error).__name__})") from None
        return self._service.read(raw, order)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _get(self, query: str) -> bytes:
        client = await self._open()
        async with client.stream("GET", self._url + query) as response:
            status = response.status_code
            coded = is_gzip(response.headers.get("content-encoding", ""))
            if 300 <= status < 400:
                raise NoOffer(f"it points elsewhere (HTTP {status}), which is not followed; give its final url")
            if coded is None:
                raise NoOffer("its answer is coded in a way that was not asked for")
            inflow = Inflow(MAX_ANSWER_BYTES, coded)
            async for chunk in response.aiter_raw():
                if not inflow.take(chunk):
                    raise NoOffer(f"it answers with more than {MAX_ANSWER_BYTES:,} bytes")
        raw = inflow.whole()
        if status != 200:
            raise self._refusal(status, raw)
        return raw

    def _refusal(self, status: int, raw: bytes) -> NoOffer:
        if status in (401, 403):
            return NoOffer(f"it does not accept the key (HTTP {status}); look at key_file of the network file")
        if status == 429:
            return NoOffer("it asks for fewer requests (HTTP 429)")
        if status >= 500 or status < 200:
            return NoOffer(f"it has trouble of its own (HTTP {status})")
        words = self._words(raw)
        return NoOffer(f"it refuses (HTTP {status}{f': {words}' if words else ''})")

    def _words(self, raw: bytes) -> str:
        """Its own reason, harmless and without a secret in it."""
        try:
            told = orjson.loads(raw)
        except Exception:  # noqa: BLE001 - a reason that cannot be read is none
            return ""
        said = (
            next((told[one] for one in _REASONS if isinstance(told.get(one), str)), "")
            if isinstance(told, dict)
            else ""
        )
        return scrub(said, self._secrets, _MOST_SAID)

    async def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                verify=await verification_aside(self._url),
                timeout=self.timeout,
                trust_env=False,
                follow_redirects=False,
                headers={
                    **self._headers,
                    "user-agent": "trimtab",
                    "accept": "application/json",
                    "accept-encoding": "gzip",
                },
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
                limits=httpx.Limits(max_connections=4, max_keepalive_connections=2, keepalive_expiry=60),
            )
        return self._client
