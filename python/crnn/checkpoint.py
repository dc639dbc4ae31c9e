"""Models on disk: safetensors, with all that reading needs in the metadata.

A checkpoint holds the weights and, as JSON under the metadata key ``"crnn"``:

| key | value |
|---|---|
| format_version | `FORMAT_VERSION`; a newer one is refused |
| crnn_version | the program that wrote it |
| model | `ModelConfig.to_dict()` |
| charset | ``{"symbols": [...], "fold_case": bool}`` |
| preprocessing | `Preprocessing.to_dict()` |
| temperature | what logits are divided by before they become probabilities; 1 where it is missing |
| summary | what the training reports: data, steps, accuracy; and `crnn calibrate` |

A file is data from a stranger: nothing in it is executed (never pickle), and nothing is allocated
that the file does not itself hold.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

import crnn_ext
from crnn.architecture import ModelConfig
from crnn.charset import Charset
from crnn.files import write_atomically
from crnn.images import Preprocessing
from crnn.model import CRNN

FORMAT_VERSION = 1

_KEY = "crnn"
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_RANGE = [0.01, 100.0]  # of temperatures
_NAMED = 3  # how many tensors an error names


class CheckpointError(ValueError):
    """A model file that cannot be read or written; the message names it and says why."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with what is needed to use it.

    Attributes:
        model: the network in evaluation mode, float32, on the CPU.
        charset: the symbols of its classes.
        preprocessing: how images are scaled for it.
        summary: what its training reported.
        crnn_version: the program that wrote it.
        source: the file it came from.
        temperature: what logits are divided by before they become probabilities, so that
            confidences are right as often as they say; 1 for a model that was not calibrated.
    """

    model: CRNN
    charset: Charset
    preprocessing: Preprocessing
    summary: dict[str, Any]
    crnn_version: str = crnn_ext.__version__
    source: str = ""
    temperature: float = 1.0


def save(
    path: str | os.PathLike[str],
    model: CRNN,
    charset: Charset,
    preprocessing: Preprocessing,
    summary: Mapping[str, Any],
    half: bool = False,
) -> None:
    """Write a checkpoint; a file already there stays as it is until the new one is complete.

    Args:
        path: ends in ``.safetensors`` by custom.
        model: the network; its weights are stored as float32.
        charset: must have the model's number of classes.
        preprocessing: must have the model's height.
        summary: anything JSON can hold.
        half: store the weights as float16, half the size; `load` gives float32 back.

    Raises:
        CheckpointError: the parts do not fit each other, `summary` is not JSON, a weight exceeds
            float16 with `half`, or the file cannot be written.
    """
    name = os.fspath(path)
    _check_fit(model, charset, preprocessing, "save", name)
    description = {
        "format_version": FORMAT_VERSION,
        "crnn_version": crnn_ext.__version__,
        "model": model.config.to_dict(),
        "charset": {"symbols": list(charset.symbols), "fold_case": charset.fold_case},
        "preprocessing": preprocessing.to_dict(),
        "summary": dict(summary),
    }
    try:
        text = json.dumps(description, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"save: summary must be JSON, got {error}") from error
    tensors = {key: _stored(key, value, half, name) for key, value in model.state_dict().items()}
    content = safetensors.torch.save(tensors, {_KEY: text})
    try:
        write_atomically(Path(path), content)
    except OSError as error:
        raise CheckpointError(f"save: {name} must be writable, got {error.strerror}") from error


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint that `save` wrote.

    Raises:
        CheckpointError: the file is missing, truncated, not safetensors, a pickle, of another
            program, of a newer format; its parts do not fit each other; its tensors are not
            those of the network it describes; or a weight is NaN or infinite.
    """
    name = os.fspath(path)
    _check_kind(name)
    try:
        with safetensors.safe_open(name, framework="pt") as file:
            description = _description(file.metadata(), name)
            model, charset, preprocessing = _parts(description, name)
            temperature = description.get("temperature", 1.0)
            if not _is_temperature(temperature):
                raise CheckpointError(
                    f"load: {name} must have a temperature in {_RANGE}, got {temperature!r}"
                )
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"load: {name} must be a complete safetensors file, got a truncated or damaged one, "
            f"or another kind ({error})"
        ) from error
    except OSError as error:
        raise CheckpointError(f"load: {name} must be readable, got {error.strerror}") from error
    _check_tensors(model, tensors, name)
    model = model.to_empty(device="cpu")
    model.load_state_dict(tensors)
    return Checkpoint(
        model.eval(),
        charset,
        preprocessing,
        description["summary"],
        str(description.get("crnn_version", "")),
        name,
        temperature,
    )


def save_calibrated(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    temperature: float,
    about: Mapping[str, Any],
) -> None:
    """Write a checkpoint again with another temperature; not a byte of its weights changes.

    Args:
        source: a checkpoint.
        path: the file to write, which may be `source`: it is replaced at once or not at all.
        temperature: see `Checkpoint`.
        about: how it was found, for ``summary["calibration"]``; anything JSON can hold.

    Raises:
        CheckpointError: `load` refuses `source`, the temperature is out of range, `about` is not
            JSON, or a file cannot be read or written.
    """
    name = os.fspath(path)
    load(source)
    if not _is_temperature(temperature):
        raise CheckpointError(f"save: temperature must lie in {_RANGE}, got {temperature}")
    try:
        content = Path(source).read_bytes()
        begin = 8 + int.from_bytes(content[:8], "little")  # of the weights
        header = json.loads(content[8:begin])
        description = json.loads(header["__metadata__"][_KEY])
        description["temperature"] = float(temperature)
        description["summary"]["calibration"] = dict(about)
        text = json.dumps(description, ensure_ascii=False, allow_nan=False)
        header["__metadata__"][_KEY] = text
        start = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        start += b" " * (-len(start) % 8)  # weights are aligned
        write_atomically(Path(path), len(start).to_bytes(8, "little") + start + content[begin:])
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"save: about must be JSON, got {error}") from error
    except OSError as error:
        raise CheckpointError(f"save: {name} must be writable, got {error.strerror}") from error


def _is_temperature(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and _RANGE[0] <= value <= _RANGE[1]  # type: ignore[operator]


def _stored(key: str, value: Tensor, half: bool, name: str) -> Tensor:
    value = value.detach().cpu().contiguous()
    if not value.is_floating_point():
        return value
    value = value.float()
    if not half:
        return value
    halved = value.half()
    if not torch.equal(halved.isfinite(), value.isfinite()):
        raise CheckpointError(
            f"save: {key} of {name} must fit in float16 (at most 65504) with half=True, "
            f"got {value.abs().max():g}"
        )
    return halved


def _check_kind(name: str) -> None:
    """Refuse what is plainly not a checkpoint, with a message better than the parser's."""
    try:
        with open(name, "rb") as file:
            start = file.read(16)
    except FileNotFoundError as error:
        raise CheckpointError(f"load: {name} must be an existing file, got none there") from error
    except IsADirectoryError as error:
        raise CheckpointError(f"load: {name} must be a model file, got a folder") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"load: {name} must be readable, got {error}") from error
    if not start:
        raise CheckpointError(f"load: {name} must be a safetensors file, got an empty file")
    if start.startswith(_PICKLES):
        raise CheckpointError(
            f"load: {name} must be a safetensors file, got a PyTorch pickle, which can run code "
            "when it is opened; load it where you trust it and write it with crnn.checkpoint.save"
        )


def _description(metadata: Mapping[str, str] | None, name: str) -> dict[str, Any]:
    if not metadata or _KEY not in metadata:
        raise CheckpointError(
            f"load: {name} must be a model of crnn, got safetensors without its metadata "
            f"(key {_KEY!r})"
        )
    try:
        description = json.loads(metadata[_KEY])
        version = description["format_version"]
        if not isinstance(version, int) or not isinstance(description["summary"], dict):
            raise TypeError("format_version or summary has the wrong type")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"load: {name} must have crnn metadata, got {error!r}") from error
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"load: {name} must be of format {FORMAT_VERSION} or older, got format {version}; "
            "a newer crnn reads it"
        )
    return dict(description)


def _parts(description: dict[str, Any], name: str) -> tuple[CRNN, Charset, Preprocessing]:
    """The network, with no memory behind its weights yet, its charset and its preprocessing."""
    try:
        config = ModelConfig.from_dict(description["model"])
        symbols = description["charset"]["symbols"]
        if not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols):
            raise TypeError("charset symbols must be a list of strings")
        charset = Charset(symbols, bool(description["charset"]["fold_case"]))
        preprocessing = Preprocessing.from_dict(description["preprocessing"])
        with torch.device("meta"):
            model = CRNN(config, charset.num_classes)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"load: {name} must have crnn metadata, got {error!r}") from error
    _check_fit(model, charset, preprocessing, "load", name)
    return model, charset, preprocessing


def _check_fit(
    model: CRNN, charset: Charset, preprocessing: Preprocessing, op: str, name: str
) -> None:
    if model.num_classes != charset.num_classes:
        raise CheckpointError(
            f"{op}: charset of {name} must have the model's {model.num_classes} classes, "
            f"got {charset.num_classes}"
        )
    if model.config.height != preprocessing.height:
        raise CheckpointError(
            f"{op}: preprocessing of {name} must have the model's height {model.config.height}, "
            f"got {preprocessing.height}"
        )
    narrowest = preprocessing.fixed_width or preprocessing.min_width
    if model.frames(narrowest) < 1:
        raise CheckpointError(
            f"{op}: preprocessing of {name} must give the network at least one frame, "
            f"got width {narrowest}"
        )


def _check_tensors(model: CRNN, tensors: dict[str, Tensor], name: str) -> None:
    """The file's tensors must be the model's, by name, shape and kind, and finite."""
    expected = model.state_dict()
    problems = {
        "missing": [key for key in expected if key not in tensors],
        "unexpected": [key for key in tensors if key not in expected],
        "of another shape": [
            f"{key} {list(tensors[key].shape)} instead of {list(value.shape)}"
            for key, value in expected.items()
            if key in tensors and tensors[key].shape != value.shape
        ],
        "of another type": [
            f"{key} {tensors[key].dtype}"
            for key, value in expected.items()
            if key in tensors and tensors[key].is_floating_point() != value.is_floating_point()
        ],
    }
    found = [
        f"{kind}: {', '.join(keys[:_NAMED])}"
        + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
        for kind, keys in problems.items()
        if keys
    ]
    if found:
        raise CheckpointError(
            f"load: {name} must hold the tensors of its network, got {'; '.join(found)}"
        )
    for key, value in tensors.items():
        if not value.isfinite().all():
            raise CheckpointError(f"load: {name} must hold finite weights, got NaN or inf in {key}")
