"""``crnn doctor``: it finds what is there, and sees what is broken."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest
import torch
from tiny import save_tiny

import crnn
import crnn_ext
from crnn.cli import doctor, doctor_ops, main
from crnn.cli.doctor import Check

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def report() -> list[Check]:
    return list(doctor.examine())


def test_doctor_finds_everything_in_order(report: list[Check]) -> None:
    assert [check for check in report if check.status == "broken"] == []
    sections = list(dict.fromkeys(check.section for check in report))
    assert sections == ["versions", "build", "devices", "operations", "models", "extras"]
    operations = [check for check in report if check.section == "operations"]
    on_gpu = ["ctc_loss, GPU", "LSTM, GPU"] if torch.cuda.is_available() else []
    assert [check.name for check in operations] == [
        "ctc_loss",
        "LSTM",
        "greedy_decode",
        "align",
        "edit_distance",
        "BKTree",
        "Lexicon",
        *(on_gpu if crnn_ext.built_with_cuda else []),
    ]
    for check in operations:
        assert re.match(r"error \d\.\de-\d\d, |error 0\.0e\+00, ", check.detail), check
        assert "x the speed of " in check.detail
    by_name = {check.name: check for check in report}
    assert by_name["torch"].detail == metadata.version("torch")
    assert by_name["test"].status == "ok"
    assert by_name["module"].detail == crnn_ext_module()
    models = {check.name for check in report if check.section == "models"}
    assert models == set(crnn.pretrained_models() or ["(none)"])


def crnn_ext_module() -> str:
    info = crnn_ext.build_info()
    assert info.cuda == crnn_ext.built_with_cuda
    assert info.simd_level in {"baseline", "avx2", "avx512"}
    assert Path(info.module).is_file()
    return info.module


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    checks = [Check("build", "module", "ok", "here"), Check("extras", "plot", "note", "x", "do y")]
    monkeypatch.setattr(doctor, "examine", lambda: iter(checks))
    return checks


def test_doctor_prints(canned: list[Check], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert text == (
        "\nbuild\n"
        "   module           here\n"
        "\nextras\n"
        " - plot             x\n"
        "                    -> do y\n"
        "\neverything works\n"
    )
    canned.append(Check("operations", "LSTM", "broken", "error 1", "reinstall"))
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert " ! LSTM             error 1\n" in text
    assert text.endswith("\nbroken: LSTM\n")


def test_doctor_json(canned: list[Check], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"ok": True, "checks": [dataclasses.asdict(check) for check in canned]}
    canned.append(Check("operations", "LSTM", "broken", "error 1", "reinstall"))
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_doctor_sees_wrong_results_and_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    real = crnn_ext.ctc_loss

    def slightly_wrong(*args: object, **options: object) -> torch.Tensor:
        return real(*args, **options) * 1.0001  # type: ignore[arg-type]

    def crash(*args: object) -> int:
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr(crnn_ext, "ctc_loss", slightly_wrong)
    monkeypatch.setattr(crnn_ext, "edit_distance", crash)
    found = {check.name: check for check in doctor_ops.check_operations()}
    assert found["ctc_loss"].status == "broken"
    assert "the error must be at most 1e-05" in found["ctc_loss"].detail
    assert found["edit_distance"].status == "broken"
    assert found["edit_distance"].detail == "RuntimeError: illegal instruction"
    assert found["LSTM"].status == found["greedy_decode"].status == "ok"
    assert all(check.advice for check in found.values() if check.status == "broken")


def test_doctor_sees_a_damaged_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "tiny.safetensors")
    path.write_bytes(path.read_bytes()[:-10])

    @contextmanager
    def damaged(name: str) -> Iterator[Path]:
        yield path

    monkeypatch.setattr("crnn.pretrained.pretrained_models", lambda: ["tiny"])
    monkeypatch.setattr("crnn.pretrained.model_file", damaged)
    (check,) = doctor._models()
    assert (check.name, check.status) == ("tiny", "broken")
    assert "truncated or damaged" in check.detail
