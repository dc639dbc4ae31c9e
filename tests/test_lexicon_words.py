"""The words of a Lexicon: coming and going, their spelling, and their file."""

from __future__ import annotations

import os
import pickle
import random
import struct
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_greedy_decode import one_hot, random_log_probs

from crnn_ext import Lexicon, LexiconResult

SYMBOLS = "abcd"


def random_words(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    words = ("".join(rng.choices(SYMBOLS, k=rng.randrange(9))) for _ in range(2 * count))
    return list(dict.fromkeys(words))[:count]


def alike(a: list[LexiconResult], b: list[LexiconResult]) -> None:
    """The same words; what the search looked at depends on the tries."""
    for x, y in zip(a, b, strict=True):
        assert [(w.word, w.log_prob) for w in x.n_best] == [(w.word, w.log_prob) for w in y.n_best]
        assert x.margin == y.margin
        assert x.posterior == pytest.approx(y.posterior, abs=0.01)
        assert x.outside == pytest.approx(y.outside, abs=0.01)


def same(a: Lexicon, b: Lexicon) -> None:
    """Both hold the same words in the same order, and decode alike by every method."""
    assert a.words == b.words
    assert len(a) == len(b)
    log_probs = random_log_probs(8, 20, 5, seed=len(a))
    alike(a.decode(log_probs, n_best=3), b.decode(log_probs, n_best=3))
    near = a.decode(log_probs, method="bk-tree", delta=2)
    assert near == b.decode(log_probs, method="bk-tree", delta=2)


@pytest.mark.parametrize("count", [40, 3000])  # of few words one trie is made at once, of many not
def test_words_come_and_go(count: int) -> None:
    rng = random.Random(count)
    words = random_words(count, seed=1)
    lexicon, expected = Lexicon(words[: count // 2], SYMBOLS), words[: count // 2]
    for _ in range(12):
        some = rng.sample(words, count // 10)
        if rng.random() < 0.5:
            lexicon.add(some)
            expected += [word for word in some if word not in expected]
        else:
            assert lexicon.remove([*some, "abcdabcdabcd"]) == len(set(some) & set(expected))
            expected = [word for word in expected if word not in some]
        assert all((word in lexicon) == (word in expected) for word in some)
        same(lexicon, Lexicon(expected, SYMBOLS))
    prior = torch.randn(len(expected)).tolist()
    log_probs = random_log_probs(8, 20, 5)
    fresh = Lexicon(expected, SYMBOLS)
    results = lexicon.decode(log_probs, n_best=3, word_log_prior=prior)
    alike(results, fresh.decode(log_probs, n_best=3, word_log_prior=prior))


def test_a_word_that_comes_back_is_the_last() -> None:
    lexicon = Lexicon(["ab", "ba"], SYMBOLS)
    uniform = torch.zeros(5, 5).log_softmax(-1)
    assert lexicon.decode(uniform)[0].word == "ab"
    lexicon.remove(["ab"])
    lexicon.add(["ab", "ba"])
    assert lexicon.words == ("ba", "ab")
    assert lexicon.decode(uniform)[0].word == "ba"


def test_all_words_removed() -> None:
    lexicon = Lexicon(["ab", ""], SYMBOLS)
    assert lexicon.remove(lexicon.words) == 2
    assert (lexicon.words, len(lexicon), "ab" in lexicon) == ((), 0, False)
    for method in ("exact", "exhaustive", "bk-tree"):
        (result,) = lexicon.decode(one_hot([1, 0, 2], 5), method=method)  # type: ignore[arg-type]
        assert (result.word, result.labels, result.outside) == (None, [1, 2], 1.0)
    lexicon.add(["cd"])
    assert lexicon.decode(one_hot([1, 0, 2], 5))[0].word == "cd"


def test_add_tells_what_it_left_out() -> None:
    lexicon = Lexicon(["ab"], SYMBOLS)
    assert lexicon.add(["x", "ba", "ax", "x"], unknown="skip") == ("x", "ax")
    assert lexicon.words == ("ab", "ba")


def test_decoding_while_words_come_and_go() -> None:
    words = random_words(3000, seed=5)
    lexicon = Lexicon(words[:1500], SYMBOLS)
    log_probs = random_log_probs(8, 30, 5)
    stop = threading.Event()
    errors: list[BaseException] = []

    def decode() -> None:
        try:
            while not stop.is_set():
                for result in lexicon.decode(log_probs, n_best=2):
                    assert result.word in words
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=decode) for _ in range(3)]
    for thread in threads:
        thread.start()
    for begin in range(1500, 3000, 100):
        lexicon.add(words[begin : begin + 100])
        lexicon.remove(words[begin - 1500 : begin - 1400])
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    same(lexicon, Lexicon(words[1500:], SYMBOLS))


def test_normal_forms() -> None:
    composed, decomposed = "café", unicodedata.normalize("NFD", "café")
    lexicon = Lexicon([decomposed, composed], "acefé")
    assert lexicon.words == (composed,)
    assert decomposed in lexicon
    apart = Lexicon([composed], ["a", "c", "e", "f", "\u0301"])
    assert apart.words == (decomposed,)
    assert apart.remove([composed]) == 1
    hangul = unicodedata.normalize("NFD", "한국")
    assert Lexicon([hangul], "한국").words == ("한국",)
    with pytest.raises(ValueError, match="use known symbols only, got '한'"):
        Lexicon(["한국"], "국")


def test_a_word_of_ten_million_letters() -> None:
    long = "ab" * 5_000_000
    lexicon = Lexicon(["ab", long, long[:-1]], "ab")
    assert len(lexicon) == 3
    assert long in lexicon
    (result,) = lexicon.decode(one_hot([1, 0, 2], 3))
    assert (result.word, result.runner_up) == ("ab", None)
    (result,) = lexicon.decode(one_hot([1, 0, 2], 3), method="exhaustive")
    assert (result.word, result.candidates) == ("ab", 3)


def test_lone_surrogates_and_nul() -> None:
    lexicon = Lexicon(["\ud800\0"], "\ud800\0")
    assert lexicon.words == ("\ud800\0",)


@pytest.mark.parametrize("symbols", [SYMBOLS, "日本é\ud800\0", ["C4", "D4", "rest"]])
def test_save_and_load(tmp_path: Path, symbols: str | list[str]) -> None:
    separator = "" if isinstance(symbols, str) else " "
    rng = random.Random(0)
    words = [separator.join(rng.choices(symbols, k=k % 7)) for k in range(300)]
    lexicon = Lexicon(words, symbols, blank=2)
    lexicon.save(tmp_path / "words.lexicon")
    loaded = Lexicon.load(tmp_path / "words.lexicon")
    assert (loaded.symbols, loaded.blank, loaded.words) == (lexicon.symbols, 2, lexicon.words)
    log_probs = random_log_probs(8, 30, len(symbols) + 1)
    assert loaded.decode(log_probs) == lexicon.decode(log_probs)
    loaded.add([separator.join(symbols)])  # what is mapped is not written to
    loaded.remove(words[:5])
    assert Lexicon.load(tmp_path / "words.lexicon").words == lexicon.words
    copy = pickle.loads(pickle.dumps(loaded))
    assert (copy.words, copy.symbols, copy.blank) == (loaded.words, loaded.symbols, 2)
    loaded.save(tmp_path / "words.lexicon")  # its own file, which stays mapped
    assert Lexicon.load(tmp_path / "words.lexicon").words == loaded.words
    assert [path.name for path in tmp_path.iterdir()] == ["words.lexicon"]


def test_an_empty_lexicon_is_saved(tmp_path: Path) -> None:
    lexicon = Lexicon(["a"], SYMBOLS)
    lexicon.remove(["a"])
    lexicon.save(tmp_path / "empty")
    assert Lexicon.load(tmp_path / "empty").words == ()
    assert pickle.loads(pickle.dumps(lexicon)).words == ()


def test_every_damaged_byte_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "words"
    Lexicon(["ab", "abc", "d"], SYMBOLS).save(path)
    whole = path.read_bytes()
    messages, harmless = set(), 0
    for place in range(len(whole)):
        for change in (0x01, 0x80, 0xFF):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
            try:
                Lexicon.load(path)
                harmless += 1
            except ValueError as error:
                messages.add(str(error).partition(": it")[0])
    expected = f"Lexicon.load: path must name a whole lexicon file, got {str(path)!r}"
    assert messages == {expected}
    assert harmless <= 3 * 12  # the zeros behind the text and the trie
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="whole lexicon file"):
            Lexicon.load(path)
    path.write_bytes(whole + b"\0" * 8)
    with pytest.raises(ValueError, match=r"it has \d+ bytes and announces \d+"):
        Lexicon.load(path)


def checksum(data: bytes) -> int:
    """The file's, by its description."""
    lanes = [0xCBF29CE484222325] * 4
    for i, (word,) in enumerate(struct.iter_unpack("<Q", data)):
        lanes[i % 4] = (lanes[i % 4] ^ word) * 0x100000001B3 % 2**64
    total = 0xCBF29CE484222325
    for lane in lanes:
        total = (total ^ lane) * 0x100000001B3 % 2**64
    return total


def test_a_file_made_to_mislead(tmp_path: Path) -> None:
    """Numbers changed at random, with the right checksum: an error or a lexicon, never a crash."""
    path = tmp_path / "words"
    Lexicon(["ab", "abc", "d", "dab"], SYMBOLS).save(path)
    whole, rng = path.read_bytes(), random.Random(1)
    text_end = 64 + (struct.unpack_from("<Q", whole, 24)[0] + 7) // 8 * 8
    reasons = set()
    for _ in range(800):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 5])):
            place = rng.choice([12, 16, 32, 40, *range(text_end, len(data) - 3, 4)])
            value = rng.choice([0, 1, 2, 3, 5, 9, 0xFFFFFFFF, 0x7FFFFFFF])
            struct.pack_into("<I", data, place, value)
        struct.pack_into("<Q", data, 56, 0)
        struct.pack_into("<Q", data, 56, checksum(bytes(data)))
        path.write_bytes(data)
        try:
            lexicon = Lexicon.load(path)
        except ValueError as error:
            reasons.add(str(error).rpartition(": ")[2])
        else:
            lexicon.decode(random_log_probs(6, 3, len(lexicon.symbols) + 1))
            assert len(lexicon.words) == len(lexicon)
    assert {
        "its trie is malformed", "its words are malformed", "its trie is not in order",
        "its words hold an unknown symbol", "its words hold the blank",
        "its symbols do not fit its classes",
    } <= reasons  # fmt: skip


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "it is shorter than a head"),
        (b"ab\ncd\n" * 20, "it is not a lexicon file"),
        (b"CRNNLEX\0\2\0\0\0" + b"\0" * 52, "it has format version 2, not 1"),
    ],
)
def test_not_a_lexicon_file(tmp_path: Path, contents: bytes, reason: str) -> None:
    (tmp_path / "x").write_bytes(contents)
    with pytest.raises(ValueError, match=f": {reason}$"):
        Lexicon.load(tmp_path / "x")


@pytest.mark.parametrize(
    "call", [lambda p: Lexicon.load(p / "none"), lambda p: Lexicon(["a"], "a").save(p / "no" / "x")]
)
def test_no_such_file(tmp_path: Path, call: Callable[[Path], object]) -> None:
    with pytest.raises(FileNotFoundError):
        call(tmp_path)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Lexicon(["ab"], SYMBOLS).save(tmp_path / "words")
    real_open = os.open
    monkeypatch.setattr(
        os, "open",
        lambda path, *rest: os.close(real_open(path, *rest)) or real_open("/dev/full", os.O_WRONLY),
    )  # fmt: skip
    with pytest.raises(OSError, match="No space left on device"):
        Lexicon(["cd"], SYMBOLS).save(tmp_path / "words")
    monkeypatch.undo()
    assert Lexicon.load(tmp_path / "words").words == ("ab",)
    assert [path.name for path in tmp_path.iterdir()] == ["words"]
