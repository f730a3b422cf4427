"""The examples of docs/bulk.md for Spark, in a local Spark: `make test-spark`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser

from tests.server import ROOT

pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("default")]  # Spark and pandas warn of each other
TEXTS = ["rain", None, "sun"] * 5
EXAMPLES = [
    pytest.param(example.parsed, id=f"line {example.line}")
    for example in Document.parse(
        str(ROOT / "docs" / "bulk.md"), CodeBlockParser("python", lambda example: None)
    ).examples()
]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        settings = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1"}
        session = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
        yield session
        session.stop()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model with one label a text."""
    from tests import tiny_onnx
    from tests.specs import spec

    weather = spec(["wet", "dry"], "wet", "dry", name="weather", graph=tiny_onnx.GRAPH)
    golden = [
        each.model_copy(update={"text": text}) for each, text in zip(weather.golden, ("rain", "sun"), strict=True)
    ]
    folder: Path = tmp_path_factory.mktemp("spark") / "weather"
    weights = {"rain": [2.0, 0.0], "sun": [0.0, 2.0]}
    tiny_onnx.write(folder, weather.model_copy(update={"golden": golden}), [0.0, 0.0], weights)
    return str(folder)


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_examples_for_spark_run_as_written(spark: Any, model: str, code: str) -> None:
    frame = spark.createDataFrame(list(enumerate(TEXTS)), "id long, text string").repartition(3)
    names: dict[str, Any] = {"MODEL": model, "frame": frame}
    exec(code, names)  # noqa: S102  # of this repository
    labels = {row["id"]: row["label"] for row in names["scored"].collect()}
    assert labels == {index: {"rain": "wet", "sun": "dry"}.get(text or "") for index, text in enumerate(TEXTS)}


def test_there_are_two_examples() -> None:
    assert len(EXAMPLES) == 2
