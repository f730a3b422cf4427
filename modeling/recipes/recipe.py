"""The settings of the recipes, without the packages of training, so that scripts/train.py can list them."""

from __future__ import annotations

from dataclasses import dataclass

# The encoder that the recipe head starts from.
ENCODER = "all-MiniLM-L6-v2"


@dataclass(frozen=True)
class Recipe:
    """The settings of a run of the recipe ``full``; see :mod:`modeling.recipes.mixture` for those of its texts."""

    epochs: int = 2
    learning_rate: float = 1e-4
    layer_decay: float = 0.9
    head_learning_rate: float = 1e-4
    batch: int = 32
    consistency: float = 1.0
    english: int = 19000
    plwordnet: int = 5000
    tatoeba: int = 1000
    # Share of the Polish texts that have a plain fact beside them when they are typed in a hurry.
    asides: float = 0.25
