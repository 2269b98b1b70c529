"""The only door to Microsoft: `client.py` speaks Graph, `signin.py` Entra; what both say is decided in pure modules.

`protocol.py` (addresses, retries, Graph's errors in words) and `aadsts.py` (Entra's errors in words) do no I/O.
`http.py` opens the one session that Graph and the Azure libraries share, `credentials.py` makes the bot's own identity.
"""
