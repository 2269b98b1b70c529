"""A pretend Slack workspace: the Web API, Socket Mode and signed HTTP, and people who click.

`workspace.py` is the whole of it for those who use it. Underneath: `state.py` remembers, `web_api.py` is called
by the app, `hands.py` acts for people, `courier.py` delivers over `socket_mode.py` or `http_delivery.py`,
`blocks.py` refuses what Slack would.
"""

from sandbox.slack.limits import RateLimits
from sandbox.slack.model import (
    Ack,
    AckStatus,
    Call,
    Channel,
    Delivery,
    File,
    Message,
    NotOnScreen,
    Person,
    Record,
    View,
)
from sandbox.slack.workspace import SlackWorkspace

__all__ = [
    "Ack",
    "AckStatus",
    "Call",
    "Channel",
    "Delivery",
    "File",
    "Message",
    "NotOnScreen",
    "Person",
    "RateLimits",
    "Record",
    "SlackWorkspace",
    "View",
]
