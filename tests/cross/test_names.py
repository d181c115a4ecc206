"""One spec, one set of names: each framework's own listing, renamed, is the spec's."""

from __future__ import annotations

import pytest

from paritree import impl_torch
from paritree.common import paths
from paritree.common.models.reference import MODELS

from . import native
from .conftest import Case

# How PyTorch spells the last component, and how Flax does; written out here, and not taken from the package.
LEAVES = {"kernel": "weight", "embedding": "weight", "bias": "bias"}


def renamed(wing: str, path: tuple) -> str:
    """A native path in PyTorch's spelling, by the rules of the study's rows A6 and N1."""
    if wing == "torch":
        return ".".join(path)
    if wing == "linen":
        containers = [part.removeprefix("layers_") for part in path[:-1]]
    else:
        containers = [str(part) for part in path[:-1] if part != "layers"]
    return ".".join((*containers, LEAVES[path[-1]]))


def test_the_frameworks_own_names_are_the_specs(case: Case) -> None:
    table = case.reference.table()
    for listed, rows in (
        (native.trained(case.wing.NAME, case.model), table.parameters),
        (native.untrained(case.wing.NAME, case.model), table.buffers),
    ):
        # A tie has one name in each framework, and Flax may keep another of its names than the owner's.
        names = {table.owner(renamed(case.wing.NAME, path)) for path in listed}
        assert names == {row.path for row in rows}
        assert len(names) == len(listed)


def test_the_live_table_has_the_specs_paths_in_the_specs_order(case: Case) -> None:
    assert case.wing.table(case.model).paths == case.reference.table().paths


def test_native_paths_lead_back(case: Case) -> None:
    table = case.wing.table(case.model)
    listed = {**native.trained(case.wing.NAME, case.model), **native.untrained(case.wing.NAME, case.model)}
    # NNX lists a tie under the first of its native paths in sorted order, which may be an alias's.
    owners = [table.owner(case.wing.path_of(case.model, path)) for path in listed]
    assert sorted(owners) == sorted(row.path for row in table.owners)
    for row in table.owners:
        assert case.wing.native_path(case.model, row.path) == row.native_path
        assert case.wing.path_of(case.model, row.native_path) == row.path


@pytest.mark.parametrize("name", MODELS)
def test_the_specs_paths_are_what_torch_lists(name: str) -> None:
    reference = MODELS[name]
    model, table = impl_torch.build(reference.resolved), reference.table()
    assert [row.path for row in table.parameters] == [path for path, _ in model.named_parameters()]
    assert [row.path for row in table.buffers] == [path for path, _ in model.named_buffers()]
    assert list(table.paths) == list(model.state_dict())


def test_the_renaming_can_fail() -> None:
    assert renamed("linen", ("layers_0", "kernel")) == "0.weight" != paths.join("layers_0", "weight")
    with pytest.raises(KeyError):
        renamed("nnx", ("layers", 0, "scale"))
