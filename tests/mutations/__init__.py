"""Small changes of the code that judges, each of which some test must notice: `make mutations`.

A mutant of `tests/conformance/mutants` is a wrong port; what is changed here is the package itself.
"""
