"""Rotation: a model of it in memory, and everything that may go wrong there."""
