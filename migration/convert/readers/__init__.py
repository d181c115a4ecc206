"""Readers: what a checkpoint holds, one module for each kind of file or folder."""
