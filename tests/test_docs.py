"""What is written: examples run as they stand against the real service, commands are run by tests, tables are true."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from playwright._impl._driver import compute_driver_executable

from scripts import settings_page
from tests.server import ROOT, Server, environment, serve
from textserve.errors import TextserveError
from textserve.grpc.statuses import CODES
from textserve.http.tei import TEI

DOCUMENT = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    (f"{page.name}-{number}", language, code)
    for page in PAGES
    for number, (language, code) in enumerate(
        re.findall(r"^```(\w*)\n(.+?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    )
]
SERVICE = "localhost:300"
EXAMPLES = [
    (name, language, code)
    for name, language, code in BLOCKS
    if language in ("python", "bash", "javascript") and SERVICE in code and "make serve" not in code
]
# Languages of blocks in which nothing is to be run.
SHOWN = {"json", "yaml", "text"}

SERVES = "tests/test_makefile.py::test_the_readmes_curl_commands_answer_as_the_readme_says"
FROM_SOURCE_TO_ANSWER = "tests/scripts/test_any_model.py::test_a_model_goes_from_its_source_to_an_answer"
OWN_MODEL = (
    "tests/scripts/test_any_model.py"
    "::test_ones_own_model_is_a_copied_folder_with_one_file_changed_served_beside_the_default_one"
)
# Every command of the pages that is not run here, with what runs it: a test, the script of the continuous integration,
# or a job of a workflow. Verbs of make stand with their variables; MODEL is left out.
RUN_BY = {
    "make serve": SERVES,
    "TEXTSERVE_THREADS=1 TEXTSERVE_MAX_QUEUE_SECONDS=0.5 make serve": SERVES,
    "make test": ".ci/run",
    "make test-export": ".ci/run",
    "make lint": "ci-cd.yaml checks",
    "make audit": "ci-cd.yaml checks",
    "make workflows": "tests/test_workflows.py::test_zizmor_and_the_schema_find_nothing",
    "make pipeline": "nightly.yaml desk",
    "make update": "tests/test_makefile.py::test_updating_locks_the_newest_versions_that_fit",
    "make docs": ".ci/run",
    "make report": "tests/test_makefile.py::test_the_report_has_its_sections",
    "make image-save": "tests/image/test_image_file.py::test_a_saved_image_has_beside_it_what_the_engine_knows",
    "make scan": "tests/image/test_image_file.py"
    "::test_a_scan_lists_what_is_in_the_image_and_fails_where_something_is_vulnerable",
    "make deploy IMAGE SIGNED_BY": "tests/test_release.py"
    "::test_what_is_deployed_is_that_digest_after_its_signature_is_verified",
    "make benchmark": "nightly.yaml benchmark",
    "make benchmark QUICK": "ci-cd.yaml benchmark",
    "make promises": "nightly.yaml benchmark",
    "make tune P99": "nightly.yaml benchmark",
    "make train RECIPE": "tests/scripts/test_train.py"
    "::test_a_sweep_leaves_three_runs_and_one_staged_version_on_a_server_with_passwords",
    "make train RECIPE BASE": "tests/scripts/test_train.py::test_fine_tuning_logs_each_epoch_and_goes_on_where_it_was",
    "make export": FROM_SOURCE_TO_ANSWER,
    "make verify": FROM_SOURCE_TO_ANSWER,
    "make evaluate": "tests/scripts/test_evaluate.py::test_everything_is_measured_shown_and_written_down",
    "make promote": "tests/scripts/test_promote.py"
    "::test_a_model_that_passes_is_in_use_with_who_when_and_on_which_report",
    "make rollback": "tests/scripts/test_promote.py"
    "::test_rolling_back_goes_back_one_promotion_at_a_time_until_there_is_none",
    "make model": "tests/scripts/test_any_model.py::test_make_model_is_the_four_verbs_in_their_order",
    "make download": FROM_SOURCE_TO_ANSWER,
    "make download SOURCE": "tests/scripts/test_download.py"
    "::test_a_checkpoint_that_was_trained_elsewhere_replaces_training",
    "make download ALLOW_PICKLE": "tests/scripts/test_download.py"
    "::test_pickles_are_refused_with_the_reason_unless_they_are_allowed",
    "make save": "tests/scripts/test_save.py::test_a_verified_model_is_stored_with_all_that_is_known_of_it",
    "make bento": "tests/test_makefile.py::test_the_bento_carries_the_pinned_model_and_serves_the_same_way",
    "make image": ".ci/run",
    "make test-image": ".ci/run",
    "docker run --detach --publish 3000:3000 --publish 3002:3002 --read-only --cap-drop all "
    "--security-opt no-new-privileges --memory 512m textserve:latest": "tests/image/test_image.py"
    "::test_it_runs_as_the_documentation_says",
    "docker compose --file deploy/compose.yaml up --detach --wait": "tests/image/test_compose.py"
    "::test_the_service_answers_where_the_variables_say_and_keeps_the_keys",
    "mkdir models/my-model": OWN_MODEL,
    "cp models/distilbert-base-uncased-finetuned-sst-2-english/model.yaml models/my-model/": OWN_MODEL,
    ".venv-export/bin/python -m scripts.export my-model --texts texts.txt": "tests/scripts/test_export.py"
    "::test_own_texts_set_the_scales",
    ".venv-export/bin/python -m scripts.verify my-model --texts texts.txt": "tests/scripts/test_verify.py"
    "::test_the_script_passes_a_model_within_its_limits_and_reports_it",
    ".venv/bin/bentoml models get my-model:latest -o yaml": "tests/scripts/test_save.py"
    "::test_the_license_and_the_verification_can_be_read_from_the_store",
    ".venv-export/bin/mlflow ui --backend-store-uri sqlite:///build/mlflow.db": "tests/scripts/test_mlflow_ui.py"
    "::test_the_page_of_the_registry_opens_as_the_documentation_says",
    "export MLFLOW_TRACKING_URI=https://mlflow.example.org MLFLOW_TRACKING_USERNAME=me MLFLOW_TRACKING_PASSWORD=…": (
        "tests/scripts/test_train.py::test_a_sweep_leaves_three_runs_and_one_staged_version_on_a_server_with_passwords"
    ),
    ".venv/bin/pytest tests/textserve/test_batching.py": "tests/test_docs.py"
    "::test_one_file_of_tests_runs_as_the_documentation_says",
    'model = mlflow.pyfunc.load_model("models:/sentiment-en-head@staging")': "tests/scripts/test_train.py"
    "::test_the_staged_model_answers_texts_as_its_checkpoint_does",
}
# They take longer than anybody waits for a test: seven servers are installed, every core is used for minutes, or all
# tests are run.
LONG = {"make benchmark", "make benchmark QUICK", "make promises", "make tune P99", "make pipeline"}
SECTIONS = ["Native", "Hugging Face inference", "text-embeddings-inference", "Open Inference Protocol"]
ROW = re.compile(r"^\| `(\w+)` \| .+? \| (\d+) \| (\d+) `(\w+)` \| `([A-Z_]+)` \| (.*?)\|$", re.MULTILINE)


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    with serve(store) as running:
        yield running


def command(language: str, script: Path) -> list[str]:
    if language == "python":
        return [sys.executable, str(script)]
    if language == "bash":
        return ["bash", "-euo", "pipefail", str(script)]
    # Playwright brings the node that drives its browsers, so there always is one.
    return [shutil.which("node") or compute_driver_executable()[0], str(script)]


@pytest.mark.parametrize(
    ("language", "code"), [example[1:] for example in EXAMPLES], ids=[f"{name}-{one}" for name, one, _ in EXAMPLES]
)
def test_an_example_runs_as_it_stands(server: Server, tmp_path: Path, language: str, code: str) -> None:
    suffix = {"python": "py", "bash": "sh", "javascript": "mjs"}[language]
    script = tmp_path / f"example.{suffix}"
    address = f"127.0.0.1:{server.port}"
    code = code.replace("localhost:3000", address).replace("localhost:3002", f"127.0.0.1:{server.grpc_port}")
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        command(language, script), env=environment(tmp_path), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "positive" in done.stdout


def commands(language: str, code: str) -> list[str]:
    """The commands of a block: of a shell its lines, of Python that which asks the model."""
    if language == "bash":
        lines = [re.sub(r"\s+# .*$", "", line).strip() for line in code.replace("\\\n", " ").splitlines()]
        return [line for line in lines if line]
    return [line for line in code.splitlines() if "load_model" in line]


def kind(command: str) -> str:
    """The command as RUN_BY has it: of make the verb and the names of its variables."""
    if not command.startswith("make "):
        return command
    verb, *variables = command.removeprefix("make ").split()
    names = [variable.partition("=")[0] for variable in variables]
    return " ".join(["make", verb, *(name for name in names if name != "MODEL")])


def dry_run(words: list[str]) -> str:
    """What make would do."""
    done = subprocess.run([words[0], "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


CI = ".ci/run"
CI_STEPS = re.findall(r"^make [^#\n]+", (ROOT / CI).read_text(encoding="utf-8"), re.MULTILINE)


def job_steps(file: str, job: str) -> list[str]:
    """The commands of a job of a workflow."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / file).read_text(encoding="utf-8"))
    return [step["run"] for step in workflow["jobs"][job]["steps"] if "run" in step]


def jobs_at_a_desk() -> set[str]:
    """The jobs of ci-cd.yaml that the continuous integration runs by act: the one named, and those it waits for."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci-cd.yaml").read_text(encoding="utf-8"))["jobs"]
    found, waiting = set(), re.findall(r"^make pipeline JOB=([a-z-]+)", "\n".join(CI_STEPS), re.MULTILINE)
    while waiting:
        found.add(name := waiting.pop())
        waiting += jobs[name].get("needs", [])
    return {f"ci-cd.yaml {name}" for name in found}


NOT_EXAMPLES = [
    (name, language, code)
    for name, language, code in BLOCKS
    if language not in SHOWN and (name, language, code) not in EXAMPLES
]
COMMANDS = sorted({command for _, language, code in NOT_EXAMPLES for command in commands(language, code)})


def test_every_block_is_run_here_or_has_its_commands_in_the_table() -> None:
    assert [name for name, language, code in NOT_EXAMPLES if not commands(language, code)] == []
    assert {kind(command) for command in COMMANDS} == RUN_BY.keys()


@pytest.mark.parametrize("proof", sorted(set(RUN_BY.values())))
def test_what_the_table_names_is_there(proof: str) -> None:
    named = [command for command, by in RUN_BY.items() if by == proof]
    if "::" in proof:
        file, _, name = proof.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
        return
    steps = set(CI_STEPS) if proof == CI else set(job_steps(*proof.split(" ")))
    verbs = {kind(step) for step in steps}
    assert {command for command in named if command.startswith("make ")} <= verbs
    # What is not a verb is a part of one.
    recipes = "".join(dry_run(step.split()) for step in steps)
    assert [command for command in named if not command.startswith("make ") and command not in recipes] == []


def test_only_what_takes_long_waits_for_githubs_machines() -> None:
    """A test runs every other command here and now, or the continuous integration does, as a workflow or by itself."""
    desk = jobs_at_a_desk()
    assert {command for command, by in RUN_BY.items() if ".yaml " in by and by not in desk} == LONG


@pytest.mark.parametrize("command", [command for command in COMMANDS if "make " in command])
def test_make_knows_the_verb_and_its_variables(command: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    words = command[command.index("make ") :].split()
    names = [word.partition("=")[0] for word in words if "=" in word]
    assert [name for name in names if not re.search(rf"\$\({name}\)|\$\$?{name}\b|\(value {name}\)", makefile)] == []
    assert dry_run(words)


def test_one_file_of_tests_runs_as_the_documentation_says(tmp_path: Path) -> None:
    (command,) = [one for one in COMMANDS if one.startswith(".venv/bin/pytest")]
    # Among the others it is not to write into their cache.
    words = [*command.split(), "-p", "no:cacheprovider"]
    done = subprocess.run(words, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_settings_page_has_the_settings_of_the_class() -> None:
    page = (ROOT / settings_page.PAGE).read_text(encoding="utf-8")
    assert page == settings_page.fill_in(page), "run make settings"


def test_every_error_has_its_advice() -> None:
    advised = re.findall(r"^\| `(\w+)` \| ", (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(advised) == sorted(error.type for error in TextserveError.__subclasses__())


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = (ROOT / "mkdocs.yaml").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f": {page.name}\n" not in menu] == []


@pytest.mark.parametrize("section", SECTIONS)
def test_every_protocol_has_an_example_in_each_language(section: str) -> None:
    (text,) = re.findall(rf"^## {section}\n(.+?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    languages = {language for language, _ in re.findall(r"^```(python|bash|javascript)(\n)", text, re.MULTILINE)}
    assert languages == {"python", "bash", "javascript"}


def test_every_error_is_in_the_table_with_its_status_on_every_protocol() -> None:
    rows = {kind: (int(status), int(tei), code) for kind, status, tei, _, code, _ in ROW.findall(DOCUMENT)}
    assert rows == {
        error.type: (error.status, TEI.status(error("")), CODES[error].name)
        for error in TextserveError.__subclasses__()
    }


def test_the_types_of_text_embeddings_inference_are_in_the_table() -> None:
    rows = {kind: error_type for kind, _, _, error_type, _, _ in ROW.findall(DOCUMENT)}
    assert rows == {
        error.type: json.loads(TEI.refuse(error("")))["error_type"] for error in TextserveError.__subclasses__()
    }


@pytest.mark.parametrize(
    ("protocol", "path", "content"),
    [
        ("native", "/classify", {"texts": ["a", " "]}),
        ("Hugging Face inference", "/", {"inputs": ["a", " "]}),
        ("text-embeddings-inference", "/predict", {"inputs": [["a"], [" "]], "truncate": True}),
    ],
)
def test_the_body_of_an_error_is_the_one_that_is_shown(
    server: Server, protocol: str, path: str, content: dict[str, object]
) -> None:
    (shown,) = re.findall(rf"^\| {protocol} \| `+(\{{.+\}})`+ \|$", DOCUMENT, re.MULTILINE)
    assert httpx.post(server.url + path, json=content).json() == json.loads(shown)
