"""Seeding: a draw depends on the seed and the path, and on nothing else."""

from __future__ import annotations

from paritree.common.seeding import generator, path_seed, path_words

PATHS = [f"{block}.layer {index}.{name}" for block in range(100) for index in range(500) for name in ("weight", "bias")]


def test_the_numbers_are_the_same_in_every_process_and_every_release():
    assert path_seed(0, "0.weight") == 5105806359587271708
    assert path_words("0.weight") == (5105806359587271708 >> 32, 5105806359587271708 & 0xFFFFFFFF)


def test_a_draw_does_not_depend_on_what_was_drawn_before():
    forwards = {path: generator(7, path).normal(size=3).tolist() for path in PATHS[:20]}
    backwards = {path: generator(7, path).normal(size=3).tolist() for path in reversed(PATHS[5:20])}
    assert backwards == {path: forwards[path] for path in reversed(PATHS[5:20])}
    assert len({tuple(draw) for draw in forwards.values()}) == 20


def test_seed_and_path_cannot_be_confused():
    assert len({path_seed(seed, path) for seed, path in [(1, "1.weight"), (11, ".weight"), (1, "1"), (11, "")]}) == 4


def test_no_two_of_100_000_paths_have_the_same_words():
    words = [path_words(path) for path in PATHS]
    assert len(set(words)) == len(PATHS) == 100_000
    assert all(0 <= word < 2**32 for pair in words for word in pair)
    # The reason for two words: one of them alone collides for some of these paths, as the birthday bound expects.
    assert len({high for high, _ in words}) < len(PATHS)


def test_seeds_fit_a_signed_64_bit_integer():
    seeds = {path_seed(seed, "0.weight") for seed in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) >= 2**62
