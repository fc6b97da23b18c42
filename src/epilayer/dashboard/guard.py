"""Who may ask the dashboard, and for what: this machine's browser, this page, and to act only with the token.

A page of another site can make a browser ask 127.0.0.1, and a name of its own can be made to point there:
hence the checks of ``Host`` and ``Origin`` on every request, whatever it asks for.
"""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it a browser sends `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_READING: Final = frozenset({"GET", "HEAD"})
_NAMES: Final = ("127.0.0.1", "localhost")


class Guard:
    """Refuses what does not come from a page of this dashboard, and sets the headers of every answer.

    Parameters
    ----------
    app
        What is guarded.
    port
        Port of the dashboard, which ``Host`` and ``Origin`` must name; as the system assigned it.
    token
        What a person must have shown once to act; ``None`` where nobody may.
    private
        Whether reading needs the token too.
    acts
        Whether anybody may act at all.
    """

    def __init__(
        self, app: ASGIApp, *, port: int, token: str | None, private: bool = False, acts: bool = True
    ) -> None:
        self.app, self.port, self.token, self.private = app, port, token, private
        self.acts = acts and token is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # a web socket is never accepted
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        knows = self.token is not None and self._shown(headers)
        scope.setdefault("state", {})["may_act"] = knows and self.acts
        refused = self._refused(scope["method"], headers, knows=knows)
        given = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token")
        if given is not None and scope["method"] in _READING and (refused is None or refused[0] == _UNKNOWN):
            await self._take(scope, given, send)
        elif refused is not None:
            await _answer(send, *refused)
        else:
            await self.app(scope, receive, _with_headers(send))

    def cookie(self) -> str:
        """Return the name of the cookie: cookies do not tell ports apart."""
        return f"epilayer_{self.port}"

    def _refused(  # noqa: PLR0911  (one refusal a line)
        self, method: str, headers: dict[str, str], *, knows: bool
    ) -> tuple[int, str] | None:
        hosts = {f"{name}:{self.port}" for name in _NAMES}
        if headers.get("host") not in hosts:
            return 421, "This address is not the dashboard's. Open the one that epilayer dashboard printed."
        origin = headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in hosts}:
            return 403, "This request comes from another page, and is refused."
        if headers.get("sec-fetch-site") == "cross-site" and method not in _READING:
            return 403, "This request comes from another page, and is refused."
        if self.private and not knows:
            return _UNKNOWN, "Open the address with the token that epilayer dashboard printed."
        if method in _READING:
            return None
        if not self.acts:
            return 403, "This dashboard only reads. Start it with: epilayer dashboard --allow-actions"
        if not knows or origin is None:
            return _UNKNOWN, "To act, open the address with the token that epilayer dashboard printed."
        return None

    def _shown(self, headers: dict[str, str]) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie())
        except CookieError:
            return False
        return found is not None and self._is_token(found.value)

    def _is_token(self, given: str) -> bool:
        return self.token is not None and secrets.compare_digest(given.encode(), self.token.encode())

    async def _take(self, scope: Scope, given: str, send: Send) -> None:
        """Turn the token of an address into a cookie, and drop it from the address and the history."""
        if not self._is_token(given):
            await _answer(send, _UNKNOWN, "This token is not the one that epilayer dashboard printed.")
            return
        kept = [(k, v) for k, v in parse_qsl(scope["query_string"].decode("latin-1")) if k != "token"]
        # A path that begins with two slashes would be another host's address.
        place = "/" + scope["path"].lstrip("/\\") + (f"?{urlencode(kept)}" if kept else "")
        cookie = f"{self.cookie()}={self.token}; Path=/; HttpOnly; SameSite=Strict"
        await _answer(send, 303, "", {"Location": place, "Set-Cookie": cookie})


_UNKNOWN: Final = 401


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_encoded(HEADERS)]
        await send(message)

    return wrapped


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]


async def _answer(send: Send, status: int, text: str, more: dict[str, str] | None = None) -> None:
    head = {
        "Content-Type": "text/plain; charset=utf-8",
        "Cache-Control": "no-store",
        **HEADERS,
        **(more or {}),
    }
    await send({"type": "http.response.start", "status": status, "headers": _encoded(head)})
    await send({"type": "http.response.body", "body": text.encode()})
