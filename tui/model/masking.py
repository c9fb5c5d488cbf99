"""Addresses of nodes and webhooks carry tokens: this makes them fit to be shown, logged or put into an error."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import parse_qsl, unquote, urlsplit

from tui.model.text import clean_text

HIDDEN = "***"
_PLAIN_SEGMENT = re.compile(r"(?:[a-z]{1,10}|v\d{1,2})", re.ASCII)
_TOKEN_LABEL = re.compile(r"(?=.*\d)[0-9a-zA-Z]{16,}", re.ASCII)
_SHORTEST_SECRET = 6
_MOST_SAID = 20_000


def mask_url(url: str) -> str:
    """`url` with everything that may be a token hidden: userinfo, query, fragment, and all path segments but short
    lower-case words and versions such as `rpc` or `v2`. Never raises.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return HIDDEN
    labels = host.split(".")
    shown = ".".join(HIDDEN if _TOKEN_LABEL.fullmatch(label) else label for label in labels)
    if ":" in host:
        shown = f"[{host}]"
    userinfo = f"{HIDDEN}@" if "@" in parts.netloc else ""
    segments = [
        segment if not segment or _PLAIN_SEGMENT.fullmatch(segment) else HIDDEN for segment in parts.path.split("/")
    ]
    tail = f"?{HIDDEN}" if parts.query else ""
    text = f"{parts.scheme}://{userinfo}{shown}{f':{port}' if port else ''}{'/'.join(segments)}{tail}"
    return clean_text(text, 200)


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine, where no proxy belongs in between."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def secrets_in(url: str) -> tuple[str, ...]:
    """Every piece of `url` that `mask_url` hides, longest first, for scrubbing texts that a server sends back."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return (url,)
    found = {parts.username or "", parts.password or "", parts.query, parts.fragment}
    found.update(value for _, value in parse_qsl(parts.query))
    found.update(label for label in host.split(".") if _TOKEN_LABEL.fullmatch(label))
    found.update(segment for segment in parts.path.split("/") if not _PLAIN_SEGMENT.fullmatch(segment))
    found.update({unquote(piece) for piece in found})
    return tuple(sorted((piece for piece in found if len(piece) >= _SHORTEST_SECRET), key=len, reverse=True))


def scrub(text: str, secrets: tuple[str, ...], limit: int = 300) -> str:
    """A server's own words, harmless for a terminal and without any of `secrets` in them."""
    # What cannot be seen goes first: inside a secret it would hide it from the search, and be taken out afterwards.
    text = clean_text(text[:_MOST_SAID], _MOST_SAID)
    for secret in secrets:
        text = re.sub(re.escape(secret), HIDDEN, text, flags=re.IGNORECASE)
    return clean_text(text, limit)
