"""Broken copies of the LSTM's CUDA kernels: the emulator and the tests' own checks see each one.

Every mutant is a change of one place in the real source, of a kind that a GPU may forgive for long:
a missing wait or barrier, a wrong count of bytes, an index off by one, an output left unwritten.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from emulator import build
from emulator.harness import emulated
from lstm_cases import Case, check

from crnn_ext import _lstm_cuda

FORWARD = "kernels/cuda/lstm_cluster_forward.cu"
BACKWARD = "kernels/cuda/lstm_cluster_backward.cu"
CLUSTER = "kernels/cuda/lstm_cluster.cuh"
PLAIN = "kernels/cuda/lstm_plain.cuh"
PLAIN_FORWARD = "kernels/cuda/lstm_plain_forward.cu"
PLAIN_BACKWARD = "kernels/cuda/lstm_plain_backward.cu"


@dataclass(frozen=True)
class Mutant:
    """A change of one place, and what is said about it."""

    name: str
    file: str
    old: str
    new: str
    report: str  # a part of the message

    def __str__(self) -> str:
        return self.name


CLUSTERS = [
    Mutant(
        "forward: no wait for h",
        FORWARD,
        "if (s > 0) exchange.wait(s);",
        "",
        "race",
    ),
    Mutant(
        "forward: too few bytes announced",
        FORWARD,
        "rows * Shape::kRowBytes)",
        "rows * Shape::kRowBytes - 4)",
        "race",
    ),
    Mutant(
        "forward: too many bytes announced",
        FORWARD,
        "rows * Shape::kRowBytes)",
        "rows * Shape::kRowBytes + 4)",
        "deadlock",
    ),
    Mutant(
        "forward: stores before all mbarriers are ready",
        FORWARD,
        "cluster_arrive();\n  cluster_wait();",
        "",
        "race",
    ),
    Mutant(
        "forward: one buffer instead of two",
        FORWARD,
        "const uint32_t buffer = s % 2, barrier = buffer * sizeof(Mbarrier);",
        "const uint32_t buffer = 0, barrier = s % 2 * sizeof(Mbarrier);",
        "race",
    ),
    Mutant(
        "forward: gates of the next gate",
        FORWARD,
        "(i / 4 * 8 * 4 + i % 4) * H",
        "(i / 4 * 8 * 4 + i % 4 + 1) * H",
        "assert",
    ),
    Mutant(
        "forward: padded frames left unwritten",
        FORWARD,
        "put(y, t * N * y_row + m * 8 * y_row, uint32_t(0));",
        "",
        "left",
    ),
    Mutant(
        "forward: the mbarrier's phase is not followed",
        CLUSTER,
        "(s - 1) / 2 % 2",
        "0",
        "race",
    ),
    Mutant(
        "backward: no barrier between dgates and their products",
        BACKWARD,
        "__syncthreads();",
        "__syncwarp();",
        "race",
    ),
    Mutant(
        "backward: no wait for the last parts",
        BACKWARD,
        "exchange.wait(steps);",
        "",
        "race",
    ),
    Mutant(
        "backward: parts to the neighbouring owner",
        BACKWARD,
        "warp * Shape::kColumns / Shape::kUnits + k)",
        "(warp * Shape::kColumns / Shape::kUnits + k + 1) % kBlocks)",
        "assert",
    ),
    Mutant(
        "backward: one row too many",
        BACKWARD,
        "return n + 8 * m < tile.n0 + tile.rows;",
        "return n + 8 * m <= tile.n0 + tile.rows;",
        "out of bounds",
    ),
    Mutant(
        "backward: dgates of padding left unwritten",
        BACKWARD,
        "uint32_t(0));",
        "uint32_t(0)), void();  // too late\n        break;",
        "left",
    ),
]
PLAINS = [
    Mutant(
        "plain: no barrier before the products",
        PLAIN,
        "    __syncthreads();\n#pragma unroll 4",
        "#pragma unroll 4",
        "uninitialised|race",
    ),
    Mutant(
        "plain forward: one sample too many",
        PLAIN_FORWARD,
        "if (n >= N || unit >= H) return;",
        "if (n > N || unit >= H) return;",
        "out of bounds",
    ),
    Mutant(
        "plain forward: padded frames left unwritten",
        PLAIN_FORWARD,
        "store(out, State(0));",
        "",
        "left",
    ),
    Mutant(
        "plain forward: the frame before, of the other direction",
        PLAIN_FORWARD,
        "d == 0 ? t - 1 : t + 1;",
        "d == 1 ? t - 1 : t + 1;",
        "uninitialised",
    ),
    Mutant(
        "plain backward: dh_n forgotten",
        PLAIN_BACKWARD,
        "if (is_last_frame(t, length, d)) sum[j] = to_state(dh_n[state]);",
        "",
        "assert",
    ),
]


def verdict(mutant: Mutant | None, kernel: str, case: Case, precision: str) -> str:
    """The message of whatever fails, or nothing."""
    patches = [] if mutant is None else [(mutant.file, mutant.old, mutant.new)]
    with emulated(*patches), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_lstm_cuda, "kernel", kernel)
        try:
            check(case, precision, torch.device("cpu"))
        except AssertionError as error:
            return f"assert: {error}"
        except build.module(*patches).EmulatorError as error:
            return str(error)
    return ""


def cluster_case() -> Case:
    # Two samples of 16 rows, the last frame padding for both: all that can go wrong may.
    return Case(4, 2, 4, 256, 1, torch.bfloat16, True, torch.tensor([3, 1]))


def plain_case() -> Case:
    return Case(4, 3, 2, 9, 2, torch.float16, True, torch.tensor([3, 1, 0]))


def test_the_real_kernels_pass() -> None:
    assert verdict(None, "cluster4", cluster_case(), "bfloat16") == ""
    assert verdict(None, "plain", plain_case(), "float16") == ""


@pytest.mark.parametrize("mutant", CLUSTERS, ids=str)
def test_cluster_mutants(mutant: Mutant) -> None:
    said = verdict(mutant, "cluster4", cluster_case(), "bfloat16")
    assert said
    assert any(part in said for part in mutant.report.split("|")), said


@pytest.mark.parametrize("mutant", PLAINS, ids=str)
def test_plain_mutants(mutant: Mutant) -> None:
    said = verdict(mutant, "plain", plain_case(), "float16")
    assert said
    assert any(part in said for part in mutant.report.split("|")), said
