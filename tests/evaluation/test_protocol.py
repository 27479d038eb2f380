"""Of all checkpoints the one with the least Frechet distance: its rules, and that a killed call goes on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import scorekit as sk
from scorekit.checkpoint import CheckpointError, CheckpointStore
from scorekit.evaluation import (
    DrawnSamples,
    FunctionExtractor,
    NonFiniteSamplesError,
    Report,
    evaluate,
    evaluate_checkpoint,
    evaluate_checkpoints,
)
from tests.evaluation.cases import LANGEVIN, extractor, on_processes, pixels, store_run

STEPS = {100: 3.0, 200: 0.5, 300: 1.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return store_run(tmp_path_factory.mktemp("run"), STEPS)


@pytest.fixture(scope="module")
def selected(run, tmp_path_factory) -> Path:
    """What a selection without final samples left."""
    out = tmp_path_factory.mktemp("selected")
    select(run, out, final_samples=None)
    return out


def select(run: Path, out: Path, **options):
    defaults = {"sampler": LANGEVIN, "num_samples": 12, "final_samples": 20, "batch_size": 8, "extractor": extractor()}
    return evaluate_checkpoints(run, "embedded", out=out, **(defaults | options))


def distance(run: Path, step: int, **options) -> float:
    defaults = {"sampler": LANGEVIN, "num_samples": 12, "batch_size": 8, "extractor": extractor(), "step": step}
    return evaluate_checkpoint(run, "embedded", **(defaults | options)).value("fid")


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "selection.jsonl").read_text().splitlines()]


def test_every_checkpoint_is_judged_and_the_nearest_chosen(run, tmp_path):
    found = select(run, tmp_path)
    expected = {step: distance(run, step) for step in STEPS}
    assert {each.step: each.value for each in found.judged} == expected
    assert [each.step for each in found.judged] == [100, 200, 300]
    assert found.best.step == min(expected, key=expected.get)
    assert found.best.step != max(expected, key=expected.get)  # the mutant: the greatest
    assert len(set(expected.values())) == 3


def test_the_best_is_judged_again_by_other_and_more_samples(run, tmp_path):
    found = select(run, tmp_path, metrics=["fid", "is"])
    assert isinstance(found.report, Report)
    assert found.report.value("fid") == distance(run, found.best.step, num_samples=20, seed=1)
    for result in found.report.results:
        assert result.num_samples == 20
        assert (result.provenance.seed, result.provenance.model) == (1, found.best.origin)
    selection = found.best.result
    assert (selection.num_samples, selection.provenance.seed) == (12, 0)
    assert any("FID of 12 samples: biased upward" in each for each in selection.warnings)
    with pytest.raises(ValueError, match="expected other chains than those of the selection"):
        select(run, tmp_path, seed=1, final_seed=1)  # the mutant: judged by what it was chosen for


def test_what_is_found_is_written_and_printed(run, tmp_path):
    found = select(run, tmp_path)
    assert json.loads((tmp_path / "final.json").read_text()) == json.loads(json.dumps(found.to_json()))
    assert f"Chosen: step {found.best.step}, the least Frechet distance of 3 checkpoints." in str(found)
    assert len(list((tmp_path / f"step-{found.best.step}").glob("*.png"))) == 20
    assert (tmp_path / "reference.safetensors").exists()


class Killed(BaseException):
    pass


def watch(monkeypatch, most: int = 10**9) -> list[tuple[int, int]]:
    """(step, chunk) of every chunk drawn; drawing dies after `most` of them."""
    drawn, chunk = [], DrawnSamples.chunk

    def watched(self, number):
        if len(drawn) == most:
            raise Killed
        drawn.append((self.origin.step, number))
        return chunk(self, number)

    monkeypatch.setattr(DrawnSamples, "chunk", watched)
    return drawn


def test_a_second_call_draws_nothing(run, tmp_path, monkeypatch):
    first = select(run, tmp_path)
    drawn = watch(monkeypatch)
    assert str(select(run, tmp_path)) == str(first)
    assert drawn == []
    assert len(lines(tmp_path)) == 3


@pytest.mark.parametrize("most", [1, 3, 6, 7])
def test_a_killed_call_goes_on_with_what_is_missing(run, tmp_path, monkeypatch, most):
    undisturbed = select(run, tmp_path / "whole")
    with monkeypatch.context() as patch:
        watch(patch, most)
        with pytest.raises(Killed):
            select(run, tmp_path / "killed")
    done = len(lines(tmp_path / "killed")) if (tmp_path / "killed" / "selection.jsonl").exists() else 0
    assert done == min(most // 2, 3)
    drawn = watch(monkeypatch)
    found = select(run, tmp_path / "killed")
    expected = [(step, number) for step in list(STEPS)[done:] for number in (0, 1)]
    expected += [(found.best.step, number) for number in range(max(0, most - 6), 3)]
    assert drawn == expected
    assert [each.value for each in found.judged] == [each.value for each in undisturbed.judged]
    assert found.report.value("fid") == undisturbed.report.value("fid")


def test_a_line_that_was_cut_short_is_judged_again(run, tmp_path, monkeypatch):
    first = select(run, tmp_path, final_samples=None)
    path = tmp_path / "selection.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    drawn = watch(monkeypatch)
    assert select(run, tmp_path, final_samples=None) == first
    assert {step for step, _ in drawn} == {300}
    assert [row["judged"]["step"] for row in lines(tmp_path)] == [100, 200, 300]


CHANGES = [
    {"seed": 5},
    {"num_samples": 13},
    {"batch_size": 6},
    {"denoise": True},
    {"weights": "raw"},
    {"split": "test"},
    {"extractor": FunctionExtractor(pixels, "other pixels")},
    {"sampler": replace(LANGEVIN, steps_per_level=1)},
]


@pytest.mark.parametrize("change", CHANGES, ids=[next(iter(change)) for change in CHANGES])
def test_other_settings_are_not_answered_from_the_record(run, selected, tmp_path, monkeypatch, change):
    out = shutil.copytree(selected, tmp_path / "out")
    drawn = watch(monkeypatch)
    select(run, out, final_samples=None, cache=tmp_path / "other.safetensors", **change)
    assert {step for step, _ in drawn} == set(STEPS)
    del drawn[:]
    select(run, out, final_samples=None)
    assert drawn == []  # and the first settings are still on record


def test_a_step_that_was_trained_again_is_judged_again(tmp_path, monkeypatch):
    run = store_run(tmp_path / "run", STEPS)
    select(run, tmp_path / "out", final_samples=None)
    shutil.rmtree(run)
    store_run(run, STEPS | {300: 0.9})
    drawn = watch(monkeypatch)
    select(run, tmp_path / "out", final_samples=None)
    assert {step for step, _ in drawn} == {300}


def test_only_checkpoints_that_still_exist_count(tmp_path):
    run = store_run(tmp_path / "run", STEPS)
    best = select(run, tmp_path / "out", final_samples=None).best.step
    model = (run / "checkpoint" / "step-300" / "config.json").read_bytes()
    store = CheckpointStore(run / "checkpoint")
    store.write(400, {"config.json": model, **_weights(run, 300)}, keep_last=1)  # the others go
    found = select(run, tmp_path / "out", final_samples=None)
    assert [each.step for each in found.judged] == [400]
    assert found.best.step == 400 != best
    assert len(lines(tmp_path / "out")) == 4


def _weights(run: Path, step: int) -> dict[str, bytes]:
    folder = run / "checkpoint" / f"step-{step}"
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_a_checkpoint_whose_chains_run_off_is_passed_over(tmp_path):
    run = store_run(tmp_path / "run", {100: 1.0, 200: 1e30})
    found = select(run, tmp_path / "out", final_samples=None)
    assert found.best.step == 100
    assert "not finite" in found.judged[1].fault
    assert "step 200: samples 0 to 7" in str(found)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["judged"][1]["result"] is None
    assert select(run, tmp_path / "out", final_samples=None) == found
    with pytest.raises(NonFiniteSamplesError, match="all 1 checkpoints ran off"):
        select(store_run(tmp_path / "wild", {7: 1e30}), tmp_path / "other")


def test_of_equal_checkpoints_the_earliest_is_chosen(tmp_path):
    run = store_run(tmp_path / "run", {100: 1.0, 200: 1.0})
    assert select(run, tmp_path / "out", final_samples=None).best.step == 100


def test_both_ends_of_the_final_samples(run, tmp_path):
    found = select(run, tmp_path, final_denoise="both")
    assert [each.provenance.denoised for each in found.report.results] == [False, True]
    assert found.report.value("fid", denoised=True) != found.report.value("fid", denoised=False)


def test_the_sampler_of_the_run_is_taken(tmp_path):
    run = store_run(tmp_path / "run", {100: 1.0})
    (run / "config.json").write_text(json.dumps({"sampler": sk.to_config(LANGEVIN)}))
    options = {"extractor": extractor(), "num_samples": 12, "batch_size": 8, "final_samples": None}
    found = evaluate_checkpoints(run, "embedded", out=tmp_path / "out", **options)
    assert found.best.value == distance(run, 100)


def test_bad_arguments_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match="'both' is for final_denoise"):
        select(run, tmp_path, denoise="both")
    with pytest.raises(ValueError, match="give one, sampler="):
        select(run, tmp_path, sampler=None)
    with pytest.raises(CheckpointError, match="found none"):
        select(tmp_path, tmp_path / "out")


def test_the_loss_is_that_of_the_test_split(run, tmp_path):
    found = select(run, tmp_path, metrics=["fid", "loss"])
    assert str(found.report.results[1].reference) == "digits test, 297"


def test_processes_find_the_same(run, tmp_path):
    expected = select(run, tmp_path / "one")
    both = on_processes(2, lambda runtime: select(run, tmp_path / "two", runtime=runtime))
    for found in both:
        assert found.judged == expected.judged
        assert found.report.value("fid") == expected.report.value("fid")
    assert lines(tmp_path / "two") == lines(tmp_path / "one")


def test_the_distance_is_to_the_training_pictures(run):
    by = extractor()
    drawn = evaluate_checkpoint(run, "embedded", sampler=LANGEVIN, num_samples=12, extractor=by)
    samples = DrawnSamples(sk.load(run / "checkpoint"), LANGEVIN, 12)
    assert drawn.value("fid") == evaluate(samples, sk.data.digits("train"), extractor=by).value("fid")
    assert drawn.value("fid") != evaluate(samples, sk.data.digits("test"), extractor=by).value("fid")
    assert torch.isfinite(torch.tensor(drawn.value("fid")))
