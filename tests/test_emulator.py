"""The emulator itself: it runs a right kernel and reports each kind of wrong one."""

from __future__ import annotations

import pytest
import torch
from emulator import build

N = 32  # threads of a block
RIGHT = {"block_sums": 3, "warp_sum": 1, "last block": 6}
WRONG = {
    "no barrier": "race: ",
    "beyond": "out of bounds: read of 4 bytes, 0 bytes beyond in at selftest.cu:13",
    "before": "out of bounds: read of 4 bytes, 4 bytes before in",
    "shared memory too small": "out of bounds: write of 4 bytes, 0 bytes beyond shared memory",
    "lane missing": "returned",
    "half waits": "deadlock: 0 threads have returned; 16 wait for ",
    "two barriers": "threads of one block wait at different barriers, lines",
    "reads unwritten": "uninitialised memory: read of 4 bytes at byte",
    "writes input": "write to an input: write of 4 bytes",
    "misaligned": "misaligned: write of",
    "blocks collide": "race: write of 4 bytes",
}
REFUSED = {
    "too many threads": "selftest: invalid configuration argument",
    "too much shared memory": "selftest: invalid argument",
    "empty grid": "selftest: invalid configuration argument",
}


def run(name: str, seed: int = 0) -> torch.Tensor:
    emulated = build.module()
    values = torch.arange(3 * N, dtype=torch.float32)
    out = torch.full([RIGHT.get(name, N)], torch.nan)
    counter = torch.zeros(1, dtype=torch.int32)
    tensors = {"in": (values, "r"), "out": (out, "w"), "counter": (counter, "rw")}
    emulated.set_regions(
        [(key, t.data_ptr(), t.nbytes, access) for key, (t, access) in tensors.items()]
    )
    emulated.seed(seed)
    emulated.selftest(name, *(t.data_ptr() for t, _ in tensors.values()), N)
    return out


@pytest.mark.parametrize("seed", range(3))
def test_right_kernels(seed: int) -> None:
    assert run("block_sums", seed).tolist() == [496, 1520, 2544]
    assert run("warp_sum", seed).tolist() == [496]
    assert run("last block", seed).tolist() == [15, 1, 2, 3, 4, 5]
    assert build.module().unwritten() == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", WRONG)
def test_wrong_kernels_are_reported(name: str, seed: int) -> None:
    with pytest.raises(build.module().EmulatorError) as caught:
        run(name, seed)
    assert WRONG[name] in str(caught.value)


def test_unwritten_output_is_found() -> None:
    run("skips one")
    assert build.module().unwritten() == ["out: byte 20 of 128"]


@pytest.mark.parametrize("name", REFUSED)
def test_launches_that_cuda_refuses(name: str) -> None:
    with pytest.raises(build.module().CudaError) as caught:
        run(name)
    assert str(caught.value) == REFUSED[name]
    test_right_kernels(0)  # the error is gone with its exception
