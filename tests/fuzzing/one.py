"""One reader under atheris: `python -m tests.fuzzing.one READER [OPTION...]`, with libFuzzer's options."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

import atheris
from hypothesis import given

# What reads, and what it reads with.
WATCHED = ["paritree", "json", "tomllib", "zipfile"]


def main() -> None:
    with atheris.instrument_imports(include=WATCHED):
        for name in WATCHED:
            importlib.import_module(name)
        # A reader of checkpoints imports its wing when it is needed.
        importlib.import_module("paritree.impl_torch.files")
        from .documents import documents
        from .readers import outcome, readers
    reader = readers()[sys.argv[1]]

    def read(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            outcome(reader, content, Path(folder))

    read_document = given(documents(reader))(read) if reader.document is not None else None

    def one(content: bytes) -> None:
        # Bytes at random are hardly ever JSON: behind a zero they choose what is changed in a sound document.
        if read_document is not None and content[:1] == b"\0":
            read_document.hypothesis.fuzz_one_input(content[1:])  # type: ignore[attr-defined]
        else:
            read(content)

    atheris.Setup([sys.argv[1], *sys.argv[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
