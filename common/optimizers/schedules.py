"""The schedules, in the order of PyTorch's documentation.

A schedule of optax is asked for the number of updates made, 0 at the first. A scheduler of PyTorch that is stepped once
after each step of its optimizer gives the same number.
"""

from __future__ import annotations

from .entry import REQUIRED, Argument, Entry, Recipe

_LAST = Argument("last_epoch", "-1", "", "", "the count is in optax's state: resume with it")
_BASE = Argument("optimizer", REQUIRED, "init_value", REQUIRED, "the optimizer's lr")
_BEGIN = Argument("", "", "transition_begin", "0", "SequentialLR after a ConstantLR(factor=1)")
_OPTIMIZER = Argument("optimizer", REQUIRED, "", "", "optax's takes the lr itself")

_ALL = (
    Entry(
        "LambdaLR",
        "torch.optim.lr_scheduler.LambdaLR",
        "optax.Schedule",
        (_OPTIMIZER, Argument("lr_lambda", REQUIRED, "", "", "any function of the count is a schedule"), _LAST),
        (
            Recipe(
                "LambdaLR(optimizer, lambda count: 1 / (1 + count))",
                "lambda count: 0.1 / (1 + count)",
            ),
        ),
        note="In optax the function gives the rate itself, in PyTorch a factor of lr; its count is an array under jit.",
    ),
    Entry(
        "MultiplicativeLR",
        "torch.optim.lr_scheduler.MultiplicativeLR",
        "optax.Schedule",
        (_OPTIMIZER, Argument("lr_lambda", REQUIRED, "", "", "the product of the factors from 1 to the count"), _LAST),
        (Recipe("MultiplicativeLR(optimizer, lambda count: 0.9)", "lambda count: 0.1 * 0.9**count"),),
    ),
    Entry(
        "StepLR",
        "torch.optim.lr_scheduler.StepLR",
        "optax.exponential_decay",
        (
            _BASE,
            Argument("step_size", REQUIRED, "transition_steps", REQUIRED),
            Argument("gamma", "0.1", "decay_rate", REQUIRED),
            Argument("", "", "staircase", "False", "True for PyTorch's steps"),
            Argument("", "", "end_value", "None", "none in PyTorch"),
            _BEGIN,
            _LAST,
        ),
        (
            Recipe("StepLR(optimizer, step_size=4)", "optax.exponential_decay(0.1, 4, 0.1, staircase=True)"),
            Recipe(
                "StepLR(optimizer, step_size=4)",
                "optax.exponential_decay(0.1, 4, 0.1)",
                0.82,
                "without staircase the rate decays in between",
            ),
        ),
    ),
    Entry(
        "MultiStepLR",
        "torch.optim.lr_scheduler.MultiStepLR",
        "optax.piecewise_constant_schedule",
        (
            _BASE,
            Argument("milestones", REQUIRED, "boundaries_and_scales", "None", "the keys"),
            Argument("gamma", "0.1", "", "", "the values"),
            _LAST,
        ),
        (
            Recipe(
                "MultiStepLR(optimizer, [3, 8], gamma=0.5)",
                "optax.piecewise_constant_schedule(0.1, {3: 0.5, 8: 0.5})",
            ),
        ),
        note="Both change at the milestone itself.",
    ),
    Entry(
        "ConstantLR",
        "torch.optim.lr_scheduler.ConstantLR",
        "optax.piecewise_constant_schedule",
        (
            _BASE,
            Argument("factor", "0.3333333333333333", "", "", "init_value is lr * factor"),
            Argument("total_iters", "5", "boundaries_and_scales", "None", "{total_iters: 1 / factor}"),
            _LAST,
        ),
        (
            Recipe(
                "ConstantLR(optimizer, factor=0.5, total_iters=4)",
                "optax.piecewise_constant_schedule(0.1 * 0.5, {4: 1 / 0.5})",
            ),
        ),
    ),
    Entry(
        "LinearLR",
        "torch.optim.lr_scheduler.LinearLR",
        "optax.linear_schedule",
        (
            _BASE,
            Argument("start_factor", "0.3333333333333333", "", "", "init_value is lr * start_factor"),
            Argument("end_factor", "1.0", "end_value", REQUIRED, "lr * end_factor"),
            Argument("total_iters", "5", "transition_steps", REQUIRED),
            _BEGIN,
            _LAST,
        ),
        (Recipe("LinearLR(optimizer, start_factor=0.1, total_iters=6)", "optax.linear_schedule(0.1 * 0.1, 0.1, 6)"),),
        note="PyTorch refuses a start_factor of 0, with which a warmup in optax often begins.",
    ),
    Entry(
        "ExponentialLR",
        "torch.optim.lr_scheduler.ExponentialLR",
        "optax.exponential_decay",
        (
            _BASE,
            Argument("gamma", REQUIRED, "decay_rate", REQUIRED),
            Argument("", "", "transition_steps", REQUIRED, "1"),
            Argument("", "", "staircase", "False"),
            Argument("", "", "end_value", "None", "none in PyTorch"),
            _BEGIN,
            _LAST,
        ),
        (Recipe("ExponentialLR(optimizer, gamma=0.9)", "optax.exponential_decay(0.1, 1, 0.9)"),),
    ),
    Entry(
        "PolynomialLR",
        "torch.optim.lr_scheduler.PolynomialLR",
        "optax.polynomial_schedule",
        (
            _BASE,
            Argument("total_iters", "5", "transition_steps", REQUIRED),
            Argument("power", "1.0", "power", REQUIRED),
            Argument("", "", "end_value", REQUIRED, "0"),
            _BEGIN,
            _LAST,
        ),
        (Recipe("PolynomialLR(optimizer, total_iters=8, power=2.0)", "optax.polynomial_schedule(0.1, 0.0, 2.0, 8)"),),
    ),
    Entry(
        "CosineAnnealingLR",
        "torch.optim.lr_scheduler.CosineAnnealingLR",
        "optax.cosine_decay_schedule",
        (
            _BASE,
            Argument("T_max", REQUIRED, "decay_steps", REQUIRED),
            Argument("eta_min", "0.0", "alpha", "0.0", "eta_min / lr"),
            Argument("", "", "exponent", "1.0", "none in PyTorch"),
            _LAST,
        ),
        (
            Recipe(
                "CosineAnnealingLR(optimizer, T_max=12, eta_min=0.01)",
                "optax.cosine_decay_schedule(0.1, 12, alpha=0.1)",
            ),
            Recipe(
                "CosineAnnealingLR(optimizer, T_max=5)",
                "optax.cosine_decay_schedule(0.1, 5)",
                1.0,
                "after T_max PyTorch's rises again, optax's stays",
            ),
        ),
    ),
    Entry(
        "CosineAnnealingWarmRestarts",
        "torch.optim.lr_scheduler.CosineAnnealingWarmRestarts",
        "optax.join_schedules",
        (
            _OPTIMIZER,
            Argument("T_0", REQUIRED, "", "", "decay_steps of the first cosine_decay_schedule"),
            Argument("T_mult", "1", "", "", "each next one is so much longer"),
            Argument("eta_min", "0.0", "", "", "alpha is eta_min / lr"),
            Argument("", "", "schedules", REQUIRED, "one cosine_decay_schedule for each restart"),
            Argument("", "", "boundaries", REQUIRED, "the counts at which they begin"),
            _LAST,
        ),
        (
            Recipe(
                "CosineAnnealingWarmRestarts(optimizer, T_0=4, T_mult=2)",
                "optax.join_schedules([optax.cosine_decay_schedule(0.1, 4), optax.cosine_decay_schedule(0.1, 8)], [4])",
            ),
        ),
        note="optax.sgdr_schedule is the same with a warmup before each.",
    ),
    Entry(
        "OneCycleLR",
        "torch.optim.lr_scheduler.OneCycleLR",
        "optax.cosine_onecycle_schedule",
        (
            _OPTIMIZER,
            Argument("max_lr", REQUIRED, "peak_value", REQUIRED),
            Argument("total_steps", "None", "transition_steps", REQUIRED, "total_steps - 1"),
            Argument("epochs", "None", "", "", "with steps_per_epoch in the place of total_steps"),
            Argument("steps_per_epoch", "None", "", "", "with epochs in the place of total_steps"),
            Argument("pct_start", "0.3", "pct_start", "0.3", "(pct_start * total_steps - 1) / (total_steps - 1)"),
            Argument("div_factor", "25.0", "div_factor", "25.0"),
            Argument("final_div_factor", "10000.0", "final_div_factor", "10000.0"),
            Argument("anneal_strategy", "'cos'", "", "", "optax.linear_onecycle_schedule has three lines, not two"),
            Argument("three_phase", "False", "", "", "optax.piecewise_interpolate_schedule"),
            Argument("cycle_momentum", "True", "", "", "only by optax.inject_hyperparams; False is equal"),
            Argument("base_momentum", "0.85", "", "", "only with cycle_momentum"),
            Argument("max_momentum", "0.95", "", "", "only with cycle_momentum"),
            _LAST,
        ),
        (
            Recipe(
                "OneCycleLR(optimizer, 0.1, total_steps=16, pct_start=0.25, cycle_momentum=False)",
                "optax.cosine_onecycle_schedule(15, 0.1, pct_start=3 / 15)",
            ),
            Recipe(
                "OneCycleLR(optimizer, 0.1, total_steps=16, pct_start=0.25, cycle_momentum=False)",
                "optax.cosine_onecycle_schedule(16, 0.1, pct_start=0.25)",
                0.24,
                "PyTorch's peak is at pct_start * total_steps - 1, and its end at total_steps - 1",
            ),
        ),
        note="PyTorch cycles the momentum (of Adam b1), too, unless it is told not to.",
    ),
    Entry(
        "CyclicLR",
        "torch.optim.lr_scheduler.CyclicLR",
        "optax.Schedule",
        (
            _OPTIMIZER,
            Argument("base_lr", REQUIRED, "", "", "the schedule's lowest value"),
            Argument("max_lr", REQUIRED, "", "", "the schedule's highest value"),
            Argument("step_size_up", "2000", "", ""),
            Argument("step_size_down", "None", "", "", "as many as step_size_up"),
            Argument("mode", "'triangular'", "", ""),
            Argument("gamma", "1.0", "", "", "of the mode 'exp_range'"),
            Argument("scale_fn", "None", "", ""),
            Argument("scale_mode", "'cycle'", "", ""),
            Argument("cycle_momentum", "True", "", "", "only by optax.inject_hyperparams; False is equal"),
            Argument("base_momentum", "0.8", "", "", "only with cycle_momentum"),
            Argument("max_momentum", "0.9", "", "", "only with cycle_momentum"),
            _LAST,
        ),
        (
            Recipe(
                "CyclicLR(optimizer, 0.02, 0.1, step_size_up=4, cycle_momentum=False)",
                "lambda count: 0.1 - 0.08 * abs(count % 8 / 4 - 1)",
            ),
        ),
        note="A function of the count.",
    ),
    Entry(
        "SequentialLR",
        "torch.optim.lr_scheduler.SequentialLR",
        "optax.join_schedules",
        (
            _OPTIMIZER,
            Argument("schedulers", REQUIRED, "schedules", REQUIRED),
            Argument("milestones", REQUIRED, "boundaries", REQUIRED),
            _LAST,
        ),
        (
            Recipe(
                "SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=4), "
                "CosineAnnealingLR(optimizer, 12)], [4])",
                "optax.warmup_cosine_decay_schedule(0.01, 0.1, 4, 16)",
            ),
            Recipe(
                "SequentialLR(optimizer, [ConstantLR(optimizer, 0.5, 3), ExponentialLR(optimizer, 0.9)], [3])",
                "optax.join_schedules([optax.constant_schedule(0.05), optax.exponential_decay(0.1, 1, 0.9)], [3])",
            ),
            Recipe(
                "SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=4), "
                "CosineAnnealingLR(optimizer, 12)], [4])",
                "optax.warmup_cosine_decay_schedule(0.01, 0.1, 4, 12)",
                0.35,
                "optax's decay_steps have the warmup's in them",
            ),
        ),
        note="Each schedule counts from its own beginning in both. After its end the last goes on as it does alone.",
    ),
    Entry(
        "ChainedScheduler",
        "torch.optim.lr_scheduler.ChainedScheduler",
        "optax.Schedule",
        (
            Argument("schedulers", REQUIRED, "", "", "the product of their factors"),
            Argument("optimizer", "None", "", "", "optax's takes the lr itself"),
        ),
        (
            Recipe(
                "ChainedScheduler([StepLR(optimizer, 4, 0.5), ExponentialLR(optimizer, 0.9)])",
                "lambda count: 0.1 * 0.9**count * 0.5 ** (count // 4)",
            ),
        ),
    ),
    Entry(
        "ReduceLROnPlateau",
        "torch.optim.lr_scheduler.ReduceLROnPlateau",
        "optax.contrib.reduce_on_plateau",
        (
            _OPTIMIZER,
            Argument("mode", "'min'", "", "", "for 'max' the value with a minus"),
            Argument("factor", "0.1", "factor", "0.1"),
            Argument(
                "patience", "10", "patience", "10", "patience + 1: optax's reduces at the last, PyTorch's after it"
            ),
            Argument("threshold", "0.0001", "rtol", "0.0001"),
            Argument("threshold_mode", "'rel'", "atol", "0.0", "for 'abs' rtol=0 and atol=threshold"),
            Argument("cooldown", "0", "cooldown", "0"),
            Argument("min_lr", "0", "min_scale", "0.0", "min_lr / lr"),
            Argument("eps", "1e-08", "", "", "a smaller change of the rate is none in PyTorch"),
            Argument("", "", "accumulation_size", "1", "none in PyTorch"),
        ),
        (
            Recipe("ReduceLROnPlateau(optimizer, patience=2)", "optax.contrib.reduce_on_plateau(patience=3)"),
            Recipe(
                "ReduceLROnPlateau(optimizer, patience=2)",
                "optax.contrib.reduce_on_plateau(patience=2)",
                0.9,
                "optax's waits one value less",
            ),
            Recipe(
                "ReduceLROnPlateau(optimizer, patience=1, cooldown=2)",
                "optax.contrib.reduce_on_plateau(patience=2, cooldown=2)",
            ),
        ),
        note="A transformation at the end of a chain, whose update takes value=. It acts on the update that it is "
        "given with: as PyTorch's, if that is stepped before the optimizer.",
    ),
)

SCHEDULES: dict[str, Entry] = {each.name: each for each in _ALL}

# What optax has besides, with what it is in PyTorch.
OPTAX_SCHEDULES_ALONE: dict[str, str] = {
    "constant_schedule": "no scheduler",
    "linear_onecycle_schedule": "LambdaLR: three lines, of which the last goes on to the final rate",
    "piecewise_interpolate_schedule": "LambdaLR",
    "sgdr_schedule": "CosineAnnealingWarmRestarts, with a LinearLR before each by SequentialLR",
    "warmup_constant_schedule": "LinearLR, from a factor that is not 0",
    "warmup_cosine_decay_schedule": "SequentialLR of LinearLR and CosineAnnealingLR",
    "warmup_exponential_decay_schedule": "SequentialLR of LinearLR and ExponentialLR",
}
