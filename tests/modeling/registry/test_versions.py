from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import quote

import mlflow
import pytest

from modeling.errors import ModelingError
from modeling.files import ROOT
from modeling.registry.versions import CHAMPION, STAGING, Registry, Version
from tests.scripts.mlflow_server import MlflowServer
from tests.server import free_port

pytestmark = pytest.mark.export


@pytest.fixture(params=["SQLite", "server"])
def connected(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry in a file, and one behind a server with a password."""
    if request.param == "SQLite":
        unset(monkeypatch)
    else:
        request.getfixturevalue("mlflow_server").log_in(monkeypatch)
    return Registry.connect(tmp_path)


def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    # MLflow sets the variable itself; monkeypatch restores it only if it has set it first.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "any")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def new_version(registry: Registry, name: str) -> Version:
    """A version whose model is one file."""
    with registry.run(name, "a run") as run_id:
        mlflow.log_text("{}", "model/MLmodel")
    return registry.register(name, run_id, f"runs:/{run_id}/model", {"recipe": "none"})


def test_versions_are_numbered_and_an_alias_moves_from_one_to_the_next(connected: Registry) -> None:
    assert connected.version_of("moving", STAGING) is None
    assert connected.versions("moving") == []
    first, second = new_version(connected, "moving"), new_version(connected, "moving")
    assert (first.number, second.number) == ("1", "2")
    assert first.uri == "models:/moving/1"
    assert connected.versions("moving") == [first, second]
    assert connected.version("moving", "2") == second
    assert connected.version("moving", "3") is None
    connected.set_alias("moving", STAGING, "1")
    assert connected.version_of("moving", CHAMPION) is None
    connected.set_alias("moving", STAGING, "2")
    assert connected.version_of("moving", STAGING) == second
    connected.remove_alias("moving", STAGING)
    assert connected.version_of("moving", STAGING) is None
    connected.remove_alias("moving", STAGING)


def test_tags_are_added_to_those_that_are_there(connected: Registry) -> None:
    version = new_version(connected, "tagged")
    connected.set_tags(version, {"who": "me", "when": "now"})
    found = connected.version("tagged", version.number)
    assert found is not None
    assert found.tags == {"recipe": "none", "who": "me", "when": "now"}


def test_a_run_keeps_metrics_files_and_the_commit(connected: Registry, tmp_path: Path) -> None:
    with connected.run("kept", "the run's name") as run_id:
        mlflow.log_metrics({"loss": 2.0}, step=1)
        mlflow.log_metrics({"loss": 1.0}, step=2)
        mlflow.log_text("content", "some/file.txt")
    run = mlflow.get_run(run_id)
    assert run.data.metrics == {"loss": 1.0}
    assert (run.info.run_name, run.info.status) == ("the run's name", "FINISHED")
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.data.tags["mlflow.source.git.commit"] == head.stdout.strip()
    file = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/some/file.txt", dst_path=str(tmp_path))
    assert Path(file).read_text() == "content"


def test_a_run_that_fails_is_recorded_as_failed(connected: Registry) -> None:
    with pytest.raises(ZeroDivisionError), connected.run("failing", "run") as run_id:
        raise ZeroDivisionError
    assert mlflow.get_run(run_id).info.status == "FAILED"


def test_without_a_uri_everything_is_in_the_build_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unset(monkeypatch)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with Registry.connect(tmp_path).run("here", "run"):
        mlflow.log_text("content", "file.txt")
    assert (tmp_path / "build" / "mlflow.db").is_file()
    assert [file.read_text() for file in (tmp_path / "build" / "mlflow").rglob("file.txt")] == ["content"]
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("admin", "the password of the user admin"),
        ("nobody", "the password of the user nobody"),
        (None, "requests without a user"),
    ],
)
def test_a_wrong_or_missing_login_is_rejected(
    mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch, user: str | None, reason: str
) -> None:
    mlflow_server.log_in(monkeypatch, user or "", "wrong")
    if user is None:
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
        monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    fix = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    with pytest.raises(ModelingError, match=f"^MLflow at {mlflow_server.url} rejects {reason}; {fix}$"):
        Registry.connect()


def test_a_user_without_write_access_is_rejected(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow_server.log_in(monkeypatch)
    new_version(Registry.connect(), "guarded")
    mlflow_server.add_user("reader", "another password")
    mlflow_server.log_in(monkeypatch, "reader", "another password")
    registry = Registry.connect()
    with pytest.raises(ModelingError, match=r"^MLflow at \S+: the user reader has no write access; request .*$"):
        registry.set_alias("guarded", CHAMPION, "1")
    assert registry.version_of("guarded", CHAMPION) is None


def test_a_server_that_does_not_answer_is_an_error_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ModelingError, match=r"^MLflow at http://127\.0\.0\.1:\d+ does not answer; start it, .*$"):
        Registry.connect()


@pytest.mark.parametrize("scheme", ["http", "unsupported"])
def test_no_error_shows_the_user_and_password_of_the_uri(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://someone:hidden@127.0.0.1:{free_port()}/db?key=hidden")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ModelingError, match=rf"^MLflow at {scheme}://\*\*\*@127\.0\.0\.1:\d+/db\?") as raised:
        Registry.connect()
    assert "someone" not in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_a_registry_shows_its_uri_without_the_login_that_it_uses(
    mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    unset(monkeypatch)
    scheme, _, host = mlflow_server.url.partition("://")
    login = f"{quote(mlflow_server.user)}:{quote(mlflow_server.password)}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://{login}@{host}")
    registry = Registry.connect()
    assert registry.uri == f"{scheme}://***@{host}"
    assert registry.versions("none") == []


def test_a_file_that_is_not_a_database_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mlflow.db"
    file.write_text("not a database", encoding="utf-8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    with pytest.raises(ModelingError, match=r"mlflow\.db: file is not a database; set MLFLOW_TRACKING_URI"):
        Registry.connect()
