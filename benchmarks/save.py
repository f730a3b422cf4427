"""Save the verified model of any folder in the model store: ``python -m benchmarks.save FOLDER``.

scripts/save.py saves models by name, from ``models/``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from modeling.files import ModelFiles
from modeling.store import save

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print(save(ModelFiles(folder, folder)))
