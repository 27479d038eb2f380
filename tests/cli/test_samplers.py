"""Which sampler a name stands for, with which levels, on which model."""

import json
from pathlib import Path

import pytest
import torch

import scorekit as sk
from scorekit.cli.errors import UsageError
from scorekit.cli.parameters import parse_params
from scorekit.cli.samplers import Request, choose, spread
from scorekit.evaluation.counting import evaluations_per_sample
from tests.cli.conftest import NOISE, SAMPLER, save_run, small_model

WIDE = sk.Geometric(sigma_max=8.0, sigma_min=0.05, num_levels=30)
SHAPE = (1, 8, 8)
TAKE_LEVELS = [name for name in sk.registry("samplers") if name not in ("langevin", "mala", "hmc", "random-walk")]


@pytest.fixture(scope="module")
def model() -> sk.ScoreModel:
    return small_model()


@pytest.fixture(scope="module")
def checkpoint(run_folder) -> Path:
    return run_folder / "checkpoint"


@pytest.fixture(scope="module")
def free() -> sk.ScoreModel:
    """A model that is valid at every sigma."""
    made = sk.ScaledScore(sk.networks.MLP(event_shape=SHAPE))
    made.set_moments(torch.zeros(SHAPE), torch.ones(SHAPE))
    return made


@pytest.fixture(scope="module")
def free_run(free, tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("free"), free, WIDE, sk.heun(WIDE)) / "checkpoint"


def test_without_a_name_it_is_the_runs_own_sampler(model, checkpoint):
    assert choose(Request(), model, checkpoint) == (SAMPLER, model)


def test_without_a_name_and_a_run_it_is_an_error(model, tmp_path):
    sk.save(tmp_path, model)
    with pytest.raises(ValueError, match="give --sampler NAME"):
        choose(Request(), model, tmp_path)


def test_a_file_names_a_sampler_or_is_a_runs_config(model, checkpoint, tmp_path):
    path = tmp_path / "sampler.json"
    path.write_text(json.dumps(sk.to_config(sk.heun(NOISE))))
    assert choose(Request(str(path)), model, checkpoint) == (sk.heun(NOISE), model)
    assert choose(Request(str(checkpoint.parent / "config.json")), model, checkpoint) == (SAMPLER, model)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "expected the configuration of a sampler"),
        ("[1]", "expected the configuration of a sampler"),
        ('{"kind": "samplers", "name": "hean", "params": {}}', "did you mean 'heun'"),
        ('{"kind": "starts", "name": "matched", "params": {}}', "it is that of a Matched"),
        ('{"name": "heun"}', "kind"),
    ],
)
def test_a_file_with_anything_else_is_refused(model, checkpoint, tmp_path, content, said):
    path = tmp_path / "sampler.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=said) as caught:
        choose(Request(str(path)), model, checkpoint)
    assert str(path) in str(caught.value)
    assert not isinstance(caught.value, UsageError)


def test_a_file_that_is_not_there_is_refused(model, checkpoint, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.json: expected a JSON file; it cannot be read"):
        choose(Request(str(tmp_path / "nowhere.json")), model, checkpoint)


@pytest.mark.parametrize("name", [name for name in TAKE_LEVELS if name != "annealed-mcmc"])
def test_a_name_alone_takes_the_runs_levels(model, free, checkpoint, free_run, name):
    assert choose(Request(name), model, checkpoint) == (sk.make("samplers", name, noise=NOISE), model)
    assert choose(Request(name), free, free_run) == (sk.make("samplers", name, noise=WIDE), free)


@pytest.mark.parametrize("name", ["langevin", "mala", "hmc", "random-walk"])
def test_a_sampler_of_one_level_takes_the_smallest(model, checkpoint, name):
    assert choose(Request(name), model, checkpoint)[0] == sk.make("samplers", name, sigma=0.1)
    assert choose(Request(name, ["sigma=1"]), model, checkpoint)[0] == sk.make("samplers", name, sigma=1)


def test_without_a_run_a_table_gives_the_levels_and_a_free_model_has_none(model, free, tmp_path):
    sk.save(tmp_path, model)
    sampler, _ = choose(Request("heun"), model, tmp_path)
    assert sampler.noise.levels().tolist() == pytest.approx(NOISE.levels().tolist(), rel=1e-6)
    with pytest.raises(ValueError, match=r"give --param noise="):
        choose(Request("heun"), free, tmp_path)


def test_parameters_reach_the_sampler(model, checkpoint):
    noise = '{"name": "levels", "params": {"values": [1.0, 0.1]}}'
    given = Request("annealed-hmc", ["steps_per_level=3", "num_leapfrog=2", "start=uniform", "final=denoise"])
    assert choose(given, model, checkpoint)[0] == sk.annealed_hmc(
        NOISE, steps_per_level=3, num_leapfrog=2, start=sk.Uniform(), final=sk.Denoise()
    )
    assert choose(Request("heun", [f"noise={noise}"]), model, checkpoint)[0] == sk.heun(sk.Levels((1.0, 0.1)))


def test_values_are_json_or_names():
    given = [
        "a=1",
        "b=0.5",
        "c=uniform",
        "d=[1, [2]]",
        'e={"name": "x", "params": {"v": [1]}}',
        "f=null",
        "g=",
        "h=a=b",
    ]
    assert parse_params(given) == {
        "a": 1, "b": 0.5, "c": "uniform", "d": (1, (2,)), "e": {"name": "x", "params": {"v": (1,)}},
        "f": None, "g": "", "h": "a=b",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (lambda: Request("hean"), "did you mean 'heun'"),
        (lambda: Request("heun", ["stat=uniform"]), "did you mean 'start'"),
        (lambda: Request("heun", ["start=3"]), "expected .*Start"),
        (lambda: Request("heun", ["start=unifrom"]), "did you mean 'uniform'"),
        (lambda: Request("annealed-langevin", ["step_size=-1"]), "must be positive"),
        (lambda: Request("annealed-mcmc"), "missing 'kernel'"),
        (lambda: Request("heun", ["final"]), "--param final: expected key=value"),
        (lambda: Request("heun", ["a b=1"]), "expected key=value"),
        (lambda: Request("heun", ["final=denoise", "final=stay"]), "given twice"),
        (lambda: Request("heun", num_levels=1), "expected at least 2"),
        (lambda: Request("heun", evaluations=2), "heun takes 3 for 2 noise levels, 2 for each more"),
        (lambda: Request("langevin", evaluations=9), "for samplers that visit noise levels"),
        (lambda: Request("heun", ["noise=karras"], num_levels=9), "does not name already"),
        (lambda: Request(params=["a=1"]), "--param is for a sampler by its name"),
        (lambda: Request("x.json", num_levels=9), "--num-levels is for a sampler by its name"),
        (lambda: Request("heun", num_levels=9, evaluations=9), "expected one of them"),
    ],
)
def test_what_a_sampler_does_not_take_is_a_usage_error(model, checkpoint, request_, said):
    with pytest.raises(UsageError, match=said):
        choose(request_(), model, checkpoint)


def test_levels_of_a_free_model_are_geometric_between_the_runs_ends(free):
    assert spread(free, WIDE, 7) == (sk.Geometric(8.0, 0.05, 7), free)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_levels_of_a_table_are_some_of_it_with_both_ends(model, number):
    """The mutant: geometric levels, which the model refuses for most numbers."""
    noise, same = spread(model, NOISE, number)
    assert same is model
    assert len(noise.levels()) == number
    assert noise.levels()[[0, -1]].tolist() == pytest.approx([1.0, 0.1])
    model.require(noise.levels())
    if number == 3:
        with pytest.raises(ValueError, match="RoundToLevels"):
            model.require(sk.Geometric(1.0, 0.1, number).levels())


def test_more_levels_than_the_table_has_are_rounded_to_it(model):
    noise, rounded = spread(model, NOISE, 9)
    assert noise == sk.Geometric(1.0, 0.1, 9)
    assert isinstance(rounded, sk.RoundToLevels)
    assert rounded.model is model


@pytest.mark.parametrize("name", [name for name in TAKE_LEVELS if name != "annealed-mcmc"])
@pytest.mark.parametrize("which", ["table", "free"])
def test_a_budget_of_evaluations_is_kept_and_used_up(model, free, checkpoint, free_run, name, which):
    """As many levels as fit: one more would not."""
    chosen, folder, run = (model, checkpoint, NOISE) if which == "table" else (free, free_run, WIDE)
    few = ["steps_per_level=2"] if "annealed" in name else []
    for most in (31, 50):
        sampler, ready = choose(Request(name, few, evaluations=most), chosen, folder)
        number = len(sampler.noise.levels())
        noise, family = spread(chosen, run, number + 1)
        longer = sk.make("samplers", name, noise=noise, **parse_params(few))
        assert evaluations_per_sample(sampler, ready, SHAPE) <= most < evaluations_per_sample(longer, family, SHAPE)
