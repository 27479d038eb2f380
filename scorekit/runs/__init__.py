"""Runs: what a recipe describes, done. One folder holds a run: its configuration, log, checkpoints and pictures."""

from scorekit.runs.document import Written, read_recipe, run_config, sampler_for
from scorekit.runs.drawing import draw
from scorekit.runs.options import with_options
from scorekit.runs.running import run

__all__ = ["Written", "draw", "read_recipe", "run", "run_config", "sampler_for", "with_options"]
