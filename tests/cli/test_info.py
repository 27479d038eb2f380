"""`scorekit info`: what it says is what the checkpoint holds."""

import json
import re

import pytest
import torch

import scorekit as sk
from scorekit.checkpoint import CheckpointStore
from tests.cli.conftest import NOISE, SAMPLER, small_model


def facts(text: str) -> dict[str, str]:
    """{what: value}; the lines of files under "files", joined."""
    found: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        what, value = re.match(r"(\S(?:\w| (?! ))*)?\s+(.*)", line).groups()
        last = what or last
        found[last] = value if what else f"{found[last]} {value}"
    return found


def test_it_tells_what_the_checkpoint_holds(cli, run_folder):
    result = cli("info", run_folder)
    assert (result.code, result.err) == (0, "")
    said, model = facts(result.out), small_model()
    assert said["checkpoint"] == str(run_folder / "checkpoint" / "step-0")
    assert said["step"] == "0"
    assert said["weights"] == "raw"
    assert said["parameters"] == f"{sum(weight.numel() for weight in model.parameters()):,}"
    assert said["model"].startswith("direct-score(net=refinenet(image_shape=[1, 8, 8], noise=geometric(")
    assert said["noise levels"].startswith("4 from 1 to 0.1 (geometric(sigma_max=1.0, sigma_min=0.1, num_levels=4))")
    assert said["noise levels"].endswith("valid at these only")
    assert said["data"] == "moments of shape (1, 8, 8)"
    assert said["trained on"] == "embedded"
    assert said["sampler"].startswith("annealed-mcmc(kernel=unadjusted(proposal=langevin), noise=geometric(")
    assert said["written by"] == f"scorekit {sk.__version__}, torch {torch.__version__}"
    weights = run_folder / "checkpoint" / "step-0" / "model.safetensors"
    assert f"{weights.stat().st_size:,} bytes  model.safetensors" in said["files"]


def test_each_step_is_told_apart_and_names_the_others(cli, tmp_path):
    for _ in range(2):
        sk.save(tmp_path, small_model())
    assert facts(cli("info", tmp_path).out)["step"] == "1"
    old = facts(cli("info", tmp_path / "step-0").out)
    assert (old["step"], old["other steps"]) == ("0", "1")


def test_a_model_that_is_valid_everywhere_says_so_and_without_a_run_knows_no_sampler(cli, tmp_path):
    sk.save(tmp_path, sk.ScaledScore(sk.networks.MLP(event_shape=(2,)), min_sigma=0.5))
    said = facts(cli("info", tmp_path).out)
    assert said["noise levels"] == "valid at every sigma >= 0.5"
    assert said["data"] == "unknown moments"
    assert "sampler" not in said
    assert "estimator" not in said


def test_a_model_that_no_configuration_describes_is_told_with_the_reason(cli, tmp_path):
    from scorekit.checkpoint.model import CONFIG, RAW, config_file
    from scorekit.checkpoint.tensors import encode

    CheckpointStore(tmp_path).write(3, {RAW: encode({"w": torch.zeros(2)}), CONFIG: config_file(None, "a lambda")})
    said = facts(cli("info", tmp_path).out)
    assert said["model"] == "no configuration: a lambda"
    assert said["step"] == "3"
    assert "parameters" not in said


def test_a_network_by_itself_is_called_one(cli, tmp_path):
    """A classifier, say: it has no levels and no sampler."""
    sk.checkpoint.save_network(tmp_path, sk.networks.MLP(event_shape=(2,), width=8))
    said = facts(cli("info", tmp_path).out)
    assert said["network"].startswith("mlp(event_shape=[2], width=8")
    assert int(said["parameters"]) > 0
    assert not {"model", "noise levels", "sampler"} & said.keys()
    assert cli("sample", tmp_path, "--out", tmp_path / "x.npy").fails(1, "this holds a network, not a score model")


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_described(cli, tmp_path, recwarn):
    for _ in range(2):
        sk.save(tmp_path, small_model())
    weights = tmp_path / "step-1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    result = cli("info", tmp_path)
    assert result.code == 0
    assert result.err.startswith("warning: damaged: ")
    assert len(result.err.splitlines()) == 1
    assert facts(result.out)["step"] == "0"


@pytest.mark.parametrize("name", ["nowhere", "empty", "foreign"])
def test_what_is_no_checkpoint_is_refused_in_one_line(cli, tmp_path, name):
    if name != "nowhere":
        (tmp_path / name).mkdir()
    if name == "foreign":
        (tmp_path / name / "latest.json").write_text(json.dumps({"format": "other", "version": 1}))
    assert cli("info", tmp_path / name).fails(1, str(tmp_path / name), "expected")


def test_configurations_are_sketched_without_what_is_null():
    from scorekit.cli.description import sketch

    assert sketch(sk.to_config(sk.MetropolisAdjusted(sk.Hamiltonian(3)))).startswith(
        "metropolis-adjusted(proposal=hamiltonian(num_leapfrog=3, jitter=0.2)"
    )
    assert sketch(sk.to_config(sk.Levels((2.0, 1.0)))) == "levels(values=[2.0, 1.0])"
    assert "null" not in sketch(sk.to_config(sk.DenoisingScoreMatching()))
    assert sketch(sk.to_config(SAMPLER)).count(sketch(sk.to_config(NOISE))) == 1
