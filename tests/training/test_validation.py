import pytest
import torch
from torch.utils.data import DataLoader

import scorekit as sk
from scorekit.training import HeldOut, PlainRuntime
from tests.training.runs import examples, objective
from tests.training.test_loop import Rank

X = examples(23, dtype=torch.float64)


def losses(batch_size=8, model=None, seed=0, runtime=None):
    run = objective(dtype=torch.float64)
    held_out = HeldOut(X, seed=seed, batch_size=batch_size)
    return held_out.losses(run, model or run.model, runtime or PlainRuntime("cpu"))


def test_every_level_has_its_mean_loss_over_all_held_out_examples():
    found, run = losses(), objective(dtype=torch.float64)
    assert list(found) == run.noise.levels().tolist()
    for index, (sigma, loss) in enumerate(found.items()):
        draws = sk.PerChain(0).fork("held-out").fork(index)
        expected = run.loss_at(X, X.new_full((23,), sigma), generator=draws).loss
        assert loss == pytest.approx(float(expected.detach()), rel=1e-12)


def test_the_draws_are_the_same_each_time_in_batches_of_any_size():
    found = losses()
    assert losses() == found
    assert losses(batch_size=5) == pytest.approx(found, rel=1e-12)
    assert losses(seed=1) != pytest.approx(found, rel=1e-3)


def test_processes_share_the_examples():
    class Share(Rank):
        def mean(self, values):
            return values

    parts = [losses(runtime=Share(rank, 3)) for rank in range(3)]
    summed = {sigma: sum(part[sigma] for part in parts) / 3 for sigma in parts[0]}
    assert summed == pytest.approx(losses(), rel=1e-12)


def test_it_measures_the_model_given_in_evaluation_mode_and_leaves_no_trace():
    run = objective(dtype=torch.float64, dropout=0.5)
    held_out = HeldOut(X, seed=0, batch_size=8)
    found = held_out.losses(run, run.model, PlainRuntime("cpu"))
    assert found == losses()  # no dropout
    assert run.model.training
    zero = objective(dtype=torch.float64).model
    for weight in zero.parameters():
        weight.data.zero_()
    many = HeldOut(examples(2000, dtype=torch.float64), seed=0, batch_size=500)
    for loss in many.losses(run, zero, PlainRuntime("cpu")).values():
        assert abs(loss - 1) < 4.9 * (1 / 2000) ** 0.5  # d / 2 = 1, variance of |eps|^2 / 2 in two dimensions 1


def test_a_stream_is_refused():
    with pytest.raises(ValueError, match="random access"):
        HeldOut(DataLoader(X, batch_size=4), seed=0, batch_size=8)
