"""How good samples are: Frechet distance, kernel distance, Inception score, nearest neighbours, held-out loss; each
number with all that it takes to compare it with another.

    from scorekit import evaluation as ev

    inception = ev.InceptionExtractor("weights-inception-2015-12-05-6726825d.pth")    # or ClassifierExtractor(folder)
    report = ev.evaluate_checkpoint("runs/cifar10", "cifar10", extractor=inception, metrics=["fid", "is"],
                                    denoise="both", out="runs/cifar10/samples")       # goes on after a kill
    print(report)                                                                     # a table, and its warnings
    json.dumps(report.to_json(), allow_nan=False)

    ev.evaluate("a/folder/of/pictures", "cifar10", extractor=inception)               # samples that are there
    ev.evaluate(x, "mnist", metrics=["neighbours"])                                   # (N, C, H, W) in memory
    ev.evaluate_checkpoints("runs/cifar10", "cifar10", extractor=inception, out="runs/cifar10/evaluation")

    model, origin = ev.open_checkpoint("runs/cifar10")
    ev.generate(model, sampler, 50_000, "runs/cifar10/samples", seed=1, origin=origin)
    ev.held_out_loss(model, ev.open_reference("cifar10", "test"))
    ev.evaluations_per_sample(sampler, model, (3, 32, 32))

An FID takes 50,000 samples, the training pictures and Inception's published weights to be one that papers compare; a
report says where a number is another one.
"""

from scorekit.evaluation.counting import evaluations_per_sample
from scorekit.evaluation.drawn import DrawnSamples, NonFiniteSamplesError
from scorekit.evaluation.evaluating import METRICS, evaluate, evaluate_checkpoint
from scorekit.evaluation.extractors import ClassifierExtractor, Extracted, Extractor, FunctionExtractor
from scorekit.evaluation.generation import generate
from scorekit.evaluation.inception import InceptionExtractor
from scorekit.evaluation.loss import held_out_loss
from scorekit.evaluation.manifest import ManifestError
from scorekit.evaluation.measures import Frechet, Inception, Kernel, Measure, Nearest
from scorekit.evaluation.neighbours import Neighbours, nearest_neighbours, save_neighbours
from scorekit.evaluation.origin import Opened, Origin, open_checkpoint
from scorekit.evaluation.protocol import Selection, evaluate_checkpoints
from scorekit.evaluation.reference import Reference, ReferenceRecord, open_reference
from scorekit.evaluation.report import Report, Result
from scorekit.evaluation.samples import GivenSamples, Provenance, Samples
from scorekit.evaluation.selection import Judged
from scorekit.evaluation.statistics import StatisticsError, StoredStatistics, reference_statistics
from scorekit.evaluation.stored import open_samples

__all__ = [
    "METRICS", "ClassifierExtractor", "DrawnSamples", "Extracted", "Extractor", "Frechet", "FunctionExtractor",
    "GivenSamples", "Inception", "InceptionExtractor", "Judged", "Kernel", "ManifestError", "Measure", "Nearest",
    "Neighbours", "NonFiniteSamplesError", "Opened", "Origin", "Provenance", "Reference", "ReferenceRecord", "Report",
    "Result", "Samples", "Selection", "StatisticsError", "StoredStatistics", "evaluate", "evaluate_checkpoint",
    "evaluate_checkpoints", "evaluations_per_sample", "generate", "held_out_loss", "nearest_neighbours",
    "open_checkpoint", "open_reference", "open_samples", "reference_statistics", "save_neighbours",
]  # fmt: skip
