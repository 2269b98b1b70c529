"""One event, one line of JSON: what happened and the ids that find it again; never a payload, a token or a traceback's
values."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_TALKATIVE: Final = ("slack_bolt", "slack_sdk", "aiohttp.access")
"""Their INFO and DEBUG lines hold payloads and addresses that are rights. Microsoft's libraries have their own list."""


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON. Newlines and control characters in it are escaped, so no text can forge a
    second line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "from": record.name,
            "event": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _OWN}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up_logging(level: str) -> None:
    """Log to standard error at *level*; the libraries' loggers stay at WARNING whatever it is."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    quiet_libraries()


def quiet_libraries() -> None:
    """Pin the levels of the libraries' loggers, whatever the root logger's is."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    # At ERROR it quotes what strangers sent; what goes wrong in a handler of ours is logged by us.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    # At ERROR it quotes a connection's address, which is the right to open it; our watchdog tells of those that fail.
    logging.getLogger("slack_sdk.socket_mode").setLevel(logging.CRITICAL)
