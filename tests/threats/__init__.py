"""Attacks, one file per kind: each is refused in words, changes nothing in the tenant, and is written down."""
