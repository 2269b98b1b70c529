"""Microsoft Graph v1.0 for the pretend tenant; `server.py` shows the table of what it answers."""

from sandbox.graph.server import Graph, GraphRequest

__all__ = ["Graph", "GraphRequest"]
