"""The sandbox's page in a real browser: what people do there, done by clicking, with the real bot behind it."""
