"""The held-out loss of a model: how well it knows the score at each level, on real pictures it was not trained on.

    sigma^2 / 2 E |s(x + sigma eps, sigma) + eps / sigma|^2        for each level sigma, and their mean

It is denoising score matching's objective with NCSN's weight, whatever the model was trained by. Lower is better at one
level; a floor that no model reaches depends on the data. The draws are the same at every call (`HeldOut`), so that two
models differ by their scores alone.
"""

from scorekit._kinds import require_kind
from scorekit.base import NoiseSchedule, ScoreModel
from scorekit.data import Transform, as_source
from scorekit.data.wrapping import Condition
from scorekit.estimators import DenoisingScoreMatching
from scorekit.evaluation.origin import Origin, origin_in_memory
from scorekit.evaluation.reference import Reference
from scorekit.evaluation.report import Report, Result
from scorekit.evaluation.samples import Provenance
from scorekit.noise import Levels
from scorekit.objective import Objective
from scorekit.training.runtime import PlainRuntime, Runtime
from scorekit.training.validation import HeldOut


def held_out_loss(
    model: ScoreModel,
    reference: Reference,
    *,
    noise: NoiseSchedule | None = None,
    transform: Transform | None = None,
    condition: Condition = None,
    seed: int = 0,
    batch_size: int = 100,
    origin: Origin | None = None,
    runtime: Runtime | None = None,
) -> Report:
    """The loss at each level, and the mean over levels.

    Args:
        model: the model.
        reference: held-out pictures; see `open_reference`, with split="test".
        noise: the levels; None for those that the model was made for.
        transform: from stored pixels to what the model sees; None for `Dequantize`, as NCSN is trained.
        condition: what a conditional model is told of each picture; "labels" for their labels.
        seed: of the draws.
        batch_size: pictures at once, over all processes.
        origin: where the model comes from; None hashes its weights.
        runtime: whose processes share the pictures; None for this process, on the model's device.

    Returns:
        Results named "loss" (the mean) and "loss at sigma".

    Raises:
        TypeError: if the model is no score model.
        ValueError: if the model is valid at every sigma and no `noise` is given; from `Objective`.
    """
    require_kind("held_out_loss", ScoreModel, "a loss is a score model's", model=model)
    levels = _levels(model) if noise is None else noise
    objective = Objective(model, DenoisingScoreMatching(), levels, "sigma^2")
    held_out = HeldOut(as_source(reference.images, transform, condition=condition), seed=seed, batch_size=batch_size)
    where = PlainRuntime(model.device or "cpu") if runtime is None else runtime
    losses = held_out.losses(objective, model, where)
    known = Provenance("held-out pictures", origin_in_memory(model) if origin is None else origin, seed=seed)

    def result(metric: str, value: float, **settings: float | int) -> Result:
        return Result(metric, value, None, None, reference.record, None, None, known, settings)

    mean = result("loss", sum(losses.values()) / len(losses), levels=len(losses))
    return Report((mean, *(result("loss at sigma", loss, sigma=sigma) for sigma, loss in losses.items())))


def _levels(model: ScoreModel) -> NoiseSchedule:
    if model.noise_levels is None:
        raise ValueError(f"{model.title} is valid at every sigma: name the levels of its loss, noise=Geometric(...)")
    return Levels(tuple(model.noise_levels.double().sort(descending=True).values.tolist()))
