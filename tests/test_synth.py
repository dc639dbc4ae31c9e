"""The synthetic images: reproducible, labelled rightly, never a crash."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from crnn.charset import Charset
from crnn.synth import Batch, Renderer, SyntheticWords, TextSampler, find_fonts, load_words
from crnn.synth.backgrounds import load_backgrounds, pack_backgrounds
from crnn.synth.dataset import POOL

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
    letters = {word.replace("'", "").lower() for word in WORDS}
    seen = 0
    for index in range(0, 300, 3):
        image, label = data.sample(index)
        assert image.dtype == np.uint8
        assert min(image.shape) >= 6
        assert image.shape[0] <= 96
        assert image.shape[1] <= 400
        assert label.isascii()
        assert label.isalnum()
        seen += label.lower() in letters
    assert seen > 20  # labels are the words' letters, punctuation left out


def test_text_can_be_seen(data: SyntheticWords) -> None:
    """Clean print keeps the least contrast between text and paper."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        image = data.renderer("EXIT", rng, difficulty=0.0)
        assert int(image.max()) - int(image.min()) > 0.5 * 255


def test_batches_of_one_width_with_their_labels(data: SyntheticWords) -> None:
    count = data.batch_size * POOL
    known = sorted(data.sample(i)[1].lower() for i in range(count, 2 * count))
    labels = []
    batches = data[1]
    assert len(batches) == POOL
    for batch in batches:
        size, channels, height, width = batch.images.shape
        assert (size, channels, height) == (4, 1, 32)
        assert width in data.widths
        assert len(batch.target_lengths) == size
        assert int(batch.target_lengths.sum()) == len(batch.targets)
        for label in batch.targets.split(batch.target_lengths.tolist()):
            labels.append(data.charset.decode(label.tolist()))
            assert len(labels[-1]) * 5 <= width  # frames for the symbols and blanks between
    assert sorted(labels) == known


def test_a_pool_depends_on_its_number_alone(data: SyntheticWords) -> None:
    def equal(a: Batch, b: Batch) -> bool:
        return torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)

    first, second = data[0], data[1]
    assert all(map(equal, second, data[1]))
    assert not equal(first[0], second[0])


def test_workers_change_nothing(data: SyntheticWords) -> None:
    streams = [
        DataLoader(data, batch_size=None, sampler=range(3), num_workers=workers)
        for workers in (0, 2)
    ]
    for alone, spread in zip(*streams, strict=True):
        for a, b in zip(alone, spread, strict=True):
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.targets, b.targets)


def test_one_width_for_all(data: SyntheticWords) -> None:
    fixed = SyntheticWords(data.texts, data.renderer, data.charset, 2, widths=(100,), warmup=50)
    assert {batch.images.shape[3] for batch in fixed[0]} == {100}


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


def test_backgrounds_travel_in_an_archive(tmp_path: Path) -> None:
    from PIL import Image

    for number, size in enumerate([(300, 200), (900, 100), (640, 480), (80, 1000)]):
        Image.effect_noise(size, 50).save(tmp_path / f"{number}.png")
    Image.effect_noise((60, 300), 50).save(tmp_path / "narrow.png")  # passed over
    archive = tmp_path / "photographs.zip"
    # 900 x 100 is 512 x 57 when reduced, too narrow; of the other three all are taken.
    assert pack_backgrounds([tmp_path], archive, count=3, size=128) == 3
    assert all(min(photo.shape) >= 64 for photo in load_backgrounds([archive]))
    first = archive.read_bytes()
    pack_backgrounds([tmp_path], archive, count=3, size=128)
    assert archive.read_bytes() == first
    assert len(load_backgrounds([archive, tmp_path], limit=4)) == 4


def test_archives_of_backgrounds_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"archive must end in \.zip, got .*photos\.tar"):
        pack_backgrounds([tmp_path], tmp_path / "photos.tar")
    with pytest.raises(ValueError, match="pack_backgrounds: sources must hold photographs"):
        pack_backgrounds([tmp_path], tmp_path / "photos.zip")
    with pytest.raises(ValueError, match=r"size must be within \[64, 512\], got 16"):
        pack_backgrounds([tmp_path], tmp_path / "photos.zip", size=16)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        pack_backgrounds([tmp_path], tmp_path / "photos.zip", count=0)
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match=r"broken\.zip must be a zip archive of images, got"):
        load_backgrounds([broken])


def test_text_sampler_draws_every_kind() -> None:
    rng = np.random.default_rng(0)
    texts = [TextSampler(WORDS)(rng) for _ in range(8000)]
    assert all(texts)
    assert any(text.isdigit() for text in texts)
    assert any(text.startswith("$") for text in texts)
    assert any(text.startswith("www.") for text in texts)
    assert any(text.isupper() for text in texts)
    assert {"EXIT", "Exit", "exit"} <= set(texts)
    assert any("&" in text for text in texts)
    assert any(text.endswith("%") for text in texts)
    assert any(text[:1].isdigit() and text.lower().endswith(("am", "pm")) for text in texts)
    letters = [text.lower() for text in texts if text.isalpha()]
    assert {text for text in letters if len(text) == 1} >= set(string.ascii_lowercase)
    doubled = [text for text in letters if any(map(str.__eq__, text, text[1:]))]
    assert any(text not in WORDS for text in doubled)
    # Rare letters are as good as certain to be learned.
    assert all(sum(char in text.lower() for text in texts) > 30 for char in "qxzj0123456789")


def test_words_from_lists_and_hunspell_files(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("exit\nnaïve\n\nx\nit's\n")
    (tmp_path / "en.dic").write_text("3\ncar/MS\nexit\n100/x\n")
    words = load_words([tmp_path / "list.txt", tmp_path / "en.dic"])
    assert words == {"100": 1.0, "car": 1.0, "exit": 1.0, "it's": 1.0}


def test_words_are_drawn_as_often_as_their_list_says(tmp_path: Path) -> None:
    (tmp_path / "counts.txt").write_text("hotel\t2.5\nexit\t0.25\nhotel\t0.5\nwww\n")
    (tmp_path / "plain.txt").write_text("exit\nwww\n")
    words = load_words([tmp_path / "counts.txt", tmp_path / "plain.txt"])
    assert words == {"exit": 1.25, "hotel": 3.0, "www": 1.0}
    texts, rng = TextSampler({"aeronautics": 3.0, "exits": 1.0}), np.random.default_rng(1)
    drawn = [texts(rng).lower() for _ in range(8000)]
    long, short = (sum(word in text for text in drawn) for word in ("aeronautics", "exits"))
    assert 2.6 < long / short < 3.4
    for weight in ("0", "-1", "nan", "inf", "many", ""):
        (tmp_path / "broken.txt").write_text(f"hotel\t{weight}\n")
        with pytest.raises(ValueError, match=r"after a tab, got .* for .hotel. in .*broken"):
            load_words([tmp_path / "broken.txt"])


def test_no_words_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match="load_words: paths must hold words, got none"):
        load_words([tmp_path / "empty.txt"])
    (tmp_path / "binary.txt").write_bytes(b"word\n\0\xff")
    with pytest.raises(ValueError, match=r"paths must be text, got a binary file, .*binary\.txt"):
        load_words([tmp_path / "binary.txt"])


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
    with pytest.raises(ValueError, match="find_fonts: sources must hold at least one font"):
        find_fonts([tmp_path])
