"""Save the verified model in a folder in the model store, wherever the folder is: ``python -m benchmarks.save FOLDER``.

scripts/save.py saves the models of ``models/`` by name.
"""

from __future__ import annotations

import sys
from pathlib import Path

from modeling.files import ModelFiles
from modeling.store import save

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print(save(ModelFiles(folder, folder)))
