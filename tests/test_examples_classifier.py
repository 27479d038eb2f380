"""The classifier's example: what it trains, what it draws, what it writes."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import scorekit as sk
from scorekit.base import Generator, PerChain
from scorekit.checkpoint import load_network
from scorekit.data import Indexed, Source, digits
from scorekit.networks import ConvClassifier
from tests.laws.statistics import BOUND
from tests.scripts import load

SCRIPT = Path(__file__).resolve().parent.parent / "examples" / "train_classifier.py"
example = load(SCRIPT)

OPTIONS = example.Options(steps=120, batch_size=64, learning_rate=1e-2, width=16)


def trained(data: Source, *, noise: float = 0.0, seed: int = 0) -> ConvClassifier:
    """120 steps on digits: 1.5 seconds."""
    net = ConvClassifier((1, 8, 8), 10, OPTIONS.width)
    example.train(net, data, OPTIONS, noise=noise, seed=seed)
    return net


def training() -> Source:
    return example.source(digits("train"), augment=False)


@pytest.fixture(scope="module")
def clean(request: pytest.FixtureRequest) -> ConvClassifier:
    """Trained on clean digits."""
    seed = request.config.getoption("--reseed")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return trained(training(), seed=seed)


# ------------------------------------------------------------------------------------------------------- what it learns


def test_seconds_of_training_classify_digits_and_shuffled_labels_teach_nothing(
    clean: ConvClassifier, streams: PerChain, seed: int
):
    """Of shuffled labels a class of digits may by chance all get its own: ten such chances of 1 in 10 have a standard
    deviation of .095, and 4.9 of them above .1 are .57. With the true labels it is .98 +- .008 on 297 images."""
    held_out = example.source(digits("test"), augment=False)
    good = example.judge(clean, held_out, 0.0, seed=seed)
    data = training()
    order = sk.base.uniform(torch.empty(len(data), 1), generator=streams)[:, 0].argsort()
    shuffled = Indexed(data.examples, data.transform, data.condition(torch.arange(len(data)))[order])
    bad = example.judge(trained(shuffled, seed=seed), held_out, 0.0, seed=seed)
    assert good.accuracy > 0.9
    assert good.cross_entropy < 0.4
    assert bad.accuracy < 0.57
    assert bad.cross_entropy > 2.1  # log 10 = 2.303 knows nothing


@pytest.mark.slow
def test_a_minute_of_training_classifies_mnist(tmp_path: Path, seed: int):
    """300 steps of the usual 1,500: .98 to .99 of the 10,000 test images, whose standard error is .0014."""
    root = os.environ.get("SCOREKIT_DATA")
    if root is None:
        pytest.skip("the real MNIST files are wanted: set SCOREKIT_DATA to a folder that has them in mnist/")
    example.main(data=str(Path(root) / "mnist"), out=tmp_path, steps=300, seed=seed, device="cpu")
    assert json.loads((tmp_path / "summary.json").read_text())["accuracy"] > 0.97


def test_training_with_noise_makes_it_right_where_clean_training_is_not(clean: ConvClassifier, seed: int):
    """At sigma = 1 an image tells little of its label. Who saw such images says so, at about log 10; who saw clean ones
    only is as sure as ever, and wrong. Cross-entropies were 1.1 to 1.2 and 1.8 to 2.2 at .5, 2.1 to 2.2 and 2.7 to
    3.6 at 1."""
    held_out = example.source(digits("test"), augment=False)
    noisy = trained(training(), noise=1.0, seed=seed)
    for sigma in (0.5, 1.0):
        right, wrong = (example.judge(net, held_out, sigma, seed=seed) for net in (noisy, clean))
        assert right.cross_entropy < wrong.cross_entropy - 0.2
        assert right.cross_entropy < 2.4
    assert example.judge(noisy, held_out, 0.0, seed=seed).accuracy > 0.9


def test_the_seed_decides_everything(seed: int):
    short = example.replace(OPTIONS, steps=5, augment=True)

    def weights(first: int, second: int) -> Tensor:
        torch.manual_seed(first)
        net = ConvClassifier((1, 8, 8), 10, 8)
        example.train(net, training(), short, noise=1.0, seed=second)
        return torch.cat([each.detach().flatten() for each in net.parameters()])

    assert torch.equal(weights(0, seed), weights(0, seed))
    assert not torch.equal(weights(0, seed), weights(0, seed + 1))
    assert not torch.equal(weights(0, seed), weights(1, seed))


# -------------------------------------------------------------------------------------------------------- what it draws


def test_levels_are_log_uniform_with_a_share_of_clean_images(streams: PerChain):
    """20,000 draws: 4.9 standard errors of the share are .010, of the mean of a uniform .0100."""
    sigma = example.draw_sigma(torch.empty(20_000, 1, 2, 2), 20.0, streams)
    clean = (sigma == 0).double().mean().item()
    assert abs(clean - 0.1) < BOUND * math.sqrt(0.09 / 20_000)
    level = (sigma[sigma > 0].double() / 0.01).log() / math.log(2000)
    assert 0 <= level.min() <= level.max() <= 1
    for power, variance in ((1, 1 / 12), (2, 4 / 45)):  # E u = 1/2, E u^2 = 1/3
        assert abs(level.pow(power).mean().item() - 1 / (power + 1)) < BOUND * math.sqrt(variance / len(level))
    uniform_in_sigma = (sigma[sigma > 0].double() - 0.01) / (20 - 0.01)
    assert abs(uniform_in_sigma.mean().item() - 0.5) > 0.2  # the law it is not
    assert example.draw_sigma(torch.empty(5, 1), 0.0, streams).tolist() == [0.0] * 5


def test_an_images_draws_do_not_depend_on_its_batch(streams: PerChain):
    x = torch.rand(6, 3, 16, 8)

    def draw(x: Tensor, generator: Generator) -> list[Tensor]:
        shifted = example.shifted(x, sk.fork(generator, "shift"))
        sigma = example.draw_sigma(x, 5.0, sk.fork(generator, "sigma"))
        return [shifted, sigma, example.noisy(x, sigma, sk.fork(generator, "eps"))]

    for whole, part in zip(draw(x, streams), draw(x[2:], streams.shift(2)), strict=True):
        assert torch.equal(whole[2:], part)


def test_images_are_shifted_by_up_to_an_eighth_and_every_shift_is_as_likely(streams: PerChain):
    """One white pixel tells the shift. 3 x 5 shifts, 3,000 draws: a share of 1/15 has a standard error of .0046."""
    x = torch.zeros(3000, 1, 8, 16)
    x[:, :, 4, 8] = 1
    moved = example.shifted(x, streams)
    assert moved.shape == x.shape
    _, _, row, column = moved.nonzero().unbind(1)
    assert len(row) == 3000
    shares = torch.bincount(5 * (row - 3) + column - 6, minlength=15) / 3000
    assert len(shares) == 15
    assert (shares - 1 / 15).abs().max() < BOUND * math.sqrt(14 / 15**2 / 3000)
    corner = torch.zeros(200, 1, 8, 16)
    corner[:, :, 0, 0] = 1
    assert {int(each.sum()) for each in example.shifted(corner, streams)} == {0, 1}  # some leave: no wrapping round


def test_colour_images_are_augmented_and_held_out_ones_are_not():
    assert example.options_for((3, 32, 32)).augment
    assert not example.options_for((1, 28, 28)).augment
    colour = sk.data.Images(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), labels=torch.zeros(4, dtype=torch.int64))
    assert "RandomHorizontalFlip" in repr(example.source(colour, augment=True).transform)
    assert "RandomHorizontalFlip" not in repr(example.source(colour, augment=False).transform)
    coarse = example.source(digits("test"), augment=False)
    assert [str(each.transform) for each in (example.source(colour, augment=False), coarse)] == [
        "Compose(transforms=(Rescale(levels=256),))", "Compose(transforms=(Dequantize(levels=17),))",
    ]  # fmt: skip
    assert example.judged_levels(0.0) == [0.0]
    assert example.judged_levels(20.0)[:2] == [0.0, 0.01]
    assert example.judged_levels(20.0)[-1] == 20.0


# ------------------------------------------------------------------------------------------------------- what it writes


def test_smoke_writes_a_classifier_and_what_it_is_worth(tmp_path: Path, capsys: pytest.CaptureFixture):
    state = torch.get_rng_state()
    example.main(out=tmp_path, noise=1.0, smoke=True, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["steps"], summary["num_features"], summary["width"]) == (20, 16, 8)
    assert (summary["data"], summary["augment"], summary["noise"]) == ("embedded", False, 1.0)
    assert [row["sigma"] for row in summary["held_out"]] == pytest.approx(example.judged_levels(1.0), abs=1e-6)
    assert summary["held_out_images"] == 297
    assert summary["training_seconds"] > 0
    net = load_network(tmp_path / "classifier")
    assert isinstance(net, ConvClassifier)
    assert (net.image_shape, net.num_classes) == ((1, 8, 8), 10)
    again = example.judge(net, example.source(digits("test"), augment=False), 0.0, seed=0)
    assert again.accuracy == summary["accuracy"] == summary["held_out"][0]["accuracy"]
    assert again.cross_entropy == pytest.approx(summary["held_out"][0]["cross_entropy"], abs=1e-4)
    assert "classifier/ (16 features), summary.json" in capsys.readouterr().out


def test_what_a_user_can_mend_is_one_line(tmp_path: Path):
    with pytest.raises(ValueError, match=r"--noise 0.005: expected 0, or more than 0.01"):
        example.main(noise=0.005, out=tmp_path)
    with pytest.raises(ValueError, match=r"steps=0, .*expected steps >= 1"):
        example.main(steps=0, out=tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--data", "nowhere", "--out", str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("error: 'nowhere'")


def test_images_without_labels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    unlabelled = sk.data.Images(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), name="faces")
    monkeypatch.setattr(example, "open_images", lambda spec, split="train": unlabelled)
    with pytest.raises(ValueError, match=r"<Images 'faces': .*> has no labels; a classifier needs some"):
        example.main(data="faces", out=tmp_path)
