"""The container image of the Bento: from which BentoML's generated Dockerfile leaves out what does not serve.

Every instruction of a Dockerfile is a layer, and what a later one removes still weighs in the earlier. So what is not
needed is removed in the step that brings it: the generated steps call ``uv``, and this image's ``uv`` is a script that
fetches the real one, runs it, and takes away uv itself and the parts of the packages that no service uses.
"""

from __future__ import annotations

import shlex

import bentoml.images

# Debian with Python and pip, for linux/amd64 and linux/arm64.
BASE_IMAGE = "docker.io/library/python:3.11-slim"
UV_VERSION = "0.13.8"
SERVICE = "/home/bentoml/bento/src"
PACKAGES = "/app/.venv/lib/python3.11/site-packages"
# Relative to PACKAGES. libonnxruntime.so is for programs in C; Python's bindings contain all of it once more. hf_xet is
# for downloads from the Hugging Face hub. pygments colours the source of hundreds of languages.
UNUSED = (
    "hf_xet*",
    "onnxruntime/capi/libonnxruntime.so*",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "pygments/lexers/[a-z]*",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/f2py",
)
# Sources and tests that packages carry.
UNUSED_DIRECTORIES = ("tests", "__pycache__")
UNUSED_FILES = ("*.c", "*.h", "*.pxd", "*.pyi", "*.pyx", "_*_tests.*.so")

# Of the base image: installers of packages and Perl, with which nothing is started here.
UNUSED_IN_BASE = (
    "/usr/lib/python3/dist-packages/*",
    "/usr/local/lib/python3.11/site-packages/*",
    "/usr/local/lib/python3.11/ensurepip",
    "/usr/lib/python3.11/ensurepip",
    "/usr/share/python-wheels",
    "/usr/share/perl",
    "/usr/share/perl5",
    "/usr/lib/*-linux-gnu/perl",
    "/usr/local/bin/uv",
    "/usr/local/bin/pip*",
    "/usr/bin/pip*",
)

# With a read-only root this is what every container engine leaves writable, in memory.
WRITABLE = "/dev/shm"  # noqa: S108
HEALTH = f"HEALTHCHECK --interval=5s --timeout=3s --start-period=20s CMD python -IS {SERVICE}/textserve/bento/health.py"
# BentoML's entry point runs what it is given, and `bentoml serve` where it is given nothing.
START = 'CMD ["python", "-m", "textserve.bento.start"]'


def _uv() -> str:
    """The lines of the script that stands for ``uv`` while the image is built."""
    directories = " -o ".join(f"-name {shlex.quote(name)}" for name in UNUSED_DIRECTORIES)
    files = " -o ".join(f"-name {shlex.quote(name)}" for name in UNUSED_FILES)
    lines = [
        "#!/bin/sh",
        "set -e",
        # Where the service may write is too small for this.
        "export TMPDIR=/tmp",
        f"pip install --quiet --root-user-action=ignore --no-cache-dir --target /tmp/uv uv=={UV_VERSION}",
        'UV_NO_CACHE=1 UV_COMPILE_BYTECODE=0 /tmp/uv/bin/uv "$@"',
        "rm -rf /tmp/uv",
        # It is called twice: to make the environment, and to install into it.
        'case "$*" in *"pip install"*) ;; *) exit ;; esac',
        f"cd {PACKAGES}",
        f"rm -rf {' '.join(UNUSED)}",
        f"find . -type d \\( {directories} \\) -prune -exec rm -rf {{}} +",
        f"find . -type f \\( {files} \\) -delete",
        f"cd {SERVICE}",
        "/app/.venv/bin/python -m textserve.bento.bytecode",
        f"rm -rf {' '.join(UNUSED_IN_BASE)}",
    ]
    return "\n".join(lines) + "\n"


def image(base: str) -> bentoml.images.Image:
    """The image's definition on ``base``, which is Debian with Python 3.11 and its pip, on either architecture."""
    # Without "none" BentoML installs a compiler and git.
    definition = bentoml.images.Image(base_image=base, distro="none", python_version="3.11", lock_python_packages=False)
    script = " ".join(shlex.quote(line) for line in _uv().splitlines())
    definition.run(f"printf '%s\\n' {script} > /usr/local/bin/uv")
    # BentoML has no setting for any of these: instructions of their own, each on a line of its own.
    variables = f"ENV BENTOML_HOME={WRITABLE}/bentoml TMPDIR={WRITABLE} PYTHONPATH={SERVICE}"
    definition.run("\n".join(["chmod +x /usr/local/bin/uv", variables, HEALTH, START]))
    # Before the packages, so that it is compiled with them; the rest of the Bento comes after.
    return definition.build_include("service.py", "textserve")
