"""Reads which modules each room imports, without running it, and says which of them it may not.

Imports go down only: api -> study, migration, conformance -> pairs -> wings -> common. The three rooms on one floor do
not import each other, nor do the wings. A framework is for its wing alone, and for the study's records. From outside of
a folder below a room imports come from that folder's face, its `__init__`; and no chain of imports leads back to where
it began, wherever in a file they stand.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = "paritree"
TORCH = ("torch", "torchvision", "transformers")
JAX = ("jax", "jaxlib", "flax", "optax", "orbax", "chex", "transformers")
WINGS = ("impl_torch", "impl_jax", "impl_jax.linen", "impl_jax.nnx")


class Allowed(NamedTuple):
    """The other rooms and the frameworks that a room may import."""

    rooms: tuple[str, ...] = ()
    frameworks: tuple[str, ...] = ()


# A subfolder with rules of its own is a room of its own.
ROOMS: dict[str, Allowed] = {
    "common": Allowed(),
    "impl_torch": Allowed(("common",), TORCH),
    "impl_jax": Allowed(("common",), JAX),
    "impl_jax.linen": Allowed(("common", "impl_jax"), JAX),
    "impl_jax.nnx": Allowed(("common", "impl_jax"), JAX),
    "pairs": Allowed(("common", *WINGS)),
    "migration": Allowed(("common", *WINGS, "pairs")),
    "conformance": Allowed(("common", *WINGS, "pairs")),
    "study": Allowed(("common", *WINGS, "pairs", "study.behaviours")),
    "study.behaviours": Allowed(("common", *WINGS, "pairs", "study"), (*TORCH, *JAX)),
    "api": Allowed(("common", *WINGS, "pairs", "migration", "conformance", "study", "study.behaviours")),
}


def violations(root: Path) -> list[str]:
    """`FILE:LINE: ROOM may not import MODULE`, for every import in the rooms below `root` that is not allowed."""
    found = []
    for file in files(root):
        room = room_of(module_of(root, file))
        for line, imported in imports(file.read_text(encoding="utf-8"), package_of(root, file)):
            if not is_allowed(room, imported):
                found.append(f"{file.relative_to(root).as_posix()}:{line}: {room} may not import {imported}")
    return found


def past_a_face(root: Path) -> list[str]:
    """`FILE:LINE: MODULE is inside of FOLDER`, for every import from outside of a folder of one of its modules.

    A module that stands directly in a room is its own face, and so is a row of the study.
    """
    found = []
    for file, line, target in _edges(root):
        folder = target.parent
        is_inside = target.name != "__init__.py" and len(folder.relative_to(root).parts) > 1
        if is_inside and folder not in file.parents and "behaviours" not in folder.parts:
            place = f"{file.relative_to(root).as_posix()}:{line}"
            found.append(f"{place}: {module_of(root, target)} is inside of {folder.relative_to(root).as_posix()}")
    return found


def circles(root: Path) -> list[list[str]]:
    """The files that import each other round in a circle, each circle once, sorted."""
    graph: dict[str, list[str]] = {}
    for file, _, target in _edges(root):
        if target != file:
            ends = (each.relative_to(root).as_posix() for each in (file, target))
            graph.setdefault(next(ends), []).append(next(ends))
    components = strong_components(graph)
    return sorted(sorted(members) for members in components if len(members) > 1)


def strong_components(graph: dict[str, list[str]]) -> list[set[str]]:
    """The strongly connected components, by Tarjan's algorithm (SIAM J. Comput. 1, 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        path.append(node)
        for other in graph.get(node, ()):
            if other not in number:
                visit(other)
            if other in path:
                lowest[node] = min(lowest[node], lowest[other])
        if lowest[node] == number[node]:
            start = path.index(node)
            found.append(set(path[start:]))
            del path[start:]

    for node in graph:
        if node not in number:
            visit(node)
    return found


def _edges(root: Path) -> Iterator[tuple[Path, int, Path]]:
    """(file, line, imported file) of every import between files below `root`."""
    modules = {module_of(root, file): file for file in files(root)}
    for file in modules.values():
        for line, imported in imports(file.read_text(encoding="utf-8"), package_of(root, file)):
            # What is imported from a module may be a module or a name in one.
            target = modules.get(imported) or modules.get(imported.rpartition(".")[0])
            if target is not None:
                yield file, line, target


def files(root: Path) -> list[Path]:
    """Every Python file of every room."""
    return [file for room in ROOMS if "." not in room for file in sorted((root / room).rglob("*.py"))]


def module_of(root: Path, file: Path) -> str:
    """The dotted name under which a file is imported; the folder `api` is the package itself."""
    parts = [part for part in file.relative_to(root).with_suffix("").parts if part != "__init__"]
    return ".".join([PACKAGE, *(parts[1:] if parts[0] == "api" else parts)])


def package_of(root: Path, file: Path) -> str:
    """What a dot stands for in the file's own imports."""
    module = module_of(root, file)
    return module if file.name == "__init__.py" else module.rpartition(".")[0]


def room_of(module: str) -> str:
    """The innermost room that holds a module of the package; what is in no other one is the front door's."""
    inside = module.removeprefix(PACKAGE).removeprefix(".")
    holders = [room for room in ROOMS if inside == room or inside.startswith(room + ".")]
    return max(holders, key=len, default="api")


def is_allowed(room: str, imported: str) -> bool:
    top = imported.partition(".")[0]
    if top == PACKAGE:
        other = room_of(imported)
        return other == room or other in ROOMS[room].rooms
    return top in ROOMS[room].frameworks or top not in (*TORCH, *JAX)


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """The line and the absolute name of everything that a source imports, by statement or by a literal name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute("." * node.level + (node.module or ""), package)
            # What is imported from a package may be a module of it.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, absolute(name.value, package)


def absolute(name: str, package: str) -> str:
    """A relative name made absolute: one dot is the package, each further one a step up."""
    bare = name.lstrip(".")
    steps = len(name) - len(bare)
    if not steps:
        return name
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - steps + 1], *([bare] if bare else [])])


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
