"""Records: one side of a pair, recorded to be held against another somewhere else."""
