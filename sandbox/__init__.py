"""A pretend Slack workspace, Microsoft Entra tenant, Graph and Key Vault, served over real HTTP on loopback.

Start reading at `world.py`, which puts the parts together, then at one service: `entra/`, `graph/`, `vault.py`
over the tenant in `directory.py` and `data/tenant.yaml`, or `slack/`. Nothing here is shared with the bot: what is
checked and what checks it must not agree by being the same code.
"""
