"""What the wings share and no framework owns: specs, paths, layouts, initializers, ties and tables.

Nothing in this room imports torch or jax.
"""
