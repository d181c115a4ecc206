"""Programs: the forward pass of a Block as data, read from the text of a function in a small part of Python.

A program is straight-line code over values: inputs, what a child gives, sums and products. Every wing runs the same
steps on its own modules and arrays, so a model's forward pass is written once. The text is read, never executed:

>>> program = read("def forward(x): return x + mlp(norm(x))", {"norm": ReLU(), "mlp": Linear(4, 4)})
>>> [step.path for step in program.steps if step.path]
[('norm',), ('mlp',)]
"""

from __future__ import annotations

import ast
import math
import operator
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Protocol

from ..errors import PathError, SpecError, nearest

OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}

Path = tuple[str, ...]


class Called(Protocol):
    """What a program knows of a layer that it calls: a `Layer` is one, and says what each member is."""

    inputs: ClassVar[tuple[int, int]]
    container: ClassVar[bool]

    @property
    def kind(self) -> str: ...
    @property
    def program(self) -> Program | None: ...
    def children(self) -> Sequence[tuple[str, Called]]: ...


@dataclass(frozen=True)
class Name:
    """A value by its name, as an argument of a step."""

    text: str


# A value's name, or a literal that stands for itself.
Argument = Name | float | int | None


@dataclass(frozen=True)
class Step:
    """`targets` become what the child at `path` gives for `arguments`, or their sum, difference or product.

    operation: "call", "load" (a child that is an array), or a sign of OPERATIONS.
    """

    operation: str
    targets: tuple[str, ...]
    path: Path
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Program:
    """inputs: their names. required: how many of them a call must give; the others are None without it."""

    inputs: tuple[str, ...]
    required: int
    steps: tuple[Step, ...]
    result: Argument

    @property
    def calls(self) -> tuple[str, ...]:
        """The first component of every child's path, in the order in which they are reached."""
        return tuple(step.path[0] for step in self.steps if step.path)


def chain(names: Sequence[str]) -> Program:
    """The program that sends one value through the children of these names in a row."""
    steps = tuple(Step("call", ("x",), (name,), (Name("x"),)) for name in names)
    return Program(("x",), 1, steps, Name("x"))


def run(program: Program, member: Callable[[Path], Any], inputs: Sequence[Any]) -> Any:
    """What the program gives for `inputs`.

    member: the wing's module, function or array at a path.

    Raises:
        SpecError: too few or too many inputs.
    """
    values = bound(program, inputs, "")
    for step in program.steps:
        given = [values[each.text] if isinstance(each, Name) else each for each in step.arguments]
        if step.operation == "call":
            outcome = member(step.path)(*given)
        elif step.operation == "load":
            outcome = member(step.path)
        else:
            outcome = OPERATIONS[step.operation](*given)
        values.update(zip(step.targets, (outcome,) if len(step.targets) == 1 else outcome, strict=True))
    return values[program.result.text] if isinstance(program.result, Name) else program.result


def bound(program: Program, inputs: Sequence[Any], path: str) -> dict[str, Any]:
    """The inputs by name, None for one that is left out.

    Raises:
        SpecError: a number of inputs that the program does not take.
    """
    count = len(inputs)
    if not program.required <= count <= len(program.inputs):
        names = ", ".join(program.inputs[: program.required])
        optional = "".join(f", {name}=None" for name in program.inputs[program.required :])
        raise SpecError(path, f"inputs ({names}{optional})", f"{count} of them")
    missing = [None] * (len(program.inputs) - count)
    return dict(zip(program.inputs, (*inputs, *missing), strict=True))


def read(text: str, children: Mapping[str, Called]) -> Program:
    """The program that `text` is, the loops over children unrolled.

    Raises:
        SpecError: the text is no function of the small part of Python; the message names the line.
        PathError: it names what is neither a value nor a child.
    """
    if not isinstance(text, str):
        raise SpecError("", "forward as the text of a function", repr(text), "Write 'def forward(x): return ...'.")
    try:
        function = _parsed(text)
        return _Reader(children).program(function)
    except RecursionError:
        remedy = "Give parts of it names of their own."
        raise SpecError("", "expressions in forward that are not nested that deep", "too many", remedy) from None


def _parsed(text: str) -> ast.FunctionDef:
    try:
        body = ast.parse(textwrap.dedent(text)).body
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise SpecError("", "forward as Python", f"line {line}: {getattr(error, 'msg', error)}") from None
    if len(body) == 1 and isinstance(body[0], ast.FunctionDef) and not body[0].decorator_list:
        return body[0]
    found = f"{len(body)} statements" if len(body) != 1 else ast.unparse(body[0]).partition("\n")[0]
    raise SpecError("", "one plain function in forward", found, "Write 'def forward(x): ...'.")


class _Reader:
    """Turns a function into steps. `names` holds what a name means: a value, or the path of a child in a loop."""

    def __init__(self, children: Mapping[str, Called]) -> None:
        self.children = children
        self.names: dict[str, Argument | Path] = {}
        self.steps: list[Step] = []

    def program(self, function: ast.FunctionDef) -> Program:
        given = function.args
        if given.posonlyargs or given.kwonlyargs or given.vararg or given.kwarg or not given.args:
            _refuse(function, "inputs by name alone: (x), (x, mask=None)")
        for default in given.defaults:
            if not (isinstance(default, ast.Constant) and default.value is None):
                _refuse(default, "None as the only default of an input")
        inputs = tuple(each.arg for each in given.args)
        if len(set(inputs)) < len(inputs):
            _refuse(function, "inputs of different names")
        self.names = dict(zip(inputs, map(Name, inputs), strict=True))
        *statements, last = function.body
        for statement in statements:
            self._statement(statement)
        if not isinstance(last, ast.Return) or last.value is None:
            _refuse(last, "`return` of an expression at the end")
        result = self._value(last.value)
        return Program(inputs, len(inputs) - len(given.defaults), tuple(self.steps), result)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name) and not node.orelse:
            path = self._path(node.iter)
            container = self._layer(path, node.iter)
            if not container.container:
                _refuse(node.iter, f"a List or another container to loop over, and not a {container.kind}")
            for name, _ in container.children():
                self.names[node.target.id] = (*path, name)
                for inner in node.body:
                    self._statement(inner)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            self._assign(node.targets[0], node.value)
        else:
            _refuse(node, "an assignment or a `for` over a child")

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = self._value(value)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Call):
            names = [each.id for each in target.elts if isinstance(each, ast.Name)]
            if len(names) != len(target.elts) or len(names) < 2:
                _refuse(target, "two names or more on the left of =")
            self._call(value, len(names))
            self.names.update(zip(names, map(Name, self.steps[-1].targets), strict=True))
        else:
            _refuse(target, "a name, or names for what a call gives, on the left of =")

    def _value(self, node: ast.expr) -> Argument:
        if _is_literal(node) or (isinstance(node, ast.Constant) and node.value is None):
            return node.value  # type: ignore[attr-defined]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and _is_literal(node.operand):
            return -node.operand.value  # type: ignore[attr-defined]
        if isinstance(node, ast.Name) and not isinstance(known := self.names.get(node.id, ()), tuple):
            return known
        if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
            return self._step(_SIGNS[type(node.op)], (), (self._value(node.left), self._value(node.right)))
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
            path = self._path(node)
            if self._layer(path, node).inputs[0] == 0:
                return self._step("load", path, ())
            _refuse(node, f"a call of {'.'.join(path)!r}, which is a layer and no array")
        _refuse(node, "values, numbers, None, +, -, * and calls of children")

    def _call(self, node: ast.Call, outputs: int = 1) -> Name:
        if node.keywords:
            _refuse(node, "arguments by position")
        path = self._path(node.func)
        least, most = inputs_of(self._layer(path, node.func))
        if not least <= len(node.args) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            _refuse(node, f"{wanted} inputs for {'.'.join(path)!r}")
        return self._step("call", path, tuple(self._value(each) for each in node.args), outputs)

    def _step(self, operation: str, path: Path, arguments: tuple[Argument, ...], outputs: int = 1) -> Name:
        # Every value has a name of its own, so that a second name for it outlives the first one's reuse. No name of
        # Python's begins with a digit, so none is taken.
        targets = tuple(f"{len(self.steps)}.{number}" for number in range(outputs))
        self.steps.append(Step(operation, targets, path, arguments))
        return Name(targets[0])

    def _path(self, node: ast.expr) -> Path:
        if isinstance(node, ast.Attribute):
            return (*self._path(node.value), node.attr)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and type(node.slice.value) is int:
            return (*self._path(node.value), str(node.slice.value))
        if isinstance(node, ast.Name):
            known = self.names.get(node.id, (node.id,))
            if isinstance(known, tuple):
                return known
        _refuse(node, "a child: `name`, `name.name` or `name[0]`")

    def _layer(self, path: Path, node: ast.AST) -> Called:
        """The child at a path, as far as it is known here: what a Shared leads to is not."""
        children = dict(self.children)
        layer: Called | None = None
        for depth, name in enumerate(path):
            if name not in children:
                whole = ".".join(path[: depth + 1])
                raise PathError(whole, "the name of a value or of a child in forward", "none", nearest(name, children))
            layer = children[name]
            children = dict(layer.children())
        assert layer is not None
        return layer


def _is_literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and math.isfinite(node.value)  # type: ignore[arg-type]


def inputs_of(layer: Called) -> tuple[int, int]:
    """The least and the greatest number of inputs of a layer; a Block's are its program's."""
    program = layer.program
    return layer.inputs if program is None else (program.required, len(program.inputs))


def _refuse(node: ast.AST, expected: str) -> NoReturn:
    line = getattr(node, "lineno", 1)
    raise SpecError("", f"in forward {expected}", f"line {line}: {ast.unparse(node)}")
