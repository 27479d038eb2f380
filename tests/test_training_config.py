import math

import pytest

from scorekit.training import TrainingConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_steps", 0), ("num_steps", 2.0), ("num_steps", 2**32), ("batch_size", 0), ("batch_size", True),
        ("learning_rate", 0), ("learning_rate", math.inf), ("learning_rate", math.nan), ("betas", (0.9, 1.0)),
        ("betas", (0.9,)),
        ("adam_eps", -1e-8), ("weight_decay", -1), ("warmup_steps", -1), ("decay", "step"), ("ema_decay", 1.0),
        ("ema_warmup", 1),
        ("clip_norm", 0), ("accumulate", 3), ("precision", "fp8"), ("seed", -1), ("seed", 2**63), ("log_every", 0),
        ("validate_every", 0), ("checkpoint_every", 0), ("keep_last", 0), ("keep_every", 0),
    ],
)  # fmt: skip
def test_bad_numbers_are_refused_with_value_and_rule(name, value):
    shown = "batch_size=16" if name == "accumulate" else f"{name}={value!r}"
    with pytest.raises(ValueError, match="expected") as error:
        TrainingConfig(**({"num_steps": 10, "batch_size": 16} | {name: value}))
    assert f"TrainingConfig({shown})" in str(error.value)


def test_the_learning_rate_is_the_formula_of_the_step_number():
    cosine = TrainingConfig(100, learning_rate=2.0, warmup_steps=4, decay="cosine")
    assert [cosine.learning_rate_at(n) for n in (1, 2, 3, 4, 5)] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert cosine.learning_rate_at(53) == pytest.approx(1.0)
    assert cosine.learning_rate_at(100) == pytest.approx(1 + math.cos(math.pi * 95 / 96), rel=1e-12)
    assert cosine.learning_rate_at(100) > 0
    short = TrainingConfig(2, learning_rate=2.0, warmup_steps=4, decay="cosine")
    assert [short.learning_rate_at(n) for n in (1, 2)] == [0.5, 1.0]
    linear = TrainingConfig(10, learning_rate=1.0, decay="linear")
    assert [round(linear.learning_rate_at(n), 12) for n in range(1, 11)] == [
        1.0,
        0.9,
        0.8,
        0.7,
        0.6,
        0.5,
        0.4,
        0.3,
        0.2,
        0.1,
    ]
    assert {TrainingConfig(10).learning_rate_at(n) for n in range(1, 11)} == {1e-3}


def average_of_ones(settings, steps):
    """What the average of 0 (the first weights), 1, 1, ... has come to after so many ones."""
    average = 0.0
    for n in range(2, steps + 2):
        average = settings.ema_decay_at(n) * average + 1 - settings.ema_decay_at(n)
    return average


@pytest.mark.parametrize(("warm", "after"), [(True, {1: 0.8181818182, 10: 0.9999404620}), (False, {10: 0.0099551198})])
def test_the_average_forgets_the_first_weights_as_published(warm, after):
    settings = TrainingConfig(100, ema_decay=0.999, ema_warmup=warm)
    assert {n: round(average_of_ones(settings, n), 10) for n in after} == after


def test_the_warm_average_ends_as_the_plain_one():
    settings = TrainingConfig(10_000, ema_decay=0.99)
    assert settings.ema_decay_at(890) < settings.ema_decay_at(891) == settings.ema_decay_at(9_000) == 0.99
    with pytest.raises(ValueError, match="ema_decay=None"):
        TrainingConfig(10).ema_decay_at(1)
