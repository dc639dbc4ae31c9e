"""The parts of the GPU benchmarks that need no GPU."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import ctc_gpu, gpu, gpu_check, lstm_gpu
from benchmarks.lstm_gpu import Case

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("mode", ["infer", "forward", "train"])
@pytest.mark.parametrize("variable", [False, True])
def test_implementations_are_verified(mode: str, variable: bool) -> None:
    case = Case(4, 3, "float32", mode, variable)
    found = lstm_gpu.errors(case, lstm_gpu.make_inputs(case, "cpu"))
    assert set(found) == {"torch", "torch again", "crnn_ext"}
    assert 0 < max(found.values()) < 2e-6


def test_two_streams_are_a_bidirectional_lstm() -> None:
    case = Case(4, 3, "float32", "infer")
    inputs = lstm_gpu.make_inputs(case, "cpu")
    both = inputs.modules["torch"]
    assert isinstance(both, torch.nn.LSTM)
    y, _ = lstm_gpu.TwoStreams(both)(inputs.x[0])
    torch.testing.assert_close(y, both(inputs.x[0])[0])


def test_a_wrong_result_is_not_timed() -> None:
    case = Case(4, 3, "float32", "infer")
    inputs = lstm_gpu.make_inputs(case, "cpu")
    with torch.no_grad():
        inputs.modules["crnn_ext"].weight_hh_l0.mul_(1.01)
    with pytest.raises(SystemExit, match=r"T=4 N=3 float32 infer: relative error .* above 2e-06"):
        lstm_gpu.errors(case, inputs)


def test_samplers_take_turns() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    samplers = {name: gpu.eager([call], count=1) for name, call in calls.items()}
    measured = gpu.take_turns(samplers, rounds=3)
    assert order == ["a", "b", *"ab", *"ba", *"ab"]  # each once to warm up
    assert all(len(m.rounds) == 3 for m in measured.values())


def test_cases() -> None:
    options = argparse.Namespace(
        dtype=["tf32"], frames=[26], samples=[1, 8], mode=["infer", "train"]
    )
    names = [str(case) for case in lstm_gpu.cases(options)]
    assert names[0] == "T=26 N=1 tf32 infer"
    assert names[-1] == "T=26 N=8 tf32 variable train"
    assert len(names) == 6  # one sample has no lengths to vary


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("subject", ["ctc", "lstm"])
def test_without_a_gpu(subject: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{subject}", "--device", "cuda", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"benchmarks.{subject}: --device cuda needs a GPU and a build with CUDA\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_check_goes_on_after_a_failure(tmp_path: Path) -> None:
    results = gpu_check.RESULTS
    gpu_check.RESULTS = tmp_path / "results"
    try:
        steps = {
            "fails": gpu_check.Step(
                [sys.executable, "-c", "print('seen'); raise SystemExit(3)"], 20
            ),
            "hangs": gpu_check.Step([sys.executable, "-c", "import time; time.sleep(60)"], 1),
            "is missing": gpu_check.Step(["no such program"], 20),
            "works": gpu_check.Step([sys.executable, "-c", "pass"], 20),
        }
        out = tmp_path / "out"
        out.mkdir()
        went = {name: gpu_check.run(name, step, step.limit, out) for name, step in steps.items()}
    finally:
        gpu_check.RESULTS = results
    assert went == {"fails": False, "hangs": False, "is missing": False, "works": True}
    lines = [json.loads(line) for line in (out / "gpu_check.jsonl").read_text().splitlines()]
    assert [line["code"] for line in lines] == [3, 124, 127, 0]
    assert lines[0]["tail"] == "seen\n"
    assert "seen" in (out / "output.txt").read_text()


def test_ctc_implementations_are_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CPU tensors; the memory of a GPU is not poisoned."""
    monkeypatch.setattr(ctc_gpu, "poison_memory", lambda: None)
    case = ctc_gpu.Case(6, 3, 11, 4, variable=True)
    inputs = ctc_gpu.make_inputs(case, 0, "cpu")
    found = ctc_gpu.errors(case, inputs)
    assert set(found) == {"torch", "torch cuDNN", "crnn_ext", "crnn_ext, lengths on the CPU"}
    assert 0 < max(found.values()) < 1e-6
