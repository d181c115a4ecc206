"""Resizing: the map of a small configuration, made to fit the same model in another size."""
