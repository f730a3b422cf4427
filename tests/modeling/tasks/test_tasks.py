from __future__ import annotations

import re
from pathlib import Path

import modeling
from modeling import tasks

MODELING = Path(modeling.__file__).parent


def test_only_a_task_and_the_recipes_know_its_labels() -> None:
    inside = [MODELING / "recipes", *(MODELING / "tasks" / name for name in tasks.names())]
    words = {*tasks.names(), "MEANINGS", *(label for name in tasks.names() for label in tasks.labels(name))}
    files = [file for file in MODELING.rglob("*") if file.suffix in (".py", ".jinja")]
    others = [file for file in files if not any(file.is_relative_to(folder) for folder in inside)]
    assert len(others) > 30
    pattern = re.compile("|".join(words), re.IGNORECASE)
    assert [file.name for file in others if pattern.search(file.read_text(encoding="utf-8"))] == []
