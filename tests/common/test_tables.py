"""Tables: what a row and a table know, what they print, and which arrays they refuse."""

from __future__ import annotations

import json
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from paritree.common.errors import DtypeError, InitializerError, PathError, ShapeError, WeightsError
from paritree.common.initializers import Normal
from paritree.common.layers import Decoder, Embedding, FixedLinear, Linear, ReLU
from paritree.common.layouts import TRANSPOSED
from paritree.common.spec import Block, Sequential, Shared
from paritree.common.spec.expansion import table_of
from paritree.common.tables import ModuleRow, Row, Table, counted, dtype_name, modules_in_order, native_text, shape_text
from paritree.common.ties import Tie, TieGroup

from .conftest import refused

# One of everything: a plain layer, an alias, a buffer, a tie with a bias of its own.
MIXED = table_of(
    Block(
        {
            "embed": Embedding(6, 4),
            "hidden": Linear(4, 4, weight_init=Normal(0.0, 0.01)),
            "again": Shared("hidden"),
            "fixed": FixedLinear(4, 4),
            "decode": Decoder("embed", bias=True),
        }
    )
)
PATHS = (
    "embed.weight hidden.weight hidden.bias again.weight again.bias fixed.weight decode.weight decode.bias".split()  # noqa: SIM905
)


def test_the_rows_are_found_by_path_and_in_order():
    assert MIXED.paths == tuple(PATHS)
    assert [row.path for row in MIXED] == PATHS
    assert len(MIXED) == 8
    assert MIXED["fixed.weight"] is MIXED.rows[5]
    assert "again.bias" in MIXED
    assert "again" not in MIXED


def test_owners_parameters_and_buffers_are_listed_once_and_aliases_not():
    owners = ["embed.weight", "hidden.weight", "hidden.bias", "fixed.weight", "decode.bias"]
    assert [row.path for row in MIXED.owners] == owners
    assert [row.path for row in MIXED.parameters] == [path for path in owners if path != "fixed.weight"]
    assert [row.path for row in MIXED.buffers] == ["fixed.weight"]
    assert MIXED.scalars == 6 * 4 + 4 * 4 + 4 + 6


def test_ties_know_their_owner():
    assert MIXED.tie_groups == (
        TieGroup("hidden.weight", (Tie("hidden.weight", "again.weight"),)),
        TieGroup("hidden.bias", (Tie("hidden.bias", "again.bias"),)),
        TieGroup("embed.weight", (Tie("embed.weight", "decode.weight"),)),
    )
    assert [MIXED.owner(path) for path in PATHS] == [
        *("embed.weight", "hidden.weight", "hidden.bias", "hidden.weight", "hidden.bias"),
        *("fixed.weight", "embed.weight", "decode.bias"),
    ]


def test_a_path_that_does_not_exist_is_answered_with_the_nearest():
    text = "hiden.weight: expected a path of the model, found none of that name. Did you mean 'hidden.weight'?"
    with refused(PathError, text):
        MIXED["hiden.weight"]
    with refused(PathError, text):
        MIXED.owner("hiden.weight")
    with refused(PathError, "x: expected a path of the model, found none of that name. There are none."):
        Table(())["x"]


def test_the_text_of_a_table_has_columns_ties_and_totals():
    assert str(MIXED).splitlines() == [
        "path           shape   dtype    kind       layer        initializer                  tie",
        "embed.weight   (6, 4)  float32  parameter  Embedding    Normal(mean=0, std=1)",
        "hidden.weight  (4, 4)  float32  parameter  Linear       Normal(mean=0, std=0.01)",
        "hidden.bias    (4,)    float32  parameter  Linear       Uniform(low=-0.5, high=0.5)",
        f"again.weight   (4, 4)  float32  parameter  Linear       {'':<27}  = hidden.weight",
        f"again.bias     (4,)    float32  parameter  Linear       {'':<27}  = hidden.bias",
        "fixed.weight   (4, 4)  float32  buffer     FixedLinear  Uniform(low=0, high=1)",
        f"decode.weight  (6, 4)  float32  parameter  Decoder      {'':<27}  = embed.weight",
        "decode.bias    (6,)    float32  parameter  Decoder      Uniform(low=-0.5, high=0.5)",
        "",
        "4 parameters, 50 scalars, 3 aliases, 1 buffer",
    ]


def test_an_axis_that_is_not_known_yet_is_a_question_mark_and_counts_nothing():
    rows = table_of(Sequential(Linear(None, 8), ReLU(), Linear(None, 1, bias=False)))
    scheme = "VarianceScaling(scale=0.3333, mode='fan_in', distribution='uniform')"
    assert str(rows).splitlines() == [
        "path      shape   dtype    kind       layer   initializer",
        f"0.weight  (8, ?)  float32  parameter  Linear  {scheme}",
        "0.bias    (8,)    float32  parameter  Linear",
        # The second width follows from the first layer.
        f"2.weight  (1, 8)  float32  parameter  Linear  {scheme}",
        "",
        "3 parameters, 16 scalars",
    ]
    assert rows["0.bias"].initializer is None


def test_a_column_that_says_nothing_in_any_row_is_left_out():
    rows = Table(
        (
            Row("0.weight", (8, 4), "float32", native_path=("layers", 0, "kernel"), layout=TRANSPOSED),
            Row("0.bias", (8,), "float32", native_path=("layers", 0, "bias")),
            Row("scale", (), "float64", native_path=("scale",)),
        )
    )
    assert str(rows).splitlines() == [
        "path      shape   dtype    kind       native path      layout",
        "0.weight  (8, 4)  float32  parameter  layers/0/kernel  o i -> i o",
        "0.bias    (8,)    float32  parameter  layers/0/bias",
        "scale     ()      float64  parameter  scale",
        "",
        "3 parameters, 41 scalars",
    ]
    assert str(Table(())).splitlines() == ["path  shape  dtype  kind", "", "0 parameters, 0 scalars"]


NARROW = [
    "layer",
    "  name    shape   dtype    kind       initializer                  tie",
    "embed  Embedding",
    "  weight  (6, 4)  float32  parameter  Normal(mean=0, std=1)",
    "hidden  Linear",
    "  weight  (4, 4)  float32  parameter  Normal(mean=0, std=0.01)",
    "  bias    (4,)    float32  parameter  Uniform(low=-0.5, high=0.5)",
]
NARROWER = [
    "embed  Embedding",
    "  weight  (6, 4)  float32",
    "    parameter",
    "    Normal(mean=0, std=1)",
]


def test_what_is_too_wide_stands_layer_by_layer_and_no_word_is_torn():
    wide = max(map(len, str(MIXED).splitlines()))
    assert MIXED.text(wide) == str(MIXED) == MIXED.text()
    narrow = MIXED.text(wide - 1).splitlines()
    assert narrow[: len(NARROW)] == NARROW
    assert narrow[-1] == MIXED.summary
    assert MIXED.text(26).splitlines()[: len(NARROWER)] == NARROWER
    words = set(str(MIXED).replace("embed.weight", "").split())
    for width in (26, 40, 60):
        lines = MIXED.text(width).splitlines()[:-2]
        assert max(map(len, lines)) <= width
        assert {"parameter", "Normal(mean=0,", "std=0.01)", "FixedLinear", "(6,"} <= set(
            " ".join(lines).split()
        ) & words


def test_the_modules_of_a_table_are_a_tree_with_their_counts():
    rows = (
        Row("0.weight", (8, 4), "float32", native_path=("layers_0", "kernel"), layout=TRANSPOSED),
        Row("0.bias", (8,), "float32", native_path=("layers_0", "bias")),
        Row("gain", (), "float32", native_path=("gain",)),
        Row("inner.seen", (3,), "int32", "buffer", native_path=("inner", "seen")),
    )
    modules = (
        ModuleRow("layers_0", "Dense", 0, ((2, 8),), 2, 40),
        ModuleRow("", "Net", 0, ((2, 8), (2,)), 1, 41),
        ModuleRow("inner.leaf", "Leaf", 0, ((2, 3),), 1, 0),
    )
    table = Table(rows, tuple(modules_in_order(modules)))
    assert table == Table(rows)
    assert table.text().splitlines() == [
        "module or parameter  type     output or shape  scalars",
        "(the model itself)   Net      (2, 8), (2,)          41",
        "  gain               float32  ()                     1",
        "  inner.seen         int32    (3,)                   3  buffer",
        "  layers_0           Dense    (2, 8)                40  called 2 times",
        "    weight           float32  (8, 4)                32",
        "    bias             float32  (8,)                   8",
        "  inner.leaf         Leaf     (2, 3)                 0",
        "",
        "3 parameters, 41 scalars, 1 buffer",
    ]
    assert [line.split()[0] for line in table.text(depth=0).splitlines()[1:4]] == ["(the", "gain", "inner.seen"]
    assert "  layers_0  Dense  (2, 8)  40\n    called 2 times\n" in table.text(32)
    assert table.modules_json()[1] == {
        "path": "layers_0",
        "name": "Dense",
        "depth": 1,
        "outputs": [[2, 8]],
        "calls": 2,
        "scalars": 40,
    }


def test_a_table_in_a_notebook_has_its_rows_or_its_modules():
    html = MIXED._repr_html_()
    cells = ["".join(each.itertext()).strip() for each in ElementTree.fromstring(html).iter("td")]
    assert cells[:7] == ["embed.weight", "(6, 4)", "float32", "parameter", "Embedding", "Normal(mean=0, std=1)", ""]
    assert MIXED.summary in html
    rows = (Row("<b>.weight", (2,), "float32"),)
    html = Table(rows, (ModuleRow("", "Net", 0, ((1,),), 1, 2),))._repr_html_()
    assert "<code>  &lt;b&gt;.weight</code>" in html
    assert "(the model itself)" in html


def test_what_no_called_module_holds_is_listed_first():
    rows = (Row("one.weight", (2,), "float32"), Row("two.weight", (3,), "float32"))
    table = Table(rows, (ModuleRow("two", "Linear", 0, ((1,),), 1, 3),))
    assert [line.split()[0] for line in table.text().splitlines()[1:4]] == ["one.weight", "two", "weight"]


ONE = Linear(1, 1, bias=False)


@pytest.mark.parametrize(
    ("spec", "summary"),
    [
        (ReLU(), "0 parameters, 0 scalars"),
        (ONE, "1 parameter, 1 scalar"),
        (Linear(1000, 2), "2 parameters, 2,002 scalars"),
        (Sequential(ONE, Shared("0"), FixedLinear(1, 1)), "1 parameter, 1 scalar, 1 alias, 1 buffer"),
        (Sequential(ONE, ONE, Shared("0"), Shared("1")), "2 parameters, 2 scalars, 2 aliases"),
        (Sequential(FixedLinear(1, 1), FixedLinear(1, 1)), "0 parameters, 0 scalars, 2 buffers"),
    ],
)
def test_the_summary_counts_in_words(spec, summary):
    assert table_of(spec).summary == summary


def test_numbers_are_counted_with_their_noun():
    assert [counted(number, "owner") for number in (0, 1, 2)] == ["0 owners", "1 owner", "2 owners"]
    assert counted(1234, "alias", "aliases") == "1,234 aliases"


def test_a_table_is_plain_data_in_json():
    data = json.loads(json.dumps(MIXED.to_json()))
    assert [row["path"] for row in data] == PATHS
    assert data[1] == {
        "path": "hidden.weight",
        "shape": [4, 4],
        "dtype": "float32",
        "kind": "parameter",
        "layer": "Linear",
        "initializer": "Normal(mean=0.0, std=0.01)",
        "tie": None,
        "native_path": [],
        "layout": "... -> ...",
    }
    assert data[3]["tie"] == {"owner": "hidden.weight", "alias": "again.weight", "transform": "identity"}
    native = Row("0.weight", (None, 4), "float32", native_path=("layers", 0, "kernel"), layout=TRANSPOSED)
    (row,) = json.loads(json.dumps(Table((native,)).to_json()))
    assert (row["shape"], row["native_path"], row["layout"]) == ([None, 4], ["layers", 0, "kernel"], "o i -> i o")
    assert (row["initializer"], row["tie"]) == (None, None)


def test_a_row_gives_its_sizes_and_initializer_only_where_they_are_known():
    assert MIXED["hidden.weight"].sizes == (4, 4)
    assert Row("scale", (), "float32").sizes == ()
    assert MIXED["hidden.weight"].drawn_from == Normal(0.0, 0.01)
    unknown = "weight: expected a shape without unknown axes, found (8, ?). Give the spec its widths, or an input."
    with refused(ShapeError, unknown):
        _ = table_of(Linear(None, 8))["weight"].sizes
    live = "weight: expected an initializer, found none, since a live model keeps none. Use the spec's row."
    with refused(InitializerError, live):
        _ = Row("weight", (8, 4), "float32").drawn_from


def test_the_small_texts():
    assert [shape_text(shape) for shape in [(), (8,), (8, 4), (None,), (8, None)]] == [
        *("()", "(8,)", "(8, 4)"),
        *("(?,)", "(8, ?)"),
    ]
    assert native_text(("layers", 0, "kernel")) == "layers/0/kernel"
    assert dtype_name(np.zeros(1, np.float16)) == "float16"
    assert dtype_name(SimpleNamespace(dtype="torch.bfloat16")) == "bfloat16"


OTHER_SHAPE = "0.bias: expected shape (8,), found shape {}. Give the array in the canonical layout, PyTorch's."
LINEAR = table_of(Sequential(Linear(4, 8)))


def test_an_array_that_fits_is_answered_with_its_row():
    assert LINEAR.check("0.weight", np.zeros((8, 4), np.float32)) is LINEAR["0.weight"]


@pytest.mark.parametrize(
    ("path", "array", "error", "text"),
    [
        (
            "0.weight",
            np.zeros((4, 8), np.float32),
            ShapeError,
            "0.weight: expected shape (8, 4), found shape (4, 8). "
            "It is transposed: give arrays in the canonical layout, PyTorch's.",
        ),
        ("0.bias", np.zeros((8, 1), np.float32), ShapeError, OTHER_SHAPE.format("(8, 1)")),
        ("0.bias", np.zeros((), np.float32), ShapeError, OTHER_SHAPE.format("()")),
        (
            "0.bias",
            np.zeros(8),
            DtypeError,
            "0.bias: expected float32, found float64. Cast it first: array.astype('float32').",
        ),
        (
            "0.wait",
            np.zeros(8),
            PathError,
            "0.wait: expected a path of the model, found none of that name. Did you mean '0.weight'?",
        ),
    ],
)
def test_an_array_that_does_not_fit_is_refused(path, array, error, text):
    with refused(error, text):
        LINEAR.check(path, array)


def test_no_array_fits_a_shape_that_is_not_known_yet():
    text = (
        "weight: expected shape (8, ?), found shape (8, 4). "
        "An axis is not known yet: send an input through the model first."
    )
    with refused(ShapeError, text):
        table_of(Linear(None, 8)).check("weight", np.zeros((8, 4), np.float32))


def owners_of(rows):
    return {row.path: np.zeros(row.shape, row.dtype) for row in rows.owners}


def test_weights_that_fit_are_accepted_in_any_order():
    weights = owners_of(MIXED)
    MIXED.check_weights(weights)
    MIXED.check_weights(dict(reversed(weights.items())))


def test_all_that_is_wrong_with_weights_is_said_at_once():
    weights = owners_of(MIXED)
    del weights["hidden.bias"], weights["decode.bias"]
    weights["embed.weight"] = weights["embed.weight"].T
    weights["fixed.weight"] = weights["fixed.weight"].astype("float64")
    weights["again.weight"] = weights["hidden.weight"]
    weights["hidden.kernel"] = weights["hidden.weight"]
    text = (
        "expected one array for each of 5 owners, in the canonical layout, found 6 that do not fit: "
        "hidden.bias is missing; "
        "decode.bias is missing; "
        "embed.weight has shape (4, 6) and needs (6, 4); "
        "fixed.weight is float64 and needs float32; "
        "again.weight is an alias of hidden.weight; "
        "hidden.kernel is not in the model. "
        "Nothing was loaded."
    )
    with refused(WeightsError, text):
        MIXED.check_weights(weights)


def test_one_fault_is_told_in_the_singular():
    text = (
        "expected one array for each of 1 owner, in the canonical layout, found 1 that does not fit: "
        "weight has shape (8, 4) and needs (8, ?). Nothing was loaded."
    )
    with refused(WeightsError, text):
        table_of(Linear(None, 8, bias=False)).check_weights({"weight": np.zeros((8, 4), np.float32)})
