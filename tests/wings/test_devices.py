"""Devices and the settings of a strict comparison, which are put back whatever happens."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch

from paritree.common.devices import numbered
from paritree.common.errors import DeviceError
from paritree.common.initializers import Normal
from paritree.common.layers import Linear, ReLU
from paritree.common.spec import Sequential
from paritree.common.tables import Row

from .conftest import assert_same, exactly, normal

SPEC = Sequential(Linear(4, 8), ReLU(), Linear(8, 2))


def test_the_cpu_is_always_there(wing: Any) -> None:
    assert wing.devices()[0] == "cpu"
    assert set(wing.devices()) <= {"cpu", *numbered("cuda", 16)}


def state(wing: Any) -> dict[str, Any]:
    """Every setting that `running` may touch."""
    if wing.NAME == "torch":
        cudnn = torch.backends.cudnn
        return {
            "precision": torch.get_float32_matmul_precision(),
            "cuda tf32": torch.backends.cuda.matmul.allow_tf32,
            **{name: getattr(cudnn, name) for name in ("allow_tf32", "deterministic", "benchmark")},
            "default dtype": torch.get_default_dtype(),
            "generator": torch.get_rng_state().tolist(),
        }
    names = ("jax_default_matmul_precision", "jax_enable_x64", "jax_default_device", "jax_default_prng_impl")
    return {name: getattr(jax.config, name) for name in names}


@pytest.fixture
def unusual(wing: Any) -> Any:
    """Settings other than those that `running` sets, so that putting back is not mistaken for leaving alone."""
    if wing.NAME != "torch":
        with jax.default_matmul_precision("bfloat16"):
            yield
        return
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    cudnn.deterministic, cudnn.benchmark = False, True
    yield
    torch.set_float32_matmul_precision(precision)
    cudnn.deterministic, cudnn.benchmark = before


STRICT = {
    "torch": {
        "precision": "highest",
        "cuda tf32": False,
        "allow_tf32": False,
        "deterministic": True,
        "benchmark": False,
    },
    "linen": {"jax_default_matmul_precision": "highest"},
    "nnx": {"jax_default_matmul_precision": "highest"},
}


@pytest.mark.usefixtures("unusual")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_is_strict_and_puts_every_setting_back(wing: Any, dtype: str) -> None:
    before = state(wing)
    assert not STRICT[wing.NAME].items() <= before.items()
    with wing.running(dtype=dtype):
        within = state(wing)
        assert STRICT[wing.NAME].items() <= within.items()
        if wing.NAME != "torch":
            assert within["jax_enable_x64"] == (dtype == "float64")
    assert state(wing) == before

    def fail() -> None:
        with wing.running(dtype=dtype):
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fail()
    assert state(wing) == before


@pytest.mark.usefixtures("unusual")
def test_a_device_that_is_absent_is_refused_and_changes_nothing(wing: Any) -> None:
    framework = "PyTorch" if wing.NAME == "torch" else "JAX"
    text = f"expected the device 'tpu' in {framework}, found {' and '.join(wing.devices())}. Run where it is present."
    before, row = state(wing), Row("w", (2,), "float32", initializer=Normal())
    for ask in (
        lambda: wing.running("tpu").__enter__(),
        lambda: wing.build(SPEC, device="tpu"),
        lambda: wing.draw(Normal(), (2,), device="tpu"),
        lambda: wing.sample(row, seeds=[0], device="tpu"),
    ):
        with pytest.raises(DeviceError, match=exactly(text)):
            ask()
    assert state(wing) == before


def test_the_settings_are_told_as_text(wing: Any) -> None:
    with wing.running():
        settings = wing.settings()
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in settings.items())
    assert settings["devices"] == ", ".join(wing.devices())
    assert "highest" in settings.values()


def test_a_model_lives_and_stays_on_its_device(wing: Any, device: str) -> None:
    with wing.running(device):
        model = wing.build(SPEC, seed=1, device=device)
        weights = wing.weights(model)
        x, targets = (normal(3, 4),), normal(3, 2)
        output, gradients = wing.call(model, x), wing.value_and_gradients(model, x, targets)[1]
        sites = wing.site_gradients(model, x, targets)
        for path, gradient in gradients.items():
            np.testing.assert_allclose(sites[path][0].gradient, gradient, rtol=1e-5, atol=1e-6)
        model = wing.set_parameter(wing.load(model, weights), "0.bias", weights["0.bias"])
        assert_same(wing.weights(model), weights)
        np.testing.assert_array_equal(wing.call(model, x), output)
        row = Row("0.bias", (8,), "float32", initializer=Normal())
        np.testing.assert_array_equal(
            wing.sample(row, seeds=[3], device=device)[0],
            np.asarray(wing.draw(Normal(), (8,), seed=3, path="0.bias", device=device).tolist(), np.float32),
        )
        stepped, _ = wing.step(model, x, targets)
        assert {place_of(wing, stepped, path) for path in weights} == {device}


def place_of(wing: Any, model: Any, path: str) -> str:
    held = wing.get_parameter(model, path)
    if wing.NAME == "torch":
        return held.device.type
    (place,) = (held if wing.NAME == "linen" else held[...]).devices()
    return {"gpu": "cuda"}.get(place.platform, place.platform)
