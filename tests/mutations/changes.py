"""The small changes of a source: each one by its number, in the order of the lines, and the tree that it leads to."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_NEXT: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
# What says nothing of a judgement: how a dataclass prints itself, how much a cache holds, that two lists are as long.
_KEYWORDS = {"strict", "init", "repr", "compare", "hash", "frozen", "eq", "maxsize"}
# Above it a whole number is a size, not a position or a count of a few.
_FEW = 3


@dataclass(frozen=True)
class Change:
    """file: from the root. number: among the file's. words: what was there, and what is now."""

    file: str
    number: int
    line: int
    words: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.words}"


Place = tuple[int, str, Callable[[], None]]


def changes(file: str, source: str) -> list[Change]:
    places = _places(ast.parse(source))
    return [Change(file, number, line, words) for number, (line, words, _) in enumerate(places)]


def changed(source: str, number: int) -> ast.Module:
    """The tree of the source with one of its changes."""
    tree = ast.parse(source)
    *_, make = _places(tree)[number]
    make()
    return ast.fix_missing_locations(tree)


def _places(tree: ast.Module) -> list[Place]:
    """In the order of the lines, and of one line in that of the tree: a number is always that of the same change."""
    return sorted(_below(tree), key=lambda place: place[0])


def _below(node: ast.AST) -> Iterator[Place]:
    for name, value in ast.iter_fields(node):
        if _says_nothing(node, name):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST):
                yield from _of(child, _setter(node, name, index))
                yield from _below(child)


def _says_nothing(node: ast.AST, name: str) -> bool:
    is_option = isinstance(node, ast.keyword) and node.arg in _KEYWORDS
    return is_option or name in ("decorator_list", "annotation", "returns", "format_spec")


def _setter(node: ast.AST, name: str, index: int | None) -> Callable[[ast.AST], None]:
    def put(new: ast.AST) -> None:
        if index is None:
            setattr(node, name, new)
        else:
            getattr(node, name)[index] = new

    return put


def _of(node: ast.AST, put: Callable[[ast.AST], None]) -> Iterator[Place]:
    """What one node becomes."""

    def place(new: ast.AST, words: str = "") -> Place:
        return node.lineno, words or f"{_text(node)}  ->  {_text(new)}", lambda: put(new)  # type: ignore[attr-defined]

    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            found = [_OPPOSITE[type(operator)]]
            if type(operator) in _NEXT and any(map(_is_whole, (node.left, *node.comparators))):
                found.append(_NEXT[type(operator)])
            for each in found:
                ops = [each() if at == index else other for at, other in enumerate(node.ops)]
                yield place(ast.Compare(node.left, ops, node.comparators))
    elif isinstance(node, ast.BoolOp):
        yield place(ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield place(node.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC and not _is_text(node):
        yield place(ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right))
    elif isinstance(node, ast.Constant):
        for value in _other_values(node.value):
            yield place(ast.Constant(value))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        yield place(ast.Call(ast.Name(_CALLS[node.func.id], ast.Load()), node.args, node.keywords))
    elif isinstance(node, ast.If | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
        test = ast.UnaryOp(ast.Not(), node.test)

        def negate() -> None:
            node.test = test

        yield node.lineno, f"if {_text(node.test)}  ->  if {_text(test)}", negate
    elif isinstance(node, ast.comprehension):
        for index, test in enumerate(node.ifs):
            yield test.lineno, f"without 'if {_text(test)}'", lambda index=index: node.ifs.pop(index) and None
    elif isinstance(node, ast.FunctionDef):
        yield from _answers(node)
    elif _is_unreachable(node):
        return
    elif isinstance(node, ast.Raise | ast.Continue | ast.Break | ast.AugAssign) or _is_done(node):
        yield place(ast.Pass(), f"without '{_text(node)}'")


def _is_unreachable(node: ast.AST) -> bool:
    """Whether it says of itself that it is never reached."""
    return isinstance(node, ast.Raise) and ast.unparse(node).startswith("raise AssertionError(")


def _is_done(node: ast.AST) -> bool:
    """Whether it is a statement that only does something, or a bare return."""
    if isinstance(node, ast.Return):
        return node.value is None
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Yield | ast.YieldFrom)


def _answers(node: ast.FunctionDef) -> Iterator[Place]:
    """Of a function that says yes or no, each answer always the same."""
    if not (isinstance(node.returns, ast.Name) and node.returns.id == "bool"):
        return
    for each in ast.walk(node):
        if isinstance(each, ast.Return) and each.value is not None:
            for answer in (True, False):
                if not (isinstance(each.value, ast.Constant) and each.value.value is answer):
                    words = f"{_text(each)}  ->  return {answer}"
                    yield (
                        each.lineno,
                        words,
                        lambda each=each, answer=answer: setattr(each, "value", ast.Constant(answer)),
                    )


def _other_values(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1] if abs(value) <= _FEW else [value * 2, value // 2]
    if isinstance(value, float):
        return [value * 2, value / 2] if value else [1.0]
    return []


def _is_whole(node: ast.AST) -> bool:
    """Whether it counts something: no measurement meets a bound itself, and zero is one of those."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "len"
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value != 0


def _is_text(node: ast.BinOp) -> bool:
    """Whether it joins or formats texts or lists, where the change would be an error at once."""
    literal = ast.JoinedStr | ast.List | ast.Tuple | ast.ListComp
    return any(
        isinstance(each, literal) or (isinstance(each, ast.Constant) and isinstance(each.value, str))
        for each in (node.left, node.right)
    )


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else f"{text[:87]}..."
