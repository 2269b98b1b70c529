"""The ways to sign in at Microsoft that a bot shows: a link, or a code to type on a page."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from urllib.parse import urlsplit

from sandbox.slack.model import Json
from sandbox.slack.reading import every_object

_LINK = re.compile(r"<(https?://[^|<>\s]+)(?:\|[^<>]*)?>")
_TICKED = re.compile(r"`+([^`]+)`+")
_CODE = re.compile(r"[A-Z0-9]{4}-?[A-Z0-9]{4,5}")
_LINK_PATHS = ("/authorize", "/signin")
_CODE_PATHS = ("/deviceauth", "/devicelogin")


@dataclass(frozen=True)
class Invitation:
    """Where to sign in, and what to type there; no code where the link is enough."""

    url: str
    code: str | None


def invitation_in(blocks: list[Json], *, with_code: bool) -> Invitation | None:
    """The invitation in these blocks: a link whose path says so, and for a code one in the style of code beside it."""
    paths = _CODE_PATHS if with_code else _LINK_PATHS
    url = next((url for url in _links(blocks) if urlsplit(url).path.endswith(paths)), None)
    if url is None or not with_code:
        return None if url is None else Invitation(url, None)
    code = next((text for text in _code(blocks) if _CODE.fullmatch(text)), None)
    return None if code is None else Invitation(url, code)


def _links(blocks: list[Json]) -> Iterator[str]:
    """The addresses of buttons, of links in rich text, and in mrkdwn."""
    for thing in every_object(blocks):
        if isinstance(thing.get("url"), str):
            yield thing["url"]
        if thing.get("type") == "mrkdwn":
            yield from map(unescape, _LINK.findall(thing["text"]))


def _code(blocks: list[Json]) -> Iterator[str]:
    for thing in every_object(blocks):
        if thing.get("type") == "mrkdwn":
            yield from (text.strip() for text in _TICKED.findall(thing["text"]))
        elif thing.get("type") == "rich_text_preformatted":
            yield "".join(span.get("text", "") for span in thing["elements"]).strip()
        elif thing.get("type") == "text" and (thing.get("style") or {}).get("code"):
            yield thing["text"].strip()
