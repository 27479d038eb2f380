"""Running a sampler: what is collected, and the progress bar."""

from typing import final

import pytest
import torch
from torch import Tensor

from scorekit import (
    AnnealedMCMC,
    Constant,
    Denoise,
    Langevin,
    MetropolisAdjusted,
    PerChain,
    Uniform,
    annealed_langevin,
    collect,
    sample,
)
from scorekit.base import Generator, Info, Kernel, Target, TargetFamily
from tests.kernels.twins import Twin, Walk
from tests.laws.components import (
    Deciding,
    Shrink,
)
from tests.laws.targets import gauss3
from tests.samplers.cases import ALD, NOISE, draws


def test_collect_keeps_every_update_by_default():
    steps = list(ALD.steps(gauss3(), draws(), generator=PerChain(0)))
    chains = collect(iter(steps))
    assert torch.equal(chains.x, torch.stack([step.x for step in steps]))
    assert chains.sigma.tolist() == [step.sigma for step in steps]
    assert chains.sigma.dtype == torch.float64
    assert chains.info is None


@pytest.mark.parametrize(("every", "start"), [(1, 0), (2, 0), (5, 0), (3, 2), (1, 11), (50, 4)])
def test_collect_thins_from_its_start(every, start):
    steps = list(ALD.steps(gauss3(), draws(), generator=PerChain(0)))
    assert len(steps) == 12
    kept = steps[start::every]
    chains = collect(steps, every=every, start=start)
    assert torch.equal(chains.x, torch.stack([step.x for step in kept]))
    assert chains.sigma.tolist() == [step.sigma for step in kept]


def test_collect_stacks_what_was_decided_and_marks_what_was_not():
    sampler = AnnealedMCMC(Deciding(), NOISE, Constant(0.2), 2, Shrink(), final=Denoise())
    steps = list(sampler.steps(gauss3(), draws(), generator=PerChain(0)))
    chains = collect(steps)
    assert isinstance(chains.info, Info)
    for t, step in enumerate(steps):
        for name in Info._fields:
            stacked = getattr(chains.info, name)
            assert stacked.shape == (len(steps), 4)
            if step.info is not None:
                assert torch.equal(stacked[t], getattr(step.info, name))
            elif stacked.dtype == torch.bool:
                assert not stacked[t].any()
            else:
                assert stacked[t].isnan().all()
    assert {step.phase for step in steps if step.info is None} == {"transition", "final"}


def _goes_on_from_the_warm_up(kernel: Kernel, warm_up: int, start: int) -> bool:
    """Whether, of 40 chains, just those whose first kept move is accepted have left the last state of the warm-up."""
    sampler = AnnealedMCMC(kernel, NOISE, Constant(0.3), 3)
    steps = list(sampler.steps(gauss3(), draws(40), generator=PerChain(0)))
    kept = collect(steps, start=start)
    assert kept.info is not None
    accepted = kept.info.accepted[0]
    assert 0 < accepted.sum() < 40
    return torch.equal((kept.x[0] != steps[warm_up - 1].x).any(1), accepted)


@pytest.mark.parametrize("warm_up", [1, 3, 5])  # within a level, and at its end
def test_the_first_kept_state_is_the_last_of_the_warm_up_where_its_move_is_rejected(warm_up):
    mala = MetropolisAdjusted(Langevin())
    assert _goes_on_from_the_warm_up(mala, warm_up, start=warm_up)
    assert not _goes_on_from_the_warm_up(mala, warm_up, start=warm_up + 1)  # the mutant that loses a state
    shown = Twin(Walk(), {"x": lambda accepted, new, old: new})  # and the one that keeps what was proposed
    assert not _goes_on_from_the_warm_up(shown, warm_up, start=warm_up)


def test_kept_states_do_not_change_as_the_run_goes_on():
    iterator = ALD.steps(gauss3(), draws(), generator=PerChain(0))
    first = next(iterator).x
    before = first.clone()
    list(iterator)
    assert torch.equal(first, before)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"every": 0}, r"every=0, start=0\): expected every >= 1"),
        ({"start": -1}, r"start=-1\): expected every >= 1 and start >= 0"),
        ({"start": 12}, "too few updates, nothing was kept"),
    ],
)
def test_collect_refuses_what_keeps_nothing(arguments, text):
    with pytest.raises(ValueError, match=text):
        collect(ALD.steps(gauss3(), draws(), generator=PerChain(0)), **arguments)


@final
class Pulls(TargetFamily):
    """Chain i is drawn to mean i; it notes which rows were asked for."""

    def __init__(self, means: Tensor, asked: list[tuple[int, int, tuple[int, ...]]]):
        self.means, self.asked = means, asked

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        return Target(lambda x: self.means.unsqueeze(1) - x)

    def rows(self, first: int, count: int, shape: tuple[int, ...]) -> TargetFamily:
        self.asked.append((first, count, shape))
        return Pulls(self.means[first : first + count], self.asked)


def test_a_family_is_cut_as_the_chains_are():
    means, asked = torch.arange(5, dtype=torch.float64), []
    sampler = annealed_langevin(NOISE, steps_per_level=2, start=Uniform())
    whole, cut = (
        sample(sampler, Pulls(means, asked), (5, 3), generator=PerChain(0), batch_size=size, dtype=torch.float64)
        for size in (None, 2)
    )
    assert torch.equal(whole, cut)
    assert asked[:2] == [(0, 5, (5, 3))] * 2  # asked before anything is drawn, and for its only batch
    assert asked[2:] == [(0, 5, (5, 3)), (0, 2, (5, 3)), (2, 2, (5, 3)), (4, 1, (5, 3))]
    uncut = sample(sampler, Pulls(means[:2], []), (2, 3), generator=PerChain(0).shift(2), dtype=torch.float64)
    assert not torch.equal(uncut, whole[2:4])  # the mutant: each batch has the first rows


def test_the_progress_bar_counts_every_update(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    sampler = annealed_langevin(NOISE, steps_per_level=2, start=Uniform(), final=Denoise())
    quiet = sample(sampler, gauss3(), (4, 3), generator=PerChain(0), batch_size=2)
    assert capsys.readouterr().err == ""
    shown = sample(sampler, gauss3(), (4, 3), generator=PerChain(0), batch_size=2, progress=True)
    assert torch.equal(quiet, shown)
    assert "18/18" in capsys.readouterr().err
