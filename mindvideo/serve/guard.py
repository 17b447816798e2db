"""Who may ask: not pages of other sites through their visitors' browsers, and from elsewhere only with the token."""

from __future__ import annotations

import dataclasses
import hmac
import ipaddress
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Protocol
from urllib.parse import urlsplit

COOKIE = "mindvideo"
OWN_HEADER = "X-Mindvideo"  # pages of other sites cannot set it without asking first, and are not allowed
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Headers(Protocol):
    """Those of a request: a mapping of strings, or what http.server makes of them."""

    def get(self, name: str, default: Any = None, /) -> Any: ...

    def __contains__(self, name: Any, /) -> bool: ...


@dataclasses.dataclass(frozen=True)
class Guard:
    """``names``: what the server may be called beside ``localhost`` and its addresses. ``token``: None needs none."""

    names: frozenset[str] = frozenset()
    token: str | None = None

    def refusal(self, method: str, headers: Headers) -> str | None:
        """Why a request is refused, None where it is not."""
        host = headers.get("Host", "")
        if not self._is_ours(host):
            return "this server does not go by that name (mindvideo serve --allow-host adds one)"
        if headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            if headers.get("Sec-Fetch-Mode") != "navigate" or method not in ("GET", "HEAD"):
                return "another site's page asks"
        if method not in ("GET", "HEAD"):
            if "Origin" in headers and urlsplit(headers.get("Origin", "")).netloc != host:
                return "another site's page asks"
            if OWN_HEADER not in headers:
                return f"the header {OWN_HEADER} is missing"
        return None

    def knows(self, headers: Headers, query: Mapping[str, str]) -> bool:
        """Whether the request brings the token, in the cookie or in the address."""
        if self.token is None:
            return True
        try:
            cookie = SimpleCookie(headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        given = [query.get("token", ""), cookie.value if cookie is not None else ""]
        return any(hmac.compare_digest(each.encode(), self.token.encode()) for each in given)

    def _is_ours(self, host: str) -> bool:
        """A name that somebody else lets point to this machine (DNS rebinding) is not ours; addresses cannot lie."""
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name is None:
            return False
        if name == "localhost" or name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
