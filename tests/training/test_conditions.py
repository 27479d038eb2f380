"""Training with conditions: each example's own reaches the network, in every piece, on every process, once resumed."""

import json
import warnings

import pytest
import torch
from torch import nn

import scorekit as sk
from scorekit.checkpoint import CheckpointError
from scorekit.data import Dequantize, Source, as_source
from scorekit.training import HeldOut, PlainRuntime, Training, TrainingConfig, fit, snapshot, state, train
from tests.training.conditional import KINDS, ConditionalNet, conditions, objective, source, training
from tests.training.runs import Net, config, digest_of, examples, finish, resumed, run_to, saved
from tests.training.runs import objective as unconditional
from tests.training.test_loop import Rank

OWN = Source.condition


def the_first_rows(self: Source, indices: torch.Tensor) -> torch.Tensor:
    return OWN(self, torch.arange(len(indices)))


def the_batch_backwards(self: Source, indices: torch.Tensor) -> torch.Tensor:
    return OWN(self, indices.flip(0))


def the_table_backwards(self: Source, indices: torch.Tensor) -> torch.Tensor:
    return OWN(self, len(self) - 1 - indices)


WRONG = [the_first_rows, the_batch_backwards, the_table_backwards]

# ------------------------------------------------------------------------------------------------------------------
# each example's own condition, in the loop


def written_out(kind) -> str:
    """The loop of Adam on the objective, with the rows picked from the tables by hand."""
    run, x, table = objective(kind), examples(), conditions(kind)
    table = table if kind == "labels" else table.float()
    optimizer = torch.optim.Adam(run.parameters())
    order = Training(objective(kind), source(kind), TrainingConfig(12, 8, seed=5))._order
    for n in range(1, 13):
        rows = order.indices(8 * (n - 1), 8)
        optimizer.zero_grad()
        run(x[rows], table[rows], generator=sk.PerChain(5).fork("train").fork(n)).loss.backward()
        optimizer.step()
    return digest_of(run.parameters())


def fitted(kind) -> str:
    run = objective(kind)
    list(fit(run, source(kind), num_steps=12, batch_size=8, seed=5))
    return digest_of(run.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_fit_is_adam_on_each_example_under_its_own_condition(kind):
    assert fitted(kind) == written_out(kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", WRONG)
def test_mutant_that_takes_other_rows_is_rejected(monkeypatch, kind, wrong):
    expected = written_out(kind)
    monkeypatch.setattr(Source, "condition", wrong)
    assert fitted(kind) != expected


def test_conditions_draw_nothing_and_a_network_may_ignore_them():
    """The unconditional run's bits: the order of the data, the levels and the noise are what they were."""

    class Deaf(Net):
        def forward(self, x, sigma, condition=None):
            return super().forward(x, sigma)

    digests = []
    for data in (examples(), source("labels"), source("vectors")):
        run = sk.Objective(sk.DirectScore(Deaf()), sk.DenoisingScoreMatching(), sk.Geometric(1.0, 0.1, 4))
        digests.append(finish(Training(run, data, config())))
    assert len(set(digests)) == 1


def gradient(kind, rank: int = 0, num_processes: int = 1, accumulate: int = 1) -> torch.Tensor:
    pixels = (examples(dtype=torch.float64).sigmoid() * 15).round()
    data = as_source(pixels / 15, Dequantize(16), condition=conditions(kind))
    settings = config(batch_size=12, accumulate=accumulate)
    run = Training(objective(kind, torch.float64), data, settings, runtime=Rank(rank, num_processes))
    run.position = 30  # the batch spans two epochs
    run._gradient(7)
    return torch.cat([weight.grad.flatten() for weight in run.model.parameters()])


SPLITS = [(1, 2), (2, 1), (2, 3), (3, 2)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("num_processes", "accumulate"), SPLITS)
def test_the_gradient_is_that_of_one_process_and_one_piece(kind, num_processes, accumulate):
    split = torch.stack([gradient(kind, rank, num_processes, accumulate) for rank in range(num_processes)]).mean(0)
    torch.testing.assert_close(split, gradient(kind), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", WRONG)
def test_mutant_pieces_with_conditions_of_others_are_rejected(monkeypatch, kind, wrong):
    whole = gradient(kind)
    monkeypatch.setattr(Source, "condition", wrong)
    split = torch.stack([gradient(kind, rank, 2, 3) for rank in range(2)]).mean(0)
    assert float((split - whole).abs().max()) > 1e-3


@pytest.mark.parametrize("estimator", [sk.SlicedScoreMatching(), sk.ImplicitScoreMatching()])
def test_the_look_at_the_first_batch_has_its_conditions(monkeypatch, estimator):
    run = Training(objective(estimator=estimator), source("labels"), config(num_steps=1))
    assert [step.step for step in run.steps()] == [1]
    look = sk.Objective.check_score
    monkeypatch.setattr(sk.Objective, "check_score", lambda self, x, condition: look(self, x))  # the mutant
    with pytest.raises(TypeError, match="'condition'"):
        next(Training(objective(estimator=estimator), source("labels"), config(num_steps=1)).steps())


def two_classes(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.randint(2, (500,), generator=generator)
    return 6.0 * labels.unsqueeze(1) - 3 + 0.1 * torch.randn(500, 2, generator=generator), labels


def trained_loss(x: torch.Tensor, labels: torch.Tensor) -> float:
    """At sigma = 4, after 300 steps. The least is 2 / 2 * .01 / 16.01 = 6e-4 where the class is known (found: 8e-4),
    and some .2 where it is not.
    """
    run = sk.Objective(sk.ScaledScore(ConditionalNet()), sk.DenoisingScoreMatching(), sk.SingleLevel(4.0), "sigma^2")
    data = as_source(x, condition=labels)
    list(fit(run, data, num_steps=300, batch_size=100, learning_rate=0.03, seed=1))
    return sum(HeldOut(data, seed=0, batch_size=500).losses(run, run.model, PlainRuntime("cpu")).values())


def test_a_model_that_is_told_the_class_fits_better_than_one_that_is_told_another(generator):
    x, labels = two_classes(generator)
    right, permuted = trained_loss(x, labels), trained_loss(x, labels[torch.randperm(500, generator=generator)])
    assert right < 0.002
    assert permuted > 0.1


# ------------------------------------------------------------------------------------------------------------------
# resuming


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [11, 40])
def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(tmp_path, monkeypatch, kind, stop):
    run = training(kind)
    run_to(run, stop)
    saved(tmp_path, run)
    whole = finish(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert finish(resumed(tmp_path, training(kind))) == whole == finish(training(kind))
    fresh = resumed(tmp_path, training(kind))
    monkeypatch.setattr(Source, "condition", the_table_backwards)
    assert finish(fresh) != whole


def changed(kind, row: int) -> Source:
    table = conditions(kind)
    table[row] = (table[row] + 1) % 3
    return as_source(examples(), condition=table)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_other_conditions_is_refused(tmp_path, kind):
    run = training(kind)
    run_to(run, 2)
    saved(tmp_path, run)
    others = [changed(kind, row) for row in (0, 17, 36)]
    others += [as_source(examples(), condition=conditions(kind).flip(0))]
    for data in others:
        with pytest.raises(CheckpointError, match=r"same run .*data condition: saved 'torch\.\w+ .* sha256:.*, now 't"):
            resumed(tmp_path, training(kind, data))
    with pytest.raises(CheckpointError, match=r"data condition: saved .*, now None"):
        resumed(tmp_path, training(kind, as_source(examples())))
    resumed(tmp_path, training(kind))


def test_every_condition_counts_and_of_a_large_table_rows_all_over(monkeypatch):
    for kind in KINDS:
        found = {state._fingerprint(changed(kind, row))["condition"] for row in range(37)}
        assert len(found | {state._fingerprint(source(kind))["condition"]}) == 38
    monkeypatch.setattr(state, "_FINGERPRINT_NUMBERS", 20)  # ten vectors
    known = state._fingerprint(source("vectors"))["condition"]
    noticed = [row for row in range(37) if state._fingerprint(changed("vectors", row))["condition"] != known]
    assert noticed == [0, 3, 7, 11, 14, 18, 22, 25, 29, 33]


def test_conditions_are_no_part_of_an_unconditional_run_which_goes_on_without_them_only(tmp_path):
    run = Training(unconditional(), examples(), config())
    run_to(run, 2)
    facts = json.loads(snapshot(run)["training.json"])
    assert facts["data"] == {
        "num_examples": 37,
        "transform": "Compose(transforms=())",
        "examples": "torch.float32 (2,) sha256:f06f578676cd5bfcbc867172a11a1c1ca5b5048436b53bd7bdccd7c3f83917e3",
    }  # as checkpoints had it before there were conditions
    saved(tmp_path, run)
    with pytest.raises(CheckpointError, match=r"data condition: saved None, now 'torch\.int64 \(\) sha256"):
        resumed(tmp_path, Training(unconditional(), source("labels"), config()))


# ------------------------------------------------------------------------------------------------------------------
# the held-out loss


def held_out_losses(kind, batch_size=8, runtime=None) -> dict[float, float]:
    run, data = objective(kind, torch.float64), source(kind, 23, torch.float64)
    return HeldOut(data, seed=0, batch_size=batch_size).losses(run, run.model, runtime or PlainRuntime("cpu"))


def expected_losses(kind) -> dict[float, float]:
    run, x, losses = objective(kind, torch.float64), examples(23, torch.float64), {}
    for index, sigma in enumerate(run.noise.levels().tolist()):
        draws = sk.PerChain(0).fork("held-out").fork(index)
        loss = run.loss_at(x, x.new_full((23,), sigma), conditions(kind, 23), generator=draws).loss
        losses[sigma] = float(loss.detach())
    return losses


@pytest.mark.parametrize("kind", KINDS)
def test_the_held_out_loss_is_under_each_examples_own_condition(kind):
    expected = expected_losses(kind)
    for batch_size in (5, 8, 100):
        assert held_out_losses(kind, batch_size) == pytest.approx(expected, rel=1e-12)

    class Share(Rank):
        def mean(self, values):
            return values

    parts = [held_out_losses(kind, runtime=Share(rank, 3)) for rank in range(3)]
    assert {sigma: sum(part[sigma] for part in parts) / 3 for sigma in expected} == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", WRONG)
def test_mutant_of_the_held_out_loss_is_rejected(monkeypatch, kind, wrong):
    expected = expected_losses(kind)
    monkeypatch.setattr(Source, "condition", wrong)
    assert held_out_losses(kind) != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_train_logs_the_conditional_held_out_loss(tmp_path, kind):
    seen, numbers = [], config(num_steps=4, validate_every=2, ema_decay=None)
    run = objective(kind)
    train(run, source(kind), numbers, out=tmp_path, held_out=source(kind, 10), callbacks=[seen.append])
    again = HeldOut(source(kind, 10), seed=3, batch_size=8).losses(run, run.model, PlainRuntime("cpu"))
    assert seen[-1].held_out == again
    assert [step.step for step in seen if step.held_out is not None] == [2, 4]


@pytest.mark.parametrize(
    ("kind", "held_out", "message"),
    [
        ("labels", examples(5), "with labels; got no condition"),
        ("labels", source("vectors", 5), "with labels; got vectors of 2 numbers"),
        ("vectors", as_source(examples(5), condition=torch.ones(5, 3)), "with vectors of 2 numbers; got vectors of 3"),
        (None, source("labels", 5), "with no condition; got labels"),
    ],
)
def test_held_out_data_conditioned_otherwise_are_refused_before_the_first_step(tmp_path, kind, held_out, message):
    run, data = (unconditional(), examples()) if kind is None else (objective(kind), source(kind))
    seen = []
    with pytest.raises(ValueError, match=message):
        train(run, data, config(validate_every=5), out=tmp_path, held_out=held_out, callbacks=[seen.append])
    assert seen == []


# ------------------------------------------------------------------------------------------------------------------
# networks that were given the wrong thing


def test_a_conditional_network_on_data_without_conditions_fails_at_the_first_batch_naming_both():
    run = objective()
    before = [weight.clone() for weight in run.parameters()]
    with pytest.raises(TypeError) as error:
        next(fit(run, examples(), num_steps=3, batch_size=4))
    text = str(error.value)
    assert text.startswith("step 1, DirectScore(ConditionalNet) on a batch (4, 2) with no condition: ")
    assert "missing 1 required positional argument: 'condition'" in text
    assert all(map(torch.equal, run.parameters(), before))


def test_an_unconditional_network_on_data_with_conditions_says_so():
    mlp = sk.Objective(sk.DirectScore(sk.networks.MLP((2,), 8)), sk.DenoisingScoreMatching(), sk.Geometric(1.0, 0.1, 4))
    with pytest.raises(
        TypeError, match=r"step 1, DirectScore\(MLP\) .*with vectors of 2 numbers: MLP takes no condition"
    ):
        next(fit(mlp, source("vectors"), num_steps=3, batch_size=4))
    with pytest.raises(TypeError, match=r"step 1, DirectScore\(Net\) .*with labels \d\.\.\d: .*positional argument"):
        next(fit(unconditional(), source("labels"), num_steps=3, batch_size=4))


def test_a_label_that_the_network_does_not_know_is_named_with_its_step():
    table = torch.zeros(37, dtype=torch.int64)
    run = Training(objective(), as_source(examples(), condition=table), config(num_steps=20, ema_decay=None))
    table[run._order.indices(19, 1)] = 7  # place 19: the third batch of eight
    good = []
    with pytest.raises(
        IndexError, match=r"step 3, DirectScore\(ConditionalNet\) .*with labels 0\.\.7: index out of range"
    ):
        good.extend(step.step for step in run.steps())
    assert run.step == 2


def test_an_error_stays_of_its_kind_and_keeps_its_cause():
    class Own(ValueError):
        def __init__(self, first, second):
            super().__init__(f"{first} and {second}")

    class Failing(nn.Linear):
        def forward(self, x, sigma):
            raise Own("one", "two")

    run = sk.Objective(sk.DirectScore(Failing(2, 2)), sk.DenoisingScoreMatching(), sk.SingleLevel(1.0))
    with pytest.raises(ValueError, match=r"step 1, DirectScore\(Failing\) .*: one and two") as error:
        next(fit(run, examples(), num_steps=1))
    assert isinstance(error.value.__cause__, Own)
