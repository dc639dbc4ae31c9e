"""Reading: sources, order, batches, confidence, places, and models by name."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import numbered, picture
from PIL import Image
from tiny import save_tiny, tiny_checkpoint

from crnn import ImageError, Reading, Recognizer, pretrained_models

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return numbered(tmp_path)


# ---- sources ----------------------------------------------------------------------------------


def test_one_source_gives_one_reading(reader: Recognizer, folder: Path) -> None:
    path = folder / "word_1.png"
    content = path.read_bytes()
    expected = reader.read(path)
    assert isinstance(expected, Reading)
    assert expected.source == str(path)
    assert expected.text
    for source in (str(path), content, Image.open(path), np.asarray(Image.open(path))):
        reading = reader.read(source)
        assert (reading.text, reading.symbols) == (expected.text, expected.symbols)
    with open(path, "rb") as file:
        assert reader.read(file).text == expected.text


def test_several_sources_give_a_list_in_order(reader: Recognizer, folder: Path) -> None:
    paths = [folder / f"word_{i}.png" for i in (10, 1, 2)]
    singles = [reader.read(path) for path in paths]
    assert_same(reader.read(paths), singles)
    assert_same(reader.read(tuple(paths)), singles)
    assert_same(reader.read(iter(paths)), singles)
    assert reader.read([]) == []


def test_a_folder_is_its_images(reader: Recognizer, folder: Path) -> None:
    readings = reader.read(folder)
    assert [Path(r.source).name for r in readings] == ["word_1.png", "word_2.png", "word_10.png"]
    assert_same(reader.read([folder, folder / "word_2.png"]), [*readings, readings[1]])


def test_sources_without_a_name_are_numbered(reader: Recognizer) -> None:
    readings = reader.read([picture(0), np.asarray(picture(1)), b""])
    names = ["sources[0] <PIL image>", "sources[1] <array>", "sources[2] <bytes>"]
    assert [r.source for r in readings] == names


def assert_same(found: list[Reading], expected: list[Reading]) -> None:
    """Equal up to the rounding of differently shaped matrix products."""
    assert [r.source for r in found] == [r.source for r in expected]
    for a, b in zip(found, expected, strict=True):
        assert (a.text, a.error) == (b.text, b.error)
        assert a.confidence == pytest.approx(b.confidence, rel=1e-3, abs=1e-12)
        assert [(s.text, s.frames) for s in a.symbols] == [(s.text, s.frames) for s in b.symbols]
        for one, other in zip(a.symbols, b.symbols, strict=True):
            assert one.box == pytest.approx(other.box, rel=1e-3)


# ---- batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 64])
def test_results_depend_neither_on_the_batch_nor_on_neighbours(
    reader: Recognizer, batch_size: int
) -> None:
    images = [picture(i, width) for i, width in enumerate((300, 40, 101, 100, 163, 500, 99, 32))]
    singles = [reader.read(image) for image in images]
    together = reader.read(images, batch_size=batch_size)
    assert len({r.text for r in together}) > 1
    for found, expected in zip(together, singles, strict=True):
        assert found.text == expected.text
        assert found.confidence == pytest.approx(expected.confidence, rel=1e-3, abs=1e-12)


def test_batches_are_bounded_in_columns(
    reader: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    forward = reader.model.forward

    def record(images: torch.Tensor, widths: torch.Tensor) -> Any:
        shapes.append(tuple(images.shape))
        return forward(images, widths)

    monkeypatch.setattr(reader.model, "forward", record)
    wide = [Image.new("L", (20_000, 32)), *[picture(i) for i in range(5)]]
    assert len(reader.read(wide * 5, batch_size=16)) == 30
    assert all(n * width <= 16384 and n <= 16 for n, _, _, width in shapes)
    assert sorted({width for *_, width in shapes}) == [100, 4096]


def test_a_stream_reads_no_further_than_it_must(reader: Recognizer) -> None:
    taken = itertools.count()
    last = 0

    def endless() -> Iterator[Image.Image]:
        nonlocal last
        while True:
            last = next(taken)
            yield picture(last % 3)

    first = list(itertools.islice(reader.stream(endless(), batch_size=2), 20))
    assert len(first) == 20
    assert last < 40


def test_many_threads_may_read_at_once(reader: Recognizer) -> None:
    images = [picture(i, 80 + 20 * i) for i in range(6)]
    expected = [r.text for r in reader.read(images)]
    found: dict[int, list[str]] = {}

    def work(k: int) -> None:
        found[k] = [r.text for r in reader.read(images, batch_size=1 + k)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), expected)


def test_reading_leaves_no_graph_and_no_training_mode(reader: Recognizer) -> None:
    before = {k: v.clone() for k, v in reader.model.state_dict().items()}
    reader.read([picture(0), picture(1)])
    assert not reader.model.training
    assert all(p.grad is None for p in reader.model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in reader.model.state_dict().items())


# ---- confidence and places --------------------------------------------------------------------


def test_symbols_lie_in_order_in_the_image(reader: Recognizer) -> None:
    for width, height in ((400, 64), (37, 80), (1000, 30)):
        reading = reader.read(picture(3, width, height))
        assert reading.symbols
        assert "".join(s.text for s in reading.symbols) == reading.text
        edges = [edge for s in reading.symbols for edge in s.box]
        assert edges == sorted(edges)
        assert edges[0] >= 0.0
        assert edges[-1] <= width
        assert all(0.0 < s.confidence <= 1.0 for s in reading.symbols)
        assert all(start < end for start, end in (s.frames for s in reading.symbols))


def test_a_box_is_where_its_frames_are_centred(reader: Recognizer) -> None:
    # 400 x 64 is halved; a frame is 4 columns of that, 8 of the original.
    reading = reader.read(picture(3, 400, 64))
    centre = sum(reader.model.receptive_field(0)) / 2
    for symbol in reading.symbols:
        start, end = symbol.span
        assert end - start >= 1 - 1e-9  # every path takes a frame for it
        left, right = (2 * (centre - 2 + 4 * edge) for edge in (start, end))
        assert symbol.box == pytest.approx((max(left, 0.0), min(400.0, right)))


def test_alternatives(reader: Recognizer) -> None:
    plain = reader.read(picture(3))
    assert all(s.alternatives == () for s in plain.symbols)
    reading = reader.read(picture(3), alternatives=100)
    assert [dataclasses.replace(s, alternatives=()) for s in reading.symbols] == [*plain.symbols]
    for symbol in reading.symbols:
        assert {symbol.text, *(a.text for a in symbol.alternatives)} == {*"abcdefgh", ""}
        others = [a.probability for a in symbol.alternatives]
        assert others == sorted(others, reverse=True)
        assert symbol.confidence + sum(others) == pytest.approx(1.0)
    best = reader.read(picture(3), alternatives=2)
    assert [s.alternatives for s in best.symbols] == [s.alternatives[:2] for s in reading.symbols]
    with pytest.raises(ValueError, match=r"^read: alternatives must be at least 0, got -1$"):
        reader.read(picture(3), alternatives=-1)


def test_align_places_a_given_text(reader: Recognizer, tmp_path: Path) -> None:
    path = tmp_path / "word.png"
    picture(3).save(path)
    free = reader.read(path, alternatives=1)
    assert reader.align(path, free.text, alternatives=1) == free
    bound = reader.align(path, "hedge")
    assert (bound.text, [s.text for s in bound.symbols]) == ("hedge", [*"hedge"])
    assert 0.0 <= bound.confidence < free.confidence
    edges = [edge for s in bound.symbols for edge in s.frames]
    assert edges == sorted(edges)
    assert reader.read(path, lexicon=["hedge"]) == dataclasses.replace(
        bound, posterior=pytest.approx(1.0)
    )
    both = reader.read(path, lexicon=["hedge", free.text])
    assert (both.text, both.confidence) == (free.text, free.confidence)
    share = free.confidence / (free.confidence + bound.confidence)
    assert both.posterior == pytest.approx(share, abs=0.051)
    assert free.posterior is None
    assert reader.read(path, lexicon=["hedge"], method="beam").posterior is None
    empty = reader.align(path, "")
    assert (empty.text, empty.symbols, empty.error) == ("", (), None)


def test_align_refuses_what_cannot_be_aligned(reader: Recognizer, tmp_path: Path) -> None:
    image = picture(0, 80)
    with pytest.raises(ValueError, match=r"^Charset: text must use symbols .* got 'x' in 'ax'$"):
        reader.align(image, "ax")
    message = r"^align: text must be possible in the 26 frames of <PIL image>, got 'a{14}'$"
    with pytest.raises(ValueError, match=message):
        reader.align(image, "a" * 14)  # 13 blanks between them
    assert len(reader.align(image, "a" * 13).symbols) == 13
    with pytest.raises(ImageError, match=r"^load: .*none\.png"):
        reader.align(tmp_path / "none.png", "a")
    with pytest.raises(ValueError, match=r"^read: alternatives must be at least 0, got -1$"):
        reader.align(image, "a", alternatives=-1)


def test_json(reader: Recognizer) -> None:
    reading = reader.read(picture(3), alternatives=1)
    fields = json.loads(reading.to_json())
    assert fields == reading.to_dict()
    names = {"source", "text", "confidence", "symbols", "posterior", "error", "accepted", "turn"}
    assert set(fields) == names
    symbol = reading.symbols[0]
    (other,) = symbol.alternatives
    assert fields["symbols"][0] == {
        "text": symbol.text,
        "confidence": symbol.confidence,
        "frames": list(symbol.frames),
        "span": list(symbol.span),
        "box": list(symbol.box),
        "alternatives": [{"text": other.text, "probability": other.probability}],
    }


# ---- loading ----------------------------------------------------------------------------------


def test_from_a_file(tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "m.safetensors")
    expected = Recognizer(tiny_checkpoint()).read(picture(0))
    for source in (path, str(path)):
        assert Recognizer.from_pretrained(source).read(picture(0)) == expected


def test_an_unknown_name_lists_what_exists() -> None:
    known = ", ".join(pretrained_models()) or "(none installed)"
    message = f"from_pretrained: name must be a path or one of {known}, got 'huge'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Recognizer.from_pretrained("huge")


@pytest.mark.parametrize("name", ["none.safetensors", "folder/none", "../none"])
def test_what_looks_like_a_path_is_one(name: str) -> None:
    message = f"load: {name} must be an existing file, got none there"
    with pytest.raises(ValueError, match=re.escape(message)):
        Recognizer.from_pretrained(name)


def test_unknown_devices() -> None:
    with pytest.raises(
        ValueError, match=r"^Recognizer: device must be a torch device such as 'cpu'"
    ):
        Recognizer(tiny_checkpoint(), device="toaster")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_where_there_is_none() -> None:
    with pytest.raises(ValueError, match=r"^Recognizer: device must be available, got 'cuda'"):
        Recognizer(tiny_checkpoint(), device="cuda")


# The model of music has its own test, in test_music.py.
@pytest.mark.parametrize("name", sorted({*pretrained_models()} - {"music"}))
def test_pretrained_models_read_the_examples(name: str) -> None:
    """At least 12 real photographs of the 20, as the README shows."""
    examples = Path(__file__).resolve().parent.parent / "examples"
    truth = dict(
        line.split("\t")
        for line in (examples / "labels.tsv").read_text(encoding="utf-8").splitlines()
    )
    readings = Recognizer.from_pretrained(name).read(examples)
    assert {Path(r.source).name for r in readings} == set(truth)
    right = sum(r.text == truth[Path(r.source).name].lower() for r in readings)
    assert right >= 12
