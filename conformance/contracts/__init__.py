"""The contracts of a pair, each a function from what was bound or compared to findings."""
