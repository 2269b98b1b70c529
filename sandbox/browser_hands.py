"""Hands on Microsoft's pages: sign in as somebody by following the pages' forms over real HTTP, as a browser would."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

from aiohttp import ClientResponse, ClientSession

_MOST_PAGES = 20


@dataclass(frozen=True)
class Landed:
    """Where the browser ended up: the last page's address, status, and text without its markup."""

    url: str
    status: int
    text: str


async def sign_in(
    session: ClientSession,
    url: str,
    upn: str,
    *,
    mfa: bool = True,
    consent: bool = True,
    for_everyone: bool = False,
    cancel: bool = False,
    code: str | None = None,
    follow: bool = True,
) -> Landed:
    """Open *url* and sign in as *upn*, an account of the list or another one; answers where that ended.

    *url* is an authorize link, a link of the bot's that redirects to one, or with *code* the page for device codes.
    *session* must trust the world's certificates (`World.sign_in` has one that does). *mfa*: approve in
    Authenticator, registering it first where the account has none; False denies. *consent*: accept what the
    application asks for, *for_everyone* for the whole organisation; False declines, also that a device code is one's
    own. *cancel* gives up when asked for the account. Without *follow* the way back to the application is not taken:
    `Landed.url` is then the address with `code` and `state` (after `response_mode=form_post` as if it were a query).

    A refusal is no error: it is the page that `Landed` shows, with its AADSTS code.
    """
    wishes = _Wishes(upn, mfa=mfa, consent=consent, for_everyone=for_everyone, cancel=cancel, code=code)
    async with session.get(url, allow_redirects=False) as response:
        at = await _Page.of(response)
    for _ in range(_MOST_PAGES):
        if at.location is not None:
            if not follow and _leads_back(at.location):
                return Landed(at.location, at.status, "")
            async with session.get(at.location, allow_redirects=False) as response:
                at = await _Page.of(response)
            continue
        step = wishes.press(at)
        if step is None:
            break
        form, values = step
        target = urljoin(at.url, form.action)
        if form.sends_itself and not follow:
            return Landed(urlsplit(target)._replace(query=urlencode(values)).geturl(), at.status, at.text)
        async with session.request(
            form.method,
            target,
            params=values if form.method == "get" else None,
            data=None if form.method == "get" else values,
            allow_redirects=False,
        ) as response:
            at = await _Page.of(response)
    return Landed(at.url, at.status, at.text)


def _leads_back(location: str) -> bool:
    """Whether this is the way back to the application, which ends the visit."""
    query = parse_qs(urlsplit(location).query)
    return "client_id" not in query and ("code" in query or "error" in query)


@dataclass
class _Form:
    action: str
    method: str
    sends_itself: bool
    hidden: dict[str, str] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class _Page:
    url: str
    status: int
    location: str | None  # where it sends the browser to
    text: str
    forms: list[_Form]

    @classmethod
    async def of(cls, response: ClientResponse) -> "_Page":
        reader = _Reader()
        reader.feed(await response.text())
        url = str(response.url)
        moved = response.headers.get("Location") if 300 <= response.status < 400 else None
        location = urljoin(url, moved) if moved else None
        return cls(url, response.status, location, " ".join("".join(reader.text).split()), reader.forms)


class _Reader(HTMLParser):
    """The forms and the visible text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[_Form] = []
        self.text: list[str] = []
        self._silent = 0
        self._in_form = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("style", "script", "title"):
            self._silent += 1
        elif tag == "form":
            self._in_form = True
            method = given.get("method", "get").lower()
            self.forms.append(_Form(given.get("action", ""), method, given.get("id") == "back"))
        elif self._in_form and tag == "input" and given.get("type") == "hidden":
            self.forms[-1].hidden[given["name"]] = given.get("value", "")
        elif self._in_form and tag == "input":
            self.forms[-1].fields.append(given["name"])
        elif self._in_form and tag == "button" and "name" in given:
            self.forms[-1].buttons.append((given["name"], given.get("value", "")))
        if tag in ("p", "h1", "button", "li", "br", "small", "label", "div"):
            self.text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script", "title"):
            self._silent -= 1
        elif tag == "form":
            self._in_form = False

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.text.append(data)


class _Wishes:
    """What the person at the browser wants; each thing is done once, so that a refusal ends the visit."""

    def __init__(
        self, upn: str, *, mfa: bool, consent: bool, for_everyone: bool, cancel: bool, code: str | None
    ) -> None:
        self._typed = {"otc": code or "", "upn": upn, "everyone": "yes" if for_everyone else ""}
        self._wanted = [
            ("do", "cancel" if cancel else f"account:{upn.lower()}"),
            ("do", "another"),
            ("do", "next"),
            ("do", "register" if mfa else "deny"),
            ("do", "approve" if mfa else "deny"),
            ("do", "accept" if consent else "cancel"),
            ("do", "return"),
            ("do", "continue"),
        ]

    def press(self, page: _Page) -> tuple[_Form, dict[str, str]] | None:
        """The form to send and what with; None when there is nothing left to do."""
        for form in page.forms:
            if form.sends_itself:
                return form, form.hidden
        for wanted in tuple(self._wanted):
            for form in page.forms:
                if wanted in form.buttons:
                    self._wanted.remove(wanted)
                    typed = {name: self._typed[name] for name in form.fields if self._typed.get(name)}
                    return form, {**form.hidden, **typed, wanted[0]: wanted[1]}
        return None
