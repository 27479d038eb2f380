import json
import math

import pytest
import torch

from scorekit.training import JsonLines, TensorBoardLog, TrainStep


def step(number, held_out=None):
    return TrainStep(number, 0.5, 2.0, 1e-3, 0.25, 8, torch.ones(8), torch.ones(8), held_out)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_what_the_step_was(tmp_path):
    log = JsonLines(tmp_path / "new" / "metrics.jsonl")
    log.write(step(10, {1.0: 3.0, 0.01: math.inf}))
    assert lines(log.path) == [
        {"step": 10, "loss": 0.5, "learning_rate": 1e-3, "grad_norm": 2.0, "seconds": 0.25, "examples_per_second": 32.0,
         "held_out": {"1": 3.0, "0.01": None}}
    ]  # fmt: skip
    log.close()


@pytest.mark.parametrize("torn", ["", '{"step": 3', '{"loss": 1}\n', "[]\n"])
def test_a_resumed_log_has_every_step_once(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    log = JsonLines(path)
    for number in range(1, 8):
        log.write(step(number))
    log.close()
    path.write_text(path.read_text() + torn)
    log = JsonLines(path, after=4)
    for number in range(5, 10):
        log.write(step(number))
    log.close()
    assert [line["step"] for line in lines(path)] == list(range(1, 10))


def test_a_new_log_starts_empty(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    JsonLines(tmp_path / "metrics.jsonl").close()
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_tensorboard_gets_the_same_curves(tmp_path):
    pytest.importorskip("tensorboard", reason="needs scorekit[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TensorBoardLog(tmp_path, every=2)
    for number in range(1, 6):
        log(step(number, {0.1: 7.0} if number == 5 else None))
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("loss")] == [2, 4, 5]
    assert [(event.step, event.value) for event in events.Scalars("held_out/0.1")] == [(5, 7.0)]
