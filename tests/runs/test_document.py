"""A run's config.json: what is written is read again, and nothing else is."""

import json
from pathlib import Path

import pytest
import torch

import scorekit as sk
from scorekit.data import Images, as_source
from scorekit.preconditioned import PreconditionedWeight
from scorekit.recipe import Experiment
from scorekit.recipes import NCSN, ScoreUNet
from scorekit.runs import Written, read_recipe, run_config, sampler_for
from scorekit.runs.document import describe, parse_recipe
from scorekit.training import TrainingConfig

SOURCE = as_source(Images(torch.arange(128).reshape(2, 1, 8, 8).to(torch.uint8), labels=torch.tensor([0, 1])))
RECIPES = {
    "ncsn": NCSN(TrainingConfig(3, betas=(0.5, 0.75)), width=4, flip=False, num_samples=7),
    "unet": ScoreUNet(TrainingConfig(3), width=8, channel_multipliers=(1,), num_blocks=1, attention_sizes=()),
}


def document(name: str) -> dict:
    recipe = RECIPES[name]
    return json.loads(json.dumps(describe(recipe, recipe.experiment(SOURCE), "mnist", name), allow_nan=False))


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_written_is_read_again(name):
    written, recipe = parse_recipe(document(name)), RECIPES[name]
    assert isinstance(written, Written)
    for field in ("training", "num_samples", "size", "flip", "dequantize", "conditional"):
        assert getattr(written, field) == getattr(recipe, field), field
    assert written.data == "mnist"
    one, other = written.experiment(SOURCE), recipe.experiment(SOURCE)
    for part in ("model", "estimator", "noise", "sampler"):
        assert sk.to_config(getattr(one, part)) == sk.to_config(getattr(other, part))
    assert one.weight == other.weight
    assert json.loads(json.dumps(describe(written, one, "mnist", name))) == document(name)


def test_the_weight_of_a_preconditioned_model_is_written_as_its_scale():
    config = document("unet")
    assert config["weight"] == {"scale": parse_recipe(config).experiment(SOURCE).model.scale}
    assert isinstance(parse_recipe(config).weight, PreconditionedWeight)
    assert parse_recipe(config | {"weight": "sigma"}).weight == "sigma"


def test_a_weight_that_is_code_is_not_written():
    made = RECIPES["ncsn"].experiment(SOURCE)
    experiment = Experiment(made.model, made.estimator, made.noise, made.sampler, weight=torch.sqrt)
    with pytest.raises(TypeError, match=r"weight = .* is not configuration"):
        describe(RECIPES["ncsn"], experiment, "mnist", None)


def test_the_short_form_is_a_name_and_what_is_different():
    recipe = parse_recipe({"recipe": "mnist-ncsn-small", "params": {"width": 8, "training": {"num_steps": 5}}})
    plain = sk.make("recipes", "mnist-ncsn-small")
    assert (recipe.width, recipe.training.num_steps) == (8, 5)
    assert recipe.training.learning_rate == plain.training.learning_rate
    assert recipe.noise == plain.noise


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"modle": 1}, TypeError, "no key 'modle'; did you mean 'model'"),
        ({"weight": "sigma^3"}, ValueError, r"weight = 'sigma\^3'"),
        ({"weight": {"scale": "x"}}, TypeError, "expected null, a name"),
        ({"training": {"num_steps": 1, "rate": 2}}, TypeError, "training has no 'rate'"),
        ({"training": {"num_steps": 0}}, ValueError, "num_steps=0"),
        ({"num_samples": 0}, ValueError, "num_samples=0"),
        ({"weight": {"scale": True}}, TypeError, "expected null, a name"),
        ({"training": None}, TypeError, "training = None: expected a JSON object"),
        ({"training": {"num_steps": 1, "betas": 5}}, TypeError, "betas = 5: expected a list of two numbers"),
        ({"flip": "no"}, TypeError, "flip = 'no': expected true or false"),
        ({"conditional": 1}, TypeError, "conditional = 1: expected true or false"),
    ],
)
def test_what_is_wrong_in_a_document_is_named(change, error, message):
    with pytest.raises(error, match=message):
        parse_recipe(document("ncsn") | change)


@pytest.mark.parametrize(
    ("params", "name"), [(None, "params"), ([], "params"), ([1], "params"), ({"training": None}, "training")]
)
def test_what_should_be_an_object_in_the_short_form_is_named(params, name):
    with pytest.raises(TypeError, match=f"{name} = .*: expected a JSON object"):
        parse_recipe({"recipe": "digits-ncsn-smoke", "params": params})


def test_a_part_that_is_missing_or_unknown_is_named():
    config = document("ncsn")
    del config["estimator"]
    with pytest.raises(TypeError, match="lacks 'estimator'"):
        parse_recipe(config)
    config = document("ncsn")
    config["model"]["name"] = "direct"
    with pytest.raises(ValueError, match="'direct'; did you mean 'direct-score'"):
        parse_recipe(config).experiment(SOURCE)
    with pytest.raises(ValueError, match="did you mean 'mnist-ncsn"):
        read_recipe("mnist-ncns")
    with pytest.raises(TypeError, match="unknown parameter 'widht'; did you mean 'width'"):
        parse_recipe({"recipe": "mnist-ncsn", "params": {"widht": 1}})


@pytest.mark.parametrize(("content", "message"), [("{", "expected JSON"), ("[1]", "a JSON object"), (None, "cannot")])
def test_a_file_that_is_no_document_is_named(content, message, tmp_path):
    path = tmp_path / "recipe.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_recipe(path)
    assert str(path) in str(error.value)


def test_an_error_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"recipe": "mnist-ncsn", "extra": 1}))
    with pytest.raises(TypeError, match="no key 'extra'") as error:
        read_recipe(path)
    assert error.value.__notes__ == [f"read from {path}"]


def test_a_checkpoint_finds_its_runs_configuration(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(document("ncsn")))
    inner = tmp_path / "checkpoint" / "step-3"
    inner.mkdir(parents=True)
    (inner / "config.json").write_text(json.dumps({"model": {}}))  # the checkpoint's own is no run's
    for place in (tmp_path, tmp_path / "checkpoint", inner):
        assert run_config(place)["num_samples"] == 7
        assert sampler_for(place) == RECIPES["ncsn"].sampler()
    (tmp_path / "mine").mkdir()
    assert run_config(tmp_path / "mine") == {}  # a model of one's own, saved below the run
    assert run_config(Path(tmp_path / "elsewhere" / "a" / "b")) == {}
    assert sampler_for(tmp_path / "elsewhere" / "a" / "b") is None
