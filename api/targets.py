"""Targets of the command line: `FILE.py:NAME`, a pair or a model, or the name of a reference model or architecture."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from .common.errors import UsageError, listed, nearest
from .common.wing import Call, Inputs, name_of
from .pairs.pair import Pair


def load_target(target: str) -> Any:
    """The object that a target names; a factory (a function, a partial, a class) is called, with the seed 0.

    One that takes no argument is called without.

    The file is run as a module of its own, with its folder importable, as `python FILE.py` would have it.

    Raises:
        UsageError: no such file, no such name in it, or the file or the factory raises.
    """
    file, name = _parted(target)
    if not file:
        return _named(target)
    path = Path(file)
    if not path.is_file():
        raise UsageError(target, f"a file {file!r}", "none", "Give FILE.py:NAME, with the file's path from here.")
    module = _run(path, target)
    if not name:
        raise UsageError(target, "a file and a name in it, FILE.py:NAME", "the file alone", _names_in(module))
    if not hasattr(module, name):
        raise UsageError(target, f"the name {name!r} in {path.name}", "none", nearest(name, _public(module)))
    found = getattr(module, name)
    if not isinstance(found, FunctionType | type | partial):
        return found
    if not _takes_one(found):
        with _explained(target, f"{name}(), a factory, to return a model or pair", "Mend it."):
            return found()
    with _explained(
        target, f"{name}(0), a factory called with a seed, to return a model", "A factory takes one argument, the seed."
    ):
        return found(0)


def is_in_file(target: str) -> bool:
    """Whether a target is one of a file, its name given or forgotten, and not a reference model's name."""
    return bool(_parted(target)[0])


def _parted(target: str) -> tuple[str, str]:
    """The file, which a reference model has not, and the name in it, which may have been forgotten."""
    file, colon, name = target.rpartition(":")
    return (file, name) if colon else (target, "") if target.endswith(".py") else ("", target)


def _names_in(module: ModuleType) -> str:
    """What a name may be forgotten of: the pairs and models of a file, and its functions, which may make one."""
    names = _public(module)
    groups = {
        "Pairs": [name for name, each in names.items() if isinstance(each, Pair)],
        "Models": [name for name, each in names.items() if _is_model(each)],
        "Functions": [name for name, each in names.items() if _is_function_of(module, each)],
    }
    parts = [f"{kind}: {listed(list(map(repr, found)), separator=', ')}." for kind, found in groups.items() if found]
    return " ".join(parts) or "There is no pair, no model and no function in it."


def _public(module: ModuleType) -> dict[str, Any]:
    return {name: each for name, each in vars(module).items() if not name.startswith("_")}


def _is_function_of(module: ModuleType, found: Any) -> bool:
    return isinstance(found, FunctionType) and found.__module__ == module.__name__


def _is_model(found: Any) -> bool:
    from .common.spec import Layer

    if isinstance(found, Layer):
        return True
    try:
        name_of(found)
    except UsageError:
        return False
    return True


def _takes_one(factory: Any) -> bool:
    """Whether it can be given a seed; what does not tell its parameters is taken to be one that can."""
    try:
        taken = signature(factory).parameters.values()
    except ValueError:
        return True
    return any(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD, each.VAR_POSITIONAL) for each in taken)


def _named(name: str) -> Any:
    from .common.models import MODELS
    from .common.models.architectures import ARCHITECTURES

    if name in ARCHITECTURES:
        return ARCHITECTURES[name].make()
    if name not in MODELS:
        expected = "the name of a reference model or architecture"
        raise UsageError(name, expected, "none of that name", nearest(name, [*MODELS, *ARCHITECTURES]))
    return MODELS[name]


def _run(path: Path, target: str) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(target, "a Python file", f"{path.name}", "Its name must end in .py.")
    module = module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.path.insert(0, str(path.parent.resolve()))
    # As an import does: dataclasses, which Linen modules are, look their own module up by its name.
    sys.modules[path.stem] = module
    try:
        with _explained(target, f"{path.name} to run", "Mend the file."):
            spec.loader.exec_module(module)
    except UsageError:
        if before is None:
            del sys.modules[path.stem]
        else:
            sys.modules[path.stem] = before
        raise
    finally:
        sys.path.pop(0)
    return module


@contextmanager
def _explained(target: str, expected: str, remedy: str) -> Iterator[None]:
    """What a user's own code raises, as an error that says so; also a SystemExit, which would end us in silence."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise UsageError(target, expected, f"{type(error).__name__}: {error}", remedy) from error


def load_pair(target: str) -> Pair:
    """A Pair of a file, or what a function of it gives, called without an argument or with the seed 0.

    Raises:
        UsageError: no such file, no such name in it, it is no pair, or the file or the function raises.
    """
    found = load_target(target)
    if not isinstance(found, Pair):
        raise UsageError(target, "a paritree.Pair", type(found).__name__, "Make one: Pair(reference, port, inputs).")
    return found


def names_beside(target: str) -> dict[str, Any]:
    """What else is in the file of a target that was loaded."""
    return vars(sys.modules[Path(_parted(target)[0]).stem])


def inputs_of(target: str, name: str | None) -> Inputs:
    """The inputs of that name beside a target that was loaded, or of a pair of that name; INPUTS or inputs for no name.

    Raises:
        UsageError: there are none.
    """
    names = names_beside(target)
    for known in (name,) if name else ("INPUTS", "inputs"):
        if known in names:
            return names[known].inputs if isinstance(names[known], Pair) else names[known]
    wanted = f"the name {name!r}" if name else "the name 'INPUTS' or 'inputs'"
    known = [
        each for each, found in names.items() if isinstance(found, tuple | dict | Pair) and not each.startswith("_")
    ]
    remedy = nearest(name, known) if name else "Name the tuple or dict of arrays with --inputs."
    raise UsageError("--inputs" if name else target, f"{wanted} in the model's file", "none", remedy)


def call_of(target: str, name: str | None) -> Call | None:
    """The function of that name beside a target that was loaded; None for no name.

    Raises:
        UsageError: there is none.
    """
    if name is None:
        return None
    names = names_beside(target)
    if not callable(names.get(name)):
        known = [each for each, found in names.items() if callable(found) and not each.startswith("_")]
        raise UsageError(name, "a function in the model's file", "none of that name", nearest(name, known))
    return names[name]
