"""What .github/ promises about the supply chain; `make workflows` checks the rest."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from release.digests import JOBS
from tests.server import ROOT

FOLDER = ROOT / ".github" / "workflows"
# Inputs of actions that keep a cache unless told otherwise.
CACHES = {
    "aquasecurity/setup-trivy": "cache",
    "docker/setup-buildx-action": "cache-binary",
    "astral-sh/setup-uv": "enable-cache",
}
SETUP = "./.github/actions/setup"


def load(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / ".github" / path).read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def jobs() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = load("workflows/ci-cd.yaml")["jobs"]
    return found


def needed(jobs: dict[str, dict[str, Any]], name: str) -> set[str]:
    """The jobs that ``name`` waits for, and itself."""
    return {name}.union(*(needed(jobs, other) for other in jobs[name].get("needs", [])))


def caching(step: dict[str, Any]) -> bool:
    """Whether a step may restore a cache."""
    action = step.get("uses", "").partition("@")[0]
    options = step.get("with", {})
    if action == SETUP:
        return options.get("cache", False) is not False
    if action in CACHES:
        return options.get(CACHES[action]) is not False
    return action.startswith("actions/cache") or "cache" in options


def test_no_job_from_the_model_to_the_push_restores_a_cache(jobs: dict[str, dict[str, Any]]) -> None:
    released = {name for name in needed(jobs, "push") if "model" in needed(jobs, name)}
    assert released == {"model", "bento", "image", "test-image", "scan", "push"}
    assert [(name, step) for name in sorted(released) for step in jobs[name]["steps"] if caching(step)] == []
    # The check does find a cache in a job that has one.
    assert [step for step in jobs["test"]["steps"] if caching(step)] != []


def test_the_setup_keeps_no_cache_unless_a_job_asks_for_it() -> None:
    setup = load("actions/setup/action.yaml")
    assert setup["inputs"]["cache"]["default"] == "false"
    (uv,) = [step for step in setup["runs"]["steps"] if step["uses"].startswith("astral-sh/setup-uv@")]
    assert uv["with"]["enable-cache"] == "${{ inputs.cache }}"
    assert [step for step in setup["runs"]["steps"] if step is not uv and caching(step)] == []


def test_the_workflows_install_the_uv_whose_hashes_are_known() -> None:
    (uv,) = [step for step in load("actions/setup/action.yaml")["runs"]["steps"] if "setup-uv@" in step["uses"]]
    assert "version" not in uv["with"]
    pinned = (ROOT / uv["with"]["version-file"]).read_text(encoding="utf-8")
    assert re.match(r"uv==[\d.]+ \\\n +--hash=sha256:", pinned)


def test_push_compares_what_each_job_on_each_machine_saw(jobs: dict[str, dict[str, Any]]) -> None:
    architectures = set(jobs["image"]["strategy"]["matrix"]["architecture"])
    (push,) = [step for step in jobs["push"]["steps"] if step.get("run") == "make push"]
    said_by = {"built": "image", "tested": "test-image", "scanned": "scan"}
    assert set(said_by) == set(JOBS)
    for variable, job in said_by.items():
        words = re.findall(r"\$\{\{ needs\.([\w-]+)\.outputs\.(\w+) \}\}", push["env"][variable.upper()])
        assert set(words) == {(job, architecture) for architecture in architectures}
        assert jobs[job]["outputs"] == {name: f"${{{{ steps.digests.outputs.{name} }}}}" for name in architectures}
        (digests,) = [step for step in jobs[job]["steps"] if step.get("id") == "digests"]
        assert digests == {"run": "make digests", "id": "digests"}
    steps = [step.get("run") for step in jobs["test-image"]["steps"]]
    assert steps.index("make digests") < steps.index("make image-load"), "a test could write another file"


def test_push_downloads_no_artifact_by_a_name_that_anybody_may_choose(jobs: dict[str, dict[str, Any]]) -> None:
    (download,) = [step["with"] for step in jobs["push"]["steps"] if "download-artifact@" in step.get("uses", "")]
    uploaded = {
        step["with"]["name"].replace("${{ matrix.architecture }}", architecture)
        for job in ("image", "scan")
        for step in jobs[job]["steps"]
        if "upload-artifact@" in step.get("uses", "")
        for architecture in ("amd64", "arm64")
    }
    kinds, architectures = (group.split(",") for group in re.findall(r"\{([\w,]+)\}", download["pattern"]))
    assert re.sub(r"\{[\w,]+\}", "", download["pattern"]) == "-"
    assert {f"{kind}-{architecture}" for kind in kinds for architecture in architectures} <= uploaded


@pytest.mark.parametrize("file", sorted(path.name for path in FOLDER.iterdir()))
def test_every_output_that_is_read_is_written(file: str) -> None:
    """GitHub reads an output that does not exist, such as a misspelled one, as an empty text, without an error."""
    found = load(f"workflows/{file}")["jobs"]
    for name, job in found.items():
        text = yaml.safe_dump(job, width=10_000)
        for other, output in re.findall(r"needs\.([\w-]+)\.outputs\.([\w-]+)", text):
            assert other in job["needs"], f"{name} does not wait for {other}"
            assert output in found[other]["outputs"], f"{name} reads {other}.{output}"
        ids = {step["id"] for step in job.get("steps", []) if "id" in step}
        assert set(re.findall(r"steps\.([\w-]+)\.outputs", text)) <= ids


def test_both_images_are_built_on_the_base_image_that_was_looked_up_once(jobs: dict[str, dict[str, Any]]) -> None:
    lookups = {
        name: step["id"]
        for name, job in jobs.items()
        for step in job.get("steps", [])
        if step.get("run") == "make base-image"
    }
    assert list(lookups) == ["bento"]
    assert jobs["bento"]["outputs"]["base-image"] == f"${{{{ steps.{lookups['bento']}.outputs.base-image }}}}"
    assert jobs["image"]["env"]["BASE_IMAGE"] == "${{ needs.bento.outputs.base-image }}"


def test_a_deployment_runs_for_the_default_branch_of_a_private_repository_on_a_runner_of_its_group() -> None:
    (deploy,) = load("workflows/deploy.yaml")["jobs"].values()
    conditions = {condition.strip() for condition in deploy["if"].split("&&")}
    assert conditions == {
        "github.event.repository.private",
        "github.ref == format('refs/heads/{0}', github.event.repository.default_branch)",
    }
    assert deploy["runs-on"]["group"] == deploy["environment"] == "${{ inputs.environment }}"
    assert deploy["env"]["SIGNED_BY"].endswith("/.github/workflows/ci-cd.yaml")


def test_only_the_deployment_uses_a_runner_of_ours() -> None:
    for file in FOLDER.iterdir():
        for name, job in load(f"workflows/{file.name}")["jobs"].items():
            ours = "self-hosted" in str(job.get("runs-on"))
            assert ours is (file.name == "deploy.yaml"), f"{file.name}: {name}"


def test_dependabot_reads_the_folders_with_pins() -> None:
    updates = {update["package-ecosystem"]: update for update in load("dependabot.yaml")["updates"]}
    for directory in updates["docker-compose"]["directories"]:
        assert (ROOT / directory.lstrip("/") / "compose.yaml").is_file()
    assert (ROOT / updates["pip"]["directory"].lstrip("/") / "uv.txt").is_file()


@pytest.mark.parametrize(("file", "unneeded"), [("ci-cd.yaml", {"summary", "comment"}), ("nightly.yaml", set())])
def test_a_failure_on_the_default_branch_is_told(file: str, unneeded: set[str]) -> None:
    found = load(f"workflows/{file}")["jobs"]
    notify = found.pop("notify")
    assert set(notify["needs"]) == found.keys() - unneeded
    assert {condition.strip() for condition in notify["if"].split("&&")} == {
        "always()",
        "(contains(needs.*.result, 'failure') || contains(needs.*.result, 'cancelled'))",
        "github.ref == format('refs/heads/{0}', github.event.repository.default_branch)",
    }
    (step,) = [step for step in notify["steps"] if step.get("run") == "make notify"]
    assert set(step["env"]) == {"NOTIFICATIONS_WEBHOOK", "MESSAGE"}
