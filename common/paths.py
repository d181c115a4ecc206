"""Paths: a parameter's canonical name, dotted, as PyTorch's `named_parameters` spells it.

The root of a model is the empty path. A component is any text that is not empty and has no dot:
PyTorch allows spaces (`0.block 0.weight`), and so do both Flax wings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .errors import ChildNameError


def join(*parts: str) -> str:
    """`join("0", "", "weight")` is `"0.weight"`: empty parts are the root and vanish."""
    return ".".join(part for part in parts if part)


def split(path: str) -> tuple[str, ...]:
    """The components of a path; none of the root's."""
    return tuple(path.split(".")) if path else ()


def parent(path: str) -> str:
    """The path of what holds `path`; the root's own for the root."""
    return path.rpartition(".")[0]


def leaf(path: str) -> str:
    """The last component of a path; empty for the root."""
    return path.rpartition(".")[2]


def is_under(path: str, prefix: str) -> bool:
    """Whether `path` is `prefix` itself or lies below it; everything lies under the root."""
    return not prefix or path == prefix or path.startswith(prefix + ".")


def scopes(path: str) -> Iterator[str]:
    """The containers that enclose `path`, innermost first and the root last."""
    while path:
        path = parent(path)
        yield path


def check_child_names(names: Iterable[str], container: str) -> None:
    """Refuse an empty, dotted, non-text or repeated child name.

    Raises:
        ChildNameError: its path is the container's.
    """
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not name:
            raise ChildNameError(
                container, "a child name of at least one character", repr(name), "Name every child of a Block."
            )
        if "." in name:
            raise ChildNameError(
                container,
                "a child name without a dot",
                repr(name),
                "A dot separates the components of a path; nest a Block, or use another sign.",
            )
        if name in seen:
            raise ChildNameError(
                container, "every child name once", f"{name!r} twice", "Rename one, or use Shared for a second use."
            )
        seen.add(name)
