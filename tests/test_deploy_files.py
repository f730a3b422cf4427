"""The files of deploy/."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.score import parse
from tests.server import ROOT
from textserve.settings import PREFIX, Settings

COMPOSE = ROOT / "deploy" / "compose.yaml"
ADDITIONS = sorted((ROOT / "deploy").glob("compose.*.yaml"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return content


def check(file: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("check-jsonschema")
    command = [str(program), "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_the_compose_file_is_valid(tmp_path: Path, compose: dict[str, Any]) -> None:
    assert check(COMPOSE).returncode == 0, check(COMPOSE).stdout
    wrong = tmp_path / "compose.yaml"
    compose["services"]["textserve"]["read_onyl"] = True
    wrong.write_text(yaml.safe_dump(compose), encoding="utf-8")
    assert check(wrong).returncode == 1
    del compose["services"]["textserve"]["read_onyl"]


def test_the_service_runs_hardened_and_has_time_to_stop(compose: dict[str, Any]) -> None:
    service = compose["services"]["textserve"]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    settings = Settings.model_fields
    needed = settings["stop_delay_seconds"].default + settings["drain_seconds"].default
    assert int(service["stop_grace_period"].removesuffix("s")) > needed


@pytest.mark.parametrize("file", [COMPOSE, *ADDITIONS], ids=lambda file: file.name)
def test_only_settings_that_exist_are_passed_on(file: Path) -> None:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    service = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]["textserve"]
    assert {word.partition("=")[0] for word in service["environment"]} <= known


@pytest.mark.parametrize("file", ADDITIONS, ids=lambda file: file.name)
def test_an_addition_is_valid_and_its_settings_name_its_secrets(file: Path) -> None:
    assert check(file).returncode == 0, check(file).stdout
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    service = content["services"]["textserve"]
    paths = {word.partition("=")[2] for word in service["environment"]}
    assert paths == {f"/run/secrets/{name}" for name in service["secrets"]}
    assert set(service["secrets"]) == set(content["secrets"])
    # Without the variable compose stops, rather than mount an empty folder.
    assert all(":?" in secret["file"] for secret in content["secrets"].values())


def test_prometheus_scrapes_over_tls_where_the_service_has_it() -> None:
    (addition,) = [file for file in ADDITIONS if "TLS_KEY" in file.read_text(encoding="utf-8")]
    file = yaml.safe_load(addition.read_text(encoding="utf-8"))["configs"]["prometheus"]["file"]
    plain, secured = (
        yaml.safe_load((ROOT / "deploy" / name).read_text(encoding="utf-8")) for name in ("prometheus.yaml", file)
    )
    (job,) = secured["scrape_configs"]
    assert job.pop("scheme") == "https"
    del job["tls_config"]
    assert secured == plain


def test_prometheus_scrapes_the_service_where_it_listens(compose: dict[str, Any]) -> None:
    file = ROOT / "deploy" / compose["configs"]["prometheus"]["file"]
    (job,) = yaml.safe_load(file.read_text(encoding="utf-8"))["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["textserve:3000"]}]
    assert "${PORT:-3000}:3000" in compose["services"]["textserve"]["ports"]


def test_the_ray_job_calls_a_command_that_exists() -> None:
    job = yaml.safe_load((ROOT / "deploy" / "rayjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    shell, option, script = shlex.split(job["spec"]["entrypoint"])
    assert (shell, option) == ("sh", "-c")
    command = shlex.split(script.partition("||")[0])
    assert command[:3] == ["python", "-m", "scripts.score"]
    assert parse(command[3:]).ray_address == "auto"
    with pytest.raises(SystemExit):
        parse([*command[3:], "--no-such-option"])
    groups = [job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    images = {container["image"] for group in groups for container in group["template"]["spec"]["containers"]}
    assert len(images) == 1, "all nodes need the same image"


def test_prometheus_evaluates_the_alerts_and_tells_alertmanager(compose: dict[str, Any]) -> None:
    content = yaml.safe_load((ROOT / "deploy" / "prometheus.yaml").read_text(encoding="utf-8"))
    mounted = {config["target"] for config in compose["services"]["prometheus"]["configs"]}
    assert {f"/etc/prometheus/{name}" for name in content["rule_files"]} <= mounted
    (manager,) = content["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    assert compose["services"]["alertmanager"]["ports"][0].endswith(":9093")


def test_grafana_finds_its_dashboard_and_every_panel_its_source(compose: dict[str, Any]) -> None:
    configs = compose["services"]["grafana"]["configs"]
    files = {config["target"]: ROOT / "deploy" / compose["configs"][config["source"]]["file"] for config in configs}
    read = {target: yaml.safe_load(file.read_text(encoding="utf-8")) for target, file in files.items()}
    (source,) = read["/etc/grafana/provisioning/datasources/prometheus.yaml"]["datasources"]
    (provider,) = read["/etc/grafana/provisioning/dashboards/textserve.yaml"]["providers"]
    (dashboard,) = [target for target in files if Path(target).parent == Path(provider["options"]["path"])]
    assert f"GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH={dashboard}" in compose["services"]["grafana"]["environment"]
    panels = read[dashboard]["panels"]
    assert {(panel["datasource"]["uid"], panel["datasource"]["type"]) for panel in panels} == {
        (source["uid"], source["type"])
    }
    places = [[panel["gridPos"][key] for key in "xywh"] for panel in panels]
    cells = [(column, row) for x, y, w, h in places for column in range(x, x + w) for row in range(y, y + h)]
    assert len(cells) == len(set(cells)), "two panels overlap"
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_monitoring_is_hardened_and_reached_only_from_this_machine(compose: dict[str, Any]) -> None:
    for name in ("prometheus", "alertmanager", "grafana"):
        service = compose["services"][name]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
