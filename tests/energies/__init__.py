"""Tests of energy models and of log densities as families."""
