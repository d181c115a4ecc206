"""The architectures against the torch classes that they describe: tables, outputs, gradients, dropout, distributions.

Each small model (`cases.py`) is held against the class of transformers or of PyTorch's examples (`twin.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from paritree.common.errors import UsageError
from paritree.common.models import architectures as ours
from paritree.common.spec import expansion
from paritree.common.wing.recognition import WINGS
from paritree.pairs.closeness import allowed

from . import twin
from .cases import ARCHITECTURES, CASES, Architecture, Case, Settings

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
FIRST = {
    name: next(case for case in CASES.values() if case.architecture is each) for name, each in ARCHITECTURES.items()
}
# The cases that are set like none before them.
SET = {(case.architecture.config, str(case.settings)): name for name, case in reversed(CASES.items())}
VARIANTS = {name: case for name, case in CASES.items() if name in SET.values()}
each_variant = pytest.mark.parametrize("case", VARIANTS.values(), ids=VARIANTS)
MASKED = {name: CASES[f"{name}, padded"] for name in ("bert", "albert", "gpt2", "llama")}


def of_each(listed: Callable[[Architecture], Any]) -> list[Any]:
    """Each architecture with each of what is listed for it."""
    return [
        pytest.param(each, item, id=f"{name}-{item}") for name, each in ARCHITECTURES.items() for item in listed(each)
    ]


@each_variant
def test_the_table_is_that_of_the_class(case: Case) -> None:
    twin.assert_same_tables(case.twin.spec, case.twin.model)


@each_architecture
def test_the_defaults_are_those_of_the_configuration(architecture: Architecture) -> None:
    assert architecture.spec_of(architecture.their_config()) == architecture.spec(architecture.config())


@pytest.mark.parametrize("case", FIRST.values(), ids=FIRST)
def test_the_repr_is_the_code_that_builds_it(case: Case) -> None:
    twin.assert_repr_is_code(case.twin.spec)


@each_variant
def test_the_buffers_are_those_of_the_class(case: Case) -> None:
    fresh = case.architecture.model(case.architecture.configured(**case.settings))
    twin.assert_same_buffers(case.twin.spec, fresh)


@each_case
def test_the_class_agrees_with_the_oracle(case: Case) -> None:
    assert case.twin.too_large(case.twin.theirs()) == {}
    if case.float64:
        exact = case.twin.errors(case.twin.theirs(torch.float64))
        assert max(exact.values()) <= allowed(case.twin.depth, case.float64)


@pytest.mark.parametrize("wing", WINGS)
@pytest.mark.parametrize(
    ("case", "device"),
    [
        pytest.param(case, device, id=f"{device}-{name}")
        for name, case in CASES.items()
        for device in case.architecture.devices
    ],
    indirect=["device"],
)
def test_a_wing_agrees_with_the_oracle(case: Case, wing: str, device: str) -> None:
    assert case.twin.too_large(case.twin.ours(wing, device)) == {}


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        pytest.param(case, fault, id=f"{name}-{fault}")
        for name, case in MASKED.items()
        for fault in case.architecture.faults
    ],
)
def test_a_wrong_setting_is_seen(case: Case, fault: Settings) -> None:
    right = twin.config_of(case.architecture.config, case.architecture.configured())
    wrong = case.architecture.spec(replace(right, **fault))
    assert case.twin.too_large(replace(case.twin, spec=wrong).ours("torch")) != {}


@pytest.mark.parametrize("case", MASKED.values(), ids=MASKED)
def test_a_mask_that_is_not_heeded_is_seen(case: Case) -> None:
    assert case.twin.too_large(replace(case.twin, inputs=case.twin.inputs[:1]).ours("torch")) != {}


@pytest.mark.parametrize("name", [name for name, each in ARCHITECTURES.items() if each.dropout is not None])
def test_dropout_stands_where_the_class_has_it(name: str) -> None:
    twin.assert_same_dropout(FIRST[name].with_settings(**ARCHITECTURES[name].dropout))


@pytest.mark.parametrize(("architecture", "settings"), of_each(lambda each: each.drawn))
def test_the_initial_distributions_are_those_of_the_class(architecture: Architecture, settings: Settings) -> None:
    config = architecture.configured(**settings)
    twin.assert_same_distributions(
        architecture.spec_of(config), lambda: architecture.model(config), draws=architecture.draws
    )


@pytest.mark.parametrize(("architecture", "refused"), of_each(lambda each: each.refused))
def test_what_is_not_described_is_refused(architecture: Architecture, refused: tuple[Settings, str]) -> None:
    settings, text = refused
    with pytest.raises(UsageError) as caught:
        architecture.spec_of(architecture.configured(**settings))
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: ours.T5Config(feed_forward_proj="wide-gelu"),
            "T5Config.feed_forward_proj: expected the name of an activation, or 'gated-' and one, found 'wide-gelu'.",
        ),
        (
            lambda: ours.T5Config(tie_encoder_decoder=True),
            "T5Config.tie_encoder_decoder: expected False, found True.",
        ),
        (
            lambda: ours.t5(ours.T5Config(feed_forward_proj="gated-gelo")),
            "gelo: expected the name of an activation, found none of that name. Did you mean 'gelu'?",
        ),
        (
            lambda: ours.ResNetConfig(layer_type="wide"),
            "ResNetConfig.layer_type: expected 'basic' or 'bottleneck', found 'wide'.",
        ),
        (
            lambda: ours.ResNetConfig(depths=(2, 2)),
            "ResNetConfig.depths: expected one for each of the hidden_sizes, and at least one, "
            "found 2 of them for 4 hidden_sizes.",
        ),
        (
            lambda: ours.LSTMLanguageModelConfig(ninp=10, nhid=12),
            "LSTMLanguageModelConfig.nhid: expected 10 (ninp), the width of the embedding that the output weight is "
            "tied to, found 12. Make them equal, or set tie_weights to False.",
        ),
    ],
)
def test_a_setting_of_ours_that_makes_no_model_is_refused(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value) == text


def test_the_depth_of_albert_costs_no_parameters() -> None:
    tables = [expansion.table_of(ours.albert(ours.AlbertConfig(num_hidden_layers=depth))) for depth in (1, 12)]
    assert tables[0] == tables[1]
