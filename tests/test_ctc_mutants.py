"""Broken copies of the CTC kernels for CUDA, one mistake each: the emulator finds every one."""

from __future__ import annotations

import pytest
import torch
from ctc_cases import Device, batch
from emulator.harness import emulated

FORWARD, BACKWARD = "kernels/cuda/ctc_forward.cu", "kernels/cuda/ctc_backward.cu"
SAMPLES, RECURSION = "kernels/cuda/ctc_samples.cuh", "kernels/cuda/ctc_recursion.cuh"
MUTANTS: dict[str, tuple[tuple[str, str, str], str]] = {
    "no barrier before the recursion": (
        (FORWARD, "lattice.emissions);\n  __syncthreads();\n", "lattice.emissions);\n"),
        "race|uninitialised",
    ),
    "no barrier between the halves": (
        (RECURSION, "  __syncthreads();\n\n  // Z, from", "\n  // Z, from"),
        "race|uninitialised",
    ),
    "no barrier between the warps of a step": (
        (
            RECURSION,
            "s, keep ? t : 0);\n    }\n    if (kMulti) __syncthreads();",
            "s, keep ? t : 0);\n    }",
        ),
        "race|uninitialised",
    ),
    "no barrier before Z is read": (
        (RECURSION, "*s.total = z;\n  }\n  __syncthreads();", "*s.total = z;\n  }"),
        "race|uninitialised",
    ),
    "a barrier that some warps miss": (
        (
            RECURSION,
            "  __syncthreads();\n\n  // Z, from",
            "  if (w.active) __syncthreads();\n  // Z, from",
        ),
        "barrier|deadlock|race|uninitialised",
    ),
    "an index one too far": (
        (RECURSION, "out[s.L + 1 + symbol_at(s, k)]", "out[s.L + 2 + symbol_at(s, k)]"),
        "left|race|out of bounds",
    ),
    "a label read one too far": (
        (SAMPLES, "for (int64_t i = threadIdx.x; i < L;", "for (int64_t i = threadIdx.x; i <= L;"),
        "out of bounds",
    ),
    "shared memory too small": (
        (FORWARD, "      sizeof(Header) +\n", ""),
        "out of bounds",
    ),
    "frames of padding unwritten in what is saved": (
        (FORWARD, "clear_rest(a, s, z.e < kLeast ? 0 : s.frames);", ""),
        "left",
    ),
    "frames of padding unwritten in the gradient": (
        (BACKWARD, "c += kGroup) dx[c]", "c += kGroup) if (t < frames) dx[c]"),
        "left",
    ),
    "one block too few": (
        (BACKWARD, "{{static_cast<unsigned>(blocks)}", "{{static_cast<unsigned>(blocks - 1)}"),
        "left|grid|invalid",
    ),
    "no barrier between the row and its label": (
        (BACKWARD, "  G::sync();  // the row", "  // the row"),
        "race",
    ),
    "no barrier in the reduction": (
        (FORWARD, "width /= 2) {\n    __syncthreads();", "width /= 2) {"),
        "race|uninitialised",
    ),
}
FLOAT_ONLY = [  # compiles in a second
    (file, f"{name}<{other}>(batch", f"{name}<float>(batch")
    for file, name in [(FORWARD, "forward"), (BACKWARD, "backward")]
    for other in ("double", "__half", "__nv_bfloat16")
]


def run_everything(seed: int, *patches: tuple[str, str, str]) -> None:
    """Labels for one warp and for several, padding, the sum: what each mutant needs to show."""
    for S in (3, 70):
        x, targets, il, tl = batch(80, 3, 5, S)
        il[1] = 20
        targets = torch.cat([row[:n] for row, n in zip(targets, tl, strict=True)])
        with emulated(*patches, seed=seed, device_labels=True) as emulation:
            Device(emulation).ours(x.float(), targets, il, tl, reduction="sum", from_logits=True)


def test_no_mutant() -> None:
    run_everything(0)


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_found(name: str) -> None:
    patch, symptom = MUTANTS[name]
    for seed in range(2):
        with pytest.raises((RuntimeError, AssertionError), match=symptom):
            run_everything(seed, patch, *FLOAT_ONLY)
