"""S2: edits that autograd does not see."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...record import Absent, Behaviour, Verdict, raised


def in_torch():
    def parameter_and_square():
        w = nn.Parameter(torch.tensor(3.0))
        return w, w**2

    w, y = parameter_and_square()
    w.data.fill_(5.0)  # between forward and backward, and not tracked
    y.backward()
    by_data = w.grad.item()

    w, y = parameter_and_square()
    with torch.no_grad():
        w.fill_(5.0)
    return {
        "value after the edit": w.item(),
        "gradient of the square, recorded at w = 3, edited to 5": by_data,
        "the same edit under no_grad": raised(y.backward),
        "an edit in place, without no_grad": raised(lambda: w.fill_(7.0)),
    }


def in_linen():
    class Square(linen.Module):
        @linen.compact
        def __call__(self):
            return self.param("w", linen.initializers.constant(3.0), ()) ** 2

    square = Square()
    params = square.init(jax.random.key(0))["params"]
    _, backward = jax.vjp(lambda params: square.apply({"params": params}), params)
    params["w"] = jnp.array(5.0)
    (gradient,) = backward(jnp.array(1.0))
    return {
        "value after the edit": params["w"].item(),
        "gradient of the square, recorded at w = 3, edited to 5": gradient["w"].item(),
        "the same edit under no_grad": Absent("JAX records nothing outside a transformation, so none is switched off"),
        "an edit in place, without no_grad": Absent("an array cannot be edited, so there is nothing to bypass"),
    }


def in_nnx():
    w = nnx.Param(jnp.array(3.0))
    _, backward = jax.vjp(lambda array: array**2, w[...])
    w[...] = jnp.array(5.0)
    (gradient,) = backward(jnp.array(1.0))
    return {
        "value after the edit": w[...].item(),
        "gradient of the square, recorded at w = 3, edited to 5": gradient.item(),
        "the same edit under no_grad": Absent("JAX records nothing outside a transformation, so none is switched off"),
        "an edit in place, without no_grad": Absent("the Variable gets a new array, so there is nothing to bypass"),
    }


RECORD = Behaviour(
    id="S2",
    title="An edit through .data escapes autograd, and can falsify a gradient in silence",
    statement=(
        "The gradient of `w**2` at w = 3 is 6. If w is set to 5 through `.data` between forward and backward, PyTorch "
        "returns 10; under `no_grad` it notices and raises; in place without `no_grad` it refuses at once. In JAX the "
        "forward has kept its own array, and the gradient is 6."
    ),
    verdict=Verdict.ABSENT,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"gradient of the square, recorded at w = 3, edited to 5": 10.0},
        "linen": {"gradient of the square, recorded at w = 3, edited to 5": 6.0},
        "nnx": {"gradient of the square, recorded at w = 3, edited to 5": 6.0},
    },
    reason=(
        "`no_grad` and `.data` exist because PyTorch records operations on tensors that can change. JAX's arrays "
        "cannot change, and its gradients are asked for, as a transformation of a function, so there is no record to "
        "protect, and nothing to bypass."
    ),
    notes=(
        "`no_grad` leaves the tensor's version counter running, and backward compares it; `.data` has a counter of its "
        "own, which is why nothing is noticed. Prefer `no_grad` for edits.",
    ),
    sources=("S1",),
)
