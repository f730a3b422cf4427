from __future__ import annotations

import codecs
import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.asgi import SPEC, Serve
from textserve.http.formats import read
from textserve.http.native import NATIVE, PROBLEMS, ClassifyRequest, ClassifyResponse
from textserve.prediction import Prediction


@pytest.fixture
def native(serve: Serve) -> Serve:
    return partial(serve, NATIVE)


def test_an_answer_has_the_documented_shape(native: Serve) -> None:
    predictions = [
        Prediction(SPEC, [0.1234567, 0.2, 0.6765433], tokens=5, truncated=False),
        Prediction(SPEC, [0.75, 0.25, 0.0], tokens=512, truncated=True),
    ]
    answer = native(predictions).post("/classify", {"texts": ["Dobre, polecam.", "..."]})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "model": "tiny:1",
        "results": [
            {
                "label": "positive",
                "score": 0.676543,
                "scores": {"negative": 0.123457, "neutral": 0.2, "positive": 0.676543},
                "tokens": 5,
                "truncated": False,
            },
            {
                "label": "negative",
                "score": 0.75,
                "scores": {"negative": 0.75, "neutral": 0.25, "positive": 0.0},
                "tokens": 512,
                "truncated": True,
            },
        ],
    }
    assert ClassifyResponse.model_validate(answer.json(), strict=True).model_dump() == answer.json()


@pytest.mark.parametrize(
    ("options", "expected"), [({}, "right"), ({"truncate": True}, "right"), ({"truncate": False}, None)]
)
def test_a_long_text_is_truncated_unless_the_request_disables_it(
    native: Serve, options: dict[str, bool], expected: str | None
) -> None:
    client = native()
    assert client.post("/classify", {"texts": ["a"], **options}).status_code == 200
    assert client.runner.truncations == [expected]


@given(texts=st.lists(st.text(), max_size=8), escaped=st.booleans())
def test_texts_are_read_unchanged(texts: list[str], escaped: bool) -> None:
    assert (
        read(ClassifyRequest, json.dumps({"texts": texts}, ensure_ascii=escaped).encode(), PROBLEMS, 1000).texts
        == texts
    )


def test_a_byte_order_mark_is_ignored(native: Serve) -> None:
    assert native().post("/classify", codecs.BOM_UTF8 + b'{"texts":["a"]}').status_code == 200


def test_a_key_with_half_of_a_surrogate_pair_is_an_error_like_others(native: Serve) -> None:
    answer = native().post("/classify", rb'{"texts":["a"],"\ud800":"\ud800"}')
    assert (answer.status_code, answer.json()["error"]["where"]) == (400, "?")
