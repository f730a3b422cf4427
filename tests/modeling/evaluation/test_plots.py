from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest

from modeling.evaluation import plots
from modeling.files import ModelFiles

pytestmark = pytest.mark.export

SPEC = ModelFiles.of("sentiment-pl-en").spec()


def test_the_plots_are_drawn_and_not_empty(tmp_path: Path) -> None:
    plots.draw(ModelFiles.of("sentiment-pl-en").report(), SPEC, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"confusion.png", "quantization.png", "reliability.png"}
    for file in tmp_path.iterdir():
        plot = matplotlib.image.imread(file)
        assert plot.shape[0] > 300
        assert plot.std() > 0.05


def test_only_measured_sections_have_a_plot(tmp_path: Path) -> None:
    report = ModelFiles.of("sentiment-pl-en").report()
    plots.draw({"quality": report["quality"], "export": {}}, SPEC, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"confusion.png", "reliability.png"}
    assert plots.of_report({"quality": {"languages": {}}}, SPEC) == {}


def test_every_language_has_its_confusion_matrix() -> None:
    matrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    axes = plots.confusion({"English": matrix, "Polish": matrix}, SPEC.label_names).axes
    assert [axis.get_title() for axis in axes] == ["English", "Polish"]
