"""The container image of the Bento, as BentoML's Dockerfile builds it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import bentoml.images

# Debian with pip and the newest Python that all locked packages support, for linux/amd64 and linux/arm64.
DEFAULT_PYTHON = "3.13"
BASE_IMAGE = f"docker.io/library/python:{DEFAULT_PYTHON}-slim"
# As bentofile.yaml names it.
REQUIREMENTS = Path("build", "requirements.txt")
# The same packages with hashes, in another file: BentoML would parse the hashes at every start, which takes 40 ms.
HASHES = Path("build", "hashes.txt")
SERVICE = "/home/bentoml/bento/src"
# Every container engine leaves this folder, which is in memory, writable under a read-only root.
WRITABLE = "/dev/shm"  # noqa: S108
# Checked with BentoML 1.4.39, whose Image has no setting for any of these; each is an instruction on a line of its own.
# BentoML's entry point runs CMD, or `bentoml serve` without one.
INSTRUCTIONS = f"""\
chmod +x /usr/local/bin/uv
ENV BENTOML_HOME={WRITABLE}/bentoml TMPDIR={WRITABLE} PYTHONPATH={SERVICE}
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s CMD python -IS {SERVICE}/textserve/bento/health.py
CMD ["python", "-m", "textserve.bento.start"]"""


def image(base: str) -> bentoml.images.Image:
    """The definition of the image on ``base``, a Debian with pip and the Python of :func:`python_version`."""
    python = python_version(base)
    # BentoML installs a compiler and git for any other value of distro.
    definition = bentoml.images.Image(base_image=base, distro="none", python_version=python, lock_python_packages=False)
    definition.run(write("uv.txt", "/usr/local/share/uv.txt"))
    definition.run(write("uv.sh", "/usr/local/bin/uv"))
    definition.run(write("bentoml.sh", "/usr/local/share/bentoml.sh"))
    definition.run(INSTRUCTIONS)
    # Copied before the packages are installed: uv.sh checks their hashes and compiles the service with them. The rest
    # of the Bento follows.
    return definition.build_include("service.py", "textserve", "build")


def python_version(base: str) -> str:
    """The version of Python in the name of a base image, such as python:3.12-slim; otherwise ``DEFAULT_PYTHON``."""
    said = re.search(r"python[:-]?(3\.\d+)", base)
    return said[1] if said else DEFAULT_PYTHON


def write(name: str, target: str) -> str:
    """The shell command that writes the file ``name`` of this folder, without comments, to ``target`` in the image.

    Thus ``uv.sh`` becomes the ``uv`` that BentoML's Dockerfile calls. Checked with BentoML 1.4.39. Its
    ``Image.run_script`` would copy the file, but under a name made of the absolute path of the project, so the same
    content would not give the same digest of the Bento everywhere.
    """
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    content = " ".join(shlex.quote(line) for line in lines if not line.startswith("# "))
    return f"printf '%s\\n' {content} > {target}"
