"""The passes on small random graphs: the same answers where the pattern fits, the same graph elsewhere."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from modeling.export.optimization import optimize

pytestmark = pytest.mark.export

Array = npt.NDArray[Any]
MASK = "attention_mask"
VOCABULARY, CHANNELS, HEADS, LABELS = 50, 16, 4, 3
NOTHING = {"attentions": 0, "folded_factors": 0, "pooled_nodes": 0, "merged_linears": 0}


class Encoder:
    """Builds an encoder of one layer, quantized, as the quantizer leaves it: nodes and random constants."""

    def __init__(
        self,
        *,
        outliers: bool = True,
        mask: str = "added",
        scaled: str = "scores",
        relative: bool = False,
        pooling: str = "first",
        window: bool = False,
        smoothed: bool = True,
        reused: bool = False,
    ) -> None:
        self.random = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.outliers = outliers
        self.number("table", self.random.normal(size=(VOCABULARY, CHANNELS)))
        self.add("Gather", ["table", "input_ids"], "x")
        self.quantize("x")
        for name in ("query", "key", "value"):
            self.linear("x", name, CHANNELS)
        self.attention(mask, scaled, relative, window)
        context = "context"
        if smoothed:
            self.add("Mul", ["context", self.number("factors", self.random.uniform(0.5, 2, CHANNELS))], "smoothed")
            context = "smoothed"
        self.quantize(context)
        self.linear(context, "dense", CHANNELS)
        self.add("Add", ["dense", "context" if reused else "x"], "residual")
        self.norm("residual", "normed")
        self.quantize("normed")
        self.linear("normed", "inner", CHANNELS)
        self.add("Erf", ["inner"], "active")
        self.add("Add", ["active", "normed"], "last")
        self.norm("last", "final")
        self.pool(pooling)
        self.number("classifier", self.random.normal(size=(CHANNELS, LABELS)))
        self.add("MatMul", ["pooled", "classifier"], "logits")

    def number(self, name: str, value: Any) -> str:
        array = np.asarray(value)
        self.constants[name] = array.astype(np.float32) if array.dtype == np.float64 else array
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    def norm(self, source: str, output: str) -> None:
        ones = [self.number(f"{output}/{part}", np.ones(CHANNELS)) for part in ("weight", "bias")]
        self.add("LayerNormalization", [source, *ones], output, axis=-1)

    def quantize(self, source: str) -> None:
        scale, zero = self.number(f"{source}/scale", 0.03), self.number(f"{source}/zero", np.uint8(128))
        self.add("QuantizeLinear", [source, scale, zero], f"{source}/int8")
        if self.outliers:
            channels = self.number(f"{source}/channels", np.array([1, 5]))
            self.add("Gather", [source, channels], f"{source}/outliers", axis=-1)

    def linear(self, source: str, output: str, width: int) -> None:
        codes = self.random.integers(-60, 60, (CHANNELS, width)).astype(np.int8)
        inputs = [
            f"{source}/int8",
            self.number(f"{output}/weight", codes),
            f"{source}/scale",
            self.number(f"{output}/weight/scale", self.random.uniform(0.003, 0.006, width)),
            f"{source}/zero",
            "",
            self.number(f"{output}/bias", self.random.normal(size=width)),
        ]
        inside = f"{output}/inside" if self.outliers else output
        self.add("MatMulIntegerToFloat", inputs, inside, domain="com.microsoft")
        if self.outliers:
            rows = self.number(f"{output}/rows", self.random.normal(size=(2, width)) / 4)
            self.add("MatMul", [f"{source}/outliers", rows], f"{output}/outside")
            self.add("Add", [inside, f"{output}/outside"], output)

    def attention(self, mask: str, scaled: str, relative: bool, window: bool) -> None:
        self.add("Shape", ["x"], "shape")
        for axis, name in enumerate(("texts", "tokens")):
            self.add("Gather", ["shape", self.number(f"axis{axis}", np.array([axis]))], name)
        sizes = [self.number("heads", np.array([HEADS])), self.number("width", np.array([CHANNELS // HEADS]))]
        self.add("Concat", ["texts", "tokens", *sizes], "split", axis=0)
        self.add("Concat", ["texts", "tokens", self.number("channels", np.array([CHANNELS]))], "joined", axis=0)
        for name, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            self.add("Reshape", [name, "split"], f"{name}/split")
            self.add("Transpose", [f"{name}/split"], f"{name}/heads", perm=order)
        root = self.number("root", 2.0)
        queries = "query/heads"
        if scaled == "query":
            self.add("Div", ["query/heads", root], "query/scaled")
            queries = "query/scaled"
        self.add("MatMul", [queries, "key/heads"], "products")
        scores = "products"
        if scaled == "scores":
            self.add("Div", ["products", root], "scores")
            scores = "scores"
        if relative:
            self.add("Add", [scores, self.number("positions", np.ones((1, HEADS, 1, 1)))], "scores/relative")
            self.add("MatMul", [queries, "key/heads"], "again")
            self.add("Mul", ["scores/relative", "again"], "scores/both")
            scores = "scores/both"
        self.masked(scores, mask, window)
        self.add("Softmax", ["masked"], "weights", axis=-1)
        self.add("MatMul", ["weights", "value/heads"], "mixed")
        self.add("Transpose", ["mixed"], "mixed/tokens", perm=[0, 2, 1, 3])
        self.add("Reshape", ["mixed/tokens", "joined"], "context")

    def masked(self, scores: str, mask: str, window: bool) -> None:
        lowest = self.number("lowest", np.finfo(np.float32).min.item())
        self.add("Unsqueeze", [MASK, self.number("inner_axes", np.array([1, 2]))], "mask/wide")
        if window:
            self.add("Squeeze", ["tokens"], "tokens/number")
            self.add("Range", [self.number("zero", 0), "tokens/number", self.number("one_token", 1)], "range")
            self.add("Less", ["range", self.number("limit", 64)], "near")
            self.add("Cast", ["near"], "near/number", to=onnx.TensorProto.INT64)
            self.add("Mul", ["mask/wide", "near/number"], "mask/all")
        else:
            self.add("Identity", ["mask/wide"], "mask/all")
        if mask == "replaced":
            self.add("Equal", ["mask/all", self.number("nothing", 0)], "hidden")
            self.add("Where", ["hidden", lowest, scores], "masked")
            return
        self.add("Cast", ["mask/all"], "mask/float", to=onnx.TensorProto.FLOAT)
        self.add("Sub", [self.number("one", 1.0), "mask/float"], "mask/inverse")
        self.add("Mul", ["mask/inverse", lowest if mask == "added" else self.number("weak", -1.0)], "mask/low")
        self.add("Add", [scores, "mask/low"], "masked")

    def pool(self, pooling: str) -> None:
        if pooling == "mean":
            self.add("ReduceMean", ["final", self.number("token_axis", np.array([1]))], "pooled", keepdims=0)
        else:
            token = self.number("token", {"first": 0, "last": -1, "second": 1}[pooling])
            self.add("Gather", ["final", token], "pooled", axis=1)

    def model(self) -> onnx.ModelProto:
        inputs = [
            helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["texts", "tokens"])
            for name in ("input_ids", MASK)
        ]
        graph = helper.make_graph(
            self.nodes,
            "encoder",
            inputs,
            [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["texts", LABELS])],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def run(model: onnx.ModelProto, lengths: list[int], seed: int = 1) -> Array:
    """Logits of texts of these lengths, of one batch."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.random.default_rng(seed).integers(1, VOCABULARY, mask.shape) * mask
    logits: Array = session.run(None, {"input_ids": ids, MASK: mask})[0]
    return logits


def assert_same_answers(model: onnx.ModelProto, optimized: onnx.ModelProto, shortest: int = 1) -> None:
    for lengths in ([shortest], [9], [6, 6, 6], [3, 12, shortest, 8], [200, 70]):
        before = run(model, lengths)
        assert np.std(before) > 0.1
        np.testing.assert_allclose(run(optimized, lengths), before, rtol=0, atol=1e-5)


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("outliers", [True, False])
@pytest.mark.parametrize("mask", ["added", "replaced"])
@pytest.mark.parametrize("scaled", ["scores", "query"])
def test_an_encoder_gets_every_pass_and_answers_the_same(outliers: bool, mask: str, scaled: str) -> None:
    model = Encoder(outliers=outliers, mask=mask, scaled=scaled).model()
    optimized, report = optimize(model, MASK)
    assert (report["attentions"], report["folded_factors"]) == (1, 1)
    assert report["merged_linears"] == 2  # the query is that of the pooled token alone
    found = operators(optimized)
    assert (found["MultiHeadAttention"], found["Softmax"], found["Transpose"], found["Reshape"]) == (1, 0, 0, 0)
    assert found["Mul"] == 0
    assert (found["MatMulIntegerToFloat"], found["Split"]) == (4, 1)
    assert_same_answers(model, optimized)


def test_query_key_and_value_become_one_product_where_all_tokens_are_read() -> None:
    model = Encoder(pooling="mean").model()
    optimized, report = optimize(model, MASK)
    assert report == {"attentions": 1, "folded_factors": 1, "pooled_nodes": 0, "merged_linears": 3}
    assert operators(optimized)["MatMulIntegerToFloat"] == 3
    assert operators(optimized)["MatMul"] == operators(model)["MatMul"] - 4  # 2 of outliers, 2 of attention
    assert_same_answers(model, optimized)


@pytest.mark.parametrize("options", [{"smoothed": False}, {"reused": True}], ids=["not smoothed", "read elsewhere"])
def test_factors_are_not_folded_where_there_are_none_or_another_reads_the_context(options: dict[str, Any]) -> None:
    model = Encoder(**options).model()
    optimized, report = optimize(model, MASK)
    assert (report["attentions"], report["folded_factors"]) == (1, 0)
    assert_same_answers(model, optimized)


@pytest.mark.parametrize("pooling", ["first", "last"])
def test_what_only_leads_to_the_pooled_token_has_one_row_a_text(pooling: str) -> None:
    model = Encoder(pooling=pooling).model()
    optimized, report = optimize(model, MASK)
    assert report["pooled_nodes"] > 10
    observed = onnx.ModelProto()
    observed.CopyFrom(optimized)
    del observed.graph.output[:]
    observed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("query", "smoothed", "inner", "value"))
    session = ort.InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
    shapes = [value.shape for value in session.run(None, dict.fromkeys(("input_ids", MASK), np.ones((2, 6), np.int64)))]
    assert shapes == [(2, 1, CHANNELS)] * 3 + [(2, 6, CHANNELS)]
    assert_same_answers(model, optimized)


@pytest.mark.parametrize("pooling", ["mean", "second"])
def test_another_pooling_is_computed_for_all_tokens(pooling: str) -> None:
    model = Encoder(pooling=pooling).model()
    optimized, report = optimize(model, MASK)
    assert report["pooled_nodes"] == 0
    assert_same_answers(model, optimized, shortest=2)


@pytest.mark.parametrize(
    "options", [{"relative": True}, {"window": True}, {"mask": "weak"}], ids=["relative", "window", "weak mask"]
)
def test_an_attention_that_looks_different_stays(options: dict[str, Any]) -> None:
    model = Encoder(**options).model()
    optimized, report = optimize(model, MASK)
    assert (report["attentions"], report["merged_linears"]) == (0, 0)
    assert report["pooled_nodes"] > 0
    assert operators(optimized)["Softmax"] == 1
    assert_same_answers(model, optimized)


def test_nothing_fits_a_graph_of_other_inputs_or_pooling_and_attention() -> None:
    model = Encoder(relative=True, pooling="mean").model()
    assert optimize(model, MASK) == (model, NOTHING)
    fixed = Encoder().model()
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    assert optimize(fixed, MASK) == (fixed, NOTHING)


def test_without_a_mask_attention_stays_and_the_pooled_token_does_not() -> None:
    model = Encoder().model()
    optimized, report = optimize(model, None)
    assert report["attentions"] == 0
    assert report["pooled_nodes"] > 0
    assert_same_answers(model, optimized)


def test_optimizing_again_changes_nothing_and_the_original_stays() -> None:
    model = Encoder().model()
    before = model.SerializeToString(deterministic=True)
    once, _ = optimize(model, MASK)
    assert model.SerializeToString(deterministic=True) == before
    assert optimize(once, MASK)[1] == NOTHING
