"""Promotions with real files and MLflow's registry, in a database per test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
import pytest

from modeling.errors import ModelingError
from modeling.files import ModelFiles, sha256
from modeling.registry.served import champion_files
from modeling.registry.versions import CHAMPION, STAGING, URI_VARIABLE, Registry, Version
from scripts import promote

pytestmark = pytest.mark.export

WEIGHTS = "0" * 64


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: creating one takes seconds, copying none."""
    root = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(URI_VARIABLE, raising=False)  # MLflow sets it whenever it connects
        Registry.connect(root)
    return root / "build" / "mlflow.db"


@pytest.fixture
def registry(own_root: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.delenv(URI_VARIABLE, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    (own_root / "build").mkdir(exist_ok=True)
    shutil.copyfile(database, own_root / "build" / "mlflow.db")
    return Registry.connect(own_root)


@pytest.fixture
def files(own_root: Path, write_model: Callable[..., ModelFiles]) -> ModelFiles:
    made = write_model(own_root)
    made.model.write_bytes(b"graph")
    made.tokenizer.write_bytes(b"tokens")
    (made.build / "report.html").write_text("<html>")
    return made


class Model:
    """A model of the project, its registry, and the output of the script."""

    def __init__(self, registry: Registry, files: ModelFiles, capsys: pytest.CaptureFixture[str]) -> None:
        self.registry, self.files, self.capsys = registry, files, capsys

    def train(self) -> Version:
        """Register a run's model and make it the candidate; promotion does not read its content."""
        with self.registry.run("tiny", "a run") as run_id:
            mlflow.log_dict({}, "model/config.json")
        client = mlflow.MlflowClient()
        if not client.search_registered_models("name = 'tiny'"):
            client.create_registered_model("tiny")
        tags = {"sha256.model.safetensors": WEIGHTS}
        number = str(client.create_model_version("tiny", f"runs:/{run_id}/model", run_id, tags=tags).version)
        self.registry.set_alias("tiny", STAGING, number)
        self.files.add_to_report("training", {"mlflow": {"run_id": run_id, "model": "tiny", "version": number}})
        self.files.model.write_bytes(f"graph {number}".encode())
        version = self.registry.version("tiny", number)
        assert version
        return version

    def evaluate(self, **quality: Any) -> None:
        """Write a verification and an evaluation that pass every gate, except for ``quality`` of English."""
        identity = self.files.spec().identity(self.files.digests())
        measured = {"macro_f1": 0.8, "macro_f1_interval": [0.7, 0.9]}
        trained = self.files.report()["training"]["mlflow"]
        in_use = self.registry.version_of("tiny", CHAMPION)
        against = in_use and {
            "version": in_use.number,
            "languages": {"en": {"f1_loss": 0.0}, "pl": {"f1_loss": 0.0}},
            "relative_speed": 1.0,
        }
        verification = {"texts": 50, "agreement": 1.0, "speedup": 1.0, "batches": {"largest_difference": 0.0}}
        source = {"kind": "training", "sha256": {"model.safetensors": WEIGHTS}}
        self.files.add_to_report("verification", {**verification, "identity": identity, "source": source})
        self.files.add_to_report("quality", {"languages": {"en": measured | quality, "pl": measured}})
        self.files.add_to_report("behaviour", {"failure_rates": {}, "not_tested": ["en", "pl"]})
        self.files.add_to_report("performance", {"bytes": {"model.onnx": 5}, "against": against})
        registered = {"name": trained["model"], "version": trained["version"]}
        self.files.add_to_report("evaluation", {"identity": identity, "registered": registered})

    def change(self, section: str, **values: Any) -> None:
        """Change values of a section of the report."""
        self.files.add_to_report(section, self.files.report()[section] | values)

    def numbers(self) -> tuple[str | None, str | None]:
        """The numbers of the champion and of the candidate."""
        champion, staging = (self.registry.version_of("tiny", alias) for alias in (CHAMPION, STAGING))
        return champion.number if champion else None, staging.number if staging else None

    def promote(self, *arguments: str) -> str:
        """Run the script, which must succeed, and return its output."""
        assert promote.main(["tiny", *arguments]) == 0
        return self.capsys.readouterr().out

    def error(self, *arguments: str, code: int = 1) -> str:
        """Run the script, which must fail, and return its error output."""
        assert promote.main(["tiny", *arguments]) == code
        printed = self.capsys.readouterr()
        assert printed.out == ""
        assert "Traceback" not in printed.err
        return printed.err


@pytest.fixture
def model(registry: Registry, files: ModelFiles, capsys: pytest.CaptureFixture[str]) -> Model:
    return Model(registry, files, capsys)


def test_a_promotion_records_user_time_report_and_served_files(model: Model, tmp_path: Path) -> None:
    version = model.train()
    model.evaluate()
    assert model.promote() == "tiny: champion is version 1\n"
    assert model.numbers() == ("1", None)
    found = model.registry.version("tiny", version.number)
    assert found
    digest = sha256(model.files.folder / "report.json")
    tags = {key.removeprefix("champion."): value for key, value in found.tags.items() if key.startswith("champion.")}
    assert datetime.fromisoformat(tags.pop("at")).utcoffset() is not None
    assert len(tags.pop("commit")) == 40
    assert tags.pop("changed_files").isdigit()
    assert tags == {
        "by": "ada",
        "from": "none",
        "move": "promote",
        "before": "[]",
        "report": digest,
        "files": f"served/{digest[:16]}",
    }
    build = tmp_path / "elsewhere"
    build.mkdir()
    in_use = champion_files(model.registry, "tiny", build)
    assert in_use
    assert (in_use.name, in_use.version) == ("tiny, version 1", "1")
    served = {file.name: file.read_bytes() for file in in_use.folder.iterdir()}
    names = ("model.yaml", "model.onnx", "tokenizer.json", "report.json")
    assert served == {name: (model.files.folder / name).read_bytes() for name in names} | {"report.html": b"<html>"}


def test_failed_gates_are_exit_code_2_and_each_is_printed_with_its_margin(model: Model) -> None:
    model.train()
    model.evaluate(macro_f1=0.55, macro_f1_interval=[0.45, 0.6])
    assert model.error(code=2).splitlines() == [
        "FAIL  macro-F1, en: 0.55, must be at least 0.6, short by 0.05",
        "FAIL  macro-F1, en, lower end: 0.45, must be at least 0.5, short by 0.05",
    ]
    assert model.numbers() == (None, "1")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: model.files.model.write_bytes(b"other"), "sha256 changed since scripts.evaluate"),
        (lambda model: model.files.tokenizer.write_bytes(b"other"), "sha256 changed since scripts.evaluate"),
        (lambda model: (model.files.folder / "report.json").unlink(), "not evaluated; run python -m scripts.evaluate"),
        (
            lambda model: model.change("verification", source={"sha256": {"model.safetensors": "1" * 64}}),
            "was not verified against the checkpoint of models:/tiny/1",
        ),
        (lambda model: model.change("evaluation", registered=None), "does not come from a registered version"),
        (
            lambda model: model.change("evaluation", registered={"name": "tiny", "version": "7"}),
            "has no version 7 of tiny",
        ),
    ],
)
def test_a_model_that_changed_or_has_no_registered_version_is_rejected(
    model: Model, change: Callable[[Model], None], reason: str
) -> None:
    model.train()
    model.evaluate()
    change(model)
    assert reason in model.error()
    assert model.numbers() == (None, "1")


def test_a_comparison_with_another_version_than_the_champion_is_rejected(model: Model) -> None:
    for _ in range(2):
        model.train()
        model.evaluate()
        model.promote()
    model.train()
    model.evaluate()
    against = model.files.report()["performance"]["against"]
    for other, name in ((None, "nothing"), (against | {"version": "1"}, "version 1")):
        model.change("performance", against=other)
        assert f"compared with {name}, but the champion is version 2; run" in model.error()
    assert model.numbers() == ("2", "3")


def test_a_rollback_undoes_a_promotion_until_the_first(model: Model) -> None:
    for _ in range(2):
        model.train()
        model.evaluate()
        model.promote()
    assert model.promote("--rollback") == "tiny: champion is version 1 again, no longer version 2\n"
    assert "version 1 is the first champion; nothing to roll back to" in model.error("--rollback")
    assert model.numbers() == ("1", None)


def test_a_champion_that_was_set_by_hand_can_be_replaced_but_not_compared_with(model: Model) -> None:
    by_hand = model.train()
    model.registry.set_alias("tiny", CHAMPION, by_hand.number)
    with pytest.raises(ModelingError, match=r"scripts\.promote did not set; give its folder with --against"):
        champion_files(model.registry, "tiny", model.files.build)
    model.train()
    model.evaluate()
    model.change("performance", against=None)
    model.promote()
    assert model.numbers() == ("2", None)


def test_a_version_without_a_run_is_rejected(model: Model) -> None:
    model.train()
    number = str(mlflow.MlflowClient().create_model_version("tiny", model.files.folder.as_uri()).version)
    model.registry.set_alias("tiny", STAGING, number)
    model.files.add_to_report("training", {"mlflow": {"run_id": None, "model": "tiny", "version": number}})
    model.evaluate()
    assert "models:/tiny/2 was registered without a run" in model.error()
    assert model.numbers() == (None, "2")
