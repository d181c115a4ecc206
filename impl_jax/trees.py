"""Trees: the arrays of any JAX pytree by their keys, and the tree with others in their place.

What a model's arrays are is told as `Owned`, of which its stored tensors are made and a new tree of the same kind.
JAX visits a dict in the order of its sorted keys, and so `layers_10` before `layers_2`; here a dict keeps its order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict, meta
from jax.tree_util import tree_flatten_with_path, tree_map_with_path

from ..common.arrays import as_numpy, in_parts
from ..common.errors import ChildNameError
from ..common.trees import walk
from ..common.wing import StoredTensor, check_fit

Keys = tuple[str | int, ...]
# Those that can be made anew from their items.
DICTS = (dict, OrderedDict, FrozenDict)


class Owned(NamedTuple):
    """An array of a model, live, under the first of its paths.

    keys: those of the framework's own tree.
    role: a `statistic` is one that training updates without gradients, in no less than float32; `random` is the state
        of a random stream, which is no part of what a model has learnt.
    aliases: the other paths of the same array.
    """

    keys: Keys
    array: Any
    role: Literal["parameter", "buffer", "statistic", "random"]
    aliases: tuple[str, ...] = ()


def as_stored_tensors(owned: Mapping[str, Owned]) -> dict[str, StoredTensor]:
    """The arrays of a model as NumPy arrays, random state aside.

    Raises:
        NotExpressibleError: one of which other processes have parts.
    """
    return {
        path: StoredTensor(
            path, whole_array(path, each.array), each.role == "parameter", aliases=each.aliases, keys=each.keys
        )
        for path, each in owned.items()
        if each.role != "random"
    }


def whole_array(path: str, array: Any) -> np.ndarray:
    """An array of JAX's or NumPy's as NumPy's.

    Raises:
        NotExpressibleError: one of which other processes have parts.
    """
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        raise in_parts(path, len({device.process_index for device in array.sharding.device_set}))
    return np.asarray(array)


def replaced(tree: Any, owned: Mapping[str, Owned], arrays: Mapping[str, Any]) -> Any:
    """A new tree with some or all of its arrays replaced, in their own dtypes and on their devices.

    arrays: of any framework, by path.

    Raises:
        WeightsError: one message for every path that is none of the tree's and every wrong shape.
    """
    check_fit({path: tuple(each.array.shape) for path, each in owned.items()}, arrays)
    return filled(tree, {owned[path].keys: placed(array, owned[path].array) for path, array in arrays.items()})


def arrays_of(tree: Any, keys: Keys = (), counts: Callable[[Any], bool] | None = None) -> Iterator[tuple[Keys, Any]]:
    """The arrays of a tree with their keys: a dict's keys, a sequence's positions, the names of attributes.

    A box (`linen.Partitioned`) counts as the array in it. What is no array of numbers is left out.

    keys: what stands before all of them.
    counts: what is taken for an array; `is_array` unless given.
    """
    for place, leaf in leaves_of(tree, keys):
        if (counts or is_array)(unboxed(leaf)):
            yield place, unboxed(leaf)


def leaves_of(tree: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every leaf of a tree, boxes as they are, with its keys."""
    return walk(tree, _members, keys)


def _members(node: Any) -> Iterable[tuple[str | int, Any]] | None:
    """What a node that JAX knows holds by its keys; None of a leaf, which a box is too."""
    if type(node) in DICTS:
        return node.items()
    # One step down: all below the node itself counts as a leaf.
    below, _ = tree_flatten_with_path(node, is_leaf=lambda each: each is not node or _stops(each))
    return None if below and not below[0][0] else [(_component(path[0]), held) for path, held in below]


def filled(tree: Any, arrays: Mapping[Keys, Any], keys: Keys = ()) -> Any:
    """The tree with arrays in the place of its own, by their keys; boxes stay.

    keys: what stands before the tree's own in `arrays`.
    """
    if type(tree) in DICTS:
        return type(tree)({key: filled(value, arrays, (*keys, key)) for key, value in tree.items()})

    def chosen(below: tuple[Any, ...], leaf: Any) -> Any:
        place = (*keys, *map(_component, below))
        if type(leaf) in DICTS:
            return filled(leaf, arrays, place)
        if place not in arrays:
            return leaf
        return leaf.replace_boxed(arrays[place]) if isinstance(leaf, meta.AxisMetadata) else arrays[place]

    return tree_map_with_path(chosen, tree, is_leaf=_stops)


def is_array(leaf: Any) -> bool:
    """Whether it is an array of numbers; a typed random key is none."""
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
        return False
    return jnp.issubdtype(leaf.dtype, np.number) or jnp.issubdtype(leaf.dtype, np.bool_)


def unboxed(leaf: Any) -> Any:
    """The array in a box (`linen.Partitioned`), as it lies; anything else as it is."""
    if isinstance(leaf, meta.Partitioned):
        # Where a mesh is set `unbox` lays the array out anew, and refuses an abstract one.
        return leaf.value
    return leaf.unbox() if isinstance(leaf, meta.AxisMetadata) else leaf


def dotted(keys: Iterable[str | int]) -> str:
    """The path of keys: joined with dots, whatever is in them."""
    return ".".join(map(str, keys))


def by_path(found: Iterable[tuple[Keys, Any]]) -> dict[str, tuple[Keys, Any]]:
    """What comes with keys, by path.

    Raises:
        ChildNameError: two keys that are one path, such as `a.b` beside `a` with a `b` in it.
    """
    result: dict[str, tuple[Keys, Any]] = {}
    for keys, value in found:
        path = dotted(keys)
        if path in result:
            both = f"two, stored under {result[path][0]} and {keys}"
            raise ChildNameError(path, "one array under a path", both, "Rename one of the two in the model.")
        result[path] = (keys, value)
    return result


def placed(array: Any, like: Any) -> Any:
    """An array of any framework as `like` has it: in its dtype, and if that is JAX's on its device."""
    # By a copy of NumPy's, whose memory JAX would otherwise share: a later write to `array` would reach the model.
    copied = np.array(as_numpy(array), like.dtype, order="C")
    return jax.device_put(copied, like.sharding) if isinstance(like, jax.Array) else copied


def _stops(node: Any) -> bool:
    return isinstance(node, meta.AxisMetadata) or type(node) in DICTS


def _component(key: Any) -> str | int:
    """One of JAX's keys as it is written."""
    for name in ("key", "idx", "name"):
        if hasattr(key, name):
            return getattr(key, name)
    return str(key)
