"""Types of the compiled module. Pointers and streams are integers; callers check all arguments."""

from collections.abc import Sequence
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

# bind_text.cpp
no_bound: int

def edit_distance(a: str, b: str, bound: int, /) -> int: ...

class BkTree:
    header_bytes: int
    def extend(self, words: list[str], /) -> int: ...
    def query(
        self, words: list[str], delta: int, num_threads: int, /
    ) -> list[list[tuple[str, int]]]: ...
    def contains(self, word: str, /) -> bool: ...
    def size(self) -> int: ...
    def memory(self) -> int: ...
    def slice(self, begin: int, end: int, /) -> list[str]: ...
    def save(self) -> bytes: ...
    @staticmethod
    def load(data: bytes, /) -> BkTree: ...
    @staticmethod
    def announced_size(header: bytes, /) -> int: ...

# bind_transcription.cpp: _Frames is (address, is_double, shape TNC, strides, address of lengths)
_Frames = tuple[int, bool, tuple[int, int, int], tuple[int, int, int], int]

def collapse(path: list[int], blank: int, /) -> list[int]: ...
def greedy_decode(
    frames: _Frames, blank: int, num_threads: int, /
) -> list[tuple[list[int], float, list[tuple[int, int]]]]: ...
def beam_decode(
    frames: _Frames,
    blank: int,
    beam: int,
    n_best: int,
    cutoff: float,
    lm: LanguageModel | None,
    lm_weight: float,
    lm_unknown: float,
    symbol_bonus: float,
    lexicon: Lexicon | None,
    free: list[int],
    num_threads: int,
    /,
) -> list[list[tuple[list[int], float, float]]]: ...  # labels, log_prob, score
def align(
    frames: _Frames,
    labels: list[list[int]],
    blank: int,
    num_threads: int,
    occupancy: int,  # float64, [2 L + 1, frames] of each sample
    /,
) -> list[tuple[float, float, list[tuple[int, int]]]]: ...
def replacement_log_probs(
    frames: _Frames, labels: list[list[int]], blank: int, num_threads: int, out: int, /
) -> None: ...
def label_log_probs(
    frames: _Frames, labels: list[list[int]], blank: int, num_threads: int, out: int, /
) -> None: ...

# bind_lexicon.cpp
class WordList:
    def __init__(self, labels: list[list[int]], /) -> None: ...
    def lists(self) -> list[list[int]]: ...
    def lengths(self) -> list[int]: ...
    def __len__(self) -> int: ...

class Spelling:
    def __init__(self, symbols: str, blank: int, /) -> None: ...
    def encode(self, words: list[str], /) -> tuple[WordList, list[int]]: ...
    def decode(self, words: WordList, /) -> list[str]: ...

# labels, log_probs and scores of each word; how many are of the lexicon; total score and
# probability; words looked at
_Reading = tuple[list[list[int]], list[float], list[float], int, float, float, int]

class Lexicon:
    blank: int
    classes: int
    def __init__(self, classes: int, blank: int, /) -> None: ...
    def add(self, words: WordList, /) -> int: ...
    def remove(self, words: WordList, /) -> int: ...
    def contains(self, word: WordList, /) -> bool: ...
    def size(self) -> int: ...
    def memory(self) -> int: ...
    def slice(self, begin: int, end: int, /) -> WordList: ...
    def decode(
        self,
        frames: _Frames,
        method: str,
        delta: int,
        n_best: int,
        tolerance: float,
        log_prior: tuple[int, int],  # address of float64, and how many; (0, 0): none
        num_threads: int,
        /,
    ) -> list[_Reading]: ...
    def save(self, descriptor: int, header: bytes, /) -> int: ...  # errno
    @staticmethod
    def load(descriptor: int, /) -> tuple[int, bytes, Lexicon]: ...  # errno, header

# bind_language_model.cpp
class LanguageModel:
    highest_order: int
    classes: int
    blank: int
    order: int
    @staticmethod
    def build(
        texts: WordList, counts: list[int], classes: int, blank: int, order: int, /
    ) -> LanguageModel: ...
    def size(self) -> int: ...
    def memory(self) -> int: ...
    def log_probs(self, texts: WordList, /) -> list[float]: ...
    def next_log_probs(self, text: WordList, /) -> list[float]: ...
    def save(self, descriptor: int, header: bytes, /) -> int: ...  # errno
    @staticmethod
    def load(descriptor: int, /) -> tuple[int, bytes, LanguageModel]: ...  # errno, header

# bind_lstm.cpp; dims are (T, N, I, H, D), a pointer of 0 stands for an absent tensor
def lstm_forward_f32(
    dims: tuple[int, int, int, int, int],
    x: int,
    x_stride_t: int,
    x_stride_n: int,
    lengths: int,
    weights: list[int],
    h0: int,
    c0: int,
    y: int,
    h_n: int,
    c_n: int,
    gates: int,
    cells: int,
    num_threads: int,
) -> None: ...
def lstm_backward_f32(
    dims: tuple[int, int, int, int, int],
    lengths: int,
    weights: list[int],
    c0: int,
    gates: int,
    cells: int,
    dy: int,
    dh_n: int,
    dc_n: int,
    dgates: int,
    dh0: int,
    dc0: int,
    num_threads: int,
) -> None: ...

lstm_forward_f64 = lstm_forward_f32
lstm_backward_f64 = lstm_backward_f32

# bind_ctc.cpp; the contract is csrc/kernels/ctc.h. Strides count elements.
class CtcArguments:
    def __init__(
        self,
        x: int,
        x_t: int,
        x_n: int,
        targets: int,
        input_lengths: int,
        target_lengths: int,
        T: int,
        N: int,
        C: int,
        targets_size: int,
        targets_width: int,  # S of targets [N, S]; -1: concatenated
        blank: int,
        is_double: bool,
        from_logits: bool,
        reduction: int,  # 0 none, 1 sum, 2 mean
        zero_infinity: bool,
    ) -> None: ...

def ctc_forward(
    arguments: CtcArguments,
    reduced: int,
    saved: int,  # losses [N]; from logits row_shift, row_sum [2, T, N]; posteriors if wanted
    wants_gradient: bool,
    num_threads: int,
) -> None: ...
def ctc_backward(
    arguments: CtcArguments,
    saved: int,
    grad: int,
    grad_stride: int,
    dx: int,
    dx_t: int,
    dx_n: int,
    num_threads: int,
) -> None: ...
def ctc_check(
    T: int,
    N: int,
    C: int,
    targets_size: int,
    width: int,
    targets: int,  # 0 for what is not on the host
    input_lengths: int,
    target_lengths: int,
    /,
) -> None: ...

# CUDA, by crnn_ext/_cuda.py: addresses, numbers, stream; each .cpp names them
class CudaError(RuntimeError): ...

def ctc_cuda_scratch_bytes(numbers: Sequence[int], /) -> int: ...
def ctc_cuda_forward(addresses: Sequence[int], numbers: Sequence[int], stream: int, /) -> None: ...
def ctc_cuda_backward(addresses: Sequence[int], numbers: Sequence[int], stream: int, /) -> None: ...
def greedy_cuda(addresses: Sequence[int], numbers: Sequence[int], stream: int, /) -> None: ...
def lstm_cuda_kernel(numbers: Sequence[int], /) -> int: ...
def lstm_cuda_forward(addresses: Sequence[int], numbers: Sequence[int], stream: int, /) -> None: ...
def lstm_cuda_backward(
    addresses: Sequence[int], numbers: Sequence[int], stream: int, /
) -> None: ...

# bind_memory.cpp; csrc/common/memory.h says why. A LargeBuffer exports bytes.
large_buffer_bytes: int

def release_large_buffer() -> int: ...

class LargeBuffer:
    def __init__(self, bytes: int, /) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
