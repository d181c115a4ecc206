"""Benchmarks: ratios of two things measured side by side in one run, never a bare time. `python -m benchmarks`."""
