"""Noise schedules and samplers."""

import inspect

import diffusers
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, SchedulerMixin, UniPCMultistepScheduler

SCHEDULERS = ("ddim", "dpmsolver++", "unipc")
_PUBLISHED = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
    "timestep_spacing": "leading",
    "prediction_type": "epsilon",
}


def make_scheduler(name: str = "ddim", config: dict | None = None) -> SchedulerMixin:
    """A scheduler with ModelScope's noise schedule (1000 steps, scaled-linear betas), or with that of `config`.

    "ddim" is the published sampler: eta 0, timesteps 1, 21, ..., 981 at 50 steps, last alpha = alphas_cumprod[0].

    Raises:
        ValueError: a name that is not in `SCHEDULERS`, or the config of a scheduler that has no betas.
    """
    if name not in SCHEDULERS:
        raise ValueError(f"unknown scheduler {name!r}: choose from {', '.join(SCHEDULERS)}")
    config = _PUBLISHED | dict(config or {})
    kind = getattr(diffusers, str(config.get("_class_name")), None)
    if kind is not None and not has_betas(kind):
        raise ValueError(f"a {kind.__name__} adds noise in another way: no {name} scheduler can be made of it")
    if name == "dpmsolver++":
        return DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++")
    if name == "unipc":
        return UniPCMultistepScheduler.from_config(config)
    return DDIMScheduler.from_config(config)


def has_betas(kind: type) -> bool:
    """Whether schedulers of this class add noise by betas, as the networks are trained; flow matching and EDM do not.

    What a scheduler's config says is no sign: it carries along the keys of the config that it was made from.
    """
    return "beta_schedule" in inspect.signature(kind).parameters


def first_timestep(scheduler: SchedulerMixin, steps: int) -> int:
    """Where sampling in so many steps begins; the scheduler is set to them.

    Raises:
        ValueError: more steps than half of those it was trained with: one by one, they would begin below full noise.
    """
    trained = scheduler.config.num_train_timesteps
    scheduler.set_timesteps(min(steps, trained))
    first = int(scheduler.timesteps.max())
    if steps > trained // 2 or first >= trained:
        raise ValueError(f"num_inference_steps is {steps}; this noise schedule takes at most {trained // 2}")
    return first
