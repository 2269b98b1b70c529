"""One file per action, and what must be true of each."""
