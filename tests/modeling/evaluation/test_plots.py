from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest

from modeling.evaluation import plots
from modeling.files import ModelFiles

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


def test_without_labelled_texts_there_is_nothing_to_draw(tmp_path: Path) -> None:
    plots.draw({"quality": {"languages": {}}}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_language_has_its_confusion_matrix(tmp_path: Path) -> None:
    matrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    plots.confusion({"English": matrix}, one)
    plots.confusion({"English": matrix, "Polish": matrix}, two)
    widths = [matplotlib.image.imread(file).shape[1] for file in (one, two)]
    assert widths[1] == pytest.approx(2 * widths[0], abs=4)
