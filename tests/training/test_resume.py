import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import scorekit as sk
from scorekit.checkpoint import CheckpointError, CheckpointStore
from scorekit.training import Training
from tests.training.runs import config, digest, examples, finish, objective, resumed, run_to, saved, training

STOPS = (8, 11, 16, 29, 40, 63)  # of 64 steps; each inside an epoch of 37 / 8 steps


@pytest.fixture(scope="module")
def whole() -> str:
    return finish(training())


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> dict[int, Path]:
    """A run's checkpoints at several steps, one folder each."""
    folder, run, found = tmp_path_factory.mktemp("run"), training(), {}
    for step in run.steps():
        if step.step in (2, *STOPS):
            found[step.step] = saved(folder / str(step.step), run)
    return found


@pytest.mark.parametrize("stop", STOPS)
def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(stopped, whole, stop):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert finish(resumed(stopped[stop], training())) == whole


def forget_adam(run):
    run.optimizer.state.clear()


def forget_average(run):
    run.ema.n_averaged.zero_()


def forget_weights(run):
    run.model.load_state_dict(training().model.state_dict())


def forget_schedule(run):
    run.config = replace(run.config, warmup_steps=0, decay="constant")


def forget_clipping(run):
    run.config = replace(run.config, clip_norm=None)


def forget_step(run):
    run.step += 1  # one step fewer, with the draws of the next


def forget_draws(run):
    run._draws = sk.PerChain(run.config.seed + 1).fork("train")


def forget_position(run):
    run.position = run.position // len(run.source) * len(run.source)


def forget_permutation(run):
    run._order.seed += 1


FORGETTING = [forget_adam, forget_average, forget_weights, forget_schedule, forget_clipping, forget_step, forget_draws,
              forget_position, forget_permutation]  # fmt: skip


@pytest.mark.parametrize("forget", FORGETTING)
@pytest.mark.parametrize("stop", [29, 40])
def test_mutant_that_forgets_one_thing_is_rejected(forget, stop, stopped, whole):
    stop = 2 if forget is forget_clipping else stop  # clipping acts early, where gradients are large
    fresh = resumed(stopped[stop], training())
    forget(fresh)
    assert finish(fresh) != whole


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 2, 4]), st.booleans())
@settings(max_examples=6)
def test_stop_anywhere_and_anywhere_again(tmp_path_factory, first, second, accumulate, average):
    numbers = config(num_steps=13, accumulate=accumulate, ema_decay=0.9 if average else None, batch_size=12)
    run = training(settings=numbers)
    for stop in sorted({first, second}):
        run_to(run, stop)
        run = resumed(saved(tmp_path_factory.mktemp("run"), run), training(settings=numbers))
    assert finish(run) == finish(training(settings=numbers))


def test_a_network_that_draws_from_the_global_generator_resumes_too(tmp_path):
    torch.manual_seed(4)
    run = training(dropout=0.5)
    run_to(run, 11)
    saved(tmp_path, run)
    whole = finish(run)
    torch.manual_seed(5)
    assert finish(resumed(tmp_path, training(dropout=0.5))) == whole
    fresh = resumed(tmp_path, training(dropout=0.5))
    torch.manual_seed(5)  # the mutant
    assert finish(fresh) != whole


def test_a_stream_resumes_by_skipping(tmp_path):
    def fresh():
        return training(DataLoader(examples(), batch_size=5))

    run = fresh()
    run_to(run, 11)
    saved(tmp_path, run)
    assert finish(resumed(tmp_path, fresh())) == finish(fresh())


def test_saving_changes_nothing(tmp_path):
    run, other = training(), training()
    for _, step in zip(run.steps(), other.steps(), strict=True):
        if step.step == 3:
            saved(tmp_path, run)
        if step.step == 9:
            break
    assert digest(run) == digest(other)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 4}, "seed: saved 3, now 4"),
        ({"batch_size": 16}, "batch_size: saved 8, now 16"),
        ({"learning_rate": 0.5}, "learning_rate"),
        ({"betas": (0.5, 0.999)}, "betas"),
        ({"ema_decay": None}, "ema_decay"),
        ({"ema_warmup": False}, "ema_warmup"),
        ({"clip_norm": 1.0}, "clip_norm"),
        ({"decay": "linear"}, "decay"),
        ({"num_steps": 100}, "num_steps"),  # the cosine ends elsewhere
    ],
)
def test_another_run_is_refused(tmp_path, change, named):
    run = training()
    run_to(run, 2)
    with pytest.raises(CheckpointError, match="same run") as error:
        resumed(saved(tmp_path, run), training(settings=config(**change)))
    assert named in str(error.value)


LEVELS = sk.Geometric(1.0, 0.1, 4)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"estimator": sk.SlicedScoreMatching()}, "estimator: saved {'kind': 'estimators', 'name': 'denoising'"),
        ({"estimator": sk.DenoisingScoreMatching("antithetic")}, "estimator: saved"),
        ({"noise": sk.Geometric(1.0, 0.2, 4)}, "noise: saved"),
        ({"weight": "1"}, "level weights: saved [1.0, 0.2"),
        ({"weight": lambda sigma: sigma}, "level weights: saved"),
    ],
    ids=["estimator", "form", "levels", "weight", "function"],
)
def test_another_objective_is_refused(tmp_path, change, named):
    """By the values of the weight at the levels: a function has no other name."""
    run = training()
    run_to(run, 2)
    saved(tmp_path, run)

    def remade(**change) -> Training:
        parts = {"estimator": sk.DenoisingScoreMatching(), "noise": LEVELS, "weight": torch.square} | change
        return Training(sk.Objective(objective().model, **parts), examples(), config())

    with pytest.raises(CheckpointError, match="same run") as error:
        resumed(tmp_path, remade(**change))
    assert named in str(error.value)
    resumed(tmp_path, remade())


def test_other_data_and_other_weights_are_refused(tmp_path):
    run = training()
    run_to(run, 2)
    saved(tmp_path, run)
    for data in (examples(38), examples() + 1e-3, examples(dtype=torch.float64)):
        with pytest.raises(CheckpointError, match="data "):
            resumed(tmp_path, training(data))
    with pytest.raises(CheckpointError, match="weights"):
        resumed(tmp_path, training(width=9))
    with pytest.raises(CheckpointError, match=r"expected data_mean in torch.float64"):
        resumed(tmp_path, training(dtype=torch.float64))


def test_a_longer_run_may_go_on_where_the_schedule_does_not_depend_on_its_length(tmp_path):
    run = training(settings=config(decay="constant", num_steps=20))
    finish(run)
    longer = config(decay="constant", num_steps=30)
    assert finish(resumed(saved(tmp_path, run), training(settings=longer))) == finish(training(settings=longer))


def test_what_changes_bits_only_is_a_warning_and_goes_on(tmp_path):
    run = Training(objective(dtype=torch.float64), examples(), config())
    run_to(run, 3)
    saved(tmp_path, run)
    other = Training(objective(dtype=torch.float64), examples(), config(accumulate=2))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        with pytest.warns(
            UserWarning, match=f"threads: saved {threads}, now {threads + 1}; accumulate: saved 1, now 2"
        ):
            resumed(tmp_path, other)
    finally:
        torch.set_num_threads(threads)
    finish(other)
    finish(run)
    for mine, theirs in zip(other.model.parameters(), run.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def test_data_drawn_anew_each_time_are_no_reason_to_refuse(tmp_path):
    class Noisy:
        """Draws from torch's global generator, as image augmentation does, or from one of its own."""

        def __init__(self, generator=None):
            self.generator = generator

        def __len__(self):
            return 20

        def __getitem__(self, index):
            return torch.full((2,), float(index)) + torch.randn(2, generator=self.generator)

    for make in (Noisy, lambda: Noisy(torch.Generator())):
        run = training(make())
        run_to(run, 2)
        resumed(saved(tmp_path / str(id(make)), run), training(make()))


def test_weights_that_are_not_finite_push_out_no_good_checkpoint(tmp_path):
    run = training()
    run_to(run, 3)
    saved(tmp_path, run)
    next(run.model.parameters()).data[0] = torch.inf
    with pytest.raises(CheckpointError, match=r"step 3: expected finite weights; net.layers.0.weight"):
        saved(tmp_path, run)
    assert CheckpointStore(tmp_path).read().step == 3


def test_a_model_alone_is_no_run(tmp_path):
    CheckpointStore(tmp_path).write(0, {"model.safetensors": b"x"})
    with pytest.raises(CheckpointError, match=r"no training.json"):
        resumed(tmp_path, training())
