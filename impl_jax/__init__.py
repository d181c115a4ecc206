"""The two Flax wings, `linen` and `nnx`, and what they share: draws, devices, sites. No torch in here."""
