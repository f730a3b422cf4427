"""Says what to run if the service's packages are missing, such as in a clone with the user's own BentoML.

Standard library only, and imported before the modules that need the packages.
"""

from __future__ import annotations

from importlib.util import find_spec

NEEDED = ("grpc", "onnxruntime", "pydantic_settings", "tokenizers")

if missing := [name for name in NEEDED if find_spec(name) is None]:
    raise ImportError(
        f"{', '.join(missing)} not installed beside this BentoML; run make bento once, which installs them and builds, "
        "and use .venv/bin/bentoml"
    )
