"""Tests of `bot/whatif/`: small policies of their own, one condition at a time."""
