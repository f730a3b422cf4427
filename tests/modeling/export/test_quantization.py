from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from modeling.evaluation import speed as inference
from modeling.export import graph, quantization
from modeling.export.checkpoint import export_float
from modeling.export.quantization import Feeds, QuantizationError, calibrate, quantize
from modeling.export.rounding import (
    PAIR_LIMIT,
    ActivationPlan,
    ActivationStatistics,
    gptq,
    plan_activation,
    round_to_nearest,
)
from modeling.spec import ModelSpec
from textserve.classifier import load_tokenizer, softmax

pytestmark = pytest.mark.export

Array = npt.NDArray[Any]
OUTLIER = 5
PAD = 1


Quantized = tuple[onnx.ModelProto, quantization.QuantizationReport]
NO_CHANNELS = np.array([], dtype=np.int64)


@dataclass(frozen=True)
class Encoder:
    """A float graph of an encoder, texts to calibrate with, and other texts to compare on."""

    model: onnx.ModelProto
    calibration: list[Feeds]
    held_out: list[Feeds]

    def quantize(self, ratio: float = 3.0, bits: int = 7) -> Quantized:
        return quantize(self.model, self.calibration, outlier_ratio=ratio, weight_bits=bits)

    def error(self, quantized: onnx.ModelProto) -> tuple[float, float]:
        """Root mean square error of the logits and of the probabilities, on the texts to compare on."""
        reference, found = run(self.model, *self.held_out), run(quantized, *self.held_out)
        return rms(found - reference), rms(softmax(found) - softmax(reference))


@pytest.fixture(scope="module")
def make_encoder(
    make_checkpoint: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
    write_model: Callable[..., Any],
    texts: list[str],
) -> Callable[..., Encoder]:
    def make(**options: Any) -> Encoder:
        folder = tmp_path_factory.mktemp("encoder")
        spec: ModelSpec = write_model(folder).spec()
        export_float(spec, make_checkpoint("bert", **options), folder / "float.onnx", folder / "tokenizer.json")
        tokenizer = load_tokenizer(spec, folder / "tokenizer.json")
        feeds = [inference.feeds(spec, tokenizer, text) for text in texts]
        return Encoder(onnx.load(folder / "float.onnx"), feeds[:80], feeds[80:])

    return make


@pytest.fixture(scope="module")
def encoder(make_encoder: Callable[..., Encoder]) -> Encoder:
    return make_encoder()


@pytest.fixture(scope="module")
def quantized(encoder: Encoder) -> onnx.ModelProto:
    return encoder.quantize()[0]


@pytest.fixture(scope="module")
def planted(make_encoder: Callable[..., Encoder]) -> Encoder:
    """The same encoder with one large channel in the input of the first layer."""
    return make_encoder(outlier=1000.0)


@pytest.fixture(scope="module")
def split(planted: Encoder) -> Quantized:
    """The encoder with the outlier, quantized without that channel."""
    return planted.quantize()


def run(model: onnx.ModelProto, *texts: Feeds) -> Array:
    """The logits of each of the feeds, one after the other."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, dict(feeds))[0] for feeds in texts])


def rms(difference: Array) -> float:
    return float(np.sqrt(np.square(difference).mean()))


def constants(model: onnx.ModelProto) -> dict[str, Array]:
    return {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}


def matmuls(model: onnx.ModelProto) -> list[str]:
    """Names of the constants that a ``MatMul`` multiplies with."""
    return [
        node.input[1] for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in constants(model)
    ]


def count(model: onnx.ModelProto, operator: str) -> int:
    return sum(node.op_type == operator for node in model.graph.node)


def integer_weights(model: onnx.ModelProto) -> list[Array]:
    values = constants(model)
    return [values[node.input[1]] for node in model.graph.node if node.op_type == "MatMulIntegerToFloat"]


def layers(
    nodes: Sequence[onnx.NodeProto], output: Sequence[str | None] = ("batch", "tokens", None), **values: Array
) -> onnx.ModelProto:
    """A graph from token ids by way of the tensor ``x``, a row of ``table`` a token, to ``logits``."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["x"]), *nodes],
        "layers",
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, output)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def linear(source: str, weight: str, output: str) -> onnx.NodeProto:
    return helper.make_node("MatMul", [source, weight], [output], name=f"{output}/matmul")


def every_row(table: Array) -> Feeds:
    """Each row of ``table`` once, as the tokens of one text."""
    return {"ids": np.arange(len(table), dtype=np.int64)[None]}


def quantize_rows(
    model: onnx.ModelProto, table: Array, bits: int = 7
) -> tuple[onnx.ModelProto, quantization.QuantizationReport, Array]:
    """The quantized graph, its report, and the error of its logits, calibrated and compared on every row."""
    rows = every_row(table)
    result, report = quantize(model, [rows], outlier_ratio=3.0, weight_bits=bits)
    return result, report, run(result, rows) - run(model, rows)


def statistics(rows: Array) -> ActivationStatistics:
    kept = ActivationStatistics(rows.shape[1])
    kept.add(rows.astype(np.float32))
    return kept


@pytest.fixture
def weight() -> Array:
    return np.random.default_rng(1).normal(size=(16, 8)).astype(np.float32)


class TestEncoder:
    def test_only_the_layers_that_read_the_planted_channel_have_an_outlier(
        self, planted: Encoder, split: Quantized
    ) -> None:
        report = split[1]
        found = {layer.name: layer.outliers for layer in report.linears if layer.outliers}
        assert sorted(name.rsplit("/", 2)[1] for name in found) == ["key", "query", "value"]
        assert set(found.values()) == {1}
        assert report.outlier_channels == 3
        source = next(node.input[0] for node in planted.model.graph.node if node.name in found)
        kept = calibrate(planted.model, [source], planted.calibration)[source]
        assert kept.outliers(3.0).tolist() == [OUTLIER]
        assert kept.outliers(float("inf")).tolist() == []

    def test_splitting_the_outlier_off_gives_the_error_of_an_encoder_without_it(
        self, planted: Encoder, split: Quantized, encoder: Encoder, quantized: onnx.ModelProto
    ) -> None:
        np.testing.assert_allclose(
            run(planted.model, *planted.held_out), run(encoder.model, *encoder.held_out), atol=1e-3
        )
        logits, probabilities = planted.error(split[0])
        assert logits < 1.25 * encoder.error(quantized)[0]
        logits_unsplit, probabilities_unsplit = planted.error(planted.quantize(ratio=float("inf"))[0])
        assert logits < logits_unsplit / 3
        assert probabilities < probabilities_unsplit / 3

    def test_answers_stay_close_to_the_float_graph(self, encoder: Encoder, quantized: onnx.ModelProto) -> None:
        logits, probabilities = encoder.error(quantized)
        assert logits < 0.1
        assert probabilities < 0.02

    def test_every_linear_layer_is_quantized_and_those_with_the_same_input_quantize_it_once(
        self, encoder: Encoder, quantized: onnx.ModelProto
    ) -> None:
        assert len(matmuls(encoder.model)) == 12
        assert count(quantized, "MatMulIntegerToFloat") == 12
        assert matmuls(quantized) == []
        assert count(quantized, "MatMul") == count(encoder.model, "MatMul") - 12
        assert {codes.dtype for codes in integer_weights(quantized)} == {np.dtype(np.int8)}
        assert count(quantized, "QuantizeLinear") == 8  # query, key and value of both layers have one input

    def test_only_the_rows_of_outlier_channels_are_multiplied_in_float(
        self, planted: Encoder, split: Quantized
    ) -> None:
        quantized, _ = split
        assert count(quantized, "MatMulIntegerToFloat") == 12
        kept = [constants(quantized)[name] for name in matmuls(quantized)]
        assert [rows.shape for rows in kept] == [(1, 64)] * 3
        original = [constants(planted.model)[name][[OUTLIER]] for name in matmuls(planted.model)[:3]]
        np.testing.assert_array_equal(kept, original)

    @pytest.mark.parametrize("padding", [0, 7])
    def test_a_text_is_answered_the_same_alone_and_in_a_padded_batch(
        self, encoder: Encoder, quantized: onnx.ModelProto, padding: int
    ) -> None:
        batch = encoder.held_out[:24]
        lengths = [feeds["input_ids"].shape[1] for feeds in batch]
        longest = max(lengths) + padding
        assert len(set(lengths)) > 5
        ids = np.full((len(batch), longest), PAD, dtype=np.int64)
        for row, feeds in enumerate(batch):
            ids[row, : lengths[row]] = feeds["input_ids"][0]
        mask = (np.arange(longest) < np.array(lengths)[:, None]).astype(np.int64)
        together = run(quantized, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
        alone = run(quantized, *batch)
        np.testing.assert_allclose(softmax(together), softmax(alone), rtol=0, atol=1e-4)

    def test_quantizing_twice_gives_the_same_graph_and_leaves_the_original(
        self, encoder: Encoder, quantized: onnx.ModelProto
    ) -> None:
        before = encoder.model.SerializeToString(deterministic=True)
        assert encoder.quantize()[0] == quantized
        assert encoder.model.SerializeToString(deterministic=True) == before

    def test_large_embedding_tables_become_int8_within_half_a_step_and_small_ones_stay(
        self, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert quantize(encoder.model, encoder.calibration[:1], outlier_ratio=3.0, weight_bits=7)[1].tables == []
        monkeypatch.setattr(graph, "TABLE_MIN_ELEMENTS", 10_000)
        result, report = encoder.quantize()
        (name,) = report.tables
        assert name.endswith("word_embeddings.weight")
        values = constants(result)
        assert name not in values
        codes, scales = values[f"{name}/int8"], values[f"{name}/scale"]
        original = constants(encoder.model)[name]
        assert codes.dtype == np.int8
        assert codes.shape == original.shape
        assert set(np.abs(codes.astype(np.int64)).max(axis=1)) == {0, 127}  # the padding's row is all zeros
        assert (np.abs(codes * scales - original) <= 0.501 * scales).all()
        assert any(name.endswith("position_embeddings.weight") for name in values)
        assert encoder.error(result)[0] < 0.1
        assert result.ByteSize() < encoder.model.ByteSize() / 2


class TestLayers:
    @pytest.fixture
    def table(self) -> Array:
        random = np.random.default_rng(0)
        return (random.normal(size=(600, 16)) @ random.normal(size=(16, 16))).astype(np.float32)

    @pytest.mark.parametrize(
        ("node", "texts", "reason"),
        [
            (helper.make_node("MatMul", ["x", "x"], ["logits"]), 1, "no MatMul or Gemm with a constant weight"),
            (linear("x", "w", "logits"), 0, "no calibration text"),
        ],
    )
    def test_a_graph_without_linear_layers_or_texts_is_rejected(
        self, table: Array, weight: Array, node: onnx.NodeProto, texts: int, reason: str
    ) -> None:
        model = layers([node], table=table, w=weight)
        with pytest.raises(QuantizationError, match=reason):
            quantize(model, [every_row(table)] * texts, outlier_ratio=3.0, weight_bits=7)

    @pytest.mark.parametrize("inputs", [["y", "b"], ["b", "y"], None])
    def test_a_bias_on_either_side_or_none_gives_the_same_answers_as_in_float(
        self, table: Array, weight: Array, inputs: list[str] | None
    ) -> None:
        bias = np.linspace(-50, 50, 8)
        nodes = [linear("x", "w", "y"), helper.make_node("Add", inputs, ["logits"])] if inputs else []
        model = layers(nodes or [linear("x", "w", "logits")], table=table, w=weight, b=bias)
        result, _, difference = quantize_rows(model, table, bits=8)
        assert count(result, "Add") == 0
        assert rms(difference) < 0.02 * np.std(table @ weight)

    def test_a_sum_of_two_tensors_is_not_a_bias(self, table: Array) -> None:
        square = np.random.default_rng(2).normal(size=(16, 16))
        model = layers([linear("x", "w", "y"), helper.make_node("Add", ["x", "y"], ["logits"])], table=table, w=square)
        result, _, difference = quantize_rows(model, table, bits=8)
        assert count(result, "Add") == 1
        assert rms(difference) < 0.02 * np.std(run(model, every_row(table)))

    @pytest.mark.parametrize("transposed", [0, 1])
    def test_a_gemm_of_all_tokens_gives_the_same_answers_as_in_float(
        self, table: Array, weight: Array, transposed: int
    ) -> None:
        nodes = [
            helper.make_node("Squeeze", ["x"], ["rows"]),
            helper.make_node("Gemm", ["rows", "w", "b"], ["y"], transB=transposed),
            helper.make_node("Unsqueeze", ["y", "first"], ["logits"]),
        ]
        model = layers(nodes, table=table, w=weight.T if transposed else weight, b=np.linspace(-5, 5, 8))
        model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
        result, report, difference = quantize_rows(model, table, bits=8)
        assert (len(report.linears), count(result, "Gemm")) == (1, 0)
        assert rms(difference) < 0.02 * np.std(table @ weight)

    def test_layers_that_share_a_weight_are_all_quantized(self, table: Array) -> None:
        square = np.random.default_rng(2).normal(size=(16, 16)) / 4
        nodes = [
            linear("x", "w", "y"),
            helper.make_node("Identity", ["w"], ["shared"]),
            linear("y", "shared", "logits"),
        ]
        model = layers(nodes, table=table, w=square)
        result, report, difference = quantize_rows(model, table, bits=8)
        assert len(report.linears) == 2
        assert {node.op_type for node in result.graph.node}.isdisjoint({"Identity", "MatMul"})
        assert rms(difference) < 0.03 * np.std(run(model, every_row(table)))

    def test_a_product_that_does_not_depend_on_the_text_stays_in_float(self, table: Array, weight: Array) -> None:
        nodes = [
            helper.make_node("Neg", ["positions"], ["negative"]),
            linear("negative", "w", "y"),
            linear("x", "w", "z"),
            helper.make_node("Add", ["y", "z"], ["logits"]),
        ]
        model = layers(nodes, table=table, w=weight, positions=np.ones((1, 16)))
        _, report, _ = quantize_rows(model, table)
        assert [layer.name for layer in report.linears] == ["z/matmul"]

    @pytest.mark.parametrize("pooled_first", [False, True])
    def test_the_last_layer_and_what_is_computed_once_per_text_stay_in_float(
        self, table: Array, weight: Array, pooled_first: bool
    ) -> None:
        square = np.random.default_rng(2).normal(size=(16, 16))
        pool = [helper.make_node("Gather", ["y", "last"], ["pooled"], axis=1)]
        nodes = [linear("x", "v", "y"), *pool, linear("pooled", "v", "z"), linear("z", "w", "logits")]
        if not pooled_first:
            pool[0].output[0], pool[0].input[0] = "logits", "all"
            nodes = [linear("x", "v", "y"), linear("y", "w", "all"), *pool]
        model = layers(nodes, output=("batch", None), table=table, w=weight, v=square)
        model.graph.initializer.append(numpy_helper.from_array(np.array(-1), "last"))
        _, report, _ = quantize_rows(model, table)
        assert [layer.name for layer in report.linears] == ["y/matmul"]

    def test_a_table_of_integers_stays_as_it_is(
        self, table: Array, weight: Array, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(graph, "TABLE_MIN_ELEMENTS", 100)
        nodes = [
            helper.make_node("Gather", ["codes", "ids"], ["row"]),
            helper.make_node("Cast", ["row"], ["float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Add", ["x", "float"], ["sum"]),
            linear("sum", "w", "logits"),
        ]
        model = layers(nodes, table=table, w=weight)
        codes = np.random.default_rng(3).integers(0, 9, size=(600, 16))
        model.graph.initializer.append(numpy_helper.from_array(codes, "codes"))
        result, report, _ = quantize_rows(model, table)
        assert report.tables == ["table"]
        np.testing.assert_array_equal(constants(result)["codes"], codes)

    def test_the_mean_of_the_output_over_the_calibration_texts_is_kept(self, table: Array, weight: Array) -> None:
        skewed = np.maximum(table, 0) ** 2
        model = layers([linear("x", "w", "logits")], table=skewed, w=weight)
        difference = quantize_rows(model, skewed)[2]
        assert np.abs(difference.mean(axis=(0, 1))).max() < 0.01 * rms(difference)

    def test_weights_are_rounded_for_the_tokens_of_the_calibration_texts(
        self, weight: Array, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        random = np.random.default_rng(0)
        table = random.normal(size=(600, 3)) @ random.normal(size=(3, 16)) + 0.05 * random.normal(size=(600, 16))
        model = layers([linear("x", "w", "logits")], table=table, w=weight)
        fitted = rms(quantize_rows(model, table)[2])
        monkeypatch.setattr(quantization, "gptq", lambda weight, gram, bits: gptq(weight, np.eye(len(gram)), bits))
        assert fitted < 0.85 * rms(quantize_rows(model, table)[2])

    def test_the_reported_error_is_the_one_that_the_graph_makes(self, table: Array, weight: Array) -> None:
        table[:, 3] *= 40
        model = layers([linear("x", "w", "logits")], table=table, w=weight)
        _, report, difference = quantize_rows(model, table)
        found = float(np.std(difference) / np.std(run(model, every_row(table))))
        assert report.outlier_channels == 1
        assert report.linears[0].relative_error == pytest.approx(found, rel=0.02)

    def test_outlier_channels_are_not_multiplied_as_integers(self, table: Array, weight: Array) -> None:
        # Small beside a channel that it follows closely, but for one token: GPTQ would lend it that channel's error.
        table[:, 3] = 0.2 * table[:, 4]
        table[7, 3] = 40 * np.abs(table).max()
        often = {"ids": np.delete(np.arange(600, dtype=np.int64), 7)[None]}
        model = layers([linear("x", "w", "logits")], table=table, w=weight)
        result, report = quantize(model, [*[often] * 2000, every_row(table)], outlier_ratio=3.0, weight_bits=7)
        assert report.outlier_channels == 1
        (codes,) = integer_weights(result)
        assert not codes[3].any()

    def test_layers_that_share_a_weight_are_quantized_separately(self, table: Array) -> None:
        table[:, 3] *= 40  # an outlier where the weight is first used, and none where it is used again
        square = np.random.default_rng(2).normal(size=(16, 16)) / 20
        nodes = [helper.make_node("Tanh", ["y"], ["t"])]
        shared = layers([linear("x", "w", "y"), *nodes, linear("t", "w", "logits")], table=table, w=square)
        copied = layers([linear("x", "v", "y"), *nodes, linear("t", "w", "logits")], table=table, v=square, w=square)
        errors = [rms(quantize_rows(model, table)[2]) for model in (shared, copied)]
        assert errors[0] == pytest.approx(errors[1], rel=0.01)

    def test_only_inputs_of_the_graph_are_fed(self, table: Array, weight: Array) -> None:
        model = layers([linear("x", "w", "logits")], table=table, w=weight)
        feeds = {**every_row(table), "token_type_ids": np.zeros((1, 600), dtype=np.int64)}
        assert calibrate(model, ["x"], [feeds])["x"].count == 600


class TestStatistics:
    def test_statistics_do_not_depend_on_how_the_tokens_are_divided_into_texts(self) -> None:
        rows = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
        together, divided = statistics(rows), ActivationStatistics(8)
        for part in np.split(rows, [1, 7, 40]):
            divided.add(part)
        assert together.count == divided.count == 60
        for name in ("gram", "peak", "sample"):
            np.testing.assert_allclose(getattr(divided, name), getattr(together, name), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(together.gram, rows.T @ rows, rtol=1e-5, atol=1e-5)

    def test_a_channel_is_an_outlier_by_its_largest_value_of_either_sign(self) -> None:
        rows = np.random.default_rng(0).uniform(-1, 1, size=(100, 40)).astype(np.float32)
        rows[3, 7], rows[5, 30], rows[:, 20] = -9.0, 9.0, 2.5
        assert statistics(rows).outliers(3.0).tolist() == [7, 30]


RANGES = {
    "both signs": (-1.0, 1.0),
    "mostly positive": (-0.1, 3.0),
    "mostly negative": (-3.0, 0.1),
    "only positive": (2.0, 3.0),
    "only negative": (-3.0, -2.0),
    "zero": (0.0, 0.0),
}


class TestPlan:
    @pytest.fixture(params=list(RANGES))
    def rows(self, request: pytest.FixtureRequest) -> Array:
        low, high = RANGES[request.param]
        return np.random.default_rng(0).uniform(low, high, size=(200, 16)).astype(np.float32)

    def test_the_zero_point_is_a_code_and_zero_stays_zero(self, rows: Array, weight: Array) -> None:
        plan = plan_activation(statistics(rows), weight, NO_CHANNELS, 7)
        assert 0 <= plan.zero_point <= 255
        assert plan.scale > 0
        np.testing.assert_array_equal(plan.restored(np.zeros((2, 16), np.float32)), 0.0)

    def test_a_plan_is_never_worse_than_the_whole_range_without_smoothing(self, rows: Array, weight: Array) -> None:
        plan = plan_activation(statistics(rows), weight, NO_CHANNELS, 7)
        low, high = min(float(rows.min()), 0.0), max(float(rows.max()), 0.0)
        scale = max((high - low) / 255, 1e-8)
        plain = ActivationPlan(NO_CHANNELS, 0.0, np.ones(16, np.float32), scale, int(np.rint(-low / scale)))
        errors = [rms(tried.error(rows, weight, round_to_nearest(tried.inside(weight), 7))) for tried in (plan, plain)]
        assert errors[0] <= errors[1]

    def test_channels_of_uneven_size_are_evened_out(self, weight: Array) -> None:
        rows = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)
        rows *= np.geomspace(0.1, 10, 16, dtype=np.float32)
        plan = plan_activation(statistics(rows), weight, NO_CHANNELS, 8)
        peaks = np.abs(rows * plan.factors).max(axis=0)
        assert plan.smoothing > 0
        assert peaks.max() / peaks.min() < np.abs(rows).max(axis=0).max() / np.abs(rows).max(axis=0).min() / 2

    def test_smoothing_is_undone_in_the_weights(self, weight: Array) -> None:
        rows = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
        factors = np.geomspace(0.1, 10, 16, dtype=np.float32)
        factors[2] = 0.0
        plan = ActivationPlan(np.array([2]), 0.5, factors, 1e-4, 128)
        rest = [channel for channel in range(16) if channel != 2]
        np.testing.assert_allclose((rows * factors) @ plan.inside(weight), rows[:, rest] @ weight[rest], rtol=1e-4)


class TestGptq:
    @pytest.fixture
    def rows(self) -> Array:
        """Tokens whose 32 channels follow 6 causes and little else."""
        random = np.random.default_rng(0)
        return random.normal(size=(400, 6)) @ random.normal(size=(6, 32)) + 0.1 * random.normal(size=(400, 32))

    @pytest.fixture
    def weight(self) -> Array:
        return np.random.default_rng(1).normal(size=(32, 16))

    @pytest.mark.parametrize(("bits", "limit"), [(7, 63), (8, 127)])
    def test_codes_are_integers_within_their_bits_and_use_them(
        self, rows: Array, weight: Array, bits: int, limit: int
    ) -> None:
        codes, scales = gptq(weight, rows.T @ rows, bits)
        np.testing.assert_array_equal(codes, np.rint(codes))
        pairs = np.abs(codes).reshape(-1, 2, 16).sum(axis=1)
        assert 255 * pairs.max() <= np.iinfo(np.int16).max  # two neighbouring products are added in 16 bits
        assert np.abs(codes).max() <= limit
        assert np.abs(codes).max() == limit or pairs.max() == PAIR_LIMIT
        assert scales.shape == (16,)

    @pytest.mark.parametrize("bits", [7, 8])
    def test_the_output_on_correlated_tokens_is_closer_than_by_plain_rounding(
        self, rows: Array, weight: Array, bits: int
    ) -> None:
        codes, scales = gptq(weight, rows.T @ rows, bits)
        assert rms(rows @ (codes * scales - weight)) < 0.5 * rms(rows @ (round_to_nearest(weight, bits) - weight))

    def test_tokens_without_correlation_are_rounded_plainly(self, weight: Array) -> None:
        codes, scales = gptq(weight, np.eye(32), 7)
        np.testing.assert_allclose(codes * scales, round_to_nearest(weight, 7))

    def test_an_output_channel_of_zeros_stays_zero(self, rows: Array, weight: Array) -> None:
        weight[:, 2] = 0.0
        codes, scales = gptq(weight, rows.T @ rows, 7)
        np.testing.assert_array_equal((codes * scales)[:, 2], 0.0)

    def test_channels_without_calibration_values_are_rounded_plainly(self, rows: Array, weight: Array) -> None:
        rows[:, 10:20] = 0.0
        codes, scales = gptq(weight, rows.T @ rows, 7)
        assert (np.abs((codes * scales - weight)[10:20]) <= 0.501 * scales).all()
