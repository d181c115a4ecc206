"""The optimizers, in the order of PyTorch's documentation."""

from __future__ import annotations

from .entry import REQUIRED, Argument, Entry, Moment, Recipe

_LR = "a number or a schedule; optax has no default"
_WITHOUT = "optax has one implementation"
_L2 = "optax.chain(optax.add_decayed_weights(weight_decay), ...) in front"
_MAXIMIZE = Argument("maximize", "False", "", "", "optax.chain(optax.scale(-1.0), ...) in front")


def _ways(*names: str) -> tuple[Argument, ...]:
    """Arguments that choose an implementation, not a formula."""
    defaults = {"foreach": "None", "fused": "None"}
    return tuple(Argument(name, defaults.get(name, "False"), "", "", _WITHOUT) for name in names)


def _in_both(update: str) -> tuple[str, str]:
    return update, update


def _lr(default: str) -> Argument:
    return Argument("lr", default, "learning_rate", REQUIRED, _LR)


def _l2(default: str = "0") -> Argument:
    return Argument("weight_decay", default, "", "", _L2)


_BETAS = Argument("betas", "(0.9, 0.999)", "b1, b2", "0.9, 0.999")
_EPS = Argument("eps", "1e-08", "eps", "1e-08")
_EPS_ROOT = Argument("", "", "eps_root", "0.0", "added inside the root; PyTorch has none")
_MU_DTYPE = Argument("", "", "mu_dtype", "None", "PyTorch's moments are of the parameter's type")
_MASK = Argument("", "", "mask", "None", "what decays; in PyTorch a group of parameters with weight_decay=0")
_NESTEROV = Argument("", "", "nesterov", "False", "see NAdam")
_FAST = _ways("foreach", "capturable", "differentiable")
_ADAM_STATE = (
    Moment("step", "ScaleByAdamState.count", 0),
    Moment("exp_avg", "ScaleByAdamState.mu", 1),
    Moment("exp_avg_sq", "ScaleByAdamState.nu", 2),
)
_ADAM = (
    "-lr * (m / (1 - b1**t)) / (sqrt(v / (1 - b2**t)) + eps)",
    "-lr * (m / (1 - b1**t)) / (sqrt(v / (1 - b2**t) + eps_root) + eps)",
)


_ALL = (
    Entry(
        "SGD",
        "torch.optim.SGD",
        "optax.sgd",
        (
            _lr("0.001"),
            Argument("momentum", "0", "momentum", "None", "None for 0, which keeps no trace"),
            Argument("dampening", "0", "", "", "none in optax; only 0 is equal"),
            _l2(),
            Argument("nesterov", "False", "nesterov", "False"),
            _MAXIMIZE,
            *_ways("foreach", "differentiable", "fused"),
            Argument("", "", "accumulator_dtype", "None", "PyTorch's buffer is of the parameter's type"),
        ),
        (
            Recipe("torch.optim.SGD(parameters, lr=0.1)", "optax.sgd(0.1)"),
            Recipe("torch.optim.SGD(parameters, lr=0.1, momentum=0.9)", "optax.sgd(0.1, momentum=0.9)"),
            Recipe(
                "torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True)",
                "optax.sgd(0.1, momentum=0.9, nesterov=True)",
            ),
            Recipe(
                "torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)",
                "optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.1, momentum=0.9))",
            ),
            Recipe(
                "torch.optim.SGD(parameters, lr=0.1, momentum=0.9, dampening=0.5)",
                "optax.chain(optax.scale(0.5), optax.sgd(0.1, momentum=0.9))",
                0.15,
                "the first gradient is not dampened in PyTorch",
            ),
        ),
        (Moment("momentum_buffer", "TraceState.trace", 1),),
        ("-lr * b, b = momentum * b + (1 - dampening) * g, at first b = g", "-lr * b, b = momentum * b + g"),
        "The rate is outside of the momentum in both, so that a schedule acts at once.",
    ),
    Entry(
        "Adam",
        "torch.optim.Adam",
        "optax.adam",
        (
            _lr("0.001"),
            _BETAS,
            _EPS,
            _l2(),
            Argument("amsgrad", "False", "", "", "see AMSGrad"),
            Argument("decoupled_weight_decay", "False", "", "", "see AdamW"),
            _MAXIMIZE,
            *_FAST,
            *_ways("fused"),
            _EPS_ROOT,
            _MU_DTYPE,
            _NESTEROV,
        ),
        (
            Recipe("torch.optim.Adam(parameters, lr=0.1)", "optax.adam(0.1)"),
            Recipe(
                "torch.optim.Adam(parameters, lr=0.1, betas=(0.8, 0.95), eps=0.001)",
                "optax.adam(0.1, b1=0.8, b2=0.95, eps=0.001)",
            ),
            Recipe(
                "torch.optim.Adam(parameters, lr=0.1, weight_decay=0.1)",
                "optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.1))",
            ),
            Recipe(
                "torch.optim.Adam(parameters, lr=0.1, weight_decay=0.1)",
                "optax.adamw(0.1, weight_decay=0.1)",
                0.2,
                "Adam adds the decay to the gradient, AdamW to the update",
            ),
            Recipe(
                "torch.optim.Adam(parameters, lr=0.1, eps=0.001)",
                "optax.adam(0.1, eps=0.0, eps_root=0.001)",
                0.021,
                "eps outside of the root and inside of it",
            ),
        ),
        _ADAM_STATE,
        _ADAM,
    ),
    Entry(
        "AMSGrad",
        "torch.optim.Adam",
        "optax.amsgrad",
        (
            Argument("amsgrad", "False", "", "", "True for these rows; the others are Adam's"),
            _lr("0.001"),
            _BETAS,
            _EPS,
            _EPS_ROOT,
            _MU_DTYPE,
            Argument("", "", "bias_correction_mu", "True", "always in PyTorch"),
            Argument("", "", "bias_correction_nu", "True", "PyTorch corrects the maximum, not what it is taken of"),
        ),
        (
            Recipe(
                "torch.optim.Adam(parameters, lr=0.1, amsgrad=True)",
                "optax.amsgrad(0.1)",
                0.27,
                "PyTorch takes the maximum before the bias correction, optax after it",
            ),
            Recipe(
                "torch.optim.Adam(parameters, lr=0.1, amsgrad=True)",
                "optax.amsgrad(0.1, bias_correction_nu=False)",
                15.0,
                "optax then does not correct the second moment at all",
            ),
        ),
        (
            *(moment._replace(optax=moment.optax.replace("Adam", "Amsgrad")) for moment in _ADAM_STATE),
            Moment("max_exp_avg_sq", "ScaleByAmsgradState.nu_max", 2),
        ),
        (
            "-lr * (m / (1 - b1**t)) / (sqrt(max(v) / (1 - b2**t)) + eps)",
            "-lr * (m / (1 - b1**t)) / (sqrt(max(v / (1 - b2**t)) + eps_root) + eps)",
        ),
        "No arguments make the two equal; where b2**t is next to 0, bias_correction_nu=False comes close.",
    ),
    Entry(
        "AdamW",
        "torch.optim.AdamW",
        "optax.adamw",
        (
            _lr("0.001"),
            _BETAS,
            _EPS,
            Argument("weight_decay", "0.01", "weight_decay", "0.0001", "a hundred times less by default"),
            _MASK,
            Argument("amsgrad", "False", "", "", "see AMSGrad"),
            _MAXIMIZE,
            *_FAST,
            *_ways("fused"),
            _EPS_ROOT,
            _MU_DTYPE,
            _NESTEROV,
        ),
        (
            Recipe("torch.optim.AdamW(parameters, lr=0.1)", "optax.adamw(0.1, weight_decay=0.01)"),
            Recipe(
                "torch.optim.AdamW(parameters, lr=0.1, betas=(0.9, 0.95), weight_decay=0.1)",
                "optax.adamw(0.1, b2=0.95, weight_decay=0.1)",
            ),
            Recipe(
                "torch.optim.AdamW(parameters, lr=0.1)", "optax.adamw(0.1)", 0.037, "the defaults of the weight decay"
            ),
        ),
        _ADAM_STATE,
        (f"{_ADAM[0]} - lr * weight_decay * p", f"{_ADAM[1]} - lr * weight_decay * p"),
        "Both multiply the decay by the rate, and so by its schedule.",
    ),
    Entry(
        "Adamax",
        "torch.optim.Adamax",
        "optax.adamax",
        (
            _lr("0.002"),
            _BETAS,
            _EPS,
            _l2(),
            _MAXIMIZE,
            *_FAST,
        ),
        (
            Recipe("torch.optim.Adamax(parameters, lr=0.1)", "optax.adamax(0.1)"),
            Recipe(
                "torch.optim.Adamax(parameters, lr=0.1, weight_decay=0.1)",
                "optax.chain(optax.add_decayed_weights(0.1), optax.adamax(0.1))",
            ),
            Recipe(
                "torch.optim.Adamax(parameters, lr=0.1, weight_decay=0.1)",
                "optax.adamaxw(0.1, weight_decay=0.1)",
                0.21,
                "optax.adamaxw decays as AdamW does; PyTorch has no such",
            ),
        ),
        (
            Moment("step", "ScaleByAdamState.count", 0),
            Moment("exp_avg", "ScaleByAdamState.mu", 1),
            Moment("exp_inf", "ScaleByAdamState.nu", 1),
        ),
        _in_both("-lr * (m / (1 - b1**t)) / u, u = max(b2 * u, abs(g) + eps)"),
    ),
    Entry(
        "NAdam",
        "torch.optim.NAdam",
        "optax.nadam",
        (
            _lr("0.002"),
            _BETAS,
            _EPS,
            _l2(),
            Argument("decoupled_weight_decay", "False", "", "", "optax.nadamw(..., weight_decay=)"),
            Argument("momentum_decay", "0.004", "", "", "none in optax, as if it were very large"),
            _MAXIMIZE,
            *_FAST,
            _EPS_ROOT,
            _MU_DTYPE,
            Argument("", "", "nesterov", "True", "False is Adam"),
        ),
        (
            Recipe(
                "torch.optim.NAdam(parameters, lr=0.1)",
                "optax.nadam(0.1)",
                0.78,
                "PyTorch's momentum begins at b1 / 2 and grows towards b1",
            ),
            Recipe("torch.optim.NAdam(parameters, lr=0.1, momentum_decay=1e6)", "optax.nadam(0.1)"),
            Recipe(
                "torch.optim.NAdam(parameters, lr=0.1, momentum_decay=1e6, weight_decay=0.1, "
                "decoupled_weight_decay=True)",
                "optax.nadamw(0.1, weight_decay=0.1)",
            ),
        ),
        (*_ADAM_STATE, Moment("mu_product", "", 0)),
        (
            "-lr * (mu(t + 1) * m / (1 - prod(mu, t + 1)) + (1 - mu(t)) * g / (1 - prod(mu, t))) "
            "/ (sqrt(v / (1 - b2**t)) + eps), mu(t) = b1 * (1 - 0.96**(t * momentum_decay) / 2)",
            "-lr * (b1 * m / (1 - b1**(t + 1)) + (1 - b1) * g / (1 - b1**t)) / (sqrt(v / (1 - b2**t)) + eps)",
        ),
        "PyTorch's default decays the momentum; only where momentum_decay is so large that 0.96**momentum_decay is 0 "
        "do the two agree. A momentum_decay of 0 is b1 / 2 for ever.",
    ),
    Entry(
        "RAdam",
        "torch.optim.RAdam",
        "optax.radam",
        (
            _lr("0.001"),
            _BETAS,
            _EPS,
            _l2(),
            Argument(
                "decoupled_weight_decay",
                "False",
                "",
                "",
                "optax.chain(optax.scale_by_radam(), optax.add_decayed_weights(weight_decay), "
                "optax.scale_by_learning_rate(lr))",
            ),
            _MAXIMIZE,
            *_FAST,
            _EPS_ROOT,
            Argument("", "", "threshold", "5.0", "always 5 in PyTorch"),
            _NESTEROV,
        ),
        (
            Recipe(
                "torch.optim.RAdam(parameters, lr=0.1, betas=(0.9, 0.9), eps=0.0)", "optax.radam(0.1, b2=0.9, eps=0.0)"
            ),
            Recipe(
                "torch.optim.RAdam(parameters, lr=0.1, betas=(0.9, 0.9), eps=0.0, weight_decay=0.1, "
                "decoupled_weight_decay=True)",
                "optax.chain(optax.scale_by_radam(b2=0.9, eps=0.0), optax.add_decayed_weights(0.1), "
                "optax.scale_by_learning_rate(0.1))",
            ),
            Recipe(
                "torch.optim.RAdam(parameters, lr=0.1, betas=(0.9, 0.9), eps=0.01)",
                "optax.radam(0.1, b2=0.9, eps=0.01)",
                0.0012,
                "PyTorch adds eps before the bias correction of the second moment, optax after it",
            ),
        ),
        _ADAM_STATE,
        (
            "-lr * (m / (1 - b1**t)) * r(t) * sqrt(1 - b2**t) / (sqrt(v) + eps)",
            "-lr * (m / (1 - b1**t)) * r(t) / (sqrt(v / (1 - b2**t) + eps_root) + eps)",
        ),
        "Both leave r and the root away while the length of the average is at most 5.",
    ),
    Entry(
        "RMSprop",
        "torch.optim.RMSprop",
        "optax.rmsprop",
        (
            _lr("0.01"),
            Argument("alpha", "0.99", "decay", "0.9"),
            Argument("eps", "1e-08", "eps", "1e-08", "outside of the root only with eps_in_sqrt=False"),
            Argument("", "", "eps_in_sqrt", "True", "False for PyTorch's formula"),
            _l2(),
            Argument(
                "momentum",
                "0",
                "momentum",
                "None",
                "None for 0; after the rate in optax, so that with a schedule write "
                "optax.chain(optax.scale_by_rms(...), optax.trace(momentum), optax.scale_by_learning_rate(...))",
            ),
            Argument("centered", "False", "centered", "False"),
            _MAXIMIZE,
            *_FAST,
            Argument("", "", "initial_scale", "0.0", "always 0 in PyTorch"),
            Argument("", "", "nesterov", "False", "none in PyTorch"),
            Argument("", "", "bias_correction", "False", "none in PyTorch"),
        ),
        (
            Recipe("torch.optim.RMSprop(parameters, lr=0.1)", "optax.rmsprop(0.1, decay=0.99, eps_in_sqrt=False)"),
            Recipe(
                "torch.optim.RMSprop(parameters, lr=0.1, centered=True, momentum=0.9)",
                "optax.rmsprop(0.1, decay=0.99, eps_in_sqrt=False, centered=True, momentum=0.9)",
            ),
            Recipe(
                "torch.optim.RMSprop(parameters, lr=0.1, weight_decay=0.1)",
                "optax.chain(optax.add_decayed_weights(0.1), optax.rmsprop(0.1, decay=0.99, eps_in_sqrt=False))",
            ),
            Recipe(
                "torch.optim.RMSprop(parameters, lr=0.1)",
                "optax.rmsprop(0.1)",
                0.67,
                "the defaults of alpha and decay, and where eps is added",
            ),
            Recipe(
                "torch.optim.RMSprop(parameters, lr=0.1, eps=0.001)",
                "optax.rmsprop(0.1, decay=0.99, eps=0.001)",
                0.22,
                "eps outside of the root and inside of it",
            ),
        ),
        (
            Moment("step", "", 0),
            Moment("square_avg", "ScaleByRmsState.nu", 2),
            Moment("square_avg", "ScaleByRStdDevState.nu", 2),
            Moment("grad_avg", "ScaleByRStdDevState.mu", 1),
            Moment("momentum_buffer", "TraceState.trace", 1),
        ),
        (
            "-lr * b, b = momentum * b + g / (sqrt(v) + eps); centered, v - m**2 in the place of v",
            "b, b = momentum * b - lr * g / sqrt(v + eps); centered, v - m**2 in the place of v",
        ),
        "optax's trace holds the updates with the rate and its sign in them: -lr times PyTorch's momentum_buffer.",
    ),
    Entry(
        "Adagrad",
        "torch.optim.Adagrad",
        "optax.adagrad",
        (
            _lr("0.01"),
            Argument("lr_decay", "0", "", "", "a schedule: lambda count: lr / (1 + count * lr_decay)"),
            _l2(),
            Argument("initial_accumulator_value", "0", "initial_accumulator_value", "0.1"),
            Argument("eps", "1e-10", "eps", "1e-07", "inside of the root in optax; eps**2 comes close"),
            _MAXIMIZE,
            *_ways("foreach", "differentiable", "fused"),
        ),
        (
            Recipe(
                "torch.optim.Adagrad(parameters, lr=0.1, initial_accumulator_value=0.1, eps=0.0)",
                "optax.adagrad(0.1, eps=0.0)",
            ),
            Recipe(
                "torch.optim.Adagrad(parameters, lr=0.1, lr_decay=0.5, initial_accumulator_value=0.1, eps=0.0)",
                "optax.adagrad(lambda count: 0.1 / (1 + count * 0.5), eps=0.0)",
            ),
            Recipe(
                "torch.optim.Adagrad(parameters, lr=0.1)",
                "optax.adagrad(0.1)",
                0.29,
                "the defaults of the accumulator's first value",
            ),
            Recipe(
                "torch.optim.Adagrad(parameters, lr=0.1, initial_accumulator_value=0.1, eps=0.01)",
                "optax.adagrad(0.1, eps=0.01)",
                0.0051,
                "eps outside of the root and inside of it",
            ),
        ),
        (Moment("step", "", 0), Moment("sum", "ScaleByRssState.sum_of_squares", 2)),
        ("-lr * g / (sqrt(s) + eps), s = s + g**2", "-lr * g / sqrt(s + eps), s = s + g**2"),
        "Of a gradient that was always 0 optax's update is 0; with eps=0.0 and no first value PyTorch's is nan.",
    ),
    Entry(
        "Adadelta",
        "torch.optim.Adadelta",
        "optax.adadelta",
        (
            Argument("lr", "1.0", "learning_rate", "None", _LR),
            Argument("rho", "0.9", "rho", "0.9"),
            Argument("eps", "1e-06", "eps", "1e-06"),
            Argument("weight_decay", "0", "weight_decay", "0.0", "in the gradient in both"),
            Argument("", "", "weight_decay_mask", "None", "in PyTorch a group of parameters with weight_decay=0"),
            _MAXIMIZE,
            *_FAST,
        ),
        (
            Recipe("torch.optim.Adadelta(parameters, lr=1.0)", "optax.adadelta(1.0)"),
            Recipe(
                "torch.optim.Adadelta(parameters, lr=0.5, rho=0.8, weight_decay=0.1)",
                "optax.adadelta(0.5, rho=0.8, weight_decay=0.1)",
            ),
        ),
        (
            Moment("step", "", 0),
            Moment("square_avg", "ScaleByAdaDeltaState.e_g", 2),
            Moment("acc_delta", "ScaleByAdaDeltaState.e_x", 0),
        ),
        _in_both("-lr * g * sqrt(d + eps) / sqrt(v + eps), d the average of these without lr, squared"),
    ),
    Entry(
        "Adafactor",
        "torch.optim.Adafactor",
        "optax.adafactor",
        (
            Argument(
                "lr",
                "0.01",
                "learning_rate",
                "None",
                "PyTorch takes min(lr, t**-0.5), which is less than lr after step lr**-2: "
                "lambda count: jnp.minimum(lr, (count + 1) ** -0.5)",
            ),
            Argument("beta2_decay", "-0.8", "decay_rate", "0.8", "the sign"),
            Argument(
                "eps",
                "(None, 0.001)",
                "eps",
                "1e-30",
                "PyTorch clips the estimate at eps[0]**2, which is 1e-14 in float32 by default, optax adds eps to the "
                "squares; optax's smallest scale of a parameter is always 0.001",
            ),
            Argument("d", "1.0", "clipping_threshold", "1.0"),
            Argument(
                "weight_decay", "0.0", "weight_decay_rate", "None", "lr * weight_decay: optax's has no rate in it"
            ),
            Argument("", "", "weight_decay_mask", "None", "in PyTorch a group of parameters with weight_decay=0"),
            *_ways("foreach"),
            _MAXIMIZE,
            Argument("", "", "min_dim_size_to_factor", "128", "1 for PyTorch's, which always factors"),
            Argument("", "", "factored", "True", "PyTorch's does what has two axes or more"),
            Argument("", "", "decay_offset", "0", "none in PyTorch"),
            Argument("", "", "multiply_by_parameter_scale", "True", "always in PyTorch"),
            Argument("", "", "momentum", "None", "none in PyTorch"),
            Argument("", "", "dtype_momentum", "float32", "PyTorch has no momentum here"),
        ),
        (
            Recipe(
                "torch.optim.Adafactor(parameters, lr=0.01, eps=(1e-15, 0.001))",
                "optax.adafactor(lambda count: jnp.minimum(0.01, (count + 1) ** -0.5), min_dim_size_to_factor=1)",
            ),
            Recipe(
                "torch.optim.Adafactor(parameters, lr=0.5, eps=(1e-15, 0.001), weight_decay=0.1)",
                "optax.adafactor(lambda count: jnp.minimum(0.5, (count + 1) ** -0.5), min_dim_size_to_factor=1, "
                "weight_decay_rate=0.05)",
            ),
            Recipe(
                "torch.optim.Adafactor(parameters, lr=0.5, eps=(1e-15, 0.001))",
                "optax.adafactor(0.5, min_dim_size_to_factor=1)",
                0.61,
                "PyTorch's rate is at most t**-0.5",
            ),
            Recipe(
                "torch.optim.Adafactor(parameters, lr=0.01, eps=(1e-15, 0.001))",
                "optax.adafactor(0.01)",
                0.28,
                "optax factors nothing that is smaller than 128",
            ),
        ),
        (
            Moment("step", "FactoredState.count", 0),
            Moment("row_var", "FactoredState.v_col", 2),
            Moment("col_var", "FactoredState.v_row", 2),
            Moment("variance", "FactoredState.v", 2),
        ),
        (
            "-max(eps[1], rms(p)) * min(lr, t**-0.5) * u / max(1, rms(u) / d), u = g / sqrt(row * col / mean(row))",
            "-max(0.001, rms(p)) * lr * u / max(1, rms(u) / clipping_threshold), u = g / sqrt(row * col / mean(row))",
        ),
        "PyTorch factors the last two axes of a tensor, optax the two longest of its own: equal for matrices, and not "
        "for most kernels of convolutions. Packed, split and stacked tensors have other statistics.",
    ),
    Entry(
        "Rprop",
        "torch.optim.Rprop",
        "optax.rprop",
        (
            _lr("0.01"),
            Argument("etas", "(0.5, 1.2)", "eta_minus, eta_plus", "0.5, 1.2"),
            Argument("step_sizes", "(1e-06, 50)", "min_step_size, max_step_size", "1e-06, 50.0"),
            _MAXIMIZE,
            *_FAST,
        ),
        (
            Recipe(
                "torch.optim.Rprop(parameters, lr=0.1)",
                "optax.rprop(0.1)",
                0.28,
                "optax takes the step of the gradient before, and so none at first",
            ),
        ),
        (
            Moment("step", "", 0),
            Moment("step_size", "ScaleByRpropState.step_sizes", 0),
            Moment("prev", "ScaleByRpropState.prev_updates", 1),
        ),
        (
            "-s * sign(g), s = s * etas[1] or s * etas[0] by the sign of g * g_before",
            "the same a step late: the s * sign(g) of the step before, unless the sign has changed",
        ),
        "No arguments make the two equal.",
    ),
    Entry(
        "ASGD",
        "torch.optim.ASGD",
        "",
        note="Of optax's nothing keeps the average beside the parameters; optax.ema is one of updates. See "
        "torch.optim.swa_utils and optax.incremental_update for an average that is a step of its own.",
    ),
    Entry(
        "LBFGS",
        "torch.optim.LBFGS",
        "",
        note="optax.lbfgs makes one step of an update, with a line search by default; PyTorch's step takes a closure "
        "and makes up to max_iter of them, and no line search unless it is asked for.",
    ),
    Entry(
        "Muon",
        "torch.optim.Muon",
        "optax.contrib.muon",
        (
            Argument("lr", "0.001", "learning_rate", REQUIRED, _LR),
            Argument("weight_decay", "0.1", "weight_decay", "0.0"),
            Argument("momentum", "0.95", "beta", "0.95", "optax corrects its bias"),
            Argument("nesterov", "True", "nesterov", "True"),
            Argument("ns_coefficients", "(3.4445, -4.775, 2.0315)", "ns_coeffs", "(3.4445, -4.775, 2.0315)"),
            Argument("eps", "1e-07", "eps", "1e-08", "the smallest norm in PyTorch, added to the norm in optax"),
            Argument("ns_steps", "5", "ns_steps", "5"),
            Argument(
                "adjust_lr_fn", "None", "consistent_rms", "None", "'match_rms_adamw' is 0.2; see the axes in the note"
            ),
            Argument("", "", "weight_decay_mask", "None", "in PyTorch a group of parameters with weight_decay=0"),
            *(
                Argument("", "", name, default, "of what is no matrix; PyTorch refuses it")
                for name, default in (
                    ("adam_b1", "0.9"),
                    ("adam_b2", "0.999"),
                    ("adam_eps_root", "0.0"),
                    ("adam_weight_decay", "0.0"),
                    ("adam_learning_rate", "None"),
                )
            ),
            Argument("", "", "muon_weight_dimension_numbers", "None", "which axes are the matrix's"),
            Argument("", "", "adaptive", "False", "none in PyTorch"),
            Argument("", "", "preconditioning", "'frobenius'", "always so in PyTorch"),
            _MU_DTYPE,
        ),
        (
            Recipe(
                "torch.optim.Muon(matrices, lr=0.1, weight_decay=0.0, nesterov=False)",
                "optax.contrib.muon(0.1, nesterov=False)",
                0.013,
                "PyTorch orthogonalizes in bfloat16",
            ),
            Recipe(
                "torch.optim.Muon(matrices, lr=0.1, weight_decay=0.0)",
                "optax.contrib.muon(0.1)",
                0.12,
                "optax corrects the bias of the momentum and of the gradient apart",
            ),
        ),
        note="The factor for the shape is of rows / columns in PyTorch and of columns / rows in optax, each as a "
        "kernel of its own framework lies: equal for kernels that are transposed, and not for an embedding.",
    ),
    Entry(
        "SparseAdam",
        "torch.optim.SparseAdam",
        "",
        note="It moves only rows that have a gradient, and their moments alone; optax has no sparse gradients.",
    ),
)

OPTIMIZERS: dict[str, Entry] = {each.name: each for each in _ALL}

# What optax has and PyTorch has not, with what comes nearest.
OPTAX_ALONE: dict[str, str] = {
    "adabelief": "Adam with the variance of the gradient about its average",
    "adamaxw": "Adamax with decoupled weight decay",
    "adan": "Adam with the average of the gradient's differences",
    "fromage": "steps relative to the norms of a parameter and its gradient",
    "lamb": "AdamW with steps relative to a parameter's norm",
    "lars": "SGD with steps relative to a parameter's norm",
    "lbfgs": "a step of L-BFGS with a line search; see LBFGS",
    "lion": "the sign of an average",
    "nadamw": "NAdam with decoupled weight decay; see NAdam",
    "noisy_sgd": "SGD with noise that decays",
    "novograd": "Adam with one second moment for a tensor",
    "optimistic_adam": "Adam with the gradient's last change",
    "optimistic_adam_v2": "the same, over the whole of Adam",
    "optimistic_gradient_descent": "SGD with the gradient's last change",
    "polyak_sgd": "SGD with a rate from the loss",
    "sign_sgd": "the gradient's sign",
    "signum": "the sign of the momentum",
    "sm3": "Adagrad with the maxima of rows and columns",
    "yogi": "Adam whose second moment changes by steps",
}
