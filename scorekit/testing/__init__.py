"""The conformance kit: one check for each kind of component, for the tests of plugins; scorekit's own use it too.

    def test_it(): check_proposal(HalfDamped())

A check takes a component (a factory, for modules) and runs the laws that every correct one of its kind satisfies,
whatever it computes: shapes and types, purity, the same draws from the same generator, rows that depend on no other
row, events of any shape, JSON, and the mathematics of the kind. Statistical laws have fixed seeds, and one with a
p-value rejects with a probability of 1e-6 where nothing is wrong. Most checks take less than a second on one
core; that of a sampler takes as long as its steps. What breaks a law raises `ConformanceError`, which is an
AssertionError: the law, the figure, its bound, and the usual cause.

Underneath are the laws themselves, for tests that go further: `statistics` (bounded statistics with their null laws),
`targets` (closed forms with exact draws) and `invariance` (stationarity, balance, calibration).
"""

from scorekit.testing.configuration import round_trip
from scorekit.testing.families import check_density, check_target_family
from scorekit.testing.kernels import check_kernel
from scorekit.testing.line_integrals import check_line_integral
from scorekit.testing.metrics import check_metric
from scorekit.testing.modules import check_model, check_network
from scorekit.testing.proposals import check_proposal
from scorekit.testing.recipes import check_recipe
from scorekit.testing.runs import check_sampler, check_start, check_transition
from scorekit.testing.step_sizes import check_step_size
from scorekit.testing.training import check_estimator, check_noise_schedule
from scorekit.testing.trial import ConformanceError

__all__ = [
    "ConformanceError", "check_density", "check_estimator", "check_kernel", "check_line_integral", "check_metric",
    "check_model", "check_network", "check_noise_schedule", "check_proposal", "check_recipe", "check_sampler",
    "check_start", "check_step_size", "check_target_family", "check_transition", "round_trip",
]  # fmt: skip
