from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest

from scripts.pipeline import plots
from scripts.pipeline.files import ModelFiles

pytestmark = pytest.mark.export


def test_the_pictures_are_drawn_and_not_empty(tmp_path: Path) -> None:
    plots.draw(ModelFiles.of("sentiment-pl-en").report(), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"confusion.png", "quantization.png", "reliability.png"}
    for file in tmp_path.iterdir():
        picture = matplotlib.image.imread(file)
        assert picture.shape[0] > 300
        assert picture.std() > 0.05


def test_a_model_in_float_has_no_picture_of_its_quantization(tmp_path: Path) -> None:
    report = ModelFiles.of("sentiment-pl-en").report()
    plots.draw({"quality": report["quality"], "export": {}}, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"confusion.png", "reliability.png"}
