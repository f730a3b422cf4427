"""Merges the layers of an image, so that files of its base that a later layer deleted take no space.

podman can do that while it builds. docker cannot, so a container of its image is exported, which keeps the files, and
imported with the image's configuration.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from release.engine import Engine
from release.errors import ReleaseError

# Of images for Windows only, but BuildKit sets it.
IGNORED = "ArgsEscaped"


def flatten(image: str, engine: Engine) -> None:
    """Replace ``image`` by one of the same files and configuration in a single layer; an error leaves it as it is.

    Raises:
        ReleaseError: if there is no such image, the engine fails, or the configuration has what it cannot import.
    """
    replaced, config = _inspect(image, "{{json .ID}}", engine), _inspect(image, "{{json .Config}}", engine)
    changes = [f"--change={instruction}" for instruction in instructions(config)]
    container = engine.run("create", image)
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = str(Path(folder, "files.tar"))
            engine.run("export", f"--output={files}", container)
            *_, made = engine.run("import", *changes, files).splitlines()
    finally:
        engine.run("rm", container)
    imported = _inspect(made, "{{json .Config}}", engine)
    said = {name: value for name, value in config.items() if value and name != IGNORED}
    if lost := [name for name, value in said.items() if imported.get(name) != value]:
        engine.run("image", "rm", made)
        raise ReleaseError(f"{image}: {engine.program} import loses {', '.join(lost)} of its configuration")
    engine.run("tag", made, image)
    if not _inspect(replaced, "{{json .RepoTags}}", engine):
        engine.run("image", "rm", replaced)


def _inspect(image: str, field: str, engine: Engine) -> Any:
    return json.loads(engine.run("image", "inspect", "--format", field, image))


def instructions(config: dict[str, Any]) -> Iterator[str]:
    """The instructions of a Dockerfile that set ``config``, an image's configuration as the engine prints it."""
    for variable in config.get("Env") or ():
        name, _, value = variable.partition("=")
        yield f"ENV {name}={_quoted(value)}"
    for name, value in (config.get("Labels") or {}).items():
        yield f"LABEL {_quoted(name)}={_quoted(value)}"
    for port in config.get("ExposedPorts") or ():
        yield f"EXPOSE {port}"
    for key, instruction in (("User", "USER"), ("WorkingDir", "WORKDIR")):
        if config.get(key):
            yield f"{instruction} {config[key]}"
    for key, instruction in (("Entrypoint", "ENTRYPOINT"), ("Cmd", "CMD")):
        if config.get(key):
            yield f"{instruction} {json.dumps(config[key])}"
    if check := config.get("Healthcheck"):
        times = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod"}
        options = [f"--{name}={check[key] // 1_000_000}ms" for name, key in times.items() if check.get(key)]
        kind, *command = check["Test"]
        test = command[0] if kind == "CMD-SHELL" else json.dumps(command)
        yield " ".join(["HEALTHCHECK", *options, "CMD", test])


def _quoted(value: str) -> str:
    """``value`` in the quotes of a Dockerfile, in which ``$`` would name a variable."""
    return '"' + "".join(f"\\{character}" if character in '\\"$' else character for character in value) + '"'
