"""E4: choose layers by type(m) == or by isinstance?"""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict


def in_torch():
    class Scaled(nn.Linear):
        def forward(self, x):
            return 0.5 * super().forward(x)

    def chosen(net, test):
        found = []
        net.apply(lambda module: found.append(test(module)))
        return sum(found)

    def by_type(module):
        return type(module) == nn.Linear  # noqa: E721 - the question is about this habit

    def by_isinstance(module):
        return isinstance(module, nn.Linear)

    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    mixed = nn.Sequential(Scaled(4, 8), nn.ReLU(), nn.Linear(8, 1))
    library = nn.MultiheadAttention(8, 2)  # its out_proj is a subclass of Linear
    return {
        "plain net: by type, by isinstance": [chosen(plain, by_type), chosen(plain, by_isinstance)],
        "with a subclass: by type, by isinstance": [chosen(mixed, by_type), chosen(mixed, by_isinstance)],
        "the library's attention: by type, by isinstance": [chosen(library, by_type), chosen(library, by_isinstance)],
        "what holds a layer's parameters": type(plain[0]).__name__,
    }


def in_linen():
    class Scaled(linen.Dense):
        def __call__(self, x):
            return 0.5 * super().__call__(x)

    def chosen(net, x, test):
        # params is a dict of arrays and knows no types. The modules by path, as init meets them, do.
        return sum(test(module) for module in net.module_paths(jax.random.key(0), x).values())

    def by_type(module):
        return type(module) == linen.Dense  # noqa: E721

    def by_isinstance(module):
        return isinstance(module, linen.Dense)

    x = jnp.ones((2, 4))
    plain = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)])
    mixed = linen.Sequential([Scaled(8), linen.relu, linen.Dense(1)])
    library, tokens = linen.MultiHeadDotProductAttention(num_heads=2), jnp.ones((1, 3, 8))
    params = plain.init(jax.random.key(0), x)["params"]
    return {
        "plain net: by type, by isinstance": [chosen(plain, x, by_type), chosen(plain, x, by_isinstance)],
        "with a subclass: by type, by isinstance": [chosen(mixed, x, by_type), chosen(mixed, x, by_isinstance)],
        "the library's attention: by type, by isinstance": [
            chosen(library, tokens, by_type),
            chosen(library, tokens, by_isinstance),
        ],
        "what holds a layer's parameters": type(params["layers_0"]).__name__,
    }


def in_nnx():
    class Scaled(nnx.Linear):
        def __call__(self, x):
            return 0.5 * super().__call__(x)

    def chosen(net, test):
        return sum(test(module) for _, module in nnx.iter_modules(net))

    def by_type(module):
        return type(module) == nnx.Linear  # noqa: E721

    def by_isinstance(module):
        return isinstance(module, nnx.Linear)

    rngs = nnx.Rngs(0)
    plain = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))
    mixed = nnx.Sequential(Scaled(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))
    library = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
    return {
        "plain net: by type, by isinstance": [chosen(plain, by_type), chosen(plain, by_isinstance)],
        "with a subclass: by type, by isinstance": [chosen(mixed, by_type), chosen(mixed, by_isinstance)],
        "the library's attention: by type, by isinstance": [chosen(library, by_type), chosen(library, by_isinstance)],
        "what holds a layer's parameters": type(plain.layers[0]).__name__,
    }


RECORD = Behaviour(
    id="E4",
    title="`isinstance` takes subclasses, `type ==` skips them, and a plain net cannot tell the two apart",
    question="Choose the layers to initialize by `type(m) == nn.Linear` or by `isinstance(m, nn.Linear)`: when is "
    "there a difference?",
    statement="Both tests choose both linear layers of a plain net. With a subclass in it, `type ==` misses one. "
    "PyTorch's own attention holds such a subclass; Flax's hold no linear layer of that class at all.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        wing: {"plain net: by type, by isinstance": [2, 2], "with a subclass: by type, by isinstance": [1, 2]}
        for wing in ("torch", "linen", "nnx")
    },
    reason="The rule of Python is the same everywhere; the class trees of the libraries are not. PyTorch projects the "
    "output of its attention with a subclass of Linear, Flax with DenseGeneral or LinearGeneral, which are no "
    "subclasses of Dense and Linear. And only Linen keeps parameters apart from the modules, in a dict that has no "
    "type to ask for.",
    notes=(
        "Use isinstance, unless subclasses must keep their own initialization. A LazyLinear is a subclass as well "
        "until its first call (L3).",
    ),
    mistakes=(
        "Notebook S0 defines `init_normal_` with isinstance and then applies `init_normal`, the one with `type ==`. "
        "Its same result is the same function twice, and on a plain net would prove nothing anyway.",
    ),
    sources=("S0",),
)
