"""What was built, and what the machine has."""

from __future__ import annotations

from dataclasses import dataclass

from crnn_ext import _C


@dataclass(frozen=True)
class CudaDevice:
    """A GPU as the CUDA runtime describes it.

    Attributes:
        name: as its maker calls it.
        capability: (major, minor) compute capability, such as ``(9, 0)``.
        memory: bytes of its memory.
        multiprocessors: how many it has.
    """

    name: str
    capability: tuple[int, int]
    memory: int
    multiprocessors: int


@dataclass(frozen=True)
class BuildInfo:
    """The compiled module and what it found.

    Attributes:
        version: of the compiled module.
        module: its file.
        simd_level: the instructions its CPU kernels use: ``"baseline"``, ``"avx2"`` or
            ``"avx512"``; the environment variable CRNN_SIMD forces one.
        cuda: whether it holds CUDA kernels.
        cuda_runtime, cuda_driver: CUDA versions as in ``(13, 0)``; None where there is none.
        cuda_problem: why no GPU can be used; empty if one can.
        cuda_devices: the GPUs.
    """

    version: str
    module: str
    simd_level: str
    cuda: bool
    cuda_runtime: tuple[int, int] | None
    cuda_driver: tuple[int, int] | None
    cuda_problem: str
    cuda_devices: tuple[CudaDevice, ...]


def build_info() -> BuildInfo:
    """Describe the compiled module and the machine it runs on.

    Never raises: what stands in the way of a GPU is in `BuildInfo.cuda_problem`.
    """
    status = _C.cuda_status()
    return BuildInfo(
        version=_C.version,
        module=_C.__file__,
        simd_level=_C.simd_level(),
        cuda=status["built"],
        cuda_runtime=_version(status["runtime_version"]),
        cuda_driver=_version(status["driver_version"]),
        cuda_problem=status["problem"],
        cuda_devices=tuple(
            CudaDevice(d["name"], d["capability"], d["total_memory"], d["multiprocessors"])
            for d in status["devices"]
        ),
    )


def _version(number: int) -> tuple[int, int] | None:
    """CUDA's own form: 13000 is 13.0; 0 is none."""
    return (number // 1000, number % 1000 // 10) if number else None
