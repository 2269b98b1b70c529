"""Files the app uploads: an address to send the bytes to, then the message that shares them."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from mimetypes import guess_type

from aiohttp import BodyPartReader, web

from sandbox.slack.model import File, SlackError


@dataclass
class _Upload:
    """A file on its way. `length` is what the app announced."""

    file: File
    length: int
    has_arrived: bool = False


class Uploads:
    """The way of a file through `files.getUploadURLExternal`, its address, and `files.completeUploadExternal`."""

    def __init__(self, base: Callable[[], str]) -> None:
        self._base = base
        self._by_ticket: dict[str, str] = {}
        self._under_way: dict[str, _Upload] = {}

    def begin(self, name: str, length: int) -> tuple[str, str]:
        """The address for the bytes of a new file, and the file's id."""
        file_id, ticket = f"F0{secrets.token_hex(5).upper()}", secrets.token_urlsafe(24)
        kind = guess_type(name)[0] or "application/octet-stream"
        self._under_way[file_id] = _Upload(File(file_id, name, name, kind, b""), length)
        self._by_ticket[ticket] = file_id
        return f"{self._base()}/slack/upload/{ticket}", file_id

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """Take the bytes, raw or as a form, once. The address is all the proof there is: no token is asked for."""
        file_id = self._by_ticket.get(request.match_info["ticket"])
        if file_id is None:
            return web.Response(status=404, text="no such upload")
        content = await _bytes_of(request)
        upload = self._under_way[file_id]
        if len(content) != upload.length:
            return web.Response(status=400, text=f"{upload.length} bytes were announced, {len(content)} came")
        del self._by_ticket[request.match_info["ticket"]]
        upload.file, upload.has_arrived = replace(upload.file, content=content), True
        return web.Response(text=f"OK - {len(content)}")

    def arrived(self, file_id: str, title: str | None) -> File:
        """A file whose bytes are here, under its title. SlackError `file_not_found` or `file_update_failed`."""
        upload = self._under_way.get(file_id)
        if upload is None:
            raise SlackError("file_not_found")
        if not upload.has_arrived:
            raise SlackError("file_update_failed")
        return replace(upload.file, title=title or upload.file.name)

    def end(self, file_id: str) -> None:
        """The file is shared: it cannot be completed again."""
        del self._under_way[file_id]


async def _bytes_of(request: web.Request) -> bytes:
    if not request.content_type.startswith("multipart/"):
        return b"".join([chunk async for chunk in request.content.iter_any()])
    async for part in await request.multipart():
        if isinstance(part, BodyPartReader) and part.filename is not None:
            content = b""
            while chunk := await part.read_chunk():  # `read` stops at the size of an ordinary request
                content += chunk
            return content
    return b""
