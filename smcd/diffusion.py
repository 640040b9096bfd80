"""The diffusion process outside the network: the noise schedule and the guidance formula."""

from dataclasses import dataclass

from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, SchedulerMixin, UniPCMultistepScheduler
from torch import Tensor

SCHEDULERS = ("ddim", "dpmsolver++", "unipc")


def make_scheduler(name: str = "ddim", config: dict | None = None) -> SchedulerMixin:
    """A scheduler with ModelScope's noise schedule (1000 steps, scaled-linear betas), or with that of `config`.

    "ddim" is the published sampler: eta 0, timesteps 1, 21, ..., 981 at 50 steps, last alpha = alphas_cumprod[0].

    Raises:
        ValueError: a name that is not in `SCHEDULERS`.
    """
    if name not in SCHEDULERS:
        raise ValueError(f"unknown scheduler {name!r}: choose from {', '.join(SCHEDULERS)}")
    config = _PUBLISHED | dict(config or {})
    if name == "dpmsolver++":
        return DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++")
    if name == "unipc":
        return UniPCMultistepScheduler.from_config(config)
    return DDIMScheduler.from_config(config)


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

# A guidance branch: the name of its prediction, and what it drops (arguments of Conditions.drop).
_DROPS = {
    "text": {"text": True},
    "image": {"image": True},
    "text_image": {"text": True, "image": True},
    "boxes": {"boxes": True},
}


@dataclass(frozen=True)
class Guidance:
    """Guidance scales. With e(all) the prediction under all conditions:

        eps = e(null text) + text (e(all) - e(null text))
              + image (e(all) - e(image dropped)) + text_image (e(all) - e(text and image dropped))
              + boxes (e(all) - e(boxes dropped))

    The first line is the published formula, the rest is 0 by default. As everywhere in diffusers, text guidance is off
    at scales of 1 and below. What is off costs no branch.
    """

    text: float = 7.5
    image: float = 0.0
    text_image: float = 0.0
    boxes: float = 0.0

    def branches(self) -> dict[str, dict[str, bool]]:
        """The needed predictions and what each drops; "all", which drops nothing, comes last."""
        needed = {"text": self.text > 1, "image": self.image, "text_image": self.text_image, "boxes": self.boxes}
        return {name: drops for name, drops in _DROPS.items() if needed[name]} | {"all": {}}

    def combine(self, eps: dict[str, Tensor]) -> Tensor:
        """Apply the formula to the predictions of `branches()`, each of the same shape."""
        full = eps["all"]
        guided = full
        if "text" in eps:
            guided = eps["text"] + self.text * (full - eps["text"])
        for name, scale in (("image", self.image), ("text_image", self.text_image), ("boxes", self.boxes)):
            if name in eps:
                guided = guided + scale * (full - eps[name])
        return guided
