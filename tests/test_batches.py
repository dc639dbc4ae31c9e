"""Stored words as training batches: a function of the seed alone, whatever reads them."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import labelled, png, write
from torch.utils.data import DataLoader

from crnn import images
from crnn.charset import Charset
from crnn.data import open_dataset
from crnn.data.batches import Mixture, StoredBatch, StoredWords, pools_of
from crnn.data.lmdb_writer import LmdbWriter

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # From Python 3.12 on, forking a process that has threads, as torch's has, warns.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
LABELS = ["zero", "one", "two!", "three", "four", "five", "sis ter", "seven", "eight", "nine", "10"]


def words(folder: Path, **options: int) -> StoredWords:
    data = open_dataset(labelled(folder, LABELS))
    return StoredWords(data, Charset.named("36"), **{"batch_size": 3, "pool": 2, **options})


def texts(batch: StoredBatch) -> list[str]:
    charset = Charset.named("36")
    parts = torch.split(batch.targets, batch.target_lengths.tolist())
    return [charset.decode(part.tolist()) for part in parts]


def assert_equal(first: list[StoredBatch], second: list[StoredBatch]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)
        assert torch.equal(a.target_lengths, b.target_lengths)


def test_a_batch(tmp_path: Path) -> None:
    data = words(tmp_path)
    (batch, other) = data[0]
    assert batch.images.shape == (3, 1, 32, 100)
    assert batch.images.dtype == torch.uint8
    read = texts(batch) + texts(other)
    clean = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "sister",
        "seven",
        "eight",
        "nine",
        "10",
    ]
    expected = [clean[data.index(i)] for i in range(6)]
    assert sorted(read) == sorted(expected)
    # The picture belongs to its label.
    for text, pixels in zip(texts(batch), batch.images, strict=True):
        grey = images.load(png(clean.index(text))).resize((100, 32), 3)
        np.testing.assert_array_equal(pixels[0].numpy(), np.asarray(grey))


def test_each_epoch_has_every_sample_in_another_order(tmp_path: Path) -> None:
    data = words(tmp_path)
    epochs = [[data.index(e * 11 + i) for i in range(11)] for e in (0, 1, 2, 0)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert epochs[0] == epochs[3]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    other = words(tmp_path, seed=1)
    assert [other.index(i) for i in range(11)] != epochs[0]


def test_batches_of_similar_width(tmp_path: Path) -> None:
    labelled(tmp_path, LABELS)
    for i in range(11):
        write(tmp_path / f"{i}.png", i, width=40 if i % 2 else 90, height=12)
    data = StoredWords(open_dataset(tmp_path), Charset.named("36"), 5, pool=2, widths=(100, 240))
    assert sorted(batch.images.shape[3] for batch in data[0]) == [100, 240]
    fixed = StoredWords(open_dataset(tmp_path), Charset.named("36"), 5, pool=2, widths=(100,))
    assert {batch.images.shape[3] for batch in fixed[0]} == {100}


def test_room_for_the_longest_label(tmp_path: Path) -> None:
    """100 pixels hold 25 frames of 4: a label that needs more takes a wider bucket."""
    labelled(tmp_path, ["a" * 13, "b" * 14])
    data = StoredWords(open_dataset(tmp_path), Charset.named("36"), 1, pool=2, widths=(100, 200))
    shapes = {texts(batch)[0][0]: batch.images.shape[3] for batch in data[0]}
    assert shapes == {"a": 100, "b": 200}


def test_resumed_anywhere_it_goes_on_alike(tmp_path: Path) -> None:
    data = words(tmp_path)
    stream = [data[p] for p in range(5)]
    again = words(tmp_path)
    for p in (4, 0, 3):
        assert_equal(again[p], stream[p])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_change_nothing(tmp_path: Path, method: str) -> None:
    pytest.importorskip("lmdb")
    with LmdbWriter(tmp_path / "words.lmdb") as writer:
        for i, label in enumerate(LABELS):
            writer.add(png(i), label)
    data = StoredWords(open_dataset(tmp_path / "words.lmdb"), Charset.named("36"), 3, pool=2)
    alone = [data[p] for p in range(4)]  # the parent has the database open before it forks
    # No more than is read: CPython aborts a spawned process that ends while it sends.
    four = list(itertools.islice(pools_of(), 4))
    loader = DataLoader(
        data, batch_size=None, sampler=four, num_workers=2, multiprocessing_context=method
    )
    for expected, found in zip(alone, loader, strict=True):
        assert_equal(found, expected)


def test_ranks_share_the_pools() -> None:
    pools = [list(itertools.islice(pools_of(rank, 3, 2), 4)) for rank in range(3)]
    assert sorted(itertools.chain(*pools)) == list(range(6, 18))
    assert list(itertools.islice(pools_of(), 3)) == [0, 1, 2]


def test_what_cannot_be_used_is_replaced_and_named(tmp_path: Path) -> None:
    labelled(tmp_path, ["fine", "né", "!?", "a" * 30, "broken", "gone", "good"])
    (tmp_path / "4.png").write_bytes(png(4)[:50])
    (tmp_path / "5.png").unlink()
    data = StoredWords(open_dataset(tmp_path), Charset.named("36"), 7, pool=1, widths=(100, 200))
    (batch,) = data[0]
    assert isinstance(batch, StoredBatch)
    assert set(texts(batch)) == {"fine", "good"}
    assert len(texts(batch)) == 7
    reasons = {problem.name.rpartition("/")[2]: problem.reason for problem in batch.problems}
    assert reasons["1.png"] == "'né' has 'é', which is not in the charset"
    assert reasons["2.png"] == "'!?' has no symbol of the charset"
    assert reasons["3.png"].endswith("needs 59 frames, 200 pixels give fewer")
    assert "damaged" in reasons["4.png"]
    assert "existing file" in reasons["5.png"]
    assert_equal(data[0], [batch])


def test_a_data_set_that_goes_away(tmp_path: Path) -> None:
    data = words(tmp_path / "a")
    assert len(data[0]) == 2
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(
        ValueError, match=r"must hold usable samples, got 100 unusable ones in a row.*existing file"
    ):
        data[1]


def test_a_database_cut_off_while_a_worker_reads(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    with LmdbWriter(tmp_path / "a") as writer:
        for i in range(300):
            writer.add(png(i), f"w{i}")
    data = StoredWords(open_dataset(tmp_path / "a"), Charset.named("36"), 3, pool=2)
    loader = iter(DataLoader(data, batch_size=None, sampler=pools_of(), num_workers=1))
    next(loader)
    os.truncate(tmp_path / "a/data.mdb", 8192)

    def go_on() -> None:
        for _ in range(10):  # some pools were made before
            next(loader)

    with pytest.raises(ValueError, match=r"must hold usable samples.*truncated"):
        go_on()


def test_no_samples(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    with LmdbWriter(tmp_path / "a"):
        pass
    with pytest.raises(ValueError, match="dataset must hold a sample"):
        StoredWords(open_dataset(tmp_path / "a"), Charset.named("36"), 3)


def test_a_mixture(tmp_path: Path) -> None:
    first, second = words(tmp_path / "a"), words(tmp_path / "b", seed=9, pool=1)
    mixed = Mixture(first, second)
    for p in range(3):
        found, parts = mixed[p], [*first[p], *second[p]]
        assert len(found) == 3
        key = lambda batch: (batch.images.sum().item(), batch.targets.tolist())
        assert_equal(sorted(found, key=key), sorted(parts, key=key))
    assert_equal(mixed[1], Mixture(first, second)[1])
