"""Frozen encoders: what their names stand for, how they run, and the cache of their features."""
