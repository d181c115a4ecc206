"""The table of optimizers and schedules says what is: its defaults are the signatures', and its recipes are run."""

from __future__ import annotations

import inspect
import io
import json
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from paritree.cli import cli
from paritree.common.errors import UsageError
from paritree.common.optimizers import (
    CARRIED,
    OPTAX_ALONE,
    OPTAX_SCHEDULES_ALONE,
    OPTIMIZERS,
    SCHEDULES,
    Entry,
    Recipe,
    named,
)
from paritree.study import optimizers

PAGE = Path(__file__).parents[2] / "docs" / "optimizers.md"
ENTRIES = OPTIMIZERS | SCHEDULES
STEPS = 12
# Counts that are float32 in either framework, whatever the parameters are.
ROUNDING = 1e-6
METRICS = (5.0, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3)
each_entry = pytest.mark.parametrize("each", ENTRIES.values(), ids=ENTRIES)
each_row = pytest.mark.parametrize("each", [e for e in ENTRIES.values() if e.arguments], ids=lambda each: each.name)
RUN = [(each, recipe) for each in ENTRIES.values() for recipe in each.recipes]


def found(name: str) -> Any:
    value: Any = {"torch": torch, "optax": optax}[name.partition(".")[0]]
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    return value


def defaults(made: Any) -> dict[str, Any]:
    parameters = inspect.signature(made).parameters.values()
    return {each.name: each.default for each in parameters if each.name not in ("self", "params")}


def told(each: Entry, side: str) -> dict[str, str]:
    """By argument its default, as the table has it; `b1, b2` is two."""
    rows = [(getattr(row, side), getattr(row, f"{side}_default")) for row in each.arguments]
    pairs = [(n, d) for names, ds in rows if names for n, d in zip(names.split(", "), split(names, ds), strict=True)]
    return dict(pairs)


def split(names: str, text: str) -> list[str]:
    return text.split(", ") if ", " in names else [text]


def as_text(default: Any) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    return getattr(default, "dtype", default).name if "float32" in repr(default) else repr(default)


@each_row
@pytest.mark.parametrize("side", ["torch", "optax"])
def test_every_argument_is_told_with_its_default(each: Entry, side: str) -> None:
    if getattr(each, side) == "optax.Schedule":
        assert told(each, "optax") == {}
        return
    real = {name: as_text(default) for name, default in defaults(found(getattr(each, side))).items()}
    table = told(each, side)
    variant = {"lr"} if each.name != each.torch.rpartition(".")[2] else set(real)
    assert {name: table.get(name) for name in set(real) & variant} == {name: real[name] for name in set(real) & variant}
    # An older release lacks some.
    assert all(table[name] == real.get(name, table[name]) for name in table)


def test_a_default_of_both_is_compared_as_a_number() -> None:
    learned = OPTIMIZERS["AdamW"].arguments
    assert {row.torch: (row.torch_default, row.optax_default) for row in learned}["weight_decay"] == ("0.01", "0.0001")


def test_every_optimizer_of_both_is_told() -> None:
    classes = vars(torch.optim).values()
    own = {each.__name__ for each in classes if inspect.isclass(each) and issubclass(each, torch.optim.Optimizer)}
    assert own - {"Optimizer"} <= {each.torch.rpartition(".")[2] for each in OPTIMIZERS.values()}
    aliases = {name for name, value in vars(optax).items() if getattr(value, "__module__", "").endswith("_src.alias")}
    functions = {name for name in aliases if inspect.isfunction(getattr(optax, name))}
    assert functions <= {each.optax.rpartition(".")[2] for each in OPTIMIZERS.values()} | set(OPTAX_ALONE)
    assert all(hasattr(optax, name) for name in OPTAX_ALONE)


def test_every_schedule_of_both_is_told() -> None:
    public = set(torch.optim.lr_scheduler.__all__) - {"LRScheduler"}
    assert public == {each.torch.rpartition(".")[2] for each in SCHEDULES.values()}
    functions = {name for name in vars(optax.schedules) if name.endswith(("_schedule", "_decay")) and name[0] != "_"}
    counterparts = {each.optax.rpartition(".")[2] for each in SCHEDULES.values()}
    assert functions <= counterparts | set(OPTAX_SCHEDULES_ALONE)


def start(recipe: Recipe) -> dict[str, np.ndarray]:
    shapes = {"w": (4, 4), "k": (4, 4)} if "matrices" in recipe.torch else {"w": (4, 3), "k": (5, 4), "b": (5,)}
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def gradients(shapes: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Ordinary ones, large ones at step 4, tiny ones from step 7 on, and zeros in places."""
    rng = np.random.default_rng(0)
    given = []
    for step in range(STEPS):
        made = {name: rng.normal(size=array.shape) for name, array in shapes.items()}
        made["w"] *= 10 if step == 4 else 1
        made["k"] *= 1e-3 if step > 6 else 1
        made[list(made)[-1]][0] = 0 if step % 3 else 1
        given.append(made)
    return given


def gap_of(recipe: Recipe) -> float:
    """Both codes run: how far the parameters are apart at the end, as a share of how far they moved."""
    first = start(recipe)
    ours = {name: torch.nn.Parameter(torch.tensor(array)) for name, array in first.items()}
    names = {"torch": torch, "parameters": ours.values(), "matrices": ours.values()}
    optimizer = eval(recipe.torch, names)
    with jax.enable_x64(True):
        theirs: Any = {name: jnp.asarray(array) for name, array in first.items()}
        rule = eval(recipe.optax, {"optax": optax, "jnp": jnp})
        state = rule.init(theirs)
        for given in gradients(first):
            for name, parameter in ours.items():
                parameter.grad = torch.tensor(given[name])
            optimizer.step()
            updates, state = rule.update({name: jnp.asarray(g) for name, g in given.items()}, state, theirs)
            theirs = optax.apply_updates(theirs, updates)
    ends = {name: parameter.detach().numpy() for name, parameter in ours.items()}
    apart = max(np.abs(ends[name] - np.asarray(theirs[name])).max() for name in first)
    return apart / max(np.abs(ends[name] - first[name]).max() for name in first)


def rates(recipe: Recipe) -> float:
    """Both codes run: how far the rates are apart, as a share of the largest one."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = eval(recipe.torch, {**vars(torch.optim.lr_scheduler), "optimizer": optimizer})
    ours, theirs = [], []
    with jax.enable_x64(True):
        schedule = eval(recipe.optax, {"optax": optax, "jnp": jnp})
        state = None if callable(schedule) else schedule.init(jnp.ones(1))
        for step, metric in enumerate(METRICS if state else METRICS[:STEPS]):
            if state:
                scheduler.step(metric)
            ours.append(optimizer.param_groups[0]["lr"])
            if state:
                update, state = schedule.update(jnp.ones(1), state, value=metric)
                theirs.append(0.1 * update.item())
            else:
                theirs.append(float(schedule(step)))
                optimizer.step()
                scheduler.step()
    return float(np.abs(np.subtract(ours, theirs)).max() / max(ours))


@pytest.mark.parametrize(
    ("each", "recipe"), RUN, ids=[f"{e.name}-{i}" for e in ENTRIES.values() for i, _ in enumerate(e.recipes)]
)
def test_a_recipe_is_what_was_measured(each: Entry, recipe: Recipe) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a scheduler's, of a parameter's order of calls
        gap = gap_of(recipe) if each.name in OPTIMIZERS else rates(recipe)

    if recipe.gap:
        # A product in bfloat16 is rounded as the processor does it.
        assert gap == pytest.approx(recipe.gap, rel=0.3 if each.name == "Muon" else 0.06)
        assert recipe.why
    else:
        assert gap < ROUNDING
        assert not recipe.why


@each_entry
def test_what_has_a_counterpart_has_a_recipe_that_says_how_far_they_agree(each: Entry) -> None:
    assert bool(each.optax) == bool(each.recipes)
    assert each.note or each.recipes
    verdicts = {"Adam": "equal for some arguments", "Adadelta": "equal", "Rprop": "differ", "ASGD": "absent from optax"}
    assert each.verdict == verdicts.get(each.name, each.verdict)


@pytest.mark.parametrize("each", [e for e in OPTIMIZERS.values() if e.state], ids=lambda each: each.name)
def test_the_state_is_the_one_that_both_keep(each: Entry) -> None:
    parameters = [torch.nn.Parameter(torch.ones(3, 3)), torch.nn.Parameter(torch.ones(3))]
    extra = {"amsgrad": True} if each.name == "AMSGrad" else {"momentum": 0.9} if "SGD" in each.name else {}
    extra |= {"momentum": 0.9, "centered": True} if each.name == "RMSprop" else {}
    optimizer = found(each.torch)(parameters, lr=0.1, **extra)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept = set().union(*(optimizer.state[parameter] for parameter in parameters))
    assert kept == {moment.torch for moment in each.state}
    for moment in filter(None, (moment.optax for moment in each.state)):
        kind, _, field = moment.partition(".")
        homes = (optax, __import__("optax._src.factorized", fromlist=["FactoredState"]))
        assert field in next(getattr(home, kind) for home in homes if hasattr(home, kind))._fields


def test_what_is_carried_can_be_trained_with_alike() -> None:
    assert set(CARRIED) <= set(OPTIMIZERS)
    assert all(OPTIMIZERS[name].verdict.startswith("equal") for name in CARRIED)
    assert "carried by Map.carry_optimizer" in printed(80, "AdamW")
    assert "not carried" in printed(80, "Rprop")


def test_the_page_is_what_it_would_be_made_anew() -> None:
    expected = "Run `paritree optimizers --markdown docs/optimizers.md`."
    assert PAGE.read_text(encoding="utf-8") == optimizers.page(), expected


def printed(width: int, *names: str) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
    for part in [part for name in names for part in optimizers.shown(name)] or [optimizers.overview()]:
        console.print(part)
    return console.export_text()


def test_what_optax_alone_has_is_told_with_what_is_nearest() -> None:
    lines = [line.split() for line in printed(80, "optax.nadamw").splitlines() if line.strip()]
    assert lines[1:4] == [
        ["PyTorch", "none", "of", "that", "name"],
        ["optax", "optax.nadamw"],
        ["the", "two", "absent", "from", "PyTorch"],
    ]
    assert " ".join(lines[4]) == "NAdam with decoupled weight decay; see NAdam"


@pytest.mark.parametrize("width", [80, 40])
def test_every_name_is_on_a_terminal_in_one_piece(width: int) -> None:
    assert set(ENTRIES) <= set(printed(width).split())
    text = printed(width, *ENTRIES)
    assert max(map(len, text.splitlines())) <= width
    assert {"weight_decay", "boundaries_and_scales", "initial_accumulator_value"} <= set(text.split())


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("adamw", "AdamW"),
        ("optax.adamw", "AdamW"),
        ("torch.optim.Adam", "Adam AMSGrad"),
        ("optax.adam", "Adam"),
        ("amsgrad", "AMSGrad"),
        ("lr_scheduler.StepLR", "StepLR"),
        ("exponential_decay", "StepLR ExponentialLR"),
        ("optax.lion", "lion"),
        ("NAdamW", "nadamw"),
        ("sgdr_schedule", "sgdr_schedule"),
    ],
)
def test_an_entry_is_found_by_the_names_of_either_framework(name: str, entries: str) -> None:
    assert [each.name for each in named(name)] == entries.split()


@pytest.mark.parametrize(("name", "near"), [("AdamWW", "AdamW"), ("CosineAnealingLR", "CosineAnnealingLR")])
def test_a_name_of_neither_is_refused(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        named(name)
    expected = "the name of an optimizer or schedule of PyTorch or optax"
    assert str(caught.value) == f"{name}: expected {expected}, found none of that name. Did you mean {near!r}?"


def test_the_command_prints_the_table() -> None:
    run = CliRunner().invoke
    overview = run(cli, ["optimizers"])
    assert overview.exit_code == 0
    assert all(name in overview.output for name in ENTRIES)
    one = run(cli, ["optimizers", "adamw"])
    assert "a hundred times less by" in " ".join(one.output.split())
    assert "0.037: the defaults of the weight decay" in one.output
    listed = json.loads(run(cli, ["optimizers", "--json"]).output)
    assert [each["name"] for each in listed] == list(ENTRIES)
    assert run(cli, ["optimizers", "--json", "Adam"]).exit_code == 2
