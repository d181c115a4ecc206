"""Faults of which each names the contracts that fail on it: most often one alone."""
