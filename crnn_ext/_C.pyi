"""Types of the compiled module. Pointers and streams are integers; callers check all arguments."""

from typing import TypedDict

version: str
built_with_cuda: bool

class _Device(TypedDict):
    name: str
    capability: tuple[int, int]
    total_memory: int
    multiprocessors: int

class _CudaStatus(TypedDict):
    built: bool
    runtime_version: int
    driver_version: int
    problem: str
    devices: list[_Device]

# bind_system.cpp
def simd_level() -> str: ...
def cuda_status() -> _CudaStatus: ...
