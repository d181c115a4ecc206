"""Which tests are to notice a change of which file, the quickest first."""

from __future__ import annotations

_ALONE = "tests/conformance/test_contracts_alone.py::test_a_fault_fails_the_contracts_that_it_names_and_no_other"


def _alone(*contracts: str, wings: tuple[str, ...] = ("torch",)) -> list[str]:
    return [f"{_ALONE}[{contract}-{wing}]" for wing in wings for contract in contracts]


_LIMITS = "tests/conformance/test_limits.py"
_RIGHT = f"{_ALONE.partition('::')[0]}::test_what_is_told_of_a_right_pair"
_UNKNOWN_PATH = f"{_ALONE.partition('::')[0]}::test_a_map_with_a_path_that_the_port_has_not_is_no_error_of_the_check"
_OF_CONTRACTS = "tests/conformance/contracts"
_RECIPES = [f"{_OF_CONTRACTS}/test_recipe.py", "tests/conformance/test_recipe_table.py"]
_CONTRACTS = {
    "arithmetic": [
        *_alone("layout", "forward", "gradients"),
        f"{_OF_CONTRACTS}/test_arithmetic.py",
        "tests/conformance/test_bad_pairs.py",
        "tests/migration/align/test_silent.py::test_where_one_side_has_no_gradient_of_what_the_other_froze_that_is_said",
    ],
    "determinism": [f"{_OF_CONTRACTS}/test_determinism.py", *_alone("determinism")],
    "initial_draws": [
        f"{_OF_CONTRACTS}/test_initial_draws.py",
        *_alone("initialization"),
        "tests/conformance/test_framework_differences.py::test_linen_s_defaults_are_recognized_in_either_direction",
    ],
    "modules": [*_alone("modules"), f"{_OF_CONTRACTS}/test_modules.py"],
    "moves": [*_alone("training"), f"{_OF_CONTRACTS}/test_training.py"],
    "modes": [*_alone("modes"), f"{_OF_CONTRACTS}/test_modes.py", "tests/conformance/test_bad_pairs.py"],
    "recipe": _RECIPES,
    "stored": _alone("round trip"),
    "structure": [
        "tests/conformance/test_bad_pairs.py",
        *_alone("names", "shapes", "ties"),
        f"{_OF_CONTRACTS}/test_structure.py",
    ],
    "tied": [*_alone("tied gradients", wings=("torch", "linen")), f"{_OF_CONTRACTS}/test_tied.py"],
    "training": [*_alone("training"), f"{_OF_CONTRACTS}/test_training.py"],
    "values": [*_alone("values"), f"{_OF_CONTRACTS}/test_values.py", _UNKNOWN_PATH],
}
_STATISTICS = {
    "blocks": ("two_sample", "one_sample"),
    "catalogue": ("schemes",),
    "constants": ("two_sample", "correlation"),
    "correlation": ("correlation", "two_sample"),
    "evidence": ("evidence", "correlation"),
    "matched": ("two_sample", "schemes"),
    "one_sample": ("one_sample",),
    "orthogonality": ("two_sample", "one_sample"),
    "point_masses": ("one_sample",),
    "pooled": ("correlation", "one_sample"),
    "power": ("power", "one_sample"),
    "rounding": ("two_sample", "one_sample"),
    "schemes": ("schemes",),
    "scores": ("correlation", "one_sample"),
    "sign_tests": ("two_sample", "correlation"),
    "two_sample": ("two_sample",),
}


def _of_statistics(*names: str) -> list[str]:
    own = [f"tests/conformance/statistics/test_{name}.py" for name in (*names, "in_full")]
    # The one that takes long comes last.
    own.sort(key=lambda file: "one_sample" in file)
    return [f"{_OF_CONTRACTS}/test_initial_draws.py", *own]


_ALIGN = [
    f"tests/migration/align/test_{name}.py"
    for name in ("proof", "bad_input", "rows", "additive", "user_rules", "structures", "planted")
]
_MAPS = [f"tests/pairs/maps/test_{name}.py" for name in ("transforms", "pieces", "map", "files", "fit")]
TARGETS: dict[str, list[str]] = {
    **{f"conformance/contracts/{name}.py": [*tests, _RIGHT, _LIMITS] for name, tests in _CONTRACTS.items()},
    **{f"conformance/recipes/{name}.py": _RECIPES for name in ("causes", "courses", "losses", "responses", "rules")},
    **{f"conformance/statistics/{name}.py": _of_statistics(*tests) for name, tests in _STATISTICS.items()},
    "migration/align/proof.py": _ALIGN,
    "migration/align/matching.py": [*_ALIGN, "tests/migration/align/test_silent.py"],
    "pairs/closeness.py": ["tests/pairs/test_closeness.py"],
    "pairs/comparison.py": ["tests/pairs/test_comparison.py", "tests/conformance/test_bad_pairs.py"],
    "pairs/kept.py": ["tests/conformance/test_kept_rows.py"],
    **{f"pairs/maps/{name}.py": _MAPS for name in ("weights", "correspondence", "rows", "transforms")},
}
