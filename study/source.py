"""What the pages print of a wing's function: its source, below whatever else it takes to read it.

Above the function stand the definitions that it uses from its own folder (the data of an exercise, a
rounding), and above these the imports that a reader could not guess. The usual imports are the same
in every row, so a page may name them once; so are `raised` and `Absent`, the words of the records.
`standalone` leaves nothing out: it can be pasted and run.
"""

from __future__ import annotations

import ast
import dis
import inspect
import sys
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

USUAL = (
    "import torch",
    "from torch import nn",
    "import jax",
    "import jax.numpy as jnp",
    "from flax import linen",
    "from flax import nnx",
    "import numpy as np",
)
_ROOM = str(__package__)
_ROWS = f"{_ROOM}.behaviours."
# From a name and the statement that binds it to the line of import that is shown, or to nothing.
ImportOf = Callable[[str, ast.stmt], str]
# A function or a class that stands at the top of a row.
Definition = Any


def source(function: Callable[..., object]) -> str:
    """The function as its author wrote it, below the imports and definitions that it uses."""
    return _assembled(function, _unusual_import)


def standalone(function: Callable[..., object]) -> str:
    """The same below every import that it needs, and a last line that prints what it returns."""
    return f"{_assembled(function, _any_import)}\n\n\nprint({function.__name__}())"


def _assembled(function: Callable[..., object], import_of: ImportOf) -> str:
    imports: dict[str, None] = {}
    definitions: dict[str, str] = {}
    _collect(function, import_of, imports, definitions)
    head = ["\n".join(sorted(imports, key=_as_sorted_by_hand))] if imports else []
    return "\n\n".join([*head, *definitions.values()])


def _as_sorted_by_hand(line: str) -> tuple[bool, bool, str]:
    """Modules before names of them, and what is our own last."""
    return line.startswith(f"from {_ROOM} "), line.startswith("from "), line


def _collect(function: Definition, import_of: ImportOf, imports: dict[str, None], definitions: dict[str, str]) -> None:
    """Add what a function uses, and then the function, so that everything stands above its users."""
    text = inspect.getsource(sys.modules[function.__module__])
    statements = _statements(text)
    for name in dict.fromkeys(_names_in(function)):
        value, statement = vars(sys.modules[function.__module__]).get(name), statements.get(name)
        if statement is None or name in definitions:
            continue  # one of Python's own names, or there already
        own = getattr(value, "__module__", "")
        if (inspect.isfunction(value) or inspect.isclass(value)) and (
            own == function.__module__ or own.startswith(_ROWS)
        ):
            _collect(value, import_of, imports, definitions)
        elif isinstance(statement, ast.Assign):
            for each in _read_in(statement.value):
                if line := import_of(each, statements[each]) if each in statements else "":
                    imports[line] = None
            definitions[name] = ast.get_source_segment(text, statement) or ""
        elif line := import_of(name, statement):
            imports[line] = None
    definitions[function.__name__] = inspect.getsource(function).rstrip()


def _unusual_import(name: str, statement: ast.stmt) -> str:
    """The import of one name, or nothing if it is a usual one or comes from this room."""
    line = _any_import(name, statement)
    return "" if line in USUAL or line.startswith(f"from {_ROOM} ") else line


def _any_import(name: str, statement: ast.stmt) -> str:
    """The import of one name; a word of the records comes from this room's face."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)):
        return ""
    alias = next(alias for alias in statement.names if (alias.asname or alias.name) == name)
    if isinstance(statement, ast.Import):
        return ast.unparse(ast.Import([alias]))
    return ast.unparse(ast.ImportFrom(_ROOM if statement.level else statement.module, [alias], 0))


def _statements(text: str) -> dict[str, ast.stmt]:
    """The names that a module binds at its top, each with the statement that binds it."""
    found: dict[str, ast.stmt] = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            found[statement.name] = statement
        elif isinstance(statement, ast.Assign):
            found.update({target.id: statement for target in statement.targets if isinstance(target, ast.Name)})
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            found.update({alias.asname or alias.name: statement for alias in statement.names})
    return found


def _names_in(definition: Definition) -> Iterator[str]:
    """The global names that a function reads; of a class all names in it, since its body has no code that is kept."""
    if not isinstance(definition, type):
        return _globals_of(definition.__code__)
    return (name for name in _read_in(ast.parse(inspect.getsource(definition))) if name != definition.__name__)


def _read_in(node: ast.AST) -> Iterator[str]:
    return (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def _globals_of(code: CodeType) -> Iterator[str]:
    """The global names that a function reads, those of the functions and classes within it included."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_of(constant)
