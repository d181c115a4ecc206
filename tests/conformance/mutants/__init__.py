"""Planted faults: clean pairs, and mutants of them with one porting mistake each."""
