"""The example of guidance: the model of a run, two classifiers, a picture and two shares."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import scorekit as sk
from scorekit.checkpoint import save_network
from scorekit.recipes import ScoreUNet
from scorekit.training import TrainingConfig
from tests.scripts import load

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
guidance, training = load(EXAMPLES / "guidance.py"), load(EXAMPLES / "train_classifier.py")


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """A model of two steps, which is about a Gaussian, and a classifier of noisy digits of two seconds."""
    folder = tmp_path_factory.mktemp("parts")
    recipe = ScoreUNet(
        TrainingConfig(2, batch_size=4), data="embedded", width=8, channel_multipliers=(1,), num_blocks=1,
        attention_sizes=(), num_levels=3, num_samples=1,
    )  # fmt: skip
    sk.runs.run(recipe, out=folder / "run", device="cpu", progress=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = sk.networks.ConvClassifier((1, 8, 8), 10, width=16)
    options = training.Options(steps=120, batch_size=64, learning_rate=1e-2, width=16)
    training.train(net, training.source(sk.data.digits("train"), augment=False), options, noise=5.0, seed=0)
    save_network(folder / "noisy" / "classifier", net)
    return folder


def test_it_draws_each_class_and_says_how_many_are_right(parts, tmp_path, capsys):
    """The guide judges itself here. Unguided, 1 in 10 is right: 30 of 100 would be 6.7 standard deviations more."""
    guidance.main(
        checkpoint=parts / "run", classifier=parts / "noisy", judge=parts / "noisy", per_class=10, evaluations=8,
        scale=3.0, out=tmp_path,
    )  # fmt: skip
    plain, guided, picture = capsys.readouterr().out.splitlines()
    assert plain.startswith("scale 0: ")
    assert guided.startswith("scale 3: ")
    shares = [float(line.split()[2].rstrip("%")) for line in (plain, guided)]
    assert shares[0] < 30
    assert shares[1] > 40  # 56: the model has learned nothing yet
    with Image.open(tmp_path / "guided.png") as image:
        assert image.size == (2 + 10 * 66, 2 + 6 * 66)
    assert str(tmp_path) in picture


def test_what_is_no_run_or_no_classifier_is_named(parts, tmp_path):
    with pytest.raises(ValueError, match="expected a run"):
        guidance.few_steps(tmp_path / "a" / "b" / "c", 4)
    save_network(tmp_path / "classifier", sk.networks.MLP((2,)))
    with pytest.raises(ValueError, match="expected a classifier, found a MLP"):
        guidance.classifier_in(tmp_path)
