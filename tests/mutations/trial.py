"""One change, tried: in a process that is forked from one which has the frameworks but nothing of the package."""

from __future__ import annotations

import ast
import gc
import importlib.util
import os
import resource
import sys
import traceback
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).parents[2]


# The exit code of tests that have not imported what was changed, or not as it was changed.
NOT_TRIED = 71


def module_of(file: str) -> str:
    return f"paritree.{file.removesuffix('.py').replace('/', '.')}"


class _Changed(SourceFileLoader):
    """Loads a module from a tree, in the place of what its file says."""

    def __init__(self, name: str, file: Path, tree: ast.Module) -> None:
        super().__init__(name, str(file))
        self.tree = tree

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.tree, self.path, "exec", dont_inherit=True)


class _Finder:
    """Finds one module, changed."""

    def __init__(self, file: str, tree: ast.Module) -> None:
        self.name, self.file, self.tree = module_of(file), ROOT / file, tree

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.file, loader=_Changed(name, self.file, self.tree))


def warm(folder: Path) -> None:
    """Import what every test needs and no change touches, with the settings that the tests set for it.

    folder: for compiled files of the package and of the tests, so that only the first process compiles them.
    """
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(folder)
    # Most of a quick test's time would go into finding the plugins, and into collecting what is never garbage.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    from tests import conftest

    for name in ("torch", "jax", "flax.nnx", "flax.linen", "optax", "orbax.checkpoint", "scipy.stats"):
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.split(".")[0] == "paritree" or name == conftest.__name__]:
        del sys.modules[name]
    gc.collect()
    gc.freeze()


def start(
    arguments: Sequence[str], output: Path, seconds: float, file: str = "", tree: ast.Module | None = None
) -> int:
    """Fork a process that runs the tests, with one file changed. Gives its id; its status is the exit code of pytest.

    seconds: of its own time; one that takes longer is killed by a signal.
    """
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        with output.open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
        if tree is not None:
            sys.meta_path.insert(0, _Finder(file, tree))  # type: ignore[arg-type]
        import pytest

        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "paritree.pytest_plugin", *arguments]))
        if tree is not None and not isinstance(getattr(sys.modules.get(module_of(file)), "__loader__", None), _Changed):
            code = NOT_TRIED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def finished(child: int | None = None) -> tuple[int, int, float]:
    """Of the next process that ends (or of one): its id, its exit code, negative for a signal, and its own seconds."""
    found, status, used = os.wait4(child or -1, 0)
    return found, os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
