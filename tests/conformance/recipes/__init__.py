"""Recipes in both frameworks, faults planted in them and clean ones: `python -m tests.conformance.recipes`."""
