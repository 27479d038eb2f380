"""A run from data to samples; what it refuses before it begins."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

import scorekit as sk
from scorekit.recipes import NCSN, ScoreUNet
from scorekit.runs import draw, read_recipe, run, running, with_options
from scorekit.training import TrainingConfig, choose_runtime

TINY = NCSN(
    TrainingConfig(4, batch_size=8, seed=3), data="embedded", width=2, steps_per_level=1, num_samples=3,
    noise=sk.Geometric(1.0, 0.1, 3),
)  # fmt: skip


def test_a_run_is_a_folder_and_its_config_makes_the_same_one(tmp_path):
    outcome = run(TINY, out=tmp_path / "one", device="cpu", name="tiny")
    assert outcome.finished
    summary = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert (summary["steps"], summary["num_samples"], summary["evaluations_per_sample"]) == (4, 3, 3)
    again = read_recipe(tmp_path / "one" / "config.json")
    run(again, out=tmp_path / "two", device="cpu")
    one, other = (np.load(tmp_path / each / "samples.npy") for each in ("one", "two"))
    assert np.array_equal(one, other)
    assert (tmp_path / "one" / "samples.png").read_bytes() == (tmp_path / "two" / "samples.png").read_bytes()
    levels = [json.loads(line) for line in (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()]
    assert [line["sigma"] for line in levels if "sigma" in line] == pytest.approx([1.0, 0.1**0.5, 0.1])


def test_the_global_random_state_and_the_seed_have_nothing_to_do_with_each_other(tmp_path):
    before = torch.get_rng_state()
    run(TINY, out=tmp_path / "one", device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    other = replace(TINY, training=replace(TINY.training, seed=4))
    run(other, out=tmp_path / "two", device="cpu")
    assert not np.array_equal(np.load(tmp_path / "one" / "samples.npy"), np.load(tmp_path / "two" / "samples.npy"))


def test_labels_reach_the_network_and_the_samples(tmp_path):
    recipe = ScoreUNet(
        TrainingConfig(2, batch_size=4), data="embedded", width=8, channel_multipliers=(1,), num_blocks=1,
        attention_sizes=(), with_labels=True, num_levels=3, num_samples=2,
    )  # fmt: skip
    run(recipe, out=tmp_path, device="cpu")
    assert sk.load(tmp_path / "checkpoint").net.num_classes == 10
    assert np.load(tmp_path / "samples.npy").shape == (2, 1, 8, 8)


def test_options_replace_the_numbers():
    paper = sk.make("recipes", "cifar10-ncsn")
    chosen = with_options(paper, steps=1, batch_size=2, keep_every=7, seed=0)
    assert chosen.training == TrainingConfig(
        num_steps=1, batch_size=2, seed=0, log_every=100, validate_every=1, checkpoint_every=5000, keep_every=7
    )
    assert chosen.num_samples == 2
    assert with_options(paper) == paper
    assert with_options(paper, batch_size=8, num_samples=100).num_samples == 100
    assert with_options(TINY, steps=2).training.validate_every is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": None}, "no data of its own"),
        ({"data": "embeded"}, "did you mean 'embedded'"),
        ({"weights": "ema"}, "keeps no moving average"),
        ({"device": "foo"}, "device foo: "),
    ],
)
def test_what_cannot_be_run_is_refused_before_training(options, message, tmp_path):
    recipe = replace(TINY, data=options.pop("data", "embedded"))
    with pytest.raises(ValueError, match=message):
        run(recipe, out=tmp_path, **{"device": "cpu"} | options)
    assert not (tmp_path / "checkpoint").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="it is a file"):
        run(TINY, out=tmp_path / "file")
    with pytest.raises(ValueError, match=r"cannot be made|it is a file"):
        run(TINY, out=tmp_path / "file" / "below")


def test_a_damaged_file_of_a_run_is_named_and_none_is_written_in_part(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    path.write_text("")
    with pytest.raises(ValueError, match=r"summary\.json: expected JSON"):
        running.update(path, {"steps": 1})
    running.write(path, {"steps": 1})
    running.update(path, {"seed": 2})
    assert json.loads(path.read_text()) == {"steps": 1, "seed": 2}

    def killed(*paths: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        running.write(path, {"steps": 3})
    assert json.loads(path.read_text()) == {"steps": 1, "seed": 2}


def test_only_pictures_are_drawn(tmp_path):
    model = sk.ScaledScore(sk.networks.MLP((2,)))
    model.set_moments(torch.zeros(2), torch.ones(2))
    runtime = choose_runtime(TINY.training, model)
    with pytest.raises(ValueError, match="not one of images"):
        draw(model, TINY.sampler(), runtime, tmp_path, num_samples=1, seed=0)


def test_a_sampler_of_moves_alone_has_no_step_size_to_log(tmp_path):
    model = sk.ScaledScore(sk.networks.MLP((1, 8, 8)))
    model.set_moments(torch.zeros(1, 8, 8), torch.ones(1, 8, 8))
    sampler = sk.heun(sk.Geometric(1.0, 0.1, 3))
    drawn = draw(model, sampler, choose_runtime(TINY.training, model), tmp_path, num_samples=2, seed=0)
    assert drawn["evaluations_per_sample"] == 2 + 2 + 1
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["evaluations"] for line in lines] == [1, 2, 2]
    assert {line["step_size"] for line in lines} == {None}
