"""What a wing is and gives: its Protocols, stored tensors, runs, traces, sites, training, saving, factories."""
