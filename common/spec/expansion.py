"""What a spec amounts to: its uses in order of registration, its table, and its untied twin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .. import paths
from ..tables import Row, Table
from ..ties import Tie
from .layer import Layer, ParameterSpec
from .references import References, Shared, Tied
from .shape_flow import flow


@dataclass(frozen=True)
class Use:
    """A leaf layer at a path. `source` is the path where its parameters live: another one if shared."""

    path: str
    source: str
    layer: Layer


def uses(spec: Layer) -> Iterator[Use]:
    """Every leaf of the spec in order of registration, with each Shared expanded to the leaves it stands for.

    Raises:
        PathError: a Shared that leads nowhere.
        SpecError: one that leads to what comes later or contains it.
    """
    references = References(spec)
    pending: list[tuple[str, str, Layer]] = [("", "", spec)]
    while pending:
        path, source, layer = pending.pop()
        if isinstance(layer, Shared):
            # Looked up from where it is written (`source`), which may lie inside a shared block.
            target = references.resolve(source, layer.of)
            pending.append((path, target, references.nodes[target]))
        elif layer.container:
            pending.extend(
                (paths.join(path, name), paths.join(source, name), child) for name, child in reversed(layer.children())
            )
        else:
            yield Use(path, source, layer)


def table_of(spec: Layer, dtype: str = "float32") -> Table:
    """The table of the model that the spec describes, no framework needed.

    dtype: of every parameter and buffer that has none of its own.

    Raises:
        SpecError: widths that do not chain, or a reference to what comes later.
        PathError: a reference that leads nowhere.
        InitializerError: an initializer that does not fit its shape; its path is the parameter's.
    """
    spec, _ = flow(spec)
    references = References(spec)
    rows = []
    for use in uses(spec):
        for parameter, owner in _parameters(use, references):
            path = paths.join(use.path, parameter.name)
            # A layer of one's own may not have looked at this itself, as those of common/layers do.
            if path == owner and parameter.initializer and None not in parameter.shape:
                parameter.initializer.validate(parameter.shape, path)  # type: ignore[arg-type]
            rows.append(
                Row(
                    path=path,
                    shape=parameter.shape,
                    dtype=parameter.dtype or dtype,
                    kind=parameter.kind,
                    layer=use.layer.kind,
                    initializer=parameter.initializer,
                    tie=None if path == owner else Tie(owner, path),
                    persistent=parameter.persistent,
                    name=parameter.name,
                    axes=parameter.axes,
                )
            )
    return Table(tuple(rows))


def _parameters(use: Use, references: References) -> Iterator[tuple[ParameterSpec, str]]:
    """Each parameter of a leaf with the path that owns it."""
    if not isinstance(use.layer, Tied):
        for parameter in use.layer.parameters():
            yield parameter, paths.join(use.source, parameter.name)
        return
    target = references.nodes[references.resolve(use.source, use.layer.of)]
    for parameter in use.layer.tied_to(target, use.path).parameters():
        of = use.layer.aliases.get(parameter.name)
        if of is None:
            yield parameter, paths.join(use.source, parameter.name)
            continue
        if not use.layer.lists_weight:
            continue
        # The first parameter of the owner: its weight, or a bare array itself.
        owner = references.resolve(use.source, of)
        owned = references.nodes[owner].parameters()[0]
        yield replace(owned, name=parameter.name), paths.join(owner, owned.name)


def untied(spec: Layer) -> Layer:
    """The spec with every alias turned into a parameter of its own: a tied model's untied twin.

    A layer that one Block calls several times is still one layer: it has one path.

    Raises:
        PathError: a reference that leads nowhere.
        SpecError: one that leads to what comes later, or to a layer of the wrong kind.
    """
    references = References(spec)

    def copy(source: str, layer: Layer) -> Layer:
        if isinstance(layer, Shared):
            target = references.resolve(source, layer.of)
            return copy(target, references.nodes[target])
        pairs = [(name, copy(paths.join(source, name), child)) for name, child in layer.children()]
        if layer.container:
            return layer.with_children(pairs)
        if isinstance(layer, Tied):
            return layer.tied_to(references.nodes[references.resolve(source, layer.of)], source)
        return layer

    return copy("", spec)
