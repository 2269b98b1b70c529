"""The bot's log as it would be written, line by line, for tests to look through."""

from __future__ import annotations

import json
import logging
from typing import Any

from bot.logs import JsonLines


class Log(logging.Handler):
    """Formats every record as the bot does and keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.texts: list[str] = []
        self.tracebacks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self.texts.append(text)
        if record.exc_info and record.exc_info[0] is not None:
            self.tracebacks.append(text)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines, read back: every text is one line of JSON, whatever was in it."""
        assert all("\n" not in text and "\r" not in text for text in self.texts)
        return [json.loads(text) for text in self.texts]

    def whole(self) -> str:
        return "\n".join(self.texts)
