"""`python -m paritree`."""

from .cli import main

main()
