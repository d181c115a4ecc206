"""A LoRA adapter, as peft saves it, merged into its base on the way: each weight plus the product of two small ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...common.errors import CheckpointError, WeightsError, nearest, shown, unfit
from ...common.reading import read_json
from ...common.tables import counted, shape_text
from .matching import is_floating
from .readers import Place, Source, open_source
from .views import View

CONFIG, WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")
# peft puts it before every path of the model.
BEFORE = "base_model.model."
# What a configuration may say without another product: who made it, what training did, where the adapters are.
_KNOWN = (
    *("alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying", "eva_config"),
    *("exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern"),
    *("layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core", "modules_to_save", "peft_type"),
    *("peft_version", "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config", "target_modules"),
    *("task_type", "use_rslora"),
)
# How the two may begin and leave the base as it is; others take what they begin with out of the base.
_BEGINNINGS = (True, False, None, "gaussian", "eva", "orthogonal")
_LOW = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<half>[AB])(?:\.weight)?")


class _Product(NamedTuple):
    """The names of a weight's two factors in the adapter, their scale, and the shape of their product."""

    a: str
    b: str
    scale: float
    shape: tuple[int, ...]
    is_embedding: bool

    @property
    def fitting(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of a weight that it can be added to."""
        turned = self.shape[::-1]
        return (turned,) if self.is_embedding else (self.shape, turned) if len(turned) == 2 else (self.shape,)


class Merged(View):
    """See `Source`. A base with an adapter's products added, in float32, and what the adapter has as a whole.

    told: a line about it.
    """

    def __init__(self, base: Source, adapter: Path, taken_off: str = "") -> None:
        """adapter: a folder of peft. taken_off: what the base's paths had before them, which the adapter's may have.

        Raises:
            CheckpointError: it is none, damaged, or of a kind that is more than a product of two.
            WeightsError: it does not fit the base: what is missing or misshapen, or which way a square one lies.
        """
        super().__init__(base)
        config = _configuration(adapter)
        file = next((adapter / name for name in WEIGHTS if (adapter / name).is_file()), None)
        if file is None:
            raise CheckpointError(str(adapter), " or ".join(WEIGHTS), "neither", "Give the folder that peft saved.")
        self._adapter = open_source(file)
        self.files = (*base.files, *self._adapter.files, adapter / CONFIG)
        products, wholes = _parts(self._adapter, config, file)
        self._products = {self._own(path, taken_off): product for path, product in products.items()}
        self._wholes = {self._own(path, taken_off): name for path, name in wholes.items()}
        self._check_fits()
        self._turned = self._turned_ones(bool(config.get("fan_in_fan_out")))
        scales = ", ".join(f"{scale:g}" for scale in sorted({product.scale for product in self._products.values()}))
        more = f"; {counted(len(self._wholes), 'tensor')} of its own" if self._wholes else ""
        self.told = f"merged: {counted(len(self._products), 'product')} of {adapter}, scale {scales}{more}"

    def array(self, path: str) -> np.ndarray:
        whole = self._wholes.get(path)
        if whole is None:
            values = self._source.array(path)
        else:
            values = self._adapter.array(whole).astype(self.entries[path].dtype, copy=False)
        if path not in self._products:
            return values
        product = self._products[path]
        a, b = (self._adapter.array(name).astype(np.float32) for name in (product.a, product.b))
        delta = b.reshape(len(b), len(a)) @ a.reshape(len(a), -1)
        delta = (delta.T if path in self._turned else delta).reshape(values.shape)
        return (values.astype(np.float32) + np.float32(product.scale) * delta).astype(values.dtype)

    def place(self, path: str) -> Place:
        return None if path in self._products or path in self._wholes else self._source.place(path)

    def _own(self, path: str, taken_off: str) -> str:
        return path if path in self.entries else path.removeprefix(taken_off)

    def _check_fits(self) -> None:
        faults = []
        for path in (*self._products, *self._wholes):
            if path not in self.entries:
                faults.append(
                    f"{path} is {f'tied to {self.aliases[path]}' if path in self.aliases else 'not in the base'}"
                )
                continue
            shape, dtype = self.entries[path]
            whole, product = self._wholes.get(path), self._products.get(path)
            given = shape if whole is None else self._adapter.entries[whole].shape
            if given == shape and product is not None and shape not in product.fitting:
                given = product.fitting[0]
            if not is_floating(dtype):
                faults.append(f"{path} is {dtype.name} in the base")
            elif shape != given:
                faults.append(f"{path} has shape {shape_text(shape)} and gets {shape_text(given)}")
        if faults:
            missing = next((path for path in (*self._products, *self._wholes) if path not in self.entries), "")
            remedy = nearest(missing, self.entries) if missing else "Give the base that it was trained on."
            raise WeightsError("", "a base with a weight for each part of the adapter", unfit(faults), remedy)

    def _turned_ones(self, says_turned: bool) -> set[str]:
        """The weights that are their products' transposes: (in, out), as those of GPT-2's Conv1D and embeddings.

        Their shapes tell. Those that are square lie as the others, and as the configuration says. It says it once for
        all, of the module that was last to be made, so that it tells nothing where some lie this way and some that.
        """
        turned = {path for path, product in self._products.items() if product.is_embedding}
        square = set()
        others = {says_turned}
        for path, product in self._products.items():
            if path not in turned and len(product.shape) == 2:
                if product.shape[0] == product.shape[1]:
                    square.add(path)
                else:
                    others.add(self.entries[path].shape != product.shape)
                    turned |= {path} if self.entries[path].shape != product.shape else set()
        if square and len(others) > 1:
            expected = f"an adapter that tells whether {min(square)} is (out, in) or (in, out)"
            found = f"fan_in_fan_out {says_turned}, and others that are otherwise"
            raise WeightsError("", expected, found, "Merge it with peft: model.merge_and_unload().")
        return turned | (square if says_turned else set())


def _configuration(adapter: Path) -> dict[str, Any]:
    """Raises CheckpointError: there is none, or one that asks for more than a product."""
    file = adapter / CONFIG
    expected = "a LoRA adapter as peft saves it"
    try:
        config = read_json(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"no JSON ({error})"
        raise CheckpointError(str(file), expected, str(reason), "Give the folder that peft saved.") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        found = shown(config.get("peft_type")) if isinstance(config, dict) else "another content"
        raise CheckpointError(str(file), f"{expected}, with the peft_type 'LORA'", found)
    more = [f"{key}: {shown(value)}" for key, value in config.items() if key not in _KNOWN and value]
    if config.get("init_lora_weights", True) not in _BEGINNINGS:
        more.append(f"init_lora_weights: {shown(config['init_lora_weights'])}")
    if more:
        remedy = "Merge it with peft: model.merge_and_unload().save_pretrained(...)."
        raise CheckpointError(str(file), f"{expected}, of products alone", "; ".join(more[:8]), remedy)
    return config


def _parts(adapter: Source, config: Mapping[str, Any], file: Path) -> tuple[dict[str, _Product], dict[str, str]]:
    """By the base's paths the products and the tensors that replace its own.

    Raises:
        CheckpointError: a factor without the other, or what is neither.
    """
    halves: dict[str, dict[str, str]] = {}
    wholes: dict[str, str] = {}
    embeddings: set[str] = set()
    for name in adapter.entries:
        path = name.removeprefix(BEFORE)
        low = _LOW.fullmatch(path)
        if low is None:
            if ".lora_" in path or path == name:
                raise CheckpointError(
                    f"{file}: {name}", "a factor lora_A or lora_B, or a weight of the model", "another"
                )
            # What an adapter lies upon, where it was saved too.
            wholes[path.replace(".base_layer.", ".")] = name
            continue
        halves.setdefault(low["module"], {})[low["half"]] = name
        embeddings |= {low["module"]} if low["embedding"] else set()
    products = {}
    for module, pair in halves.items():
        if len(pair) < 2:
            raise CheckpointError(f"{file}: {next(iter(pair.values()))}", "both lora_A and lora_B", "one of them")
        a, b = _factors(adapter, pair, file)
        scale = _scale(module, config, a[0], file)
        products[f"{module}.weight"] = _Product(pair["A"], pair["B"], scale, (b[0], *a[1:]), module in embeddings)
    return products, wholes


def _factors(adapter: Source, pair: Mapping[str, str], file: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Their shapes."""
    a, b = (adapter.entries[pair[half]].shape for half in "AB")
    if len(a) < 2 or len(b) != len(a) or b[1] != a[0] or not a[0] or set(b[2:]) - {1}:
        found = f"{shape_text(a)} and {shape_text(b)}"
        raise CheckpointError(f"{file}: {pair['A']}", "a lora_A (rank, ...) and a lora_B (..., rank)", found)
    return a, b


def _scale(module: str, config: Mapping[str, Any], rank: int, file: Path) -> float:
    alpha = config.get("lora_alpha")
    for pattern, other in (config.get("alpha_pattern") or {}).items():
        name = str(pattern).removeprefix("^").removesuffix("$")
        if not re.fullmatch(r"[\w.]+", name):
            found = f"the pattern {shown(pattern)}"
            raise CheckpointError(str(file.parent / CONFIG), "names of modules in alpha_pattern", found)
        if module == name or (module.endswith(f".{name}") and not str(pattern).startswith("^")):
            alpha = other
            break
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise CheckpointError(str(file.parent / CONFIG), "a number lora_alpha", shown(alpha))
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)
