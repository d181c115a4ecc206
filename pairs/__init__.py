"""Pairs: what a reference and a port of it are, and what is true of any two sides. No framework is imported."""
