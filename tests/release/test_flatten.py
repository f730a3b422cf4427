from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from release.engine import Engine
from release.errors import ReleaseError
from release.flatten import flatten, instructions

CONFIG = {
    "Env": ["PATH=/app/bin:/bin", 'SAID=a "word" for $5 \\ 1', "EMPTY="],
    "Labels": {"org.opencontainers.image.title": "textserve"},
    "ExposedPorts": {"3000/tcp": {}},
    "User": "bentoml",
    "WorkingDir": "/home/bentoml",
    "Entrypoint": ["/entrypoint.sh"],
    "Cmd": ["python", "-m", "start"],
    "Healthcheck": {"Test": ["CMD-SHELL", "python health.py"], "Interval": 5_000_000_000, "StartPeriod": 1_500_000_000},
}

IMPORT = 'for argument; do printf "%s\\n" "$argument" >> arguments; done; cp "$argument" imported; echo sha256:new'


def docker(
    folder: Path, before: dict[str, Any], after: dict[str, Any], run_import: str = IMPORT, names: str = "null"
) -> Engine:
    """An engine that writes its commands, and what it imports, to ``folder``; the old image then has ``names``."""
    for name, config in {"before": before, "after": after}.items():
        (folder / name).write_text(json.dumps(config), encoding="utf-8")
    program = folder / "docker"
    program.write_text(
        f"""#!/bin/sh
cd '{folder}'
echo "$1 $2 $3" >> commands
case "$*" in
    "image inspect --format {{{{json .ID}}}} textserve:1") echo '"sha256:old"' ;;
    "image inspect --format {{{{json .RepoTags}}}} sha256:old") echo '{names}' ;;
    "image inspect --format {{{{json .Config}}}} textserve:1") cat before ;;
    "image inspect --format {{{{json .Config}}}} sha256:new") cat after ;;
    "create textserve:1") echo c0 ;;
    "export --output="*" c0") echo files > "${{2#--output=}}" ;;
    "import "*) {run_import} ;;
esac
""",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return Engine(str(program), {}, {}, ())


def commands(folder: Path) -> list[str]:
    return [line.strip() for line in (folder / "commands").read_text(encoding="utf-8").splitlines()]


def test_the_files_and_the_configuration_are_imported(tmp_path: Path) -> None:
    flatten("textserve:1", docker(tmp_path, CONFIG | {"ArgsEscaped": True, "Volumes": None}, CONFIG))
    assert (tmp_path / "imported").read_text(encoding="utf-8") == "files\n"
    _, *changes, _ = (tmp_path / "arguments").read_text(encoding="utf-8").splitlines()
    assert changes == [f"--change={instruction}" for instruction in instructions(CONFIG)]
    named = commands(tmp_path).index("tag sha256:new textserve:1")
    assert commands(tmp_path)[-1] == "image rm sha256:old"
    assert "rm c0" in commands(tmp_path)[:named]


def test_an_image_with_another_name_is_kept(tmp_path: Path) -> None:
    flatten("textserve:1", docker(tmp_path, CONFIG, CONFIG, names='["textserve:other"]'))
    assert "tag sha256:new textserve:1" in commands(tmp_path)
    assert "image rm sha256:old" not in commands(tmp_path)


def test_instructions_say_the_same_as_the_configuration() -> None:
    assert list(instructions(CONFIG)) == [
        'ENV PATH="/app/bin:/bin"',
        'ENV SAID="a \\"word\\" for \\$5 \\\\ 1"',
        'ENV EMPTY=""',
        'LABEL "org.opencontainers.image.title"="textserve"',
        "EXPOSE 3000/tcp",
        "USER bentoml",
        "WORKDIR /home/bentoml",
        'ENTRYPOINT ["/entrypoint.sh"]',
        'CMD ["python", "-m", "start"]',
        "HEALTHCHECK --interval=5000ms --start-period=1500ms CMD python health.py",
    ]


def test_a_configuration_that_is_not_imported_whole_leaves_the_image(tmp_path: Path) -> None:
    engine = docker(tmp_path, CONFIG | {"StopSignal": "SIGINT"}, CONFIG | {"User": ""})
    with pytest.raises(ReleaseError, match="docker import loses User, StopSignal of its configuration"):
        flatten("textserve:1", engine)
    assert commands(tmp_path)[-1] == "image rm sha256:new"
    assert "tag sha256:new textserve:1" not in commands(tmp_path)


def test_a_failed_import_is_an_error_and_leaves_no_container(tmp_path: Path) -> None:
    engine = docker(tmp_path, CONFIG, CONFIG, run_import="echo no space >&2; exit 1")
    with pytest.raises(ReleaseError, match="import failed: no space"):
        flatten("textserve:1", engine)
    assert commands(tmp_path)[-1] == "rm c0"
