from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textserve.http.structure import has_key, has_more_values

VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(st.sampled_from('a"\\,[{}]ż'), max_size=12)),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(st.sampled_from('k"\\,[{'), max_size=5), inner)),
)


def count(value: Any) -> int:
    """Commas and opening brackets of the value's JSON outside its strings."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(0, len(value) - 1) + sum(map(count, inner))
    return 0


@given(value=VALUES, escaped=st.booleans())
def test_what_is_in_strings_does_not_count(value: Any, escaped: bool) -> None:
    body = json.dumps(value, ensure_ascii=escaped).encode()
    assert not has_more_values(body, count(value))
    assert count(value) == 0 or has_more_values(body, count(value) - 1)


@pytest.mark.parametrize("part", [b"1,", b'"a",', b"[],", b"{},", b'"k":1,', b'"\\"",', b'"\\\\",', b"["])
def test_many_values_are_noticed_however_they_are_written(part: bytes) -> None:
    body = b'{"texts":[' + part * 5000
    assert has_more_values(body, 3000)
    assert not has_more_values(b'{"texts":["' + b"a, b [c] {d}" * 5000 + b'"]}', 10)


@given(value=VALUES, escaped=st.booleans(), space=st.sampled_from(["", " ", "\n\t "]))
def test_a_key_is_found_and_what_looks_like_one_in_a_text_is_not(value: Any, escaped: bool, space: str) -> None:
    texts = ['"input":', '\\"input" :', "input", '{"input": 1}']
    for content, expected in (({"k": [value, *texts]}, False), ({"k": value, "input": texts}, True)):
        body = json.dumps(content, ensure_ascii=escaped, separators=(",", f"{space}:{space}")).encode()
        assert has_key(body, "input") == expected
