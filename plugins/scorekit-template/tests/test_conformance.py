"""The plugin keeps scorekit's laws, and is found by its name once it is installed."""

import pytest
from scorekit_template import TemplateProposal, template_sampler

import scorekit as sk
from scorekit.testing import ConformanceError, check_kernel, check_proposal, check_sampler


def test_the_proposal_keeps_the_laws():
    check_proposal(TemplateProposal())


def test_metropolis_with_it_is_exact_from_the_score_alone_too():
    check_kernel(sk.MetropolisAdjusted(TemplateProposal()), score_only=True)


def test_unadjusted_it_is_right_for_small_steps():
    check_kernel(sk.Unadjusted(TemplateProposal()))


def test_with_much_taming_it_is_not():
    with pytest.raises(ConformanceError, match="stationary"):
        check_kernel(sk.Unadjusted(TemplateProposal(taming=100.0)))


def test_the_sampler_samples():
    check_sampler(template_sampler(step_size=0.2, num_steps=60))


def test_it_is_found_by_name():
    assert sk.make("proposals", "template", taming=0.5) == TemplateProposal(0.5)
    assert sk.make("samplers", "template", sigma=0.1).num_updates() == 1000


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match="expected taming >= 0"):
        TemplateProposal(-1.0)
