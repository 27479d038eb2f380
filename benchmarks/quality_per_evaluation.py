"""Quality of samples by evaluations of the score: annealed Langevin dynamics against few-step samplers, on networks
trained here.

    python3 run.py benchmarks/quality_per_evaluation.py --classifier CLASSIFIER --data mnist --out OUT \
        ncsn=runs/mnist-ncsn-small ncsnv2=runs/mnist-ncsnv2-small unet=runs/mnist-unet-small

Each row is judged in the features of a classifier trained on the same data (examples/train_classifier.py): Frechet
distance from the training images with its bootstrap error, and the classifier's mean confidence. Rows of 500
evaluations and more have 256 samples, the others 1,000; so that all can be compared, each row has the distance of its
first 256 too (fewer samples raise it). OUT keeps every row's features, and a call goes on where the last one ended.
"""

import json
import math
import time
from pathlib import Path
from typing import NamedTuple

import cyclopts
import numpy as np
import torch
from torch import Tensor

import scorekit as sk
from scorekit.checkpoint import load_network
from scorekit.data import open_images
from scorekit.metrics import FeatureStatistics, frechet_bootstrap
from scorekit.runs import run_config
from scorekit.tuning import epsilon_for, num_levels_for_overlap

BUDGETS = (10, 20, 50, 100, 500, 1000)
FEW, MANY = 256, 1000


class Row(NamedTuple):
    """One sampler at one budget."""

    sampler: str
    budget: int
    made: sk.AnnealedMCMC


def rows_for(model: sk.ScoreModel, noise: sk.Geometric, dim: int) -> list[Row]:
    """Annealed Langevin dynamics at every budget, and few-step samplers at 10 and 20."""
    if model.noise_levels is not None:  # it knows its own levels only
        made = [annealed(noise, max(1, (budget - 1) // noise.num_levels)) for budget in BUDGETS]
        rows = [Row("annealed Langevin", *pair) for pair in zip(BUDGETS, made, strict=True)]
        few = [Row("DPM-Solver++, flow", 10, sk.dpm_solver(noise, eta=0.0)), Row("Heun", 20, sk.heun(noise))]
        return [*few, Row("DPM-Solver++, noisy", 10, sk.dpm_solver(noise)), *rows]
    rows = []
    for budget in BUDGETS:
        levels = min(budget - 1, num_levels_for_overlap(dim, noise.sigma_max, noise.sigma_min))
        ladder = sk.Geometric(noise.sigma_max, noise.sigma_min, levels)
        rows.append(Row("annealed Langevin", budget, annealed(ladder, (budget - 1) // levels)))
    few = []
    for budget in (10, 20):
        karras = sk.Karras(noise.sigma_max, noise.sigma_min, budget)
        few.append(Row("DPM-Solver++, noisy", budget, sk.dpm_solver(karras)))
        few.append(Row("DPM-Solver++, flow", budget, sk.dpm_solver(karras, eta=0.0)))
        few.append(Row("Heun", budget, sk.heun(sk.Karras(noise.sigma_max, noise.sigma_min, budget // 2))))
    return [*few, *rows]


def annealed(noise: sk.Geometric, steps: int) -> sk.AnnealedMCMC:
    """From the data's moments, with NCSNv2's choice of the step, denoised."""
    step_size = sk.SigmaSquared(epsilon_for(noise, steps), sigma_min=noise.sigma_min)
    return sk.annealed_langevin(noise, step_size=step_size, steps_per_level=steps, final=sk.Denoise())


@torch.inference_mode()
def judged(net: torch.nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, D) and confidence (N,) of images."""
    features = torch.cat([net.features(part) for part in x.split(250)])
    return features, net.head(features).softmax(1).amax(1)


def measure(features: Tensor, reference: FeatureStatistics) -> tuple[float, float]:
    """Frechet distance, and its bootstrap error."""
    found = frechet_bootstrap(features.double(), reference, num=50, generator=sk.PerChain(0))
    return found.estimate, found.std


def main(
    *checkpoints: str, classifier: Path, data: str, out: Path, seed: int = 5, budgets: tuple[int, ...] = BUDGETS
) -> None:
    """Measure the checkpoints, each given as NAME=FOLDER.

    Args:
        checkpoints: NAME=FOLDER, of runs.
        classifier: a folder that examples/train_classifier.py wrote.
        data: the images, as for training.
        out: where rows and features go.
        seed: of the samples.
        budgets: the rows to measure.
    """
    out.mkdir(parents=True, exist_ok=True)
    net = load_network(classifier / "classifier").eval()
    reference = reference_of(net, data, out)
    for name, folder in (each.split("=", 1) for each in checkpoints):
        model = sk.load(Path(folder) / "checkpoint").eval()
        noise = ladder_of(Path(folder))
        shape = tuple(model.moments[0].shape)
        for row in rows_for(model, noise, math.prod(shape)):
            if row.budget in budgets:
                measure_row(out, name, row, model, shape, net, reference, seed)


def ladder_of(folder: Path) -> sk.Geometric:
    """The largest and the smallest level of a run, and how many there are."""
    levels = sk.from_config(run_config(folder)["noise"]).levels()
    return sk.Geometric(levels[0].item(), levels[-1].item(), len(levels))


def reference_of(net: torch.nn.Module, data: str, out: Path) -> FeatureStatistics:
    """The training images' features; and what real test images have, for comparison."""
    reference = FeatureStatistics(net.num_features)
    train, test = open_images(data), open_images(data, "test")
    for part in train.pixels.split(1000):
        reference.update(judged(net, part.float() / 255)[0])
    features, confidence = judged(net, test.pixels[:MANY].float() / 255)
    line = {"name": "real test images", "sampler": "", "budget": 0, "evaluations": 0, "samples": MANY}
    record(out, line | figures(features, confidence, reference))
    return reference


def figures(features: Tensor, confidence: Tensor, reference: FeatureStatistics) -> dict[str, float]:
    """All of a row's numbers."""
    whole, few = measure(features, reference), measure(features[:FEW], reference)
    return {
        "frechet": whole[0], "error": whole[1], "frechet_256": few[0], "error_256": few[1],
        "confidence": confidence.mean().item(), "above_.7": (confidence > 0.7).float().mean().item(),
    }  # fmt: skip


def measure_row(
    out: Path, name: str, row: Row, model: sk.ScoreModel, shape: tuple, net: torch.nn.Module,
    reference: FeatureStatistics, seed: int,
) -> None:  # fmt: skip
    """Sample and judge one row, unless it is there."""
    stem = f"{name}-{row.sampler}-{row.budget}".replace(" ", "-").replace(",", "")
    if (out / f"{stem}.npz").exists():
        return
    count = FEW if row.budget >= 500 else MANY
    record_run = sk.diagnostics.RecordRun(model)
    start = time.perf_counter()
    x = sk.sample(row.made, record_run, (count, *shape), generator=sk.PerChain(seed), batch_size=128)
    seconds = time.perf_counter() - start
    x = x.clamp(0, 1)
    features, confidence = judged(net, x)
    line = {"name": name, "sampler": row.sampler, "budget": row.budget, "evaluations": record_run.evaluations}
    line |= {"samples": count, "seconds": round(seconds, 1)} | figures(features, confidence, reference)
    np.savez(out / f"{stem}.npz", features=features.numpy(), images=x[:64].numpy())
    sk.pictures.save_grid(out / f"{stem}.png", x[:64], columns=16, scale=1)
    record(out, line)


def record(out: Path, line: dict) -> None:
    """One row of the table, printed and kept."""
    with open(out / "rows.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
    cells = [line["name"], line["sampler"], line["evaluations"], line["samples"]]
    cells += [f"{line['frechet']:.2f} ± {line['error']:.2f}", f"{line['frechet_256']:.2f} ± {line['error_256']:.2f}"]
    print("|", " | ".join(map(str, [*cells, f"{line['confidence']:.3f}", f"{line['above_.7']:.3f}"])), "|", flush=True)


if __name__ == "__main__":
    cyclopts.run(main)
