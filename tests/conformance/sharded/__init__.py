"""Ports over a mesh or over processes, right and with one fault each, run in processes of their own."""
