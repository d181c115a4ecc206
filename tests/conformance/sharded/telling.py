"""What a process of a test tells of ports: a line of JSON each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import paritree


def ports(*modules: Any) -> dict[str, tuple[Any, Any]]:
    """What makes each pair, and its map, by name."""
    found = {}
    for module in modules:
        made = {**module.CLEAN, **{name: fault[0] for name, fault in (module.FAULTS | module.REFUSED).items()}}
        found.update({f"{module.KIND}, {name}": (make, module.map_of) for name, make in made.items()})
    return found


def tell(names: Sequence[str], *modules: Any, tells: bool = True) -> None:
    """By the contract."""
    known = ports(*modules)
    for name in names:
        make, map_of = known[name]
        pair = make()
        try:
            report = paritree.check(pair, map_of(pair), contracts=("sharded",), devices=("cpu",))
        except paritree.PairError as error:
            print(json.dumps({"name": name, "ok": False, "found": [("raise", "", "", str(error))]}), flush=True)
            continue
        found = [(each.status, each.cause, each.path or each.port_path, each.message) for each in report.results]
        if tells:
            print(json.dumps({"name": name, "ok": report.ok, "found": found}), flush=True)
