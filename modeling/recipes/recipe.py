"""The settings of the recipes, apart from the packages that they need: scripts/train.py lists them without these."""

from __future__ import annotations

from dataclasses import dataclass

# What the recipe head starts from.
ENCODER = "all-MiniLM-L6-v2"


@dataclass(frozen=True)
class Recipe:
    """The settings of a run."""

    epochs: int = 2
    learning_rate: float = 7e-5
    layer_decay: float = 0.9
    head_learning_rate: float = 5e-4
    batch: int = 32
    polish_examples: int = 6000
