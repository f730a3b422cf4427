from __future__ import annotations

import re

import pytest
import yaml

from modeling.files import ROOT
from modeling.spec import ModelSpec

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
SPECS = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("index", range(len(SPECS)))
def test_the_specs_of_the_page_are_valid(index: int) -> None:
    # The first one is whole, the others show what is different.
    assert ModelSpec.model_validate(SPECS[0] | SPECS[index])


def test_the_page_shows_every_kind_of_answer_and_pairs() -> None:
    specs = [ModelSpec.model_validate(SPECS[0] | spec) for spec in SPECS]
    assert len({spec.problem_type for spec in specs}) == 3
    assert {spec.input for spec in specs} == {"text", "pair"}
