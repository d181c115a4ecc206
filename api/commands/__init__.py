"""The command line's longer commands, each with its options and its body; `cli.py` puts them together."""
