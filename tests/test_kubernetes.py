"""The files of deploy/kubernetes, as kustomize resolves them, beside what the service and the image really have."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from scripts import kubernetes_rules
from tests.server import LIMIT_SECONDS, ROOT, Server
from textserve.settings import Settings

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(folder.name for folder in (FOLDER / "overlays").iterdir())
PROGRAMS = Path(sys.executable).parent
# Their schemas are not Kubernetes' own.
EXTENSIONS = {"AnalysisTemplate", "InferenceService", "PrometheusRule", "Rollout", "ScaledObject", "ServiceMonitor"}
HTTP_PORT = 3000
# BentoML's user in an image.
USER = 1034
Resource = dict[str, Any]


def resolved(overlay: str) -> str:
    command = [str(PROGRAMS / "kubectl"), "kustomize", str(FOLDER / "overlays" / overlay)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS).stdout


def resources(overlay: str) -> list[Resource]:
    return list(yaml.safe_load_all(resolved(overlay)))


def named(overlay: str, kind: str) -> Resource:
    (found,) = [resource for resource in resources(overlay) if resource["kind"] == kind]
    return found


def pod(overlay: str) -> Resource:
    """The specification of the overlay's pods."""
    if overlay == "kserve":
        found: Resource = named(overlay, "InferenceService")["spec"]["predictor"]
        return found
    found = named(overlay, "Deployment")["spec"]["template"]["spec"]
    return found


def validated(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "resolved.yaml"
    file.write_text(text, encoding="utf-8")
    command = [str(PROGRAMS / "kubernetes-validate"), "--strict", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_accepts_every_resource(overlay: str, tmp_path: Path) -> None:
    text = resolved(overlay)
    done = validated(text, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    unknown = set(re.findall(r"Couldn't find schema for kind (\w+)", done.stdout + done.stderr))
    assert unknown <= EXTENSIONS
    assert unknown | set(re.findall(r"^kind: (\w+)", text, re.MULTILINE)) - EXTENSIONS


def test_a_mistyped_field_is_not_accepted(tmp_path: Path) -> None:
    done = validated(resolved("small").replace("readOnlyRootFilesystem", "readOnylRootFilesystem"), tmp_path)
    assert done.returncode != 0


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_image_is_named_by_its_digest_in_one_place(overlay: str) -> None:
    (image,) = yaml.safe_load((FOLDER / "image" / "kustomization.yaml").read_text(encoding="utf-8"))["images"]
    found = re.findall(r"image: (\S+)", resolved(overlay))
    assert found == [f"{image['newName']}@{image['digest']}"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_restricted_as_the_image_allows(overlay: str) -> None:
    spec = pod(overlay)
    (container,) = spec["containers"]
    # Knative refuses a security context of the pod.
    assert ("securityContext" in spec) == (overlay != "kserve")
    # What the Pod Security Standard "restricted" asks for.
    assert spec["automountServiceAccountToken"] is False
    assert spec.get("securityContext", {}) | container["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]["textserve"]
    assert container["resources"]["limits"]["memory"] == compose["mem_limit"].replace("m", "Mi")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_are_those_of_the_image(overlay: str) -> None:
    (container,) = pod(overlay)["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    grpc = {"grpc": Settings.model_fields["grpc_port"].default}
    assert ports == ({"http1": HTTP_PORT} if overlay == "kserve" else {"http": HTTP_PORT, **grpc})
    for resource in resources(overlay):
        if resource["kind"] == "Service":
            assert {port["targetPort"] for port in resource["spec"]["ports"]} <= set(ports)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_ask_what_the_service_answers(overlay: str, server: Server) -> None:
    (container,) = pod(overlay)["containers"]
    probes = {name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")}
    assert {"readinessProbe", "livenessProbe"} <= set(probes)
    for probe in probes.values():
        assert probe["port"] in ("http", HTTP_PORT)
        assert httpx.get(server.url + probe["path"], timeout=LIMIT_SECONDS).status_code == 200


def test_the_service_monitor_asks_for_metrics_where_they_are(server: Server) -> None:
    monitor = named("high-availability", "ServiceMonitor")["spec"]
    (endpoint,) = monitor["endpoints"]
    assert "textserve_requests_total" in httpx.get(server.url + endpoint["path"], timeout=LIMIT_SECONDS).text
    selecting = [
        resource
        for resource in resources("high-availability")
        if resource["kind"] == "Service"
        and monitor["selector"]["matchLabels"].items() <= resource["metadata"]["labels"].items()
        and endpoint["port"] in {port["name"] for port in resource["spec"]["ports"]}
    ]
    assert len(selecting) == 1
    # The job that the alerts name.
    assert selecting[0]["metadata"]["labels"][monitor["jobLabel"]] == "textserve"


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "kserve"])
def test_a_pod_has_time_to_drain(overlay: str) -> None:
    spec = pod(overlay)
    (container,) = spec["containers"]
    settings = Settings.model_fields
    needed = settings["stop_delay_seconds"].default + settings["drain_seconds"].default
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > before + needed
    # Endpoints must have forgotten the pod before it stops accepting.
    probe = container["readinessProbe"]
    assert before >= probe["periodSeconds"] * probe["failureThreshold"]


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "kserve"])
def test_selectors_of_pods_match_the_labels_of_the_deployment(overlay: str) -> None:
    labels = named(overlay, "Deployment")["spec"]["template"]["metadata"]["labels"]
    for resource in resources(overlay):
        spec = resource["spec"]
        if resource["kind"] == "Service":
            assert spec["selector"].items() <= labels.items()
        if resource["kind"] in ("Deployment", "Rollout", "PodDisruptionBudget"):
            assert spec["selector"]["matchLabels"].items() <= labels.items()
        if resource["kind"] == "NetworkPolicy":
            assert spec["podSelector"]["matchLabels"].items() <= labels.items()
            assert "egress" not in spec


def expressions(value: Any) -> Iterator[str]:
    """All queries in resolved resources."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("expr", "query"):
                yield inner
            yield from expressions(inner)
    if isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


@pytest.mark.parametrize("overlay", ["high-availability", "canary"])
def test_queries_are_valid_and_name_metrics_that_exist(overlay: str, tmp_path: Path) -> None:
    queries = list(expressions(resources(overlay)))
    assert queries
    source = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "textserve").rglob("*.py"))
    known = set(re.findall(r'"(textserve_\w+)"', source))
    for query in queries:
        for name in re.findall(r"\btextserve_\w+", query):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in known
    rules = [{"record": f"query{index}", "expr": query} for index, query in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kubernetes_has_every_alert_of_the_host() -> None:
    alerts = yaml.safe_load(kubernetes_rules.ALERTS.read_text(encoding="utf-8"))
    assert kubernetes_rules.RULES.read_text(encoding="utf-8") == kubernetes_rules.prometheus_rule(), "make docs-tables"
    assert named("high-availability", "PrometheusRule")["spec"] == alerts


def test_the_canary_runs_the_pods_of_the_deployment_and_judges_each_step() -> None:
    rollout, template = named("canary", "Rollout")["spec"], named("canary", "AnalysisTemplate")
    deployment = named("canary", "Deployment")
    assert rollout["workloadRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert (deployment["spec"]["replicas"], rollout["replicas"]) == (0, 4)
    steps = rollout["strategy"]["canary"]["steps"]
    assert [set(step) for step in steps] == [{"setWeight"}, {"analysis"}] * (len(steps) // 2)
    arguments = {argument["name"] for argument in template["spec"]["args"]}
    for step in steps[1::2]:
        assert step["analysis"]["templates"] == [{"templateName": template["metadata"]["name"]}]
        assert {argument["name"] for argument in step["analysis"]["args"]} == arguments


def test_pods_are_added_before_a_thread_is_busy_all_the_time() -> None:
    (trigger,) = named("high-availability", "ScaledObject")["spec"]["triggers"]
    (container,) = pod("high-availability")["containers"]
    assert float(trigger["metadata"]["threshold"]) < float(container["resources"]["limits"]["cpu"])
    assert "replicas" not in named("high-availability", "Deployment")["spec"]
