"""The synthetic images: reproducible, labelled rightly, never a crash."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from crnn.charset import Charset
from crnn.synth import Renderer, SyntheticWords, TextSampler, find_fonts, load_words
from crnn.synth.render import load_backgrounds

WORDS = ["exit", "carpark", "it's", "Theatre", "mississippi"]


@pytest.fixture(scope="session")
def data(font_folder: Path) -> SyntheticWords:
    renderer = Renderer([[str(font_folder / "default.ttf")]])
    return SyntheticWords(TextSampler(WORDS), renderer, Charset.named("36"), 4, seed=7, warmup=50)


def test_a_sample_depends_on_seed_and_index_alone(data: SyntheticWords) -> None:
    first = [data.sample(i) for i in (90, 91)]
    again = [data.sample(i) for i in (91, 90)][::-1]
    for (image, label), (other, same) in zip(first, again, strict=True):
        assert label == same
        assert np.array_equal(image, other)
    assert not np.array_equal(first[0][0], first[1][0])


def test_samples_are_well_formed(data: SyntheticWords) -> None:
    for index in range(0, 300, 3):
        image, label = data.sample(index)
        assert image.dtype == np.uint8
        assert image.shape[0] == 32
        assert image.shape[1] in data.widths
        assert label.isascii()
        assert label.isalnum()


def test_text_can_be_seen(data: SyntheticWords) -> None:
    """Clean print keeps the least contrast between text and paper."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        image = data.renderer("EXIT", rng, difficulty=0.0)
        assert int(image.max()) - int(image.min()) > 0.5 * 255


def test_batches_of_one_width_with_their_labels(data: SyntheticWords) -> None:
    known = {label.lower() for label in (data.sample(i)[1] for i in range(400))}
    for batch in itertools.islice(data, 6):
        count, channels, height, width = batch.images.shape
        assert (count, channels, height) == (4, 1, 32)
        assert width in data.widths
        assert len(batch.target_lengths) == count
        assert int(batch.target_lengths.sum()) == len(batch.targets)
        for label in batch.targets.split(batch.target_lengths.tolist()):
            assert data.charset.decode(label.tolist()) in known


def test_a_stream_can_start_anywhere(data: SyntheticWords) -> None:
    later = SyntheticWords(
        data.texts, data.renderer, data.charset, 4, seed=7, start=60, widths=(100,), warmup=50
    )
    whole = SyntheticWords(
        data.texts, data.renderer, data.charset, 4, seed=7, start=56, widths=(100,), warmup=50
    )
    skipped, expected = itertools.islice(whole, 2)
    assert skipped.last_index == 59
    assert np.array_equal(next(iter(later)).images, expected.images)


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("text", ["i", ".", "W" * 22, "$1.50", "£€Ω", " "])
def test_any_text_is_drawn(data: SyntheticWords, text: str, difficulty: float) -> None:
    for seed in range(8):
        image = data.renderer(text, np.random.default_rng(seed), difficulty)
        assert image.dtype == np.uint8
        assert min(image.shape) >= 4


def test_empty_text_is_refused(data: SyntheticWords) -> None:
    with pytest.raises(ValueError, match=r"Renderer: text must not be empty, got ''"):
        data.renderer("", np.random.default_rng(0))


def test_backgrounds_pass_over_what_is_no_image(tmp_path: Path, data: SyntheticWords) -> None:
    from PIL import Image

    Image.effect_noise((300, 200), 50).save(tmp_path / "photo.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    photos = load_backgrounds([tmp_path])
    assert [photo.shape for photo in photos] == [(200, 300)]
    renderer = Renderer(data.renderer.families, photos)
    assert renderer("EXIT", np.random.default_rng(1)).size > 0


def test_text_sampler_draws_every_kind() -> None:
    rng = np.random.default_rng(0)
    texts = [TextSampler(WORDS)(rng) for _ in range(3000)]
    assert all(texts)
    assert any(text.isdigit() for text in texts)
    assert any(text.startswith("$") for text in texts)
    assert any(text.startswith("www.") for text in texts)
    assert any(text.isupper() for text in texts)
    assert {"EXIT", "Exit", "exit"} <= set(texts)


def test_words_from_lists_and_hunspell_files(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("exit\nnaïve\n\nx\nit's\n")
    (tmp_path / "en.dic").write_text("3\ncar/MS\nexit\n100/x\n")
    words = load_words([tmp_path / "list.txt", tmp_path / "en.dic"])
    assert words == ["100", "car", "exit", "it's"]


def test_no_words_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match="load_words: paths must hold words, got none"):
        load_words([tmp_path / "empty.txt"])


def test_fonts_are_found_and_judged(
    font_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "broken.ttf").write_bytes(b"not a font")
    expected = [[str((font_folder / "default.ttf").resolve())]]
    assert find_fonts([font_folder, tmp_path]) == expected
    assert find_fonts([font_folder, tmp_path]) == expected  # from the cache
    assert list((tmp_path / "crnn").glob("font-families-*.json"))


def test_no_fonts_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="find_fonts: directories must hold at least one font"):
        find_fonts([tmp_path])
