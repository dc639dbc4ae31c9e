"""Words sketched as numbers and composed in torch: repeatable, labelled rightly, never a wait."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import noise
from torch.utils._python_dispatch import TorchDispatchMode

from crnn.charset import Charset
from crnn.synth import Batch, Renderer, SyntheticWords, TextSampler
from crnn.synth.dataset import POOL, draw_sign
from crnn.synth.device import Atlas, Composer, Sketch, SketchedWords, load_atlas, view
from crnn.synth.device.canvas import Glyphs, draw_canvases
from crnn.synth.device.layout import NOWHERE, PAD, lay_out
from crnn.synth.device.values import Steps, Values, steps_of, upload
from crnn.synth.device.warp import canvas_points
from crnn.synth.geometry import Pose, View
from crnn.synth.glyphs import Face, paste, positions
from crnn.synth.pack import SYMBOLS

WORDS = ["exit", "carpark", "it's", "Theatre", "mississippi", "counterrevolutionaries"]
CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="session")
def atlas(font_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atlas]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield load_atlas([[str(font_folder / "default.ttf")]])


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    return noise()


def sketched(atlas: Atlas, photographs: list[Any], batch: int = 8, **more: Any) -> SketchedWords:
    sizes = [photo.shape for photo in photographs]
    texts = TextSampler(more.pop("words", WORDS))
    return SketchedWords(texts, atlas, sizes, Charset.named("36"), batch, **more)


def fixed(text: str) -> Any:
    """In place of a TextSampler: always the same."""
    return lambda rng: text


@pytest.mark.parametrize("text", ["i", "AVATAR", "W" * 25, "$1.50", "jfj"])
def test_a_canvas_is_the_word_that_the_font_draws(
    atlas: Atlas, font_folder: Path, text: str
) -> None:
    """Clean print: pixel for pixel what pasting glyph after glyph gives."""
    font = Face(str(font_folder / "default.ttf"))
    data = sketched(atlas, [], 8, difficulty=0.0)
    data.texts = fixed(text)
    seen = 0
    for sketch in data[0]:
        plain = sketch.numbers[[sketch.names.index(n) for n in ("bold", "under_thick")]] == 0
        for i in np.flatnonzero(plain.all(axis=0)):
            left = sketch.letters[1, i]
            if np.diff(left[left < NOWHERE]).sum() != np.rint(positions(font, text)[:-1])[-1] + (
                font.glyph(text[-1]).left - font.glyph(text[0]).left
            ):
                continue  # spaced letters
            expected = np.zeros(sketch.canvas[::-1, i], np.uint8)
            boxes = [(font.glyph(c).left, font.glyph(c).top) for c in text]
            pen = positions(font, text)
            x0 = min(round(x) + b[0] for x, b in zip(pen, boxes, strict=False))
            y0 = min(b[1] for b in boxes)
            for char, x in zip(text, pen, strict=False):
                paste(expected, font, char, PAD[0] - x0 + round(x), PAD[1] - y0)
            values = Values(
                {name: row for row, name in enumerate(sketch.names)},
                upload(sketch.numbers, CPU)[:, :, None, None],
            )
            letters, lines = upload(sketch.letters, CPU), upload(sketch.lines, CPU)
            steps = Steps(steps_of(sketch), CPU)
            canvas = draw_canvases(Glyphs(atlas, CPU), sketch, values, steps, letters, lines)
            drawn = canvas[i].mul(255).round().byte().numpy()
            high, wide = expected.shape
            assert np.array_equal(drawn[:high, :wide], expected)
            assert not drawn[high:].any()
            seen += 1
    assert seen > 10


def test_pools_are_functions_of_their_number(atlas: Atlas, photographs: list[Any]) -> None:
    data = sketched(atlas, photographs, seed=3)

    def equal(a: Sketch, b: Sketch) -> bool:
        return all(np.array_equal(x, vars(b)[name]) for name, x in vars(a).items())

    second = data[1]
    assert all(map(equal, second, data[1]))
    assert not equal(data[0][0], second[0])
    assert not equal(sketched(atlas, photographs, seed=4)[1][0], second[0])


def test_a_batch_is_a_function_of_its_sketch(atlas: Atlas, photographs: list[Any]) -> None:
    data = sketched(atlas, photographs, 70)  # drawn in two parts
    one, other = Composer(atlas, photographs), Composer(atlas, photographs, "cpu")
    for sketch in data[0][:2]:
        before = dataclasses.replace(sketch, numbers=sketch.numbers.copy())
        first = one(sketch)
        assert torch.equal(first.images, other(sketch).images)
        assert np.array_equal(before.numbers, sketch.numbers)  # and the sketch stays as it is
        noisy = dataclasses.replace(sketch, seed=sketch.seed + 1)
        assert not torch.equal(first.images, one(noisy).images)


def test_batches_keep_the_contract_of_the_training_loop(
    atlas: Atlas, photographs: list[Any]
) -> None:
    data = sketched(atlas, photographs, 16)
    composer = Composer(atlas, photographs)
    rng = np.random.default_rng((data.seed, 2))
    expected = sorted(draw_sign(data.texts, rng)[1].lower() for _ in range(16 * POOL))
    labels = []
    batches = [composer(sketch) for sketch in data[2]]
    assert len(batches) == POOL
    for batch in batches:
        assert isinstance(batch, Batch)
        size, channels, height, width = batch.images.shape
        assert (size, channels, height) == (16, 1, 32)
        assert width in data.widths
        assert batch.images.dtype == torch.uint8
        assert batch.targets.dtype == batch.target_lengths.dtype == torch.int64
        for label in batch.targets.split(batch.target_lengths.tolist()):
            labels.append(data.charset.decode(label.tolist()))
            assert len(labels[-1]) * 5 <= width
    assert sorted(labels) == expected


def test_labels_belong_to_their_images(atlas: Atlas) -> None:
    """Each image holds as much ink as its own word, however the batch was sorted."""
    data = sketched(atlas, [], 32, difficulty=0.0, words=["mm", "illillil"])
    composer = Composer(atlas, [])
    for sketch in data[0]:
        for i in range(len(sketch)):
            start = int(sketch.target_lengths[:i].sum())
            label = data.charset.decode(
                sketch.targets[start : start + sketch.target_lengths[i]].tolist()
            )
            glyphs = sketch.letters[0, i][sketch.letters[1, i] < NOWHERE]
            symbols = "".join(sorted(SYMBOLS)[g] for g in glyphs)
            assert "".join(c for c in symbols if c.isalnum() and c.isascii()).lower() == label
        assert composer(sketch).images.shape[0] == 32


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("text", ["i", "W" * 25, "£€9", "a.", "1" * 40])
def test_any_text_is_drawn(
    atlas: Atlas, photographs: list[Any], text: str, difficulty: float
) -> None:
    data = sketched(atlas, photographs, 4, difficulty=difficulty)
    data.texts = fixed(text)
    composer = Composer(atlas, photographs)
    for sketch in data[0]:
        assert np.isfinite(sketch.numbers).all()
        assert sketch.size.min() >= 6
        assert (sketch.size.max(axis=1) <= (400, 96)).all()
        batch = composer(sketch)
        spread = batch.images.float().std((1, 2, 3))
        assert spread.min() > 0  # something is to be seen


def test_one_word_and_one_width(atlas: Atlas) -> None:
    data = sketched(atlas, [], 1, widths=(100,))
    composer = Composer(atlas, [])
    for sketch in data[0]:
        assert composer(sketch).images.shape == (1, 1, 32, 100)


def test_frames_hold_no_nan_and_keep_the_contrast(
    atlas: Atlas, photographs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the camera: values in [0, 1], ink and paper, or raised letters' sides, are apart."""
    seen = []
    composer = Composer(atlas, photographs)
    frames = composer._frames

    def watched(*args: Any) -> torch.Tensor:
        seen.append(frames(*args))
        return seen[-1].clone()

    monkeypatch.setattr(composer, "_frames", watched)
    for pool in range(2):
        for sketch in sketched(atlas, photographs, 24)[pool]:
            n = dict(zip(sketch.names, sketch.numbers, strict=True))
            sides = np.where(n["side_steps"] > 0, np.abs(n["side"] - n["paper"]), 0)
            apart = np.abs(n["ink"] - n["paper"])
            assert (np.maximum(apart, sides) >= 0.12 - 1e-6).all()
            assert (apart >= 0.03).all()
            assert (apart >= 0.12).mean() > 0.9
            assert ((n["ink"] >= 0) & (n["ink"] <= 1) & (n["paper"] >= 0) & (n["paper"] <= 1)).all()
            composer(sketch)
    assert all(f.isfinite().all() and f.min() >= 0 and f.max() <= 1 for f in seen)
    for sketch in sketched(atlas, [], 16, difficulty=0.0)[0]:  # and it is to be seen
        images = composer(sketch).images.float().flatten(1)
        assert (images.amax(1) - images.amin(1)).min() > 0.4 * 255


def test_a_view_is_that_of_the_renderer(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of crops, and the points of the canvas under their pixels, of 200 poses."""
    rng = np.random.default_rng(0)
    count = 200
    layout = lay_out(atlas, ["exit", "mississippi"] * (count // 2), rng, np.ones(count))
    poses = view._poses(layout.box[0] / layout.box[1], rng, np.ones(count))
    poses["arc"] = np.where(np.arange(count) % 3, poses["arc"], rng.uniform(-1.6, 1.6, count))
    monkeypatch.setattr(view, "_poses", lambda *_: poses)
    numbers, size = view.draw_views(layout, rng, np.ones(count))
    numbers |= {"box_width": layout.box[0], "box_height": layout.box[1]}
    values = Values(
        {name: row for row, name in enumerate(numbers)},
        torch.tensor(np.stack(list(numbers.values())))[:, :, None, None],
    )
    curved = np.flatnonzero(poses["arc"] != 0)
    at = np.array([[1.0, 1.0], [0.3, 0.8], [0.0, 0.4]])  # shares of the crop
    columns = torch.tensor(at[None, :, 0] * (size[0, :, None] - 1))[:, None]
    rows = torch.tensor(at[None, :, 1] * (size[1, :, None] - 1))[:, :, None]
    x, y = canvas_points(values, Steps({"arc": curved}, CPU), columns, rows)
    for i in range(count):
        width, height = layout.box[:, i]
        pose = Pose(**{k: bool(v[i]) if k == "upright" else v[i] for k, v in poses.items()})
        box = (*PAD, PAD[0] + width, PAD[1] + height)
        expected = View(pose, box, layout.margins[:, i], numbers["scale"][i] * height)
        assert expected.size == tuple(size[:, i])
        pixels = at * (size[:, i] - 1) + 0.5
        points = torch.stack([x[i].diagonal(), y[i].diagonal()], 1).numpy()
        assert points == pytest.approx(expected._backward(pixels), abs=1e-6)


def test_pictures_are_as_hard_as_those_of_the_renderer(
    atlas: Atlas, photographs: list[Any], font_folder: Path
) -> None:
    """Light, contrast, detail and proportions of 768 words, both ways; four standard errors."""
    composed = sketched(atlas, photographs, 96)
    composer = Composer(atlas, photographs)
    renderer = Renderer([[str(font_folder / "default.ttf")]], photographs)
    drawn = SyntheticWords(composed.texts, renderer, composed.charset, 96)

    def figures(batches: list[Batch]) -> torch.Tensor:
        rows = []
        for batch in batches:
            x = batch.images.float() / 255
            detail = (x[:, :, :, 1:] - x[:, :, :, :-1]).abs().mean((1, 2, 3))
            shape = torch.full_like(detail, float(x.shape[3]))
            rows.append(torch.stack([x.mean((1, 2, 3)), x.std((1, 2, 3)), detail, shape]))
        return torch.cat(rows, 1)

    ours = figures([composer(sketch) for sketch in composed[0]])
    theirs = figures(drawn[0])
    error = ((ours.var(1) + theirs.var(1)) / ours.shape[1]).sqrt()
    assert ((ours.mean(1) - theirs.mean(1)).abs() < 4 * error).all()


class _NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a GPU: values fetched, sizes that depend on values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name()
        for waiting in ("_local_scalar_dense", "nonzero", "masked_select", "unique", "item"):
            assert waiting not in name, f"{name} waits for the device"
        if name in ("aten::index.Tensor", "aten::index_put_"):
            assert all(i is None or i.dtype != torch.bool for i in args[1]), f"{name} by a mask"
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device(atlas: Atlas, photographs: list[Any]) -> None:
    composer = Composer(atlas, photographs)
    with pytest.raises(AssertionError, match="waits for the device"), _NoWaiting():
        torch.ones(3).sum().item()
    for sketch in sketched(atlas, photographs, 32)[0]:
        with _NoWaiting():
            composer(sketch)


def test_everything_happens_on_the_device(
    atlas: Atlas, photographs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On torch's device without memory: no other device's tensor mixes in, no value is fetched."""

    class Seedless:
        def __init__(self, device: torch.device) -> None: ...

        def manual_seed(self, seed: int) -> None: ...

    monkeypatch.setattr("torch.Generator", Seedless)  # this device has none
    composer = Composer(atlas, photographs, "meta")
    for sketch in sketched(atlas, photographs, 64)[0]:
        images = composer(sketch).images
        assert images.device.type == "meta"
        assert images.shape == (64, 1, 32, sketch.width)
    for fetch in (lambda: images.sum().item(), images.cpu, lambda: images.sum() + torch.ones(2)):
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            fetch()  # so that this test could fail


def test_the_number_of_operations_does_not_grow_with_the_batch(
    atlas: Atlas, photographs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No loop over samples: one part of a batch takes some 1,000 kernels, of whatever size."""
    monkeypatch.setattr("crnn.synth.device.compose._PART", {})
    counts = []

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            counts[-1] += 1
            return func(*args, **(kwargs or {}))

    composer = Composer(atlas, photographs)
    for size in (64, 256):
        counts.append(0)
        with Counting():
            composer(sketched(atlas, photographs, size)[0][0])
    assert counts[1] < 1.15 * counts[0] < 2500


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_composition_on_cuda(atlas: Atlas, photographs: list[Any]) -> None:
    """No synchronisation, the same batch each time, and nearly that of the CPU."""
    composer, host = Composer(atlas, photographs, "cuda"), Composer(atlas, photographs)
    sketches = sketched(atlas, photographs, 128)[0]
    composer(sketches[0])
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = [composer(sketch) for sketch in sketches]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for sketch, batch in zip(sketches, batches, strict=True):
        assert batch.images.is_cuda
        assert torch.equal(batch.images, composer(sketch).images)
        quiet = np.flatnonzero(sketch.numbers[sketch.names.index("noise")] == 0)
        clouds = sketch.numbers[[sketch.names.index(f"{t}_kind") for t in ("paper", "ink")]] == 3
        panel = sketch.numbers[sketch.names.index("panel")] > 0
        same = [i for i in quiet if not clouds[:, i].any() and not panel[i]]
        ours, theirs = batch.images.cpu()[same].float(), host(sketch).images[same].float()
        assert (ours - theirs).abs().mean((1, 2, 3)).median() < 1
