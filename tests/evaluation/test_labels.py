"""Models that are told labels, evaluated: each sample under its own label, whatever the chunks."""

from pathlib import Path

import pytest
import torch

import scorekit as sk
from scorekit.data import Images
from scorekit.evaluation import DrawnSamples, FunctionExtractor, evaluate_checkpoint, open_checkpoint
from scorekit.evaluation.evaluating import _told
from tests.evaluation.cases import LANGEVIN, SHAPE

LABELS = torch.arange(7) % 3
PIXELS = torch.arange(7 * 64, dtype=torch.uint8).reshape(7, *SHAPE)
REAL = Images(PIXELS, labels=LABELS, name="seven")
BY_PIXELS = FunctionExtractor(lambda images: images.flatten(1)[:, :4], "four pixels")


def labelled() -> sk.ScoreModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = sk.ScaledScore(sk.networks.MLP(event_shape=SHAPE, width=8, depth=1, num_classes=3))
    made.set_moments(torch.full(SHAPE, 0.3), torch.full(SHAPE, 0.3))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The model's checkpoint."""
    made = tmp_path_factory.mktemp("labelled")
    sk.save(made, labelled())
    return made


def drawn(folder: Path, labels: torch.Tensor, batch_size: int) -> torch.Tensor:
    origin = open_checkpoint(folder).origin
    samples = DrawnSamples(labelled().given(labels), LANGEVIN, len(labels), batch_size=batch_size, origin=origin)
    return torch.cat([samples.chunk(number)[0] for number in range(samples.num_chunks)])


def test_each_sample_has_its_own_label_whatever_the_chunks(folder):
    whole = drawn(folder, LABELS, 7)
    torch.testing.assert_close(drawn(folder, LABELS, 3), whole, rtol=0, atol=1e-5)
    of_zero = drawn(folder, torch.zeros_like(LABELS), 7)
    told_zero = LABELS == 0
    torch.testing.assert_close(whole[told_zero], of_zero[told_zero], rtol=0, atol=1e-5)
    differ = (whole - of_zero).flatten(1).abs().amax(1)
    assert (differ[~told_zero] > 1e-3).all()  # the mutant: every chunk under the first rows' labels


def test_a_checkpoint_is_judged_under_the_labels_of_the_real_pictures(folder):
    options = {
        "sampler": LANGEVIN,
        "num_samples": 10,
        "batch_size": 4,
        "extractor": BY_PIXELS,
        "metrics": ["fid", "loss"],
    }
    report = evaluate_checkpoint(folder, REAL, condition="labels", held_out=REAL, noise=LANGEVIN.noise, **options)
    by_metric = {result.metric: result for result in report.results}
    assert by_metric["fid"].provenance.condition.startswith("the labels of seven")
    assert by_metric["fid"].provenance.evaluations == 6
    other = evaluate_checkpoint(folder, REAL, condition=0, held_out=REAL, noise=LANGEVIN.noise, **options)
    assert other.results[0].provenance.condition == "label 0"
    assert other.results[0].value != by_metric["fid"].value
    told = labelled().given(LABELS[torch.arange(10) % 7])
    samples = DrawnSamples(told, LANGEVIN, 10, batch_size=4, origin=open_checkpoint(folder).origin)
    again = sk.evaluation.evaluate(samples, REAL, extractor=BY_PIXELS)
    assert again.results[0].value == pytest.approx(by_metric["fid"].value, rel=1e-9)
    loss = sk.evaluation.held_out_loss(
        labelled(), sk.evaluation.open_reference(REAL), noise=LANGEVIN.noise, condition="labels", batch_size=4
    )
    assert by_metric["loss"].value == pytest.approx(loss.results[0].value, rel=1e-6)


def test_conditions_are_named_in_reports_and_wrong_ones_refused():
    model = labelled()
    assert _told(model, torch.zeros(4, 2), REAL, "train", None, 4)[1] == "conditions of shape (4, 2)"
    assert _told(model, None, REAL, "train", None, 4) == (model, None)
    with pytest.raises(ValueError, match="expected 'labels', and pictures with labels"):
        _told(model, "labels", Images(PIXELS), "train", None, 4)
    with pytest.raises(ValueError, match="'classes'"):
        _told(model, "classes", REAL, "train", None, 4)
