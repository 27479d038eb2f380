"""`scorekit evaluate`: the library's numbers, printed and as JSON; the rest refused in one line."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import scorekit as sk
from scorekit import evaluation as ev
from scorekit.checkpoint import save_network
from tests.cli.conftest import NOISE, SAMPLER, save_run, small_model


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Untrained: its features are as good as any for what is tested here."""
    from scorekit.networks.classifier import ConvClassifier

    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = ConvClassifier(image_shape=(1, 8, 8), num_classes=10, width=8)
    folder = tmp_path_factory.mktemp("classifier")
    save_network(folder, net)
    return folder


@pytest.fixture
def features(classifier):
    return "--extractor", "classifier", "--extractor-weights", classifier


def test_a_report_is_the_librarys_printed_and_as_json(cli, run_folder, classifier, features, tmp_path):
    """The data are those of the run; the mutant is another seed."""
    options = ("--metrics", "fid,neighbours", "--num-samples", 12, "--split", "test", "--batch-size", 5)
    result = cli("evaluate", run_folder, *options, *features, "--seed", 3, "--out", tmp_path / "report.json")
    assert (result.code, result.err) == (0, "")

    def report(seed: int) -> ev.Report:
        return ev.evaluate_checkpoint(
            run_folder, "embedded", metrics=["fid", "neighbours"], num_samples=12, split="test", batch_size=5,
            seed=seed, extractor=ev.ClassifierExtractor(classifier),
        )  # fmt: skip

    expected = report(3)
    assert result.out == f"{expected}\n"
    assert json.loads((tmp_path / "report.json").read_text()) == expected.to_json()
    assert report(4).value("fid") != expected.value("fid")
    assert "FID of 12 samples: biased upward" in result.out


def test_a_sampler_by_name_and_both_endings(cli, run_folder, features, tmp_path):
    options = ("--metrics", "fid", "--num-samples", 8, *features, "--out", tmp_path / "report.json")
    named = ("--sampler", "annealed-langevin", "--param", "steps_per_level=1", "--denoise", "both")
    assert cli("evaluate", run_folder, *options, *named).code == 0
    report = ev.Report.from_json(json.loads((tmp_path / "report.json").read_text()))
    known = [each.provenance for each in report.results]
    assert [(each.denoised, each.evaluations) for each in known] == [(False, 4), (True, 5)]
    assert cli("evaluate", run_folder, *options, "--sampler", "heun", "--evaluations", 5).code == 0
    report = ev.Report.from_json(json.loads((tmp_path / "report.json").read_text()))
    assert [each.provenance.evaluations for each in report.results] == [5]


def test_samples_on_disk_are_judged_as_they_are(cli, run_folder, tmp_path):
    cli("sample", run_folder, "--num-samples", 6, "--out", tmp_path / "drawn")
    options = ("--metrics", "neighbours", "--split", "test", "--data", "embedded", "--out", tmp_path / "report.json")
    assert cli("evaluate", tmp_path / "drawn", *options).code == 0
    there = json.loads((tmp_path / "report.json").read_text())
    assert cli("evaluate", run_folder, *options, "--num-samples", 6, "--keep", tmp_path / "kept").code == 0
    drawn = json.loads((tmp_path / "report.json").read_text())
    values = [[each["value"] for each in report["results"]] for report in (there, drawn)]
    assert values[0] == pytest.approx(values[1], rel=0, abs=0.02)  # batches of 32 and of 100: a level of grey or none
    assert len(list((tmp_path / "kept").glob("*.png"))) == 6


def test_pictures_are_scaled_as_the_run_scaled_them(cli, tmp_path):
    """The mutant: a run that scaled nothing, whose samples have another shape than the pictures."""
    for number in range(3):
        path = tmp_path / "pictures" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((12, 16), 80 * number, dtype=np.uint8)).save(path)
    save_run(tmp_path / "run", small_model(), NOISE, SAMPLER)
    config = tmp_path / "run" / "config.json"
    document = json.loads(config.read_text()) | {"data": str(tmp_path / "pictures")}
    command = ("evaluate", tmp_path / "run", "--metrics", "neighbours", "--num-samples", 2)
    for options in ((), ("--data", tmp_path / "pictures")):
        config.write_text(json.dumps(document | {"size": 8}))
        assert cli(*command, *options).code == 0
        config.write_text(json.dumps(document | {"size": None}))
        assert cli(*command, *options).fails(1, "(1, 8, 8)", "(1, 12, 16)")
    config.write_text(json.dumps(document | {"size": 8}))
    assert cli(*command, "--data", "embedded").code == 0  # of one size: nothing is scaled


def test_the_held_out_loss_needs_no_extractor(cli, run_folder, tmp_path):
    out = tmp_path / "report.json"
    assert cli("evaluate", run_folder, "--metrics", "loss", "--num-samples", 1, "--out", out).code == 0
    results = json.loads(out.read_text())["results"]
    assert results[0]["metric"] == "loss"
    assert len(results) == 1 + len(NOISE.levels())


@pytest.mark.slow
def test_every_step_is_judged_and_the_same_command_goes_on(cli, features, tmp_path):
    run = tmp_path / "run"
    bad = small_model()
    with torch.no_grad():
        bad.net.end_conv.bias.add_(300)  # chains that run off to one side
    sk.save(run / "checkpoint", bad)
    save_run(run, small_model(), NOISE, SAMPLER)
    keep = tmp_path / "kept"
    command = ("evaluate", run, "--all-checkpoints", "--num-samples", 8, "--final-samples", 10, "--keep", keep)
    result = cli(*command, *features, "--split", "test")
    assert (result.code, result.err) == (0, "")
    assert "Chosen: step 1, the least Frechet distance of 2 checkpoints." in result.out
    assert len(list((keep / "step-1").glob("*.png"))) == 10
    judged = (keep / "selection.jsonl").read_text()
    assert judged.count("\n") == 2
    assert cli(*command, *features, "--split", "test").out == result.out
    assert (keep / "selection.jsonl").read_text() == judged
    none = cli(*command[:-4], "--final-samples", 0, "--keep", tmp_path / "other", *features, "--split", "test")
    assert none.code == 0
    assert not (tmp_path / "other" / "step-1").exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--metrics", "fdi"), 2, ("--metrics fdi", "did you mean 'fid'", "neighbours")),
        (("--metrics", ""), 2, ("--metrics",)),
        (("--metrics", "fid"), 2, ("fid goes by features", "--extractor")),
        (("--extractor", "inception"), 2, ("--extractor-weights",)),
        (("--extractor", "vgg"), 2, ("vgg", "inception")),
        (("--extractor-weights", "x"), 2, ("--extractor inception or classifier",)),
        (("--extractor", "classifier", "--extractor-weights", "nowhere"), 1, ("nowhere", "expected")),
        (("--extractor", "inception", "--extractor-weights", "nowhere.pth"), 1, ("nowhere.pth",)),
        (("--extractor", "classifier", "--extractor-weights", "x", "--extractor-sha256", "ab"), 2, ("inception",)),
        (("--metrics", "neighbours", "--data", "nowhere"), 1, ("nowhere", "embedded")),
        (("--metrics", "neighbours", "--sampler", "hean"), 2, ("did you mean 'heun'",)),
        (("--metrics", "neighbours", "--sampler", "heun", "--num-levels", "9"), 2, ("more levels",)),
        (("--metrics", "neighbours", "--out", "report.txt"), 2, ("report.txt", "FILE.json")),
        (("--metrics", "neighbours", "--split", "valid"), 2, ("valid",)),
        (("--all-checkpoints", "--metrics", "neighbours"), 2, ("fid goes by features",)),
        (("--all-checkpoints", "--extractor", "classifier", "--extractor-weights", "x"), 2, ("--keep",)),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(cli, run_folder, tmp_path, monkeypatch, options, code, said):
    monkeypatch.chdir(tmp_path)
    assert cli("evaluate", run_folder, *options).fails(code, *said)


def test_what_is_there_already_is_not_drawn(cli, run_folder, tmp_path):
    cli("sample", run_folder, "--num-samples", 2, "--out", tmp_path / "drawn")
    common = ("evaluate", tmp_path / "drawn", "--metrics", "neighbours")
    assert cli(*common).fails(2, "nothing to compare with", "--data")
    assert cli(*common, "--data", "embedded", "--sampler", "heun").fails(
        2, "--sampler heun", "no checkpoint but samples"
    )
    assert cli("evaluate", tmp_path / "nowhere").fails(2, "--extractor")
    assert cli("evaluate", tmp_path / "nowhere", "--metrics", "loss").fails(1, "nowhere", "found nothing")
