"""Programs: what the text of a forward may say, what it means, and what is refused with which words."""

from __future__ import annotations

import operator
from typing import Any

import pytest

from paritree.common.errors import ChildNameError, InitializerError, PathError, SpecError
from paritree.common.initializers import Normal, Ones, Zeros
from paritree.common.layers import Buffer, Decoder, Embedding, Flatten, Linear, Parameter, ReLU, Split, Tanh
from paritree.common.spec import Block, List, Sequential, Shared, flow
from paritree.common.spec.expansion import table_of, untied
from paritree.common.spec.program import read, run

from ..conftest import refused

CHILDREN = {
    "a": ReLU(),
    "b": Tanh(),
    "pair": Split(2),
    "many": List(ReLU(), Block({"inner": Tanh()})),
    "bare": Parameter((1, 3), Normal()),
}
MEMBERS = {
    "a": lambda x: x + 1,
    "b": lambda x: x * 10,
    "pair": lambda x: (x, -x),
    "many.0": lambda x: x + 100,
    "many.1": lambda x: x + 1000,
    "many.1.inner": lambda x: x + 10000,
    "bare": 7,
}


def result(text: str, *inputs: Any) -> Any:
    return run(read(text, CHILDREN), lambda path: MEMBERS[".".join(path)], inputs)


@pytest.mark.parametrize(
    ("text", "inputs", "expected"),
    [
        ("def forward(x): return x", (5,), 5),
        ("def forward(x): return a(x)", (5,), 6),
        ("def forward(x): return b(a(x)) - a(b(x))", (5,), 60 - 51),
        ("def forward(x): return x * 2 + x * -3 + 0.5", (5,), -4.5),
        ("def forward(x): return x + bare", (5,), 12),
        ("def forward(x):\n    y = x\n    x = a(x)\n    return x - y", (5,), 1),
        ("def forward(x):\n    p, q = pair(x)\n    return p - q", (5,), 10),
        ("def forward(x):\n    for each in many:\n        x = each(x)\n    return x", (5,), 1105),
        ("def forward(x): return many[1].inner(many[0](x))", (5,), 10105),
        ("def forward(x, y=None): return a(x)", (5,), 6),
        ("def forward(x, y): return x - y", (5, 2), 3),
        ("\n    def forward(x):\n        return a(x)\n    ", (5,), 6),
    ],
)
def test_a_program_means_what_python_would(text: str, inputs: tuple[Any, ...], expected: Any) -> None:
    assert result(text, *inputs) == expected


def test_a_program_is_data_with_one_name_for_every_value() -> None:
    program = read("def forward(x):\n    x = a(x)\n    x = b(x)\n    return x + x", CHILDREN)
    targets = [name for step in program.steps for name in step.targets]
    assert len(set(targets)) == len(targets) == 3
    assert program.calls == ("a", "b")
    assert (program.inputs, program.required) == (("x",), 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (7, "expected forward as the text of a function, found 7. Write 'def forward(x): return ...'."),
        ("def forward(x:", "expected forward as Python, found line 1: '(' was never closed."),
        ("x = 1", "expected one plain function in forward, found x = 1. Write 'def forward(x): ...'."),
        ("def forward(): return 1", "expected in forward inputs by name alone: (x), (x, mask=None), found line 1: "),
        ("def forward(x=3): return x", "expected in forward None as the only default of an input, found line 1: 3."),
        ("def forward(x): a(x)", "expected in forward `return` of an expression at the end, found line 1: a(x)."),
        ("def forward(x): return a(x, x)", "expected in forward 1 inputs for 'a', found line 1: a(x, x)."),
        ("def forward(x): return a(x=x)", "expected in forward arguments by position, found line 1: a(x=x)."),
        ("def forward(x): return x / 2", "expected in forward values, numbers, None, +, -, * and calls of children, "),
        ("def forward(x): return 'x'", "expected in forward values, numbers, None, +, -, * and calls of children, "),
        ("def forward(x): return a", "expected in forward a call of 'a', which is a layer and no array, found line 1"),
        ("def forward(x):\n    if x: pass\n    return x", "expected in forward an assignment or a `for` over a child"),
        ("def forward(x):\n    x.y = a(x)\n    return x", "expected in forward a name, or names for what a call gives"),
        (
            "def forward(x):\n    p, x.y = pair(x)\n    return x",
            "expected in forward two names or more on the left of =, found",
        ),
        (
            "def forward(x): return x(x)",
            "expected in forward a child: `name`, `name.name` or `name[0]`, found",
        ),
    ],
)
def test_what_the_language_lacks_is_refused_with_its_line(text: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(text, CHILDREN)
    assert str(caught.value).startswith(message)


def test_a_name_that_is_nothing_is_refused_with_the_nearest_child() -> None:
    words = "the name of a value or of a child in forward, found none. Did you mean 'pair'?"
    with refused(PathError, f"pari: expected {words}"):
        read("def forward(x): return pari(x)", CHILDREN)
    with refused(
        PathError, "many.2: expected the name of a value or of a child in forward, found none. There are '0', '1'."
    ):
        read("def forward(x): return many[2](x)", CHILDREN)


def test_a_program_takes_the_inputs_that_it_names() -> None:
    spec = Block({"a": ReLU()}, forward="def forward(x, y, mask=None): return a(x) + y")
    assert flow(spec, (3,), (3,))[1] == (3,)
    with refused(SpecError, "expected inputs (x, y, mask=None), found 1 of them."):
        flow(spec, (3,))
    with refused(SpecError, "expected inputs (x, y, mask=None), found 4 of them."):
        run(spec.program, operator.itemgetter(0), (1, 2, 3, 4))


def test_widths_flow_through_a_program_and_are_filled_in() -> None:
    spec = Block({"wide": Linear(None, 8), "thin": Linear(8, 4)}, forward="def forward(x): return x + thin(wide(x))")
    resolved, out = flow(spec, (5, 4))
    assert (table_of(resolved)["wide.weight"].shape, out) == ((8, 4), (5, 4))
    assert resolved.forward == spec.forward
    with refused(SpecError, "expected shapes that + can combine, found (5, 3) and (5, 4). Make their widths equal."):
        flow(spec, (5, 3))


def test_several_outputs_have_as_many_names() -> None:
    forward = "def forward(x):\n    q, k, v = split(x)\n    return q + k * v"
    assert flow(Block({"split": Split(3)}, forward=forward), (5, 12))[1] == (5, 4)
    with refused(SpecError, "split: expected 3 values, one for each name on the left, found 2."):
        Block({"split": Split(2)}, forward=forward)


def test_a_shared_child_is_called_through_its_path() -> None:
    spec = Block(
        {"first": Block({"inner": Linear(4, 4)}), "again": Shared("first"), "act": Tanh()},
        forward="def forward(x): return again(act(first.inner(x)))",
    )
    assert flow(spec, (4,))[1] == (4,)
    assert [row.path for row in table_of(spec).owners] == ["first.inner.weight", "first.inner.bias"]


def test_bare_arrays_stand_first_and_have_their_own_path() -> None:
    spec = Block(
        {
            "cls": Parameter((1, 1, 4), Normal()),
            "ids": Buffer((1, 3), Zeros(), "int64", persistent=False),
            "l": Linear(4, 4),
        },
        forward="def forward(x): return l(x + cls)",
    )
    rows = table_of(spec)
    assert rows.paths == ("cls", "ids", "l.weight", "l.bias")
    assert [(row.kind, row.dtype, row.layer, row.persistent) for row in rows][:2] == [
        ("parameter", "float32", "Parameter", True),
        ("buffer", "int64", "Buffer", False),
    ]
    assert (rows["cls"].of_layer, rows["cls"].in_layer) == ("cls", "")
    assert flow(spec, (3, 4))[1] == (3, 4)
    words = "expected Parameters, then Buffers, then layers, found a Parameter behind. Move 'cls' to the front."
    with refused(ChildNameError, f"cls: {words}"):
        Block({"l": Linear(4, 4), "cls": Parameter((4,), Ones())})


def test_a_list_has_no_forward_and_no_chain() -> None:
    Block({"l": List(Linear(4, 8), Linear(4, 8))}, forward="def forward(x): return l[0](x) + l[1](x)")
    with refused(SpecError, "l: expected a layer with a forward, found List. Call its children in a Block's forward."):
        Block({"l": List(Linear(4, 8))})


def test_calls_and_forward_are_two_ways_to_say_one_thing() -> None:
    with refused(SpecError, "expected calls or forward, found both. Write the order of calls in forward."):
        Block({"a": ReLU()}, calls=("a",), forward="def forward(x): return a(x)")


def test_a_decoder_s_bias_can_be_another_s() -> None:
    spec = Block(
        {"bias": Parameter((9,), Zeros()), "e": Embedding(9, 4), "d": Decoder("e", bias="bias")},
        forward="def forward(x): return d(e(x))",
    )
    assert [(row.path, row.tie and row.tie.owner) for row in table_of(spec)] == [
        ("bias", None),
        ("e.weight", None),
        ("d.weight", "e.weight"),
        ("d.bias", "bias"),
    ]
    assert table_of(untied(spec)).ties == ()


def test_a_spec_with_a_forward_is_printed_as_the_code_that_builds_it() -> None:
    spec = Sequential(Block({"l": List(Flatten(), ReLU())}, forward="def forward(x): return l[1](l[0](x))"))
    assert eval(repr(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def forward(x): return x * -'s'", "expected in forward values, numbers, None, +, -, * and calls of children"),
        (
            "def forward(x): return x * -True",
            "expected in forward values, numbers, None, +, -, * and calls of children",
        ),
        (
            "def forward(x): return x * 1e400",
            "expected in forward values, numbers, None, +, -, * and calls of children",
        ),
        ("def forward(x):\n    () = pair(x)\n    return x", "expected in forward two names or more on the left of =, "),
        ("def forward(x):\n    u, = pair(x)\n    return x", "expected in forward two names or more on the left of =, "),
        ("def forward(x, x): return x", "expected in forward inputs of different names, found line 1: "),
        ("@cache\ndef forward(x): return x", "expected one plain function in forward, found @cache. Write "),
        (
            "def forward(x): return a(x)\0",
            "expected forward as Python, found line 1: source code string cannot contain ",
        ),
        ("def forward(x): return x" + " + x" * 5000, "expected expressions in forward that are not nested that deep, "),
        (
            "def forward(x):\n    for y in a:\n        x = y(x)\n    return x",
            "expected in forward a List or another con",
        ),
    ],
)
def test_odd_texts_are_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(text, CHILDREN)
    assert str(caught.value).startswith(message)


def test_a_loop_over_what_is_shared_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        Block(
            {"bs": List(Linear(4, 4)), "sh": Shared("bs")},
            forward="def forward(x):\n    for l in sh:\n        x = l(x)\n    return x",
        )
    assert str(caught.value) == (
        "expected in forward a List or another container to loop over, and not a Shared, found line 2: sh."
    )


def test_several_values_are_no_operand() -> None:
    forward = "def forward(x):\n    y = s(x)\n    return y + 1"
    words = "one value for +, found what gives several together. Give each a name: a, b = ..."
    with refused(SpecError, f"expected {words}"):
        Block({"s": Split(2)}, forward=forward)


def test_a_shared_array_is_a_value() -> None:
    spec = Block({"p": Parameter((4,), Ones()), "q": Shared("p")}, forward="def forward(x): return x + q")
    assert [(row.path, row.tie and row.tie.owner) for row in table_of(spec)] == [("p", None), ("q", "p")]
    with refused(SpecError, "q: expected 1 inputs of Linear, found 0."):
        Block({"p": Linear(4, 4), "q": Shared("p")}, forward="def forward(x): return p(x) + q")


@pytest.mark.parametrize(
    ("bias", "found"),
    [(Linear(4, 4), "Linear(4, 4)"), (Parameter((5,), Zeros()), "Parameter((5,), Zeros())")],
)
def test_a_decoder_s_bias_must_be_an_array_that_fits(bias: Any, found: str) -> None:
    pairs = [("e", Embedding(9, 4)), ("d", Decoder("e", bias="b"))]
    pairs.insert(0, ("b", bias))
    words = f"'b' to be a Parameter of shape (9,), found {found}. A Decoder adds it to its logits."
    with refused(SpecError, f"d: expected {words}"):
        table_of(Block(pairs, forward="def forward(x): return d(e(x))"))


@pytest.mark.parametrize("shape", [(0, -1), (2.7,), 4, (True,), "ab"])
def test_a_bare_array_has_a_shape_of_whole_numbers(shape: Any) -> None:
    with refused(SpecError, f"expected Parameter.shape as a tuple of positive whole numbers, found {shape!r}."):
        Parameter(shape, Zeros())


def test_a_bare_array_has_an_initializer_and_a_buffer_its_type() -> None:
    with pytest.raises(InitializerError, match=r"^expected an initializer for the Parameter, found None"):
        Parameter((2,), None)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"^expected Buffer.dtype as None, 'float32', .*, found 'floaty'"):
        Buffer((2,), Zeros(), "floaty")
    with refused(SpecError, "expected Buffer.persistent as True or False, found 'x'."):
        Buffer((2,), Zeros(), persistent="x")  # type: ignore[arg-type]
