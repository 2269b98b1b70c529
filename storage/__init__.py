"""The only room that remembers: SQLite, and secrets in Key Vault."""
