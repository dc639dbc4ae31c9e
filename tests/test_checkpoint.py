"""Model files: what is written comes back, and nothing else is believed."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from tiny import CHARSET, CONFIG, save_tiny, tiny_model

import crnn_ext
from crnn import checkpoint
from crnn.charset import Charset
from crnn.checkpoint import FORMAT_VERSION, CheckpointError
from crnn.images import Preprocessing
from crnn.model import CRNN

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def tensors_and_description(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safetensors.safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()["crnn"])
    return safetensors.torch.load_file(path), description


def rewrite(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> None:
    """Save the tiny model, then change its tensors or its description behind the back of `save`."""
    tensors, description = tensors_and_description(save_tiny(path))
    change(tensors, description)
    safetensors.torch.save_file(tensors, path, {"crnn": json.dumps(description)})


def refuses(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"^load: {re.escape(str(path))} {message}"):
        checkpoint.load(path)


# ---- round trip -------------------------------------------------------------------------------


def test_round_trip(path: Path) -> None:
    model = tiny_model().train()
    preprocessing = Preprocessing(32, 64, 2000, None)
    summary = {"steps": 1200, "accuracy": {"iiit5k_train": 0.5}, "note": "é"}
    checkpoint.save(path, model, CHARSET, preprocessing, summary)
    found = checkpoint.load(path)
    assert not found.model.training
    assert found.model.config == CONFIG
    assert found.charset == CHARSET
    assert found.preprocessing == preprocessing
    assert found.summary == summary
    assert found.crnn_version == crnn_ext.__version__
    assert found.source == str(path)
    for key, value in model.state_dict().items():
        assert torch.equal(found.model.state_dict()[key], value), key
    image = torch.randn(1, 1, 32, 100)
    assert torch.equal(found.model(image)[0], model.eval()(image)[0])


def test_a_loaded_model_trains(path: Path) -> None:
    model = checkpoint.load(save_tiny(path)).model.train()
    model(torch.randn(2, 1, 32, 64))[0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_half_is_stored_in_16_bits_and_loaded_in_32(path: Path, tmp_path: Path) -> None:
    save_tiny(path, half=True)
    stored, _ = tensors_and_description(path)
    assert {v.dtype for v in stored.values()} == {torch.float16, torch.int64}
    found = checkpoint.load(path).model.state_dict()
    for key, value in tiny_model().state_dict().items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value.half().float() if value.is_floating_point() else value)


def test_half_refuses_what_does_not_fit(path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.head.bias[0] = 1e6
    message = re.escape(
        f"save: head.bias of {path} must fit in float16 (at most 65504) with half=True, got 1e+06"
    )
    with pytest.raises(CheckpointError, match=f"^{message}$"):
        checkpoint.save(path, model, CHARSET, Preprocessing(), {}, half=True)
    assert not path.exists()


def test_channels_last_weights_are_saved(path: Path) -> None:
    model = tiny_model().to(memory_format=torch.channels_last)
    checkpoint.save(path, model, CHARSET, Preprocessing(), {})
    for key, value in tiny_model().state_dict().items():
        assert torch.equal(checkpoint.load(path).model.state_dict()[key], value)


# ---- writing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("charset", "preprocessing", "summary", "message"),
    [
        ("abc", Preprocessing(), {}, "charset of {path} must have the model's 9 classes, got 4"),
        (
            "abcdefgh",
            Preprocessing(height=48),
            {},
            "preprocessing of {path} must have the model's height 32, got 48",
        ),
        (
            "abcdefgh",
            Preprocessing(min_width=1),
            {},
            "preprocessing of {path} must give the network at least one frame, got width 1",
        ),
        ("abcdefgh", Preprocessing(), {"a": {1}}, "summary must be JSON, got "),
        ("abcdefgh", Preprocessing(), {"loss": float("nan")}, "summary must be JSON, got "),
    ],
)
def test_parts_that_do_not_fit(
    charset: str, preprocessing: Preprocessing, summary: dict[str, Any], message: str, path: Path
) -> None:
    message = "save: " + message.format(path=path)
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}"):
        checkpoint.save(path, tiny_model(), Charset(charset), preprocessing, summary)
    assert not path.exists()


def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = f"save: {path} must be writable, got No space left on device"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        checkpoint.save(path, tiny_model(1), CHARSET, Preprocessing(), {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny(path)
    before = path.read_bytes()

    def interrupt(source: str, target: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, tiny_model(1), CHARSET, Preprocessing(), {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"must be writable, got No such file or directory$"):
        save_tiny(tmp_path / "none" / "model.safetensors")


# ---- bad files --------------------------------------------------------------------------------


def test_missing_empty_and_folder(path: Path, tmp_path: Path) -> None:
    refuses(path, "must be an existing file, got none there$")
    refuses(tmp_path, "must be a model file, got a folder$")
    path.write_bytes(b"")
    refuses(path, "must be a safetensors file, got an empty file$")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_truncated(share: float, path: Path) -> None:
    content = save_tiny(path).read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refuses(path, "must be a complete safetensors file, got a truncated or damaged one")


@pytest.mark.parametrize("content", [b"hello, this is no model", b"\xff" * 200, b"\x89PNG\r\n" * 9])
def test_not_safetensors(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    refuses(path, "must be a complete safetensors file, got a truncated or damaged one")


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("the pickle was opened",))


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
def test_a_pickle_is_refused_unopened(kind: str, path: Path) -> None:
    if kind == "plain":
        path.write_bytes(pickle.dumps(Trap()))
    else:
        torch.save({"model": Trap()}, path, _use_new_zipfile_serialization=kind == "zip")
    refuses(path, "must be a safetensors file, got a PyTorch pickle, which can run code")


def test_safetensors_of_another_program(path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        safetensors.torch.save_file({"weight": torch.zeros(2)}, path, metadata)
        refuses(path, r"must be a model of crnn, got safetensors without its metadata \(key 'crnn'")


@pytest.mark.parametrize(
    "metadata", ["", "{", "[]", "3", "{}", '{"format_version": "1", "summary": {}}', "[" * 100_000]
)
def test_metadata_that_is_not_ours(metadata: str, path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(2)}, path, {"crnn": metadata})
    refuses(path, "must have crnn metadata, got ")


def test_a_newer_format(path: Path) -> None:
    rewrite(path, lambda tensors, d: d.update(format_version=FORMAT_VERSION + 1))
    refuses(path, "must be of format 1 or older, got format 2; a newer crnn reads it$")


def test_missing_unexpected_and_misshapen_tensors_are_named(path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor], description: dict[str, Any]) -> None:
        del tensors["head.bias"]
        tensors["extra.weight"] = torch.zeros(3)
        tensors["head.weight"] = torch.zeros(9, 5)
        tensors["joins.0.bias"] = torch.zeros(6, dtype=torch.int32)

    rewrite(path, change)
    refuses(
        path,
        re.escape(
            "must hold the tensors of its network, got missing: head.bias; "
            "unexpected: extra.weight; "
            "of another shape: head.weight [9, 5] instead of [9, 16]; "
            "of another type: joins.0.bias torch.int32"
        )
        + "$",
    )


def test_another_architecture(path: Path) -> None:
    rewrite(path, lambda tensors, d: d["model"].update(hidden=9))
    refuses(path, "must hold the tensors of its network, got of another shape: rnn.0.weight_ih_l0")


def test_many_wrong_tensors_are_counted(path: Path) -> None:
    rewrite(path, lambda tensors, d: tensors.clear() or tensors.update(x=torch.zeros(1)))
    refuses(path, r"must hold .* got missing: \S+ \S+ \S+ and \d+ more; unexpected: x$")


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"layers": []}},
        {"model": None},
        {"model": {**CONFIG.to_dict(), "hidden": 10**12}},
        {"model": {**CONFIG.to_dict(), "rnn_layers": 10**9}},
        {"charset": {"symbols": "abcdefgh", "fold_case": True}},
        {"charset": {"symbols": ["a", 3], "fold_case": True}},
        {"charset": {"symbols": [], "fold_case": True}},
        {"charset": []},
        {"preprocessing": {"height": 10**9}},
        {"preprocessing": [32]},
    ],
)
def test_hostile_descriptions(change: dict[str, Any], path: Path) -> None:
    rewrite(path, lambda tensors, d: d.update(change))
    refuses(path, "must have crnn metadata, got ")


def test_a_huge_network_is_refused_before_it_is_allocated(path: Path) -> None:
    """16 TB of weights by the description, kilobytes in the file."""
    rewrite(path, lambda tensors, d: d["model"].update(hidden=65536, rnn_layers=64, join=65536))
    refuses(path, "must hold the tensors of its network, got missing: ")


def test_charset_and_height_that_do_not_fit(path: Path) -> None:
    rewrite(path, lambda tensors, d: d["preprocessing"].update(height=64))
    with pytest.raises(CheckpointError, match=r"must have the model's height 32, got 64$"):
        checkpoint.load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(value: float, path: Path) -> None:
    rewrite(path, lambda tensors, d: tensors["head.bias"].fill_(value))
    refuses(path, "must hold finite weights, got NaN or inf in head.bias$")


def test_models_of_every_preset_are_built_without_memory() -> None:
    """What `load` relies on."""
    with torch.device("meta"):
        model = CRNN(CONFIG, 9)
    assert all(p.is_meta for p in model.parameters())
