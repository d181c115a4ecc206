"""Natives: every array of a live model's variables as Linen stores it, and a model with others in their place.

A path begins with the collection: `params.layers_0.kernel`. A tied parameter is stored once, and has no second path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...common.wing import Native, check_fit
from ..trees import arrays_of, by_path, filled, placed
from .naming import Model, like, stored_kind


def natives(model: Model) -> dict[str, Native]:
    """Every array of the variables by its path, in their order. A box around one notes its partitioning, and is no key.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
    """
    return {
        path: Native(path, np.asarray(array), trainable=stored_kind(str(keys[0])) == "parameter", keys=keys)
        for path, (keys, array) in by_path(arrays_of(model[1])).items()
    }


def with_natives(model: Model, arrays: Mapping[str, Any]) -> Model:
    """A new model with some or all of its arrays replaced, in their own dtypes. `model` is as it was.

    arrays: of any framework, by path.

    Raises:
        WeightsError: one message for every path that is no owner's and every wrong shape.
    """
    module, variables = model
    stored = by_path(arrays_of(variables))
    check_fit({path: tuple(array.shape) for path, (_, array) in stored.items()}, arrays)
    new = {stored[path][0]: placed(array, stored[path][1]) for path, array in arrays.items()}
    return like(model, module, filled(variables, new))
