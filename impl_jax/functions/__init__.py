"""What the spec's layers without parameters are as JAX functions, by family; both Flax wings use them."""
