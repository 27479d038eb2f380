import pytest
import torch

import scorekit as sk
from scorekit.conditioning import Inpaint
from scorekit.distributed import sample_on_processes
from scorekit.training.runtime import PlainRuntime, Runtime

SAMPLER = sk.annealed_langevin(sk.Geometric(1.0, 0.1, 3), steps_per_level=2, start=sk.Uniform(0, 1))
WEIGHT = torch.tensor([[-1.0, 0.3, 0.0], [0.3, -2.0, 0.1], [0.0, 0.1, -0.5]], dtype=torch.float64)


class Lockstep(Runtime):
    """P processes run one after another in one: each leaves its part, and the last one gathers."""

    def __init__(self, rank: int, parts: list[torch.Tensor], num_processes: int):
        self.device, self.rank, self.num_processes, self._parts = torch.device("cpu"), rank, num_processes, parts

    def gather(self, values):
        self._parts.append(values)
        return torch.stack(self._parts + [values] * (self.num_processes - len(self._parts)))

    prepare = loss = piece = backward = grad_norm = update = mean = scaler_state = load_scaler_state = None


def drawn_by(num_processes: int, num_chains: int, family: sk.TargetFamily | None = None) -> torch.Tensor:
    parts: list[torch.Tensor] = []
    for rank in range(num_processes):
        runtime, asked = Lockstep(rank, parts, num_processes), family or Linear()
        x = sample_on_processes(runtime, SAMPLER, asked, (num_chains, 3), generator=sk.PerChain(5), batch_size=4)
    return x


class Linear(sk.TargetFamily):
    """A linear score in float64."""

    dtype = torch.float64

    def at(self, sigma, *, like=None, generator=None):
        return sk.base.Target(lambda x: x @ WEIGHT / (1 + sigma))


@pytest.mark.parametrize("num_chains", [1, 4, 9, 16, 23])
def test_any_number_of_processes_draws_the_same_chains(num_chains):
    one = sample_on_processes(
        PlainRuntime("cpu"), SAMPLER, Linear(), (num_chains, 3), generator=sk.PerChain(5), batch_size=4
    )
    assert one.shape == (num_chains, 3)
    assert len(one.unique(dim=0)) == num_chains
    for num_processes in (2, 3, 8):
        assert torch.equal(drawn_by(num_processes, num_chains), one)


def test_what_belongs_to_a_chain_goes_with_it_to_any_process():
    known = torch.arange(27).reshape(9, 3) % 4 == 0
    y = torch.linspace(-2, 2, 27, dtype=torch.float64).reshape(9, 3)
    family = Inpaint(Linear(), known, y)
    one = sk.sample(SAMPLER, family, (9, 3), generator=sk.PerChain(5))
    assert torch.equal(one[known], y[known])
    for num_processes in (1, 2, 3):
        torch.testing.assert_close(drawn_by(num_processes, 9, family), one, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"the mask of shape \(9, 3\) for 8 chains"):
        drawn_by(2, 8, family)


def test_equals_plain_sampling_to_rounding():
    x = sample_on_processes(PlainRuntime("cpu"), SAMPLER, Linear(), (9, 3), generator=sk.PerChain(5), batch_size=4)
    torch.testing.assert_close(x, sk.sample(SAMPLER, Linear(), (9, 3), generator=sk.PerChain(5)), rtol=0, atol=1e-12)


def test_bad_sizes_are_refused():
    for batch_size, shape in ((0, (4, 3)), (4, (0, 3)), (4, ())):
        with pytest.raises(ValueError, match="batch_size >= 1"):
            sample_on_processes(
                PlainRuntime("cpu"), SAMPLER, Linear(), shape, generator=sk.PerChain(0), batch_size=batch_size
            )


def test_a_generator_without_a_stream_for_each_chain_is_refused():
    with pytest.raises(TypeError, match="expected a PerChain"):
        sample_on_processes(PlainRuntime("cpu"), SAMPLER, Linear(), (4, 3), generator=torch.Generator(), batch_size=4)
