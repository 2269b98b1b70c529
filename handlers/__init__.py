"""The only room that speaks Slack: what is typed and pressed becomes requests, what requests become is shown.

Read `front_door.py` first (how a delivery comes in), then `guard.py` and the listeners, then `reporter.py` (how words
go out).
"""
