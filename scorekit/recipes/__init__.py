"""Recipes: runs from data to samples under one name. `scorekit.runs` does what they describe.

recipe = sk.make("recipes", "mnist-ncsn-small", width=8)
sk.runs.run(recipe, out="runs/mnist", steps=500)
"""

from scorekit.recipe import Experiment, Recipe
from scorekit.recipes.images import ImageRecipe
from scorekit.recipes.named import RECIPES
from scorekit.recipes.ncsn import NCSN, SingleNoise
from scorekit.recipes.ncsnv2 import NCSNv2
from scorekit.recipes.unet import ScoreUNet

__all__ = ["NCSN", "RECIPES", "Experiment", "ImageRecipe", "NCSNv2", "Recipe", "ScoreUNet", "SingleNoise"]
