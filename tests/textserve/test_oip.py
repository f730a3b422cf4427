from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tritonclient.utils import serialize_byte_tensor

from tests.asgi import ANSWER, SPEC, FakeRunner, Outcome, described, fake_application
from tests.server import ROOT
from tests.specs import SPECS, some
from textserve import oip
from textserve.application import Application
from textserve.classifier import Classifier
from textserve.errors import InvalidRequest, TooManyTexts, UnknownModel
from textserve.oip import InferRequest, InputTensor, RequestedOutput, Tensor
from textserve.prediction import Prediction

ALL_CLASSES = ["0.625000:2:positive", "0.250000:1:neutral", "0.125000:0:negative"]
TWO = [
    Prediction(SPEC, [0.125, 0.25, 0.625], tokens=3, truncated=False),
    Prediction(SPEC, [0.5, 0.375, 0.125], tokens=512, truncated=True),
]


def application(classifier: Classifier, outcome: Outcome = ANSWER, **settings: Any) -> Application:
    return fake_application(classifier, FakeRunner(outcome), settings)


def requested(
    outputs: list[RequestedOutput] | None = None, shape: list[int] | None = None, **parameters: Any
) -> InferRequest:
    tensor = InputTensor(name="text", datatype="BYTES", shape=shape or [1])
    return InferRequest(inputs=[tensor], outputs=outputs, parameters=parameters)


def output(name: str, **parameters: Any) -> RequestedOutput:
    return RequestedOutput(name=name, parameters=parameters)


def infer(
    classifier: Classifier, request: InferRequest, outcome: Outcome = ANSWER, texts: Sequence[str] = ("a",)
) -> dict[str, Tensor]:
    tensors, _ = asyncio.run(oip.infer(application(classifier, outcome), request, texts))
    return {tensor.name: tensor for tensor in tensors}


def run(classifier: Classifier, request: InferRequest, seconds: float | None = None, **settings: Any) -> FakeRunner:
    """The runner that inferred ``request``, with one text."""
    runner = FakeRunner(ANSWER)
    asyncio.run(oip.infer(fake_application(classifier, runner, settings), request, ["a"], seconds=seconds))
    return runner


def error_of(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(InvalidRequest) as error:
        call(*arguments, **options)
    return error.value.full_message


@given(elements=st.lists(st.binary(max_size=300)))
def test_the_elements_of_a_tensor_are_split_as_tritons_client_joins_them(elements: list[bytes]) -> None:
    joined = serialize_byte_tensor(np.array(elements, dtype=np.object_))
    assert oip.split(joined.item() if joined.size else b"", len(elements)) == elements


@given(texts=st.lists(st.text()))
def test_texts_are_joined_as_tritons_client_joins_them(texts: list[str]) -> None:
    joined = serialize_byte_tensor(np.array([text.encode() for text in texts], dtype=np.object_))
    assert oip.raw(Tensor("label", "BYTES", [len(texts)], texts)) == (joined.item() if joined.size else b"")


@pytest.mark.parametrize(
    ("tensor", "dtype"),
    [
        (Tensor("score", "FP32", [2], [0.1, 1.0]), "<f4"),
        (Tensor("tokens", "INT32", [2], [3, 8000]), "<i4"),
        (Tensor("truncated", "BOOL", [2], [True, False]), "bool"),
    ],
)
def test_numbers_are_little_endian(tensor: Tensor, dtype: str) -> None:
    assert oip.raw(tensor) == np.array(tensor.data, dtype=dtype).tobytes()


@pytest.mark.parametrize(
    ("raw", "index"),
    [
        (b"\x01", 0),
        (b"\x01\x00\x00\x00", 0),
        (b"\x01\x00\x00\x00a\x02\x00\x00", 1),
        (b"\x01\x00\x00\x00a\x03\x00\x00\x00bc", 1),
        (b"\xff\xff\xff\xffabc", 0),
    ],
)
def test_data_that_ends_within_an_element_is_rejected_with_its_index(raw: bytes, index: int) -> None:
    assert error_of(oip.split, raw, 2).startswith(f"inputs[0] ends within element {index};")


def test_decoding_stops_after_the_number_of_elements_in_the_shape() -> None:
    # Decoded further, the data would end within an element.
    raw = oip.raw(Tensor("label", "BYTES", [1], ["a"])) + b"\x01"
    assert error_of(oip.split, raw, 1) == "inputs[0].shape says 1 texts, the data has more"


@pytest.mark.parametrize("count", [1, 3])
def test_data_with_more_or_fewer_elements_than_the_shape_is_rejected(classifier: Classifier, count: int) -> None:
    message = error_of(infer, classifier, requested(shape=[count]), texts=["a", "b"])
    assert message == f"inputs[0].shape says {count} texts, the data has 2"


def test_an_element_that_is_not_utf_8_is_rejected_by_its_index_without_quoting_it() -> None:
    assert error_of(oip.decode, [b"ok", b"tajemnica \xff"]) == "texts[1] is not UTF-8"


@pytest.mark.parametrize(("shape", "count"), [([0], 0), ([2], 2), ([2, 1], 2), ([10], 10)])
def test_a_row_or_column_has_a_number_of_texts(shape: list[int], count: int) -> None:
    assert oip.text_count(requested(shape=shape), 10) == count


@pytest.mark.parametrize("shape", [[], [1, 2], [2, 1, 1], [2, 0], [2, -1], [-2], [-(2**63)], [-1, 1]])
def test_a_shape_of_another_form_is_rejected(shape: list[int]) -> None:
    request = InferRequest(inputs=[InputTensor(name="text", datatype="BYTES", shape=shape)])
    assert error_of(oip.text_count, request, 10) == "inputs[0].shape must be [N] or [N, 1], for N texts"


@pytest.mark.parametrize("count", [11, 2**63 - 1, 2**64, 10**400])
def test_a_shape_of_too_many_texts_is_rejected_without_data(count: int) -> None:
    with pytest.raises(TooManyTexts, match=f"^has {count} texts; send at most 10 in one request$"):
        oip.text_count(requested(shape=[count, 1]), 10)


@pytest.mark.parametrize(
    ("name", "datatype", "parameters", "where"),
    [
        ("TEXT", "BYTES", {}, "inputs[0].name"),
        ("text", "FP32", {}, "inputs[0].datatype"),
        ("text", "BYTES", {"shared_memory_region": "mine"}, "inputs[0].parameters"),
    ],
)
def test_an_input_other_than_the_models_is_rejected(
    name: str, datatype: str, parameters: dict[str, object], where: str
) -> None:
    tensor = InputTensor(name=name, datatype=datatype, shape=[1], parameters=parameters)
    assert error_of(oip.text_count, InferRequest(inputs=[tensor]), 10).startswith(f"{where} ")


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_each_output_has_its_shape_type_and_data_as_in_the_metadata(classifier: Classifier, shape: list[int]) -> None:
    tensors = infer(classifier, requested(shape=shape), TWO, ["a", "b"])
    assert tensors == {
        "label": Tensor("label", "BYTES", shape, ["positive", "negative"]),
        "score": Tensor("score", "FP32", shape, [0.625, 0.5]),
        "probabilities": Tensor("probabilities", "FP32", [2, 3], [0.125, 0.25, 0.625, 0.5, 0.375, 0.125]),
        "tokens": Tensor("tokens", "INT32", shape, [3, 512]),
        "truncated": Tensor("truncated", "BOOL", shape, [False, True]),
    }
    described = oip.model_metadata(application(classifier))["outputs"]
    assert [(tensor["name"], tensor["datatype"]) for tensor in described] == [
        (tensor.name, tensor.datatype) for tensor in tensors.values()
    ]
    assert [tensor["shape"] for tensor in described] == [[-1], [-1], [-1, 3], [-1], [-1]]


def test_only_requested_outputs_are_returned_in_their_order(classifier: Classifier) -> None:
    outputs = [output("tokens"), output("label")]
    assert list(infer(classifier, requested(outputs))) == ["tokens", "label"]


@pytest.mark.parametrize(
    ("classes", "shape", "data"),
    [
        (1, [2, 1], ["0.625000:2:positive", "0.500000:0:negative"]),
        (2, [2, 2], ["0.625000:2:positive", "0.250000:1:neutral", "0.500000:0:negative", "0.375000:1:neutral"]),
        (2**40, [2, 3], [*ALL_CLASSES, "0.500000:0:negative", "0.375000:1:neutral", "0.125000:2:positive"]),
    ],
)
def test_a_classification_has_the_labels_of_the_highest_scores(
    classifier: Classifier, classes: int, shape: list[int], data: list[str]
) -> None:
    request = requested([output("probabilities", classification=classes)], [2])
    assert infer(classifier, request, TWO, ["a", "b"]) == {
        "probabilities": Tensor("probabilities", "BYTES", shape, data)
    }


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([output("label"), output("secret")], "outputs[1] is not an output of this model; its outputs are"),
        ([output("label"), output("label")], "outputs[1] is requested twice"),
        ([output("score", classification=2)], "outputs[0] has no classes"),
        *(
            (
                [output("label"), output("probabilities", classification=value)],
                "outputs[1].parameters.classification must be ",
            )
            for value in (0, -1, 1.0, "2", True)
        ),
        (
            [output("label", shared_memory_region="secret")],
            "outputs[0].parameters.shared_memory_region is not supported",
        ),
    ],
)
def test_an_invalid_output_is_rejected_without_computing(
    classifier: Classifier, outputs: list[RequestedOutput], message: str
) -> None:
    runner = FakeRunner(ANSWER)
    error = error_of(asyncio.run, oip.infer(fake_application(classifier, runner, {}), requested(outputs), ["a"]))
    assert error.startswith(message)
    assert "secret" not in error
    assert runner.asked == []


@pytest.mark.parametrize(
    ("microseconds", "transport", "used"),
    [(None, None, 30), (0, None, 30), (1, None, 1e-6), (90_000_000, None, 30), (None, 3, 3), (2_000_000, 1, 1)],
)
def test_the_shortest_time_limit_is_the_deadline(
    classifier: Classifier, microseconds: int | None, transport: float | None, used: float
) -> None:
    request = requested() if microseconds is None else requested(timeout=microseconds)
    assert run(classifier, request, transport, request_seconds=30).seconds == [used]


@pytest.mark.parametrize(("truncate", "truncation"), [(True, "right"), (False, None)])
def test_long_texts_are_truncated_or_rejected_as_requested(
    classifier: Classifier, truncate: bool, truncation: str | None
) -> None:
    assert run(classifier, requested(truncate=truncate)).truncations == [truncation]


@pytest.mark.parametrize("value", [-1, 2**63, 10**400, 1.5, "5", None, True, [1]])
def test_an_invalid_timeout_is_rejected(classifier: Classifier, value: object) -> None:
    assert error_of(infer, classifier, requested(timeout=value)).startswith("parameters.timeout must be ")


def test_the_model_is_addressed_by_name_and_optionally_version(classifier: Classifier) -> None:
    served = application(classifier)
    oip.check_model(served, "sentiment-pl-en")
    oip.check_model(served, "sentiment-pl-en", "1")
    for name, version in [("other", ""), ("sentiment-pl-en", "2"), ("", ""), ("tiny", "1")]:
        with pytest.raises(UnknownModel):
            oip.check_model(served, name, version)


def test_the_server_has_the_projects_name_and_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["name"], project["version"]) == (oip.SERVER_METADATA["name"], oip.SERVER_METADATA["version"])


@pytest.mark.parametrize("outputs", [{}, 0, "", False])
def test_outputs_are_a_list_or_null(outputs: Any) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}
    with pytest.raises(ValidationError):
        oip.InferRequest.model_validate({"inputs": [tensor], "outputs": outputs})
    assert oip.InferRequest.model_validate({"inputs": [tensor], "outputs": None}).outputs == []


# Of other models.


def tensor(name: str, shape: list[int]) -> InputTensor:
    return InputTensor(name=name, datatype="BYTES", shape=shape)


def infer_shape(name: str, request: InferRequest, *columns: list[str]) -> tuple[dict[str, Tensor], FakeRunner]:
    spec, runner = SPECS[name], FakeRunner(some(SPECS[name]))
    tensors, _ = asyncio.run(oip.infer(fake_application(described(spec), runner, {}), request, *columns))
    return {tensor.name: tensor for tensor in tensors}, runner


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        (
            "several",
            {
                "labels": ("BYTES", [1], ['["spam", "insult"]']),
                "probabilities": ("FP32", [1, 3], pytest.approx([0.731059, 0.119203, 0.952574], abs=1e-6)),
            },
        ),
        ("number", {"score": ("FP32", [1], [1.5])}),
    ],
)
def test_the_outputs_are_those_of_the_problem(name: str, outputs: dict[str, Any]) -> None:
    tensors, _ = infer_shape(name, requested(), ["a"])
    rest = {"tokens": ("INT32", [1], [3]), "truncated": ("BOOL", [1], [False])}
    assert {name: (found.datatype, found.shape, found.data) for name, found in tensors.items()} == outputs | rest
    metadata = oip.model_metadata(fake_application(described(SPECS[name]), FakeRunner(None), {}))
    assert [(found["name"], found["datatype"]) for found in metadata["outputs"]] == [
        (name, found.datatype) for name, found in tensors.items()
    ]


@pytest.mark.parametrize("name", ["several", "28 labels", "150 labels"])
def test_a_classification_of_any_width_has_the_best_labels(name: str) -> None:
    names = SPECS[name].label_names
    tensors, _ = infer_shape(name, requested([output("probabilities", classification=2)]), ["a"])
    (found,) = tensors.values()
    assert found.shape == [1, 2]
    assert [value.split(":")[1:] for value in map(str, found.data)] == [
        [str(len(names) - 1), names[-1]],
        ["0", names[0]],
    ]


@pytest.mark.parametrize("reverse", [False, True])
def test_the_inputs_of_a_pair_are_found_by_name(reverse: bool) -> None:
    tensors, columns = [tensor("text", [2]), tensor("text_pair", [2, 1])], [["a", "b"], ["c", "d"]]
    order = slice(None, None, -1 if reverse else 1)
    request = InferRequest(inputs=tensors[order])
    assert oip.text_count(request, 10, oip.inputs(SPECS["pair"])) == 2
    _, runner = infer_shape("pair", request, *columns[order])
    assert runner.asked == [[("a", "c"), ("b", "d")]]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([tensor("text", [1])], "inputs has 1 tensors; send two, named 'text' and 'text_pair'"),
        ([tensor("text", [1]), tensor("text", [1])], "inputs has 'text' twice"),
        ([tensor("text", [1]), tensor("other", [1])], "inputs[1].name must be 'text' or 'text_pair'"),
        ([tensor("text", [1]), tensor("text_pair", [2])], "inputs[1].shape says 2 texts, inputs[0] has 1"),
        ([tensor("text", [1]), tensor("text_pair", [])], "inputs[1].shape must be [N] or [N, 1], for N texts"),
    ],
)
def test_inputs_that_are_no_pairs_are_rejected(tensors: list[InputTensor], message: str) -> None:
    request = InferRequest(inputs=tensors)
    assert error_of(oip.text_count, request, 10, oip.inputs(SPECS["pair"])) == message


def test_a_second_input_with_fewer_elements_than_its_shape_is_rejected() -> None:
    request = InferRequest(inputs=[tensor("text", [2]), tensor("text_pair", [2])])
    message = error_of(infer_shape, "pair", request, ["a", "b"], ["c"])
    assert message == "inputs[1].shape says 2 texts, the data has 1"
