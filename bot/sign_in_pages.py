"""Our two web pages around Microsoft's: the one before, which says who asked for what, and the one to come back to.

The first one is there because whoever gets hold of a link could send it to somebody else, and have them link their
account to a stranger. *Continue* gives the browser a cookie, without which the way back leads nowhere.
"""

from __future__ import annotations

import secrets
from html import escape
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from bot.errors import LatchkeyError
from bot.signing_in import LINK_LIVES, SigningIn, SignInOver

_LONGEST: Final = 4096
"""Bytes of a form that are looked at; ours has fewer than 200."""

_STYLE: Final = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1rem;color:#1d1c1d}"
    "button{font:inherit;padding:.5rem 1.5rem;color:#fff;background:#0b5394;border:0;border-radius:.3rem}"
)


class SignInPages:
    """The pages, beside each other at the callback's address."""

    def __init__(self, signing_in: SigningIn, *, callback_url: str, authority_host: str) -> None:
        self._signing_in = signing_in
        parts = urlsplit(callback_url)
        self._folder = parts.path.removesuffix("callback")
        self._secure = parts.scheme == "https"
        self._authority = authority_host

    def routes(self) -> list[web.RouteDef]:
        """What to mount; a proxy in front may keep the callback's folder or take it away."""
        found = []
        for folder in dict.fromkeys((self._folder, "/")):
            found += [
                web.get(f"{folder}signin", self._welcome),
                web.post(f"{folder}signin", self._go_on),
                web.get(f"{folder}callback", self._back),
            ]
        return found

    async def _welcome(self, request: web.Request) -> web.Response:
        flow = request.query.get("flow", "")
        try:
            words = self._signing_in.welcome(flow)
        except LatchkeyError as error:
            return self._page("Sign in", str(error), status=404)
        key = secrets.token_urlsafe(32)
        form = (
            f'<form method="post" action="signin"><input type="hidden" name="flow" value="{escape(flow)}">'
            f'<input type="hidden" name="key" value="{key}">'
            '<button name="do" value="continue">Continue</button></form>'
        )
        page = self._page("Sign in", words, form)
        self._keep(page, flow, key)
        return page

    async def _go_on(self, request: web.Request) -> web.Response:
        # Not by aiohttp's `post`: it stumbles over bodies that only somebody else's program sends.
        sent = dict(parse_qsl((await request.read())[:_LONGEST].decode("ascii", "replace")))
        flow, key = sent.get("flow", ""), sent.get("key", "")
        # A form on another site can send a key, but not make the browser keep it.
        if not key or not secrets.compare_digest(self._kept(request, flow).encode(), key.encode()):
            return self._page("Sign in", str(SignInOver()), status=403)
        try:
            url = await self._signing_in.go_on(flow, key)
        except LatchkeyError as error:
            return self._page("Sign in", str(error), status=409)
        page = self._page("Sign in", "On the way to Microsoft.", status=303)
        page.headers["Location"] = url
        return page

    async def _back(self, request: web.Request) -> web.Response:
        try:
            words = await self._signing_in.finish_callback(dict(request.query), lambda flow: self._kept(request, flow))
        except LatchkeyError as error:
            return self._page("Not signed in", str(error), status=400)
        return self._page("Signed in", f"{words} You can close this page.")

    def _kept(self, request: web.Request, flow: str) -> str:
        kept = request.cookies.get(self._cookie(flow), "")
        return kept if kept.isascii() else ""  # ours are; others may hold what is no text at all

    def _keep(self, page: web.Response, flow: str, key: str) -> None:
        page.set_cookie(
            self._cookie(flow),
            key,
            path="/",
            max_age=int(LINK_LIVES.total_seconds()),
            secure=self._secure,
            httponly=True,
            samesite="Lax",  # with Strict it would not come along on the way back from Microsoft
        )

    def _page(self, title: str, words: str, form: str = "", *, status: int = 200) -> web.Response:
        nonce = secrets.token_urlsafe(12)
        body = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} · Latchkey</title>'
            f'<meta name="viewport" content="width=device-width"><style nonce="{nonce}">{_STYLE}</style></head>'
            f"<body><h1>{escape(title)}</h1><p>{escape(words)}</p>{form}</body></html>"
        )
        headers = {
            # A form's target includes where it is sent on to.
            "Content-Security-Policy": f"default-src 'none'; style-src 'nonce-{nonce}'; "
            f"form-action 'self' {self._authority}; frame-ancestors 'none'; base-uri 'none'",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(status=status, text=body, content_type="text/html", headers=headers)

    def _cookie(self, flow: str) -> str:
        """One for each flow, so that two in one browser do not get in each other's way. With the prefix, no other host
        of the company's domain can put one into a browser (RFC 6265bis, section 4.1.3.2)."""
        known = flow[:16].replace("-", "").replace("_", "").isalnum()
        return f"{'__Host-' if self._secure else ''}latchkey-{flow[:16] if known else 'none'}"
