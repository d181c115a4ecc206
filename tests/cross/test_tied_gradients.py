"""A tied parameter's gradient is the sum over its sites, in every wing.

Three derivations meet here: the gradient that a wing gives for the tied model, the shares of its sites, and the
gradients of the untied twin, where every alias is a parameter of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np
import pytest
from flax import nnx

from paritree.common.models.reference import MODELS, ReferenceModel, neutral_weights
from paritree.common.seeding import generator
from paritree.common.spec import expansion
from paritree.common.wing.protocols import Wing
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.pairs.closeness import allowed, relative_error

TIED = [name for name, model in MODELS.items() if model.table().ties]
REPEATED = [*TIED, "fancy-mlp"]


@pytest.fixture(params=WINGS)
def wing(request: pytest.FixtureRequest) -> Wing:
    return load_wing(request.param)


def cotangent(reference: ReferenceModel, output: np.ndarray) -> np.ndarray:
    return generator(0, f"cotangent of {reference.name}").normal(size=output.shape).astype(output.dtype)


def twin_gradients(wing: Wing, reference: ReferenceModel) -> dict[str, np.ndarray]:
    """For each owner the sum, in float64, of the gradients that its paths have in the untied twin."""
    table = reference.table()
    weights = neutral_weights(table, dtype="float64")
    twin = expansion.untied(reference.resolved)
    untied = {path: weights[table.owner(path)] for path in expansion.table_of(twin).paths}
    with wing.running(dtype="float64"):
        model = wing.load(wing.build(twin, dtype="float64"), untied)
        inputs = reference.inputs(dtype="float64")
        _, gradients = wing.value_and_gradients(model, inputs, cotangent(reference, wing.call(model, inputs)))
    sums: dict[str, np.ndarray] = {}
    for path, gradient in gradients.items():
        owner = table.owner(path)
        sums[owner] = sums[owner] + gradient if owner in sums else gradient
    return sums


def tied(wing: Wing, reference: ReferenceModel, dtype: str, device: str) -> tuple[Mapping, Mapping]:
    """The gradients of the tied model, and the shares of its sites."""
    with wing.running(device, dtype):
        model = wing.build(reference.resolved, dtype=dtype, device=device)
        model = wing.load(model, neutral_weights(reference.table(), dtype=dtype))
        inputs = reference.inputs(dtype=dtype)
        weighting = cotangent(reference, wing.call(model, inputs).astype(np.float64)).astype(dtype)
        _, gradients = wing.value_and_gradients(model, inputs, weighting)
        return gradients, wing.site_gradients(model, inputs, weighting)


@pytest.mark.parametrize("name", TIED)
def test_the_tied_gradient_is_the_sum_over_the_untied_twin(name: str, wing: Wing, device: str) -> None:
    reference = MODELS[name]
    exact = twin_gradients(load_wing("torch"), reference)
    gradients, _ = tied(wing, reference, "float32", device)
    limit = allowed(len(list(expansion.uses(reference.resolved))))
    assert gradients.keys() == exact.keys()
    for path in exact:
        assert relative_error(gradients[path], exact[path]) <= limit, path


@pytest.mark.parametrize("name", REPEATED)
def test_the_sites_shares_add_up_to_the_gradient(name: str, wing: Wing, device: str) -> None:
    gradients, sites = tied(wing, MODELS[name], "float64", device)
    assert gradients.keys() == sites.keys()
    for path, members in sites.items():
        assert relative_error(sum(site.gradient for site in members), gradients[path]) <= 1e-14, path


@pytest.mark.parametrize("name", TIED)
def test_each_alias_is_a_site_and_no_site_can_be_left_out(name: str, wing: Wing) -> None:
    reference = MODELS[name]
    _, sites = tied(wing, reference, "float64", "cpu")
    exact = twin_gradients(wing, reference)
    for group in reference.table().tie_groups:
        shares = [site.gradient for site in sites[group.owner]]
        assert len(shares) == len(group.paths)
        for left_out in range(len(shares)):
            rest = sum(share for number, share in enumerate(shares) if number != left_out)
            assert relative_error(rest, exact[group.owner]) > 0.01, (group.owner, left_out)


def test_the_three_wings_agree_in_float64(reference: ReferenceModel) -> None:
    results = {name: tied(load_wing(name), reference, "float64", "cpu")[0] for name in WINGS}
    for path, exact in results["torch"].items():
        for name in ("linen", "nnx"):
            assert relative_error(results[name][path], exact) <= 1e-13, (name, path)


def test_the_catalogues_figure(wing: Wing) -> None:
    """Row W6: w = 3, x = 1, y = 9, and the gradient is 6, which is 3 and 3."""
    reference = MODELS["ones"]
    model = wing.load(wing.build(reference.spec), {"0.weight": np.full((1, 1), 3, np.float32)})
    one = (np.ones((1, 1), np.float32),)
    value, gradients = wing.value_and_gradients(model, one, np.ones((1, 1), np.float32))
    sites = wing.site_gradients(model, one, np.ones((1, 1), np.float32))
    assert (value, gradients["0.weight"].item()) == (9.0, 6.0)
    assert [site.gradient.item() for site in sites["0.weight"]] == [3.0, 3.0]


def test_a_step_keeps_the_copies_together(wing: Wing, device: str) -> None:
    """Row W7: after SGD at 0.1 on the sum of the outputs both sites read 2.4; here one step on the squared error."""
    for name in TIED:
        reference = MODELS[name]
        with wing.running(device):
            model = wing.build(reference.resolved, device=device)
            output = wing.call(model, reference.inputs())
            model, _ = wing.step(model, reference.inputs(), np.ones_like(output))
            for tie in reference.table().ties:
                assert wing.identical(model, tie.owner, tie.alias)
                assert wing.equal(model, tie.owner, tie.alias)


def test_jax_grad_on_the_module_itself_would_split_the_gradient() -> None:
    """The trap that `value_and_gradients` avoids: a pytree lists a tied Variable once for every path."""
    wing = load_wing("nnx")
    model = wing.load(wing.build(MODELS["ones"].spec), {"0.weight": np.full((1, 1), 3, np.float32)})
    x = np.ones((1, 1), np.float32)
    partial = jax.grad(lambda module: module(x).sum())(model)
    whole = nnx.grad(lambda module: module(x).sum())(model)
    assert [layer.kernel[...].item() for layer in partial.layers] == [3.0, 3.0]
    assert whole["layers"][0]["kernel"][...].item() == 6.0
