"""Whose certificates are believed over https: read once, for nodes, aggregators and webhooks alike."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

import httpx

_shared: list[ssl.SSLContext] = []


def verification_for(url: str) -> ssl.SSLContext | bool:
    """What httpx takes as `verify` for `url`: the shared certificates for https; nothing else needs any.

    The first time reads them from the disk, which takes tens of milliseconds.
    """
    if urlsplit(url).scheme != "https":
        return False
    if not _shared:
        _shared.append(httpx.create_ssl_context())
    return _shared[0]


async def verification_aside(url: str) -> ssl.SSLContext | bool:
    """The same without keeping a screen waiting."""
    if _shared or urlsplit(url).scheme != "https":
        return verification_for(url)
    return await asyncio.to_thread(verification_for, url)
