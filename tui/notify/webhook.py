"""A webhook: the alert as JSON by POST, tried again after a while where the other side has trouble.

Its address is a secret as a whole but for the host. Redirects are not followed; answers are cut short and not read.
"""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import urlsplit

import httpx

from tui.certificates import verification_aside
from tui.model.alert import Alert
from tui.model.masking import HIDDEN, is_loopback, mask_url
from tui.notify.as_json import alert_json
from tui.ports.clock import Clock
from tui.ports.notify import NotDelivered

SECONDS = 10.0
"""What one try may take in all."""
BACK_OFF = (2.0, 8.0, 30.0)
"""Seconds between tries."""
LONGEST_WAIT = 60.0
MAX_ANSWER_BYTES = 64 * 1024

# httpx logs every URL it asks at INFO, and a webhook's URL is a secret.
for _noisy in ("httpx", "httpcore"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)


class _Trouble(Exception):
    """A try that failed. `wait` None: no use in another."""

    def __init__(self, why: str, again: bool, wait: float = 0.0) -> None:
        super().__init__(why)
        self.again = again
        self.wait = wait


def shown_webhook(url: str) -> str:
    """The address with everything hidden but scheme, host and port: even a plain word in its path may be the secret."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    except ValueError:
        return HIDDEN
    return f"{mask_url(f'{parts.scheme}://{host}{port}')}/{HIDDEN}"


class WebhookWay:
    """Posts to `url`. The connection is made at the first alert."""

    def __init__(self, url: str, clock: Clock, seconds: float = SECONDS) -> None:
        self._url = url
        self._clock = clock
        self._seconds = seconds
        self._client: httpx.AsyncClient | None = None
        self.name = f"the webhook {shown_webhook(url)}"

    def __repr__(self) -> str:
        return f"WebhookWay({self.name})"

    async def deliver(self, alert: Alert) -> None:
        """Post, and again after a while where that can help. Raises NotDelivered."""
        body = alert_json(alert)
        for pause in (*BACK_OFF, None):
            try:
                await self._post(body)
                return
            except _Trouble as trouble:
                if not trouble.again:
                    raise NotDelivered(str(trouble)) from None
                if pause is None:
                    raise NotDelivered(f"{trouble}, {len(BACK_OFF) + 1} times") from None
                await self._clock.sleep(max(pause, trouble.wait))

    async def _post(self, body: bytes) -> None:
        client = await self._open()
        try:
            async with (
                asyncio.timeout(self._seconds),
                client.stream(
                    "POST", self._url, content=body, headers={"content-type": "application/json"}
                ) as response,
            ):
                trouble = _judge(response)
                if trouble is not None:
                    raise trouble
                size = 0
                async for part in response.aiter_raw():
                    size += len(part)
                    if size > MAX_ANSWER_BYTES:
                        return  # taken, whatever else it has to say
        except (TimeoutError, httpx.TimeoutException):
            raise _Trouble(f"no answer within {self._seconds:g} s", again=True) from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise _Trouble(f"it cannot be reached ({type(error).__name__})", again=True) from None
        except httpx.InvalidURL:
            raise _Trouble("its address cannot be used", again=False) from None

    async def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                verify=await verification_aside(self._url),
                timeout=self._seconds,
                trust_env=not is_loopback(self._url),
                follow_redirects=False,
                headers={"user-agent": "trimtab"},
            )
        return self._client

    async def aclose(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.aclose()


def _judge(response: httpx.Response) -> _Trouble | None:
    status = response.status_code
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return _Trouble(f"it points elsewhere (HTTP {status}), which is not followed; give the final address", False)
    if status == 429:
        return _Trouble("it asks for fewer alerts (HTTP 429)", True, _retry_after(response))
    if status == 408 or status >= 500:
        return _Trouble(f"it has trouble of its own (HTTP {status})", True, _retry_after(response))
    return _Trouble(f"it refuses (HTTP {status}); check its address", False)


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the other side asks for, bounded."""
    try:
        return min(max(float(response.headers.get("retry-after", "0")), 0.0), LONGEST_WAIT)
    except ValueError:
        return 0.0
