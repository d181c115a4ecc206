"""The migration table says what is: classes, settings and native names are looked up in the frameworks themselves."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from paritree.cli import cli
from paritree.common.entries import ENTRIES, Entry, entry
from paritree.common.errors import UsageError
from paritree.common.layers import KINDS
from paritree.common.traps import TRAPS
from paritree.conformance import load_wing
from paritree.study import layers

PAGE = Path(__file__).parents[2] / "docs" / "layers.md"
each_entry = pytest.mark.parametrize("each", ENTRIES.values(), ids=ENTRIES)
# PyTorch's own class in name only, a class of `transformers` that ours stands in for, and calls instead of classes.
STAND_INS = {"TransposedLinear"}


def found(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def arguments(made: Any) -> set[str]:
    """What a function takes, or the constructors of a class and of what it derives from."""
    functions = [base.__init__ for base in made.__mro__] if inspect.isclass(made) else [made]
    return {name for function in functions for name in inspect.signature(function).parameters}


def test_every_layer_that_holds_something_has_an_entry() -> None:
    of_its_own = {"Parameter", "Buffer", "Decoder", "FixedLinear", "BatchNorm", "InstanceNorm"}
    assert set(KINDS) - of_its_own <= set(ENTRIES)


@each_entry
def test_the_wings_build_the_classes_that_are_named(each: Entry) -> None:
    if each.name in STAND_INS:
        return
    assert isinstance(load_wing("torch").build(each.example), found(each.torch))
    for wing, name in (("linen", each.linen), ("nnx", each.nnx)):
        made = found(name) if name else None
        if inspect.isclass(made) and each.name != "Dropout":
            model = load_wing(wing).build(each.example)
            assert isinstance(model[0] if wing == "linen" else model, made)


@each_entry
def test_every_setting_is_one_of_the_class(each: Entry) -> None:
    flax = [found(name) for name in (each.linen, each.nnx) if name]
    for setting in each.settings:
        for name in filter(None, setting.torch.split(", ")):
            assert name in arguments(found(each.torch)) or (name in {"training", "attn_mask", "key_padding_mask"})
        for name in filter(None, setting.flax.split(", ")):
            if flax:
                assert any(name in arguments(made) | arguments(made.__call__) for made in flax), name


@each_entry
def test_the_settings_that_are_handed_over_are_in_the_table(each: Entry) -> None:
    if not hasattr(each.example, "flax_settings"):
        return
    wants_dtype = "dtype" in arguments(each.example.flax_settings)
    given = each.example.flax_settings(*(["float32"] if wants_dtype else []))
    named = {name for setting in each.settings for name in setting.flax.split(", ")}
    axes = {"axis", "feature_axes", "reduction_axes", "use_bias"}
    assert set(given) - axes <= named


def test_the_page_is_what_it_would_be_made_anew() -> None:
    assert PAGE.read_text(encoding="utf-8") == layers.page(), "Run `paritree layers --markdown docs/layers.md`."


def test_the_traps_are_those_with_a_number() -> None:
    assert list(TRAPS) == list(range(1, 41))
    assert {number for each in ENTRIES.values() for number in each.traps} <= set(TRAPS)


def test_a_name_is_found_whatever_its_case_and_another_is_refused() -> None:
    assert entry("conv2d").name == "Conv2d"
    with pytest.raises(UsageError) as caught:
        entry("Conv4d")
    text = "Conv4d: expected the name of a layer, found none of that name. Did you mean 'Conv3d'?"
    assert str(caught.value) in {text.replace("3d", f"{n}d") for n in (1, 2, 3)}


def test_the_command_prints_the_table() -> None:
    run = CliRunner().invoke
    overview = run(cli, ["layers"])
    assert overview.exit_code == 0
    assert all(name in overview.output for name in ENTRIES)
    one = run(cli, ["layers", "batchnorm2d"])
    assert one.exit_code == 0
    assert "num_batches_tracked" in one.output
    assert "1 - momentum" in one.output
    assert TRAPS[12][:40] in one.output
    listed = json.loads(run(cli, ["layers", "--json"]).output)
    assert [each["layer"] for each in listed] == list(ENTRIES)


def test_the_command_refuses_two_outputs_and_a_wrong_name() -> None:
    run = CliRunner().invoke
    assert run(cli, ["layers", "--json", "Linear"]).exit_code == 2
    with pytest.raises(UsageError, match="Did you mean 'Linear'"):
        run(cli, ["layers", "Linera"], catch_exceptions=False)
