"""Targets of the command line: `FILE.py:NAME`, or the name of a reference model."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FunctionType
from typing import Any

from .common.errors import UsageError, nearest


def load_target(target: str) -> Any:
    """The object that a target names; a function is called with the seed 0.

    The file is run as a module of its own, with its folder importable, as `python FILE.py` would have it.

    Raises:
        UsageError: no such file, no such name in it, or the file raises.
    """
    file, colon, name = target.rpartition(":")
    if not colon:
        from .common.models import reference_model

        return reference_model(target)
    path = Path(file)
    if not path.is_file():
        raise UsageError(target, f"a file {file!r}", "none", "Give FILE.py:NAME, with the file's path from here.")
    module = _run(path, target)
    if not hasattr(module, name):
        public = [key for key in vars(module) if not key.startswith("_")]
        raise UsageError(target, f"the name {name!r} in {path.name}", "none", nearest(name, public))
    found = getattr(module, name)
    return found(0) if isinstance(found, FunctionType) else found


def _run(path: Path, target: str) -> Any:
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(target, "a Python file", f"{path.name}", "Its name must end in .py.")
    module = module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(target, f"{path.name} to run", f"{type(error).__name__}: {error}", "Mend the file.") from error
    finally:
        sys.path.pop(0)
    return module
