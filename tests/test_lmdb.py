"""LMDB data sets: the field's keys, resuming after a kill, workers, a full or changing disk."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pictures import png

from crnn.data import Dataset, open_dataset
from crnn.data.lmdb_writer import LmdbWriter
from crnn.images import ImageError

lmdb = pytest.importorskip("lmdb")

# From Python 3.12 on, forking a process that has threads, as torch's has, warns.
FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def fill(path: Path, values: dict[str, bytes]) -> Path:
    """A database of someone else's making."""
    path.parent.mkdir(parents=True, exist_ok=True)
    env = lmdb.open(str(path), map_size=1 << 22)
    with env.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key.encode(), value)
    env.close()
    return path


def test_the_keys_of_the_field(tmp_path: Path) -> None:
    fill(
        tmp_path / "a",
        {
            "num-samples": b"3",
            "image-000000001": png(1),
            "label-000000001": "café".encode(),
            "lexicon-000000001": b"cafe house",
            "image-000000002": png(2),
            "label-000000002": b"\xff",
        },
    )
    data = open_dataset(tmp_path / "a")
    assert (len(data), data.kind, data.lexicons) == (3, "lmdb", ("50",))
    assert (data[0].label, data[0].image) == ("café", png(1))
    assert data.name(0) == f"{tmp_path}/a#000000001"
    assert data.lexicon(0, "50") == ("cafe", "house")
    assert data.lexicon(2, "50") == ()
    with pytest.raises(ImageError, match=r"a#000000002 must have a UTF-8 label, got b'\\xff'"):
        data[1]
    with pytest.raises(ImageError, match=r"a#000000003 must have the key label-000000003"):
        data[2]


def test_nested_and_single_files(tmp_path: Path) -> None:
    for name in ("MJ/train", "MJ/val", "ST"):
        label = {"num-samples": b"1", "image-000000001": png(), "label-000000001": name.encode()}
        fill(tmp_path / name, label)
    data = open_dataset(tmp_path)
    assert [sample.label for sample in data] == ["MJ/train", "MJ/val", "ST"]
    assert open_dataset(tmp_path / "ST/data.mdb")[0].label == "ST"


@pytest.mark.parametrize("count", [None, b"", b"many", b"-1"])
def test_without_a_number_of_samples(tmp_path: Path, count: bytes | None) -> None:
    fill(tmp_path / "a", {} if count is None else {"num-samples": count})
    with pytest.raises(ValueError, match=r"must hold its number of samples under 'num-samples'"):
        open_dataset(tmp_path / "a")


def test_a_damaged_database(tmp_path: Path) -> None:
    fill(tmp_path / "a", {"num-samples": b"1", "label-000000001": b"x"})
    file = tmp_path / "a/data.mdb"
    content = file.read_bytes()
    for broken in (b"", content[:100], b"\0" * len(content)):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match=r"cannot read|truncated"):
            open_dataset(tmp_path / "a")


def test_lmdb_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "a", {"num-samples": b"1"})
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(ValueError, match=r"run `pip install crnn-ext\[train\]`"):
        open_dataset(tmp_path / "a")
    with pytest.raises(ValueError, match=r"run `pip install crnn-ext\[train\]`"):
        LmdbWriter(tmp_path / "b")


# ---- workers and changes while reading --------------------------------------------------------


def labels_in_child(data: Dataset, queue: Any) -> None:
    queue.put([data[i].label for i in range(len(data))])


@FORKS
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers(tmp_path: Path, method: str) -> None:
    """The parent has the database open; the child must not use the parent's."""
    with LmdbWriter(tmp_path / "a") as writer:
        for i in range(5):
            writer.add(png(i), f"w{i}")
    data = open_dataset(tmp_path / "a")
    assert data[0].label == "w0"
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=labels_in_child, args=(data, queue))
    child.start()
    assert queue.get(timeout=60) == [f"w{i}" for i in range(5)]
    child.join()
    assert data[4].label == "w4"


def test_two_data_sets_share_a_database(tmp_path: Path) -> None:
    fill(tmp_path / "a", {"num-samples": b"1", "label-000000001": b"x"})
    first, second = open_dataset(tmp_path / "a"), open_dataset(tmp_path / "a/data.mdb")
    assert first.label(0) == second.label(0) == "x"
    del first
    assert second.label(0) == "x"


def test_truncated_or_moved_while_it_is_read(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "a") as writer:
        for i in range(200):
            writer.add(png(i), f"w{i}")
    data = open_dataset(tmp_path / "a")
    assert data[199].label == "w199"
    os.rename(tmp_path / "a", tmp_path / "b")
    with pytest.raises(ImageError, match=r"data\.mdb must stay as it was opened, got .*No such"):
        data[199]
    os.rename(tmp_path / "b", tmp_path / "a")
    assert data[199].label == "w199"
    os.truncate(tmp_path / "a/data.mdb", 8192)
    with pytest.raises(ImageError, match=r"must keep its \d+ bytes, got 8192: truncated"):
        data[199]


# ---- writing ----------------------------------------------------------------------------------


def test_written_and_read_back(tmp_path: Path) -> None:
    lexicons = {"50": ["a", "b"], "1k": ["new york", "c"]}
    with LmdbWriter(tmp_path / "a/b.lmdb", lexicons=("50", "1k"), batch=2) as writer:
        writer.add(png(1), "é", lexicons)
        writer.skip()
        writer.add(png(2), "", {"50": [], "1k": ["x"]})
        assert (writer.position, writer.count) == (3, 2)
        assert not (tmp_path / "a/b.lmdb").exists()
        with pytest.raises(ValueError, match="image must be encoded bytes, got none"):
            writer.add(b"", "x")
    assert os.listdir(tmp_path / "a") == ["b.lmdb"]
    assert os.listdir(tmp_path / "a/b.lmdb") == ["data.mdb"]
    data = open_dataset(tmp_path / "a/b.lmdb")
    assert data.lexicons == ("50", "1k")
    assert [(s.label, s.image) for s in data] == [("é", png(1)), ("", png(2))]
    assert [data.lexicon(0, n) for n in data.lexicons] == [("a", "b"), ("new york", "c")]
    assert [data.lexicon(1, n) for n in data.lexicons] == [(), ("x",)]
    with pytest.raises(ValueError, match="path must not exist yet"):
        LmdbWriter(tmp_path / "a/b.lmdb")


def test_text_that_is_no_unicode(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "a") as writer:
        with pytest.raises(ValueError, match="label and words must be Unicode text"):
            writer.add(png(1), "\ud800")
        writer.add(png(2), "fine")
    assert [(s.label, s.image) for s in open_dataset(tmp_path / "a")] == [("fine", png(2))]


def test_no_samples(tmp_path: Path) -> None:
    with LmdbWriter(tmp_path / "a"):
        pass
    assert len(open_dataset(tmp_path / "a")) == 0


def test_the_map_grows(tmp_path: Path) -> None:
    """50 MB through a map that starts at 16, in commits smaller and larger than it."""
    image = os.urandom(1 << 20)
    for batch in (1, 1000):
        with LmdbWriter(tmp_path / str(batch), batch=batch) as writer:
            for i in range(50):
                writer.add(image, str(i))
        data = open_dataset(tmp_path / str(batch))
        assert [data.label(i) for i in range(50)] == [str(i) for i in range(50)]
        assert data.image(49) == image


def test_an_exception_leaves_what_was_committed(tmp_path: Path) -> None:
    def stops_in_the_middle() -> None:
        with LmdbWriter(tmp_path / "a", origin="x", batch=2) as writer:
            for i in range(5):
                writer.add(png(i), str(i))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stops_in_the_middle()
    assert not (tmp_path / "a").exists()
    with pytest.raises(ValueError, match=r"a\.partial must be of the same origin .*got 'x' inst"):
        LmdbWriter(tmp_path / "a", origin="y")
    with LmdbWriter(tmp_path / "a", origin="x") as writer:
        assert writer.position == 4
        for i in range(writer.position, 6):
            writer.add(png(i), str(i))
    assert [s.label for s in open_dataset(tmp_path / "a")] == [str(i) for i in range(6)]


def write_slowly(path: Path, log: Path) -> None:
    """Notes in `log` where it started and each sample that it added."""
    with LmdbWriter(path, origin="x", batch=3) as writer, log.open("w") as lines:
        for i in range(writer.position, 40):
            writer.add(png(i), str(i))
            lines.write(f"{i}\n")
            lines.flush()
            time.sleep(0.01)


@FORKS
def test_killed_half_way_it_continues(tmp_path: Path) -> None:
    log = tmp_path / "log"
    starts = []
    for _ in range(2):
        child = multiprocessing.get_context("fork").Process(
            target=write_slowly, args=(tmp_path / "a", log)
        )
        log.write_text("")
        child.start()
        while len(log.read_text().splitlines()) < 10:
            assert child.is_alive()
            time.sleep(0.01)
        child.kill()
        child.join()
        starts.append(int(log.read_text().split()[0]))
    write_slowly(tmp_path / "a", log)
    starts.append(int(log.read_text().split()[0]))
    assert starts[0] == 0 < starts[1] < starts[2]
    assert all(start % 3 == 0 for start in starts)
    data = open_dataset(tmp_path / "a")
    assert [(s.label, s.image) for s in data] == [(str(i), png(i)) for i in range(40)]


def write_with_a_limit(path: Path, queue: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    try:
        with LmdbWriter(path, origin="x", batch=4) as writer:
            for i in range(writer.position, 40):
                writer.add(bytes([i]) * 100_000, str(i))
    except OSError as error:
        queue.put(str(error))


@FORKS
def test_the_lock_has_its_room_before_it_is_mapped(tmp_path: Path) -> None:
    """LMDB maps a file with a hole, and on a full disk its first write would be a SIGBUS."""
    with LmdbWriter(tmp_path / "words", origin="a") as writer:
        lock = (writer.partial / "lock.mdb").stat()
        assert lock.st_size == 8192
        assert lock.st_blocks * 512 >= 8192
        writer.add(b"x", "x")


def test_a_full_disk_keeps_what_was_committed(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the same system call fails."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=write_with_a_limit, args=(tmp_path / "a", queue))
    child.start()
    message = queue.get(timeout=60)
    child.join()
    assert message.startswith(f"LmdbWriter: {tmp_path}/a.partial must be writable, got ")
    assert message.endswith("what was committed stays, and the same command continues")
    with LmdbWriter(tmp_path / "a", origin="x") as writer:
        assert writer.position > 0
        assert writer.position % 4 == 0
        for i in range(writer.position, 40):
            writer.add(bytes([i]) * 100_000, str(i))
    data = open_dataset(tmp_path / "a")
    assert [s.image for s in data] == [bytes([i]) * 100_000 for i in range(40)]
