"""How values become 8-bit codes: statistics of activations, the plan of their quantization, and GPTQ for weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ACTIVATION_MAX = 255
# 255 times this is the largest sum of two products that fits 16 bits.
PAIR_LIMIT = 128
ROWS_KEPT = 4096
PLAN_ROWS = 512
# Exponents to try; 0 is no smoothing, 1 makes all channels equally wide.
SMOOTHING = (0.0, 0.5, 0.7, 0.85)
SMALLEST_PEAK = 0.1
SHRINK = (1.0, 0.9, 0.8, 0.65, 0.5, 0.35)
GPTQ_DAMPING = 0.01


class ActivationStatistics:
    """Statistics of one activation tensor of K channels over the calibration texts.

    ``peak``: largest absolute value per channel, float64 ``[K]``. ``gram``: sum over tokens of the outer product,
    float64 ``[K, K]``. ``rows``: the first tokens, in arrays of float32 ``[T, K]``. ``count``: number of tokens.
    ``is_per_token``: whether a text had several rows, that is, the tensor is not computed once per text.
    """

    def __init__(self, channels: int) -> None:
        self.peak: Array = np.zeros(channels)
        self.gram: Array = np.zeros((channels, channels))
        self.rows: list[Array] = []
        self.count = 0
        self.is_per_token = False

    def add(self, tokens: Array) -> None:
        """Add ``tokens``, float32 of shape ``[T, K]``."""
        self.peak = np.maximum(self.peak, np.abs(tokens).max(axis=0))
        self.gram += tokens.T.astype(np.float32) @ tokens
        if self.count < ROWS_KEPT:
            self.rows.append(tokens)
        self.count += len(tokens)
        self.is_per_token |= len(tokens) > 1

    @property
    def sample(self) -> Array:
        """The kept tokens, float32 ``[R, K]``."""
        return np.concatenate(self.rows)

    def outliers(self, ratio: float) -> Array:
        """Indices (int64, ascending) of the channels whose peak exceeds ``ratio`` times the 90th percentile of all."""
        return np.flatnonzero(self.peak > ratio * np.percentile(self.peak, 90))


@dataclass(frozen=True)
class ActivationPlan:
    """The quantization of one activation tensor of K channels.

    ``outliers``: indices of the channels kept in float. ``smoothing``: the exponent behind ``factors``, float32
    ``[K]``, by which channels are multiplied and weights divided; 0 for outliers. ``scale`` and ``zero_point``: of the
    uint8 codes.
    """

    outliers: Array
    smoothing: float
    factors: Array
    scale: float = 1.0
    zero_point: int = 0

    def inside(self, weight: Array) -> Array:
        """The INT8 part of ``weight``, ``[K, N]``: float64, outlier rows zero, smoothed."""
        inside: Array = weight / np.where(self.factors > 0, self.factors, np.inf).astype(np.float64)[:, None]
        return inside

    def inside_gram(self, gram: Array) -> Array:
        """``gram``, ``[K, K]``, of the channels after smoothing."""
        # 0 for outliers: channels outside INT8 must not influence rounding.
        smoothed: Array = gram * np.outer(self.factors, self.factors)
        return smoothed

    def restored(self, rows: Array) -> Array:
        """``rows``, float32 ``[R, K]``, smoothed, quantized to uint8 and back, outliers zero."""
        codes = np.clip(np.rint(rows * self.factors / np.float32(self.scale)) + self.zero_point, 0, ACTIVATION_MAX)
        restored: Array = (codes - self.zero_point).astype(np.float32) * np.float32(self.scale)
        return restored

    def error(self, rows: Array, weight: Array, quantized: Array) -> Array:
        """Error of the quantized layer, ``[R, N]``, against ``rows @ weight``; ``quantized``: its INT8 weights."""
        outside = rows[:, self.outliers] @ weight[self.outliers]
        error: Array = self.restored(rows) @ quantized.astype(np.float32) + outside - rows @ weight
        return error


def plan_activation(stats: ActivationStatistics, weights: Array, outliers: Array, bits: int) -> ActivationPlan:
    """The plan with the least squared output error on a sample of the calibration tokens.

    Searches smoothing exponents and, for each, shrunken ranges, which clip a few values and resolve the others better.
    ``weights``: float32 ``[K, N]`` of all layers that read the activation, rounded here to nearest, not by GPTQ.
    """
    rows = stats.sample[:: max(1, len(stats.sample) // PLAN_ROWS)]
    # Bounded factors: a channel silent on the calibration texts may be active on others.
    peak = np.maximum(stats.peak, SMALLEST_PEAK * np.median(stats.peak) + 1e-6)
    largest = np.abs(weights).max(axis=1)
    largest = np.maximum(largest, SMALLEST_PEAK * np.median(largest) + 1e-6)
    tried: list[tuple[float, ActivationPlan]] = []
    for smoothing in SMOOTHING:
        factors = largest ** (1 - smoothing) / peak**smoothing if smoothing else np.ones_like(peak)
        factors = (factors / np.exp(np.log(factors).mean())).astype(np.float32)
        factors[outliers] = 0.0
        unscaled = ActivationPlan(outliers, smoothing, factors)
        rounded = round_to_nearest(unscaled.inside(weights), bits)
        low, high = min(float((rows * factors).min()), 0.0), max(float((rows * factors).max()), 0.0)
        for shrink in SHRINK:
            scale = max((high - low) * shrink / ACTIVATION_MAX, 1e-8)
            zero_point = int(np.clip(np.rint(-low * shrink / scale), 0, ACTIVATION_MAX))
            plan = replace(unscaled, scale=scale, zero_point=zero_point)
            tried.append((float(np.square(plan.error(rows, weights, rounded)).mean()), plan))
    return min(tried, key=lambda candidate: candidate[0])[1]


def round_to_nearest(weight: Array, bits: int) -> Array:
    """``weight``, ``[K, N]``, rounded to ``bits``-bit codes with one scale per output channel, as float."""
    limit = 2 ** (bits - 1) - 1
    scales = weight_scales(weight, limit)
    rounded: Array = np.rint(weight / scales) * scales
    return rounded


def weight_scales(weight: Array, limit: int) -> Array:
    """The scale of each output channel of ``weight``, ``[N]``: no code above ``limit``, no pair above PAIR_LIMIT."""
    sizes = np.abs(weight)
    pairs = np.pad(sizes, ((0, len(sizes) % 2), (0, 0))).reshape(-1, 2, sizes.shape[1]).sum(axis=1)
    scales: Array = np.maximum(np.maximum(sizes.max(axis=0) / limit, pairs.max(axis=0) / PAIR_LIMIT), 1e-12)
    return scales


def gptq(weight: Array, gram: Array, bits: int) -> tuple[Array, Array]:
    """Round ``weight``, float64 ``[K, N]``, with one scale per output channel, by GPTQ (arXiv:2210.17323).

    ``gram`` is ``X^T X`` over the calibration tokens, ``[K, K]``. Returns integer codes ``[K, N]`` (float64) and scales
    ``[N]``; ``codes * scales`` approximates the output ``X @ weight``, not the entries of ``weight``.
    """
    limit = 2 ** (bits - 1) - 1
    scales = weight_scales(weight, limit)
    damped = gram + np.eye(len(gram)) * (GPTQ_DAMPING * np.diag(gram).mean() + 1e-12)
    order = np.argsort(-np.diag(damped), kind="stable")
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    upper = np.linalg.cholesky(inverse).T
    rest = weight[order].copy()
    codes = np.zeros_like(weight)
    for step, row in enumerate(order):
        # The other row of the pair, if any; 0 until it is rounded.
        neighbour = codes[row ^ 1] if row ^ 1 < len(codes) else np.zeros(codes.shape[1])
        bound = np.minimum(limit, PAIR_LIMIT - np.abs(neighbour))
        codes[row] = np.clip(np.rint(rest[step] / scales), -bound, bound)
        error = (rest[step] - codes[row] * scales) / upper[step, step]
        rest[step + 1 :] -= np.outer(upper[step, step + 1 :], error)
    return codes, scales
