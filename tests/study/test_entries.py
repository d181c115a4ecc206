"""The migration table says what is: classes, settings and native names are looked up in the frameworks themselves."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from paritree.cli import cli
from paritree.common import layers as spec
from paritree.common.errors import UsageError
from paritree.common.spec import Block
from paritree.common.spec.layer import Layer
from paritree.conformance import load_wing
from paritree.impl_jax.functions import ACTIVATIONS
from paritree.study import layers
from paritree.study.entries import ENTRIES, Entry, named
from paritree.study.traps import TRAPS

PAGE = Path(__file__).parents[2] / "docs" / "layers.md"
each_entry = pytest.mark.parametrize("each", ENTRIES.values(), ids=ENTRIES)
# A class of `transformers` that ours stands in for, and a module of ours that does what a class's method does.
STAND_INS = {"TransposedLinear", "Decoder"}
# Functions of JAX with other derivatives or fewer settings: the Flax wings have one of ours.
OTHERS = {"LeakyReLU", "Hardtanh", "Softplus"}
# Told of, though no argument of a constructor: an argument of the call, and one that `*args` hides.
ELSEWHERE = {"training", "attn_mask", "key_padding_mask", "nonlinearity"}
SILENT = {"self", "device", "dtype", "mode"}


def found(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def arguments(made: Any) -> set[str]:
    """What a function takes, or the constructors of a class and of what it derives from."""
    functions = [base.__init__ for base in made.__mro__] if inspect.isclass(made) else [made]
    return {name for function in functions for name in inspect.signature(function).parameters}


def constructor(made: type) -> set[str]:
    """What a class's constructor takes by name, as far up as `*args` hand on to."""
    named: set[str] = set()
    for base in made.__mro__:
        taken = inspect.signature(base.__init__).parameters.values()
        variadic = {each.kind for each in taken} & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
        named |= {each.name for each in taken if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
        if not variadic:
            break
    return {name for name in named - SILENT if not name.startswith("_")}


def told(each: Entry) -> set[str]:
    return {name for setting in each.settings for name in setting.torch.split(", ") if name}


def test_every_layer_has_an_entry() -> None:
    exported = {each for each in vars(spec).values() if inspect.isclass(each) and issubclass(each, Layer)}
    # A class that others derive from says what they have in common, and makes no layer.
    bases = {base for each in exported for base in each.__mro__[1:]}
    assert {each.__name__ for each in exported - bases} == set(ENTRIES)
    assert all(type(each.example) is getattr(spec, name) for name, each in ENTRIES.items())


@each_entry
def test_every_argument_of_the_torch_class_is_told(each: Entry) -> None:
    if not each.torch:
        assert each.note
        return
    made = found(each.torch)
    assert constructor(made) <= told(each) | ({"args", "kwargs"} if made is found("torch.nn.Identity") else set())


def test_what_the_spec_leaves_out_comes_with_what_to_do_instead() -> None:
    left_out = [
        setting.how for each in ENTRIES.values() for setting in each.settings if "not in the spec" in setting.how
    ]
    assert left_out
    assert all(how.startswith("not in the spec") and ": " in how for how in left_out)
    fields = {name for each in ENTRIES.values() for name in vars(each.example)}
    names = {n for e in ENTRIES.values() for s in e.settings if "not in the spec" in s.how for n in s.torch.split(", ")}
    # Settings of other layers, which these have not in PyTorch either.
    assert names & fields == {"padding_mode", "proj_size"}


def test_a_tied_layer_holds_what_its_owner_gives_it() -> None:
    held = {name: [row[:4] for row in layers.held(ENTRIES[name])] for name in ("Decoder", "Transposed", "Parameter")}
    assert held == {
        "Decoder": [("weight", "(9, 4)", "embedding", "(9, 4)"), ("bias", "(9,)", "bias", "(9,)")],
        "Transposed": [("bias", "(4,)", "bias", "(4,)")],
        "Parameter": [("(its path)", "(1, 4)", "value", "(1, 4)")],
    }
    weight = layers.held(ENTRIES["Decoder"])[0]
    assert weight[5] == layers.held(ENTRIES["Embedding"])[0][5] == "Normal(mean=0, std=1)"
    for wing in map(load_wing, ("torch", "linen", "nnx")):
        model = Block({"tokens": spec.Embedding(9, 4), "decoder": ENTRIES["Decoder"].example})
        rows = {row.path: row.shape for row in wing.table(wing.build(model))}
        assert rows["decoder.bias"] == (9,)
        model = Block({"encoder": spec.Linear(4, 8), "back": ENTRIES["Transposed"].example})
        rows = {row.path: row.shape for row in wing.table(wing.build(model))}
        assert set(rows) == {"encoder.weight", "encoder.bias", "back.bias"}
        assert rows["back.bias"] == (4,)


@each_entry
def test_the_flax_wings_call_the_functions_of_jax_that_are_named(each: Entry) -> None:
    if not each.linen.startswith("jax."):
        return
    made = ACTIVATIONS[type(each.example)](each.example)
    assert each.linen == each.nnx
    assert (getattr(made, "func", made) is found(each.linen)) == (each.name not in OTHERS)


@each_entry
def test_the_wings_build_the_classes_that_are_named(each: Entry) -> None:
    if each.name in STAND_INS:
        return
    if each.torch:
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
            assert name in arguments(found(each.torch)) or name in ELSEWHERE
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


def test_layers_of_one_to_three_axes_share_a_section() -> None:
    page = layers.page()
    headings = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    assert [name for heading in headings for name in heading.split(", ")] == list(ENTRIES)
    assert "Conv1d, Conv2d, Conv3d" in headings
    section = page.split("## Conv1d, Conv2d, Conv3d\n")[1].split("\n## ")[0]
    assert all(layout in section for layout in ("o i w -> w i o", "o i h w -> h w i o", "o i d h w -> d h w i o"))
    assert page.count("| `divisor_override`") == 1
    assert "(AvgPool2d and AvgPool3d only)" in page
    for family in layers.families():
        assert len({(each.note, each.traps) for each in family}) == 1
    anchors = set(re.findall(r"\]\(#([\w-]+)\)", page))
    assert anchors == {heading.lower().replace(", ", "-") for heading in headings}


def test_the_page_is_what_it_would_be_made_anew() -> None:
    assert PAGE.read_text(encoding="utf-8") == layers.page(), "Run `paritree layers --markdown docs/layers.md`."


def test_the_traps_are_those_with_a_number() -> None:
    assert list(TRAPS) == list(range(1, 41))
    assert {number for each in ENTRIES.values() for number in each.traps} <= set(TRAPS)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("conv2d", "Conv2d"),
        ("silu", "SiLU"),
        ("Dense", "Linear TransposedLinear"),
        ("linen.Dense", "Linear TransposedLinear"),
        ("nnx.MultiHeadAttention", "MultiheadAttention"),
        ("nn.MultiHeadDotProductAttention", "MultiheadAttention"),
        ("embed", "Embedding Decoder"),
        ("flax.nnx.Conv", "Conv1d Conv2d Conv3d"),
        ("nn.LSTMCell", "LSTM"),
        ("nnx.OptimizedLSTMCell", "LSTM"),
        ("jnp.tanh", "Tanh"),
        ("jax.nn.gelu", "GELU"),
        # GPT-2's, and not a convolution in other letters.
        ("Conv1D", "TransposedLinear"),
    ],
)
def test_a_layer_is_found_by_the_names_of_either_framework(name: str, layers: str) -> None:
    assert [each.name for each in named(name)] == layers.split()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("silo", "SiLU"),
        ("LINERA", "Linear"),
        ("softmaks", "Softmax"),
        ("prellu", "PReLU"),
        ("nnx.MultiHedAttention", "MultiheadAttention"),
        ("nnx.Dense", "Dense"),
        ("inear", "Linear"),
    ],
)
def test_a_name_of_no_framework_is_refused(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        named(name)
    expected = "the name of a layer, or of a class of PyTorch or Flax"
    assert str(caught.value) == f"{name}: expected {expected}, found none of that name. Did you mean {near!r}?"


def test_several_layers_of_one_class_are_said_to_be() -> None:
    text = printed(80, "Dense")
    assert text.startswith("Dense is the class of Linear and TransposedLinear.\n")
    assert "in_features" in text
    assert "GPT-2's Conv1D" in text


def printed(width: int, *names: str) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
    for part in [part for name in names for part in layers.shown(name)] or [layers.overview()]:
        console.print(part)
    return console.export_text()


def test_no_name_is_broken_at_80_columns() -> None:
    overview = printed(80).split()
    assert set(ENTRIES) <= set(overview)
    assert {"MultiHeadDotProductAttention", "MultiHeadAttention", "max_pool", "nn.hard_sigmoid"} <= set(overview)
    for each in ENTRIES.values():
        words = printed(80, each.name).replace(",", " ").split()
        names = [n for s in each.settings for side in (s.torch, s.flax) for n in side.split(", ")]
        assert set(filter(None, names)) | set(filter(None, (each.torch, each.linen, each.nnx))) <= set(words)


@pytest.mark.parametrize("width", [40, 24])
def test_a_narrow_terminal_has_rows_under_one_another(width: int) -> None:
    assert set(ENTRIES) <= set(printed(width).split())
    text = printed(width, *ENTRIES)
    assert max(map(len, text.splitlines())) <= width
    if width == 40:
        assert {"feature_group_count", "track_running_stats"} <= set(text.split())


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
    with pytest.raises(UsageError, match=r"Did you mean 'Linear'"):
        run(cli, ["layers", "Linera"], catch_exceptions=False)
