"""The container image of the Bento, as BentoML's Dockerfile builds it."""

from __future__ import annotations

import shlex
from pathlib import Path

import bentoml.images

# Debian with Python and pip, for linux/amd64 and linux/arm64.
BASE_IMAGE = "docker.io/library/python:3.11-slim"
# As bentofile.yaml names it.
REQUIREMENTS = Path("build", "requirements.txt")
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
    """The image's definition on ``base``: Debian with Python 3.11 and its pip, on either architecture."""
    # BentoML installs a compiler and git for any other value of distro.
    definition = bentoml.images.Image(base_image=base, distro="none", python_version="3.11", lock_python_packages=False)
    definition.run(install_uv())
    definition.run(INSTRUCTIONS)
    # Copied before the packages are installed, so that uv.sh can compile it with them. The rest of the Bento follows.
    return definition.build_include("service.py", "textserve")


def install_uv() -> str:
    """The shell command that installs ``uv.sh`` as the ``uv`` that BentoML's Dockerfile calls.

    Checked with BentoML 1.4.39. Its ``Image.run_script`` would copy the file, but under a name made of the absolute
    path of the project, so the same content would not give the same digest of the Bento everywhere.
    """
    lines = Path(__file__).with_name("uv.sh").read_text(encoding="utf-8").splitlines()
    script = " ".join(shlex.quote(line) for line in lines if not line.startswith("# "))
    return f"printf '%s\\n' {script} > /usr/local/bin/uv"
