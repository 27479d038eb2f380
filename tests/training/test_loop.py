import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import scorekit as sk
from scorekit.data import Dequantize, as_source
from scorekit.training import NonFiniteLossError, PlainRuntime, Runtime, Training, TrainingConfig, fit
from tests.training.runs import Net, config, digest, digest_of, examples, objective, run_to, training

# ------------------------------------------------------------------------------------------------------------------
# the loop is Adam on the objective


def test_fit_is_adam_on_the_objective_with_the_steps_own_draws():
    """The loop written out; a wrong draw, order or rate would show in the last bits at once."""
    mine, theirs = objective(), objective()
    steps = list(fit(mine, examples(), num_steps=12, batch_size=8, learning_rate=0.02, warmup_steps=4, seed=5))
    theirs.model.set_moments(*mine.model.moments)
    optimizer = torch.optim.Adam(theirs.parameters())
    order = Training(objective(), examples(), TrainingConfig(12, 8, seed=5))._order
    for n in range(1, 13):
        x = examples()[order.indices(8 * (n - 1), 8)]
        loss = theirs(x, generator=sk.PerChain(5).fork("train").fork(n)).loss
        optimizer.param_groups[0]["lr"] = 0.02 * min(1, n / 4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert steps[n - 1].loss == float(loss.detach())
    assert digest_of(mine.state_dict().values()) == digest_of(theirs.state_dict().values())


def test_training_lowers_the_held_out_loss_and_stores_the_moments():
    run, noise = objective(), sk.PerChain(0)
    x = 0.1 * examples() + 2
    before = float(run(x.repeat(20, 1), generator=noise.fork(0)).loss.detach())
    for _ in fit(run, x, num_steps=150, learning_rate=3e-2, batch_size=32):
        pass
    assert float(run(x.repeat(20, 1), generator=noise.fork(0)).loss.detach()) < 0.7 * before
    mean, std = run.model.moments
    torch.testing.assert_close(mean, x.mean(0))
    torch.testing.assert_close(std, x.std(0, correction=0))


def test_a_step_says_what_happened():
    step = next(training().steps())
    assert (step.step, step.examples, step.held_out) == (1, 8, None)
    assert step.learning_rate == config().learning_rate_at(1)
    assert step.loss == pytest.approx(float(step.per_example.mean()))
    weights = {sigma: int((step.sigma == sigma).sum()) for sigma in step.per_sigma}
    assert sum(weights[sigma] * loss for sigma, loss in step.per_sigma.items()) / 8 == pytest.approx(step.loss)
    assert list(step.per_sigma) == sorted(step.per_sigma, reverse=True)
    assert step.examples_per_second == 8 / step.seconds > 0


def test_nothing_is_trained_before_the_first_step_is_asked_for_and_bad_numbers_are_refused_at_once():
    run = objective()
    before = [weight.clone() for weight in run.parameters()]
    fit(run, examples(), num_steps=3)
    assert all(map(torch.equal, run.parameters(), before))
    with pytest.raises(ValueError, match="num_steps=0"):
        fit(run, examples(), num_steps=0)


def test_the_global_generator_is_left_alone():
    run = objective()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    list(fit(run, examples(), num_steps=3, batch_size=4))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("warm", "decays"), [(False, [0.5] * 5), (True, [2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15])], ids=["plain", "warm"]
)
def test_the_average_is_the_recursion(warm, decays):
    run = training(settings=config(num_steps=6, ema_decay=0.5, ema_warmup=warm))
    seen = [torch.cat([w.detach().flatten().double() for w in run.model.parameters()]) for _ in run.steps()]
    average = seen[0]
    for decay, weights in zip(decays, seen[1:], strict=True):
        average = decay * average + (1 - decay) * weights
    found = torch.cat([weight.flatten().double() for weight in run.best.parameters()])
    torch.testing.assert_close(found, average, rtol=1e-6, atol=1e-7)
    assert run.best is not run.model
    assert not any(weight.requires_grad for weight in run.best.parameters())


def test_clipping_scales_the_gradient_to_the_limit():
    """The gradient g is read off one step: with betas 0 the update is u = g / (|g| + eps), so g = eps u / (1 - |u|)."""
    moved = {}
    for limit in (None, 0.01):
        settings = TrainingConfig(1, 8, learning_rate=1.0, betas=(0, 0), adam_eps=1e4, clip_norm=limit)
        run = training(examples(dtype=torch.float64), settings, dtype=torch.float64)
        before = [weight.detach().clone() for weight in run.model.parameters()]
        (step,) = run.steps()
        update = torch.cat(
            [(new.detach() - old).flatten() for new, old in zip(run.model.parameters(), before, strict=True)]
        )
        moved[limit] = 1e4 * update / (1 - update.abs())
    assert step.grad_norm == pytest.approx(float(moved[None].norm()), rel=1e-6)
    assert float(moved[0.01].norm()) == pytest.approx(0.01, rel=1e-6)
    torch.testing.assert_close(moved[0.01] * step.grad_norm / 0.01, moved[None], rtol=1e-5, atol=1e-9)


def test_frozen_weights_stay_and_a_model_without_others_is_refused():
    run = objective()
    first = run.model.net.layers[0].requires_grad_(False).weight.clone()
    list(fit(run, examples(), num_steps=3))
    assert torch.equal(run.model.net.layers[0].weight, first)
    with pytest.raises(ValueError, match="no weights to train"):
        fit(objective().requires_grad_(False), examples(), num_steps=3)


def test_batches_are_cast_to_the_type_of_the_weights():
    steps = list(fit(objective(dtype=torch.float64), examples().numpy(), num_steps=2))
    assert steps[0].per_example.dtype == torch.float64


# ------------------------------------------------------------------------------------------------------------------
# the gradient does not depend on pieces and processes


class Rank(Runtime):
    """One of several processes, with nobody to talk to: its own gradient is looked at."""

    def __init__(self, rank: int, num_processes: int):
        super().__init__(torch.device("cpu"), rank, num_processes)
        self.plain = PlainRuntime("cpu")

    def prepare(self, objective, optimizer):
        self.plain.prepare(objective, optimizer)

    def loss(self, x, condition, *, generator):
        return self.plain.loss(x, condition, generator=generator)

    def piece(self, *, last):
        return nullcontext()

    def backward(self, loss):
        loss.backward()

    grad_norm = update = mean = gather = scaler_state = load_scaler_state = None


def gradient(rank: int = 0, num_processes: int = 1, accumulate: int = 1) -> torch.Tensor:
    pixels = (examples(dtype=torch.float64).sigmoid() * 15).round()
    source = as_source(pixels / 15, Dequantize(16))  # draws for each example too
    settings = config(batch_size=12, accumulate=accumulate)
    run = Training(objective(dtype=torch.float64), source, settings, runtime=Rank(rank, num_processes))
    run.position = 30  # the batch spans two epochs
    run._gradient(7)
    return torch.cat([weight.grad.flatten() for weight in run.model.parameters()])


@pytest.mark.parametrize(("num_processes", "accumulate"), [(1, 2), (1, 3), (2, 1), (2, 3), (3, 2), (4, 1)])
def test_the_gradient_is_that_of_one_process_and_one_piece(num_processes, accumulate):
    split = torch.stack([gradient(rank, num_processes, accumulate) for rank in range(num_processes)]).mean(0)
    torch.testing.assert_close(split, gradient(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("num_processes", "accumulate"), [(1, 2), (2, 1)])
def test_mutant_pieces_that_draw_from_row_zero_on_are_rejected(monkeypatch, num_processes, accumulate):
    whole = gradient()
    monkeypatch.setattr(sk.PerChain, "shift", lambda self, offset: self._with(self._key, self._path, self.first))
    split = torch.stack([gradient(rank, num_processes, accumulate) for rank in range(num_processes)]).mean(0)
    assert float((split - whole).abs().max()) > 1e-3


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match=r"batch_size=12.*multiple of 8, that is of 2 processes times accumulate = 4"):
        Training(objective(), examples(), config(batch_size=12, accumulate=4), runtime=Rank(0, 2))


# ------------------------------------------------------------------------------------------------------------------
# a bad loss or gradient stops the run before its update


class Fault(nn.Module):
    """A network that goes wrong in its n-th forward pass, where sigma is small."""

    def __init__(self, at: int, spoil):
        super().__init__()
        self.net, self.at, self.spoil, self.calls = Net(), at, spoil, 0

    def forward(self, x, sigma):
        self.calls += 1
        output = self.net(x, sigma)
        return self.spoil(output, sigma) if self.calls == self.at else output


def nan_at_small_sigma(output, sigma):
    return torch.where(sigma.unsqueeze(1) < 0.2, torch.nan, output)


def overflow(output, sigma):
    return output * 1e30


def nan_gradient(output, sigma):
    output.register_hook(lambda grad: grad * torch.nan)
    return output


def faulty(spoil, at=7) -> Training:
    model = sk.DirectScore(Fault(at, spoil))
    return Training(sk.Objective(model, sk.DenoisingScoreMatching(), sk.Geometric(1.0, 0.1, 4)), examples(), config())


@pytest.mark.parametrize("spoil", [nan_at_small_sigma, overflow, nan_gradient])
def test_a_bad_step_is_named_and_not_applied(spoil):
    good = faulty(nan_gradient, at=1000)
    run_to(good, 6)
    run = faulty(spoil)
    with pytest.raises(NonFiniteLossError, match="step 7") as error:
        list(run.steps())
    if spoil is nan_at_small_sigma:
        assert "sigma = 0.1." in str(error.value)
        assert "the loss is nan" in str(error.value)
    else:
        assert "sigma = " in str(error.value)
    assert digest(run) == digest(good)
    assert run.step == 6
    assert all(weight.grad is None for weight in run.model.parameters())


def test_mutant_without_the_check_is_rejected(monkeypatch):
    monkeypatch.setattr(Training, "_verdict", lambda self, step, losses: (0.0, 0.0))
    run = faulty(nan_gradient)
    run_to(run, 7)
    assert any(weight.isnan().any() for weight in run.model.parameters())


def test_the_names_of_the_bad_levels_hold_over_pieces():
    model = sk.DirectScore(Fault(14, nan_at_small_sigma))  # the second piece of step 7
    noisy = sk.Objective(model, sk.DenoisingScoreMatching(), sk.Geometric(1.0, 0.1, 4))
    with pytest.raises(NonFiniteLossError, match=r"step 7.* of 8 examples .*sigma = 0\.1\."):
        list(Training(noisy, examples(), config(accumulate=2)).steps())


# ------------------------------------------------------------------------------------------------------------------
# stopping, and data that come in order


def test_stop_ends_the_loop_after_the_step_in_hand():
    run = training()
    seen = []
    for step in run.steps():
        seen.append(step.step)
        if step.step == 5:
            run.stop()
    assert seen == [1, 2, 3, 4, 5]


class Pair(Rank):
    """The first of two processes; `say` is what the other one adds to every mean."""

    def __init__(self, say):
        super().__init__(0, 2)
        self.say = say

    def grad_norm(self, gradients):
        return self.plain.grad_norm(gradients)

    def update(self):
        return self.plain.update()

    def mean(self, values):
        return (values + self.say(values)) / 2


def test_processes_stop_together_whichever_was_asked_and_whenever():
    run = Training(objective(), examples(), config(), runtime=Pair(lambda values: values))
    seen = []
    for step in run.steps():
        seen.append(step.step)
        if step.step == 3:
            run.stop()  # too late for this step: the other process is in the next one already
    assert seen == [1, 2, 3, 4]
    count = iter(range(1, 100))
    other = Pair(lambda values: torch.stack([values[0], torch.tensor(float(next(count) == 5))]))
    assert [step.step for step in Training(objective(), examples(), config(), runtime=other).steps()] == [1, 2, 3, 4, 5]


def test_a_bad_loss_of_another_process_stops_this_one_too():
    run = Training(objective(), examples(), config(), runtime=Pair(lambda values: values * torch.nan))
    run.runtime.gather = lambda values: torch.stack([values, values * torch.nan])
    with pytest.raises(NonFiniteLossError, match=r"step 1: the loss is nan .* 4 of 8 examples"):
        next(run.steps())


def test_a_stream_trains_on_its_own_order():
    x = examples(40)
    loader = DataLoader(x, batch_size=10)
    run = Training(objective(), loader, config(num_steps=9))
    losses = [step.loss for step in run.steps()]
    again = Training(objective(), loader, config(num_steps=9))
    again._order = type("Line", (), {"indices": lambda self, first, count: torch.arange(first, first + count) % 40})()
    again.source = as_source(x)
    assert losses == [step.loss for step in again.steps()]
    assert run.model.moments is not None
    assert math.isclose(float(run.model.moments[0][0]), float(x[:, 0].mean()), abs_tol=1e-6)


class _Bent(nn.Module):
    """The energy of a network whose second derivative is 0 wherever it exists."""

    def __init__(self, activation: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), activation, nn.Linear(8, 1, bias=False))

    def forward(self, x, sigma):
        return self.layers(x).squeeze(1)


def test_the_look_at_the_first_batch_draws_nothing_and_is_not_repeated_by_a_resumed_run(monkeypatch):
    model = sk.DirectScore(nn.Sequential(Net(), nn.Dropout(0.5)))
    model.net.forward = lambda x, sigma: model.net[1](model.net[0](x, sigma))
    run = Training(sk.Objective(model, sk.SlicedScoreMatching(), sk.SingleLevel(0.5)), examples(), config(num_steps=3))
    before = torch.get_rng_state()
    run.objective.check_score(examples()[:4])
    assert torch.equal(torch.get_rng_state(), before)
    assert model.net[1].training
    looked = []
    monkeypatch.setattr(sk.Objective, "check_score", lambda self, x, condition: looked.append(len(x)))
    run.step = 1  # as after a resume
    list(run.steps())
    assert looked == []
    again = Training(run.objective, examples(), config(num_steps=2))
    list(again.steps())
    assert len(looked) == 1


@pytest.mark.parametrize("estimator", [sk.ImplicitScoreMatching(), sk.SlicedScoreMatching()])
def test_an_energy_without_curvature_is_refused_with_the_first_batch(estimator):
    data = examples()[:, :2]
    flat = sk.Objective(sk.EnergyModel(_Bent(nn.ReLU())), estimator, sk.SingleLevel(0.1))
    with pytest.raises(ValueError, match="exactly 0 at all 4 examples"):
        next(fit(flat, data, num_steps=1, batch_size=4))
    curved = sk.Objective(sk.EnergyModel(_Bent(nn.Softplus())), estimator, sk.SingleLevel(0.1))
    assert next(fit(curved, data, num_steps=1, batch_size=4)).step == 1
    regression = sk.Objective(sk.EnergyModel(_Bent(nn.ReLU())), sk.DenoisingScoreMatching(), sk.SingleLevel(0.1))
    assert next(fit(regression, data, num_steps=1, batch_size=4)).step == 1
