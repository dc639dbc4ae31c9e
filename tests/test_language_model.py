"""LanguageModel against its definition; its file; every error."""

from __future__ import annotations

import itertools
import math
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import language_model as reference

import crnn_ext
from crnn_ext import LanguageModel

TEXTS = {"abc": 3, "ab": 1, "abab": 2, "": 1, "c": 5, "cca": 1}


@pytest.mark.parametrize("order", range(1, 9))
@pytest.mark.parametrize("blank", [0, 2, 4])
def test_equals_the_definition(order: int, blank: int) -> None:
    model = LanguageModel(TEXTS, "abcd", blank, order=order)
    true = reference.LanguageModel(TEXTS, "abcd", order)
    assert len(model) == len(true.counts)
    for length in range(4):
        for text in map("".join, itertools.product("abcd", repeat=length)):
            assert model.log_prob(text) == pytest.approx(true.log_prob(text), abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.dictionaries(st.text("abç😀", max_size=8), st.integers(1, 9), min_size=1),
    prefix=st.text("abç😀", max_size=9),
    order=st.integers(1, 8),
)
def test_the_next_symbols_add_up_to_1(texts: dict[str, int], prefix: str, order: int) -> None:
    model = LanguageModel(texts, "abç😀", order=order)
    next_log_probs = model.next_log_probs(prefix)
    assert next_log_probs.shape == (5,)
    assert float(next_log_probs.exp().sum()) == pytest.approx(1, abs=1e-5)
    true = reference.LanguageModel(texts, "abç😀", order)
    context = (reference.BEGIN, *prefix)
    for symbol, value in zip([reference.END, *"abç😀"], next_log_probs.tolist(), strict=True):
        assert math.exp(value) == pytest.approx(true.probability(symbol, context), abs=1e-6)


def test_every_state_of_a_large_model_adds_up_to_1() -> None:
    rng = random.Random(0)
    texts = ["".join(rng.choices("aab cde", k=rng.randrange(12))) for _ in range(3000)]
    model = LanguageModel(texts, "ab cdefg", order=6)
    for text in texts[:300]:
        for end in range(len(text) + 1):
            sum_of_all = float(model.next_log_probs(text[:end]).exp().sum())
            assert sum_of_all == pytest.approx(1, abs=1e-5)


def test_steps_make_the_whole() -> None:
    model = LanguageModel(TEXTS, "abcd", order=3)
    log_probs = [float(model.next_log_probs("abd"[:i])[k]) for i, k in enumerate([1, 2, 4, 0])]
    assert model.log_prob("abd") == pytest.approx(sum(log_probs))
    total = sum(map(model.log_prob, ["ab", "ab", "cd"]))
    assert model.perplexity(["ab", "cd", "ab"]) == pytest.approx(math.exp(-total / 9))
    assert model.perplexity({"ab": 2, "cd": 1, "d": 0}) == model.perplexity(["ab", "cd", "ab"])


def test_texts_as_a_mapping_or_one_by_one() -> None:
    listed = [text for text, count in TEXTS.items() for _ in range(count)]
    one, other = LanguageModel(listed, "abcd"), LanguageModel({**TEXTS, "dd": 0}, "abcd")
    assert (len(one), one.memory) == (len(other), other.memory)
    assert one.next_log_probs("ab").equal(other.next_log_probs("ab"))
    assert repr(one) == f"LanguageModel(order 5, {len(one)} n-grams, 4 symbols)"


def test_it_learns_what_it_is_told() -> None:
    words = [a + b + c for a in "bcd" for b in "aeiou" for c in "lmn"] * 3
    model = LanguageModel(words, "abcdefghijklmnopqrstuvwxyz")
    assert model.perplexity(["bal", "dun"]) < 4 < 20 < model.perplexity(["qqq", "lab"])
    assert model.log_prob("bal") > model.log_prob("ba") > model.log_prob("bb")


def test_spelling_is_that_of_lexicons() -> None:
    music = LanguageModel(["C4 D4", "C4"], ["C4", "D4", "E4"], order=2)
    assert music.log_prob("C4  D4") == music.log_prob(" C4 D4")
    assert math.exp(float(music.next_log_probs("C4")[2])) == pytest.approx(
        reference.LanguageModel({"cd": 1, "c": 1}, "cde", 2).probability("d", ("c",))
    )
    decomposed = LanguageModel(["e\u0301"], ["é"])
    assert decomposed.log_prob("é") == decomposed.log_prob("e\u0301")
    skipping = LanguageModel(["ab", "a!", "b?", "a!"], "ab", unknown="skip")
    assert skipping.skipped == ("a!", "b?")


def test_long_texts_and_many_symbols() -> None:
    symbols = [chr(0x4E00 + i) for i in range(5000)]
    rng = random.Random(1)
    text = "".join(rng.choices(symbols, k=200_000))
    model = LanguageModel([text], symbols, order=8)
    assert math.isfinite(model.log_prob(text))
    assert float(model.next_log_probs(text[:500]).exp().sum()) == pytest.approx(1, abs=1e-5)


def test_round_trip(tmp_path: Path) -> None:
    for order in (1, 2, 8):
        model = LanguageModel(TEXTS, "abcd", 2, order=order)
        model.save(tmp_path / "model")
        loaded = LanguageModel.load(str(tmp_path / "model"))
        assert (loaded.symbols, loaded.blank, loaded.order) == (tuple("abcd"), 2, order)
        assert (len(loaded), loaded.memory, loaded.skipped) == (len(model), model.memory, ())
        for prefix in ("", "a", "ab", "abcd", "dddddddd"):
            assert loaded.next_log_probs(prefix).equal(model.next_log_probs(prefix))
        loaded.save(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()
    with pytest.raises(FileNotFoundError):
        LanguageModel.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        model.save(tmp_path / "none" / "model")


def rejected(path: Path, data: bytes) -> str:
    """Load `data`, which must fail, and return the reason."""
    path.write_bytes(data)
    with pytest.raises(ValueError, match="LanguageModel") as caught:
        LanguageModel.load(path)
    start = f"LanguageModel.load: path must name a whole language model, got {str(path)!r}: "
    assert str(caught.value).startswith(start)
    return str(caught.value)[len(start) :]


def checksummed(data: bytes) -> bytes:
    """The file with its checksum made to fit: what a forger would do."""
    prime, begin = 0x100000001B3, 0xCBF29CE484222325
    lanes = [begin] * 4
    for i, (word,) in enumerate(struct.iter_unpack("<Q", data[:64] + bytes(8) + data[72:])):
        lanes[i % 4] = (lanes[i % 4] ^ word) * prime % 2**64
    total = begin
    for lane in lanes:
        total = (total ^ lane) * prime % 2**64
    return data[:64] + struct.pack("<Q", total) + data[72:]


def test_every_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model"
    LanguageModel({"ab": 1}, "ab", order=2).save(path)
    data = path.read_bytes()
    assert checksummed(data) == data
    for i in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            rejected(path, data[:i] + bytes([data[i] ^ flip]) + data[i + 1 :])
        rejected(path, data[:i])
    rejected(path, data + b"\0")


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (0, b"PK\x03\x04", "it is not a language model"),
        (8, struct.pack("<I", 2), "it has format version 2, not 1"),
        (16, struct.pack("<I", 9), "it announces an impossible size"),
        (40, struct.pack("<Q", 2**33), "it announces an impossible size"),
        (74, b"nosymbs", "'symbols'"),
        (96, struct.pack("<I", 2), "its n-grams do not fit together"),
        (100, struct.pack("<I", 99), "its n-grams do not fit together"),
    ],
)
def test_a_forged_file_is_an_error(tmp_path: Path, offset: int, value: bytes, reason: str) -> None:
    LanguageModel({"ab": 1}, "ab", order=2).save(tmp_path / "good")
    data = (tmp_path / "good").read_bytes()
    assert data[72:96] == b'{"symbols": ["a", "b"]}\0'
    forged = checksummed(data[:offset] + value + data[offset + len(value) :])
    assert reason in rejected(tmp_path / "bad", forged)


def test_random_forgeries_never_crash(tmp_path: Path) -> None:
    LanguageModel({"abba": 1, "bab": 2}, "ab", order=3).save(tmp_path / "good")
    data = (tmp_path / "good").read_bytes()
    rng = random.Random(2)
    refused = 0
    for _ in range(3000):
        at = rng.randrange(96, len(data) - 4) // 4 * 4
        value = rng.choice([rng.randrange(30), rng.randrange(2**32)])
        forged = checksummed(data[:at] + struct.pack("<I", value) + data[at + 4 :])
        (tmp_path / "bad").write_bytes(forged)
        try:
            model = LanguageModel.load(tmp_path / "bad")
        except ValueError:
            refused += 1
        else:
            for text in ("", "a", "abbabba", "bbbbb"):
                model.log_prob(text)
    assert 500 < refused < 3000


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LanguageModel("ab", "ab"), TypeError,
         "LanguageModel: texts must be an iterable of str, got str"),
        (lambda: LanguageModel(["a", 1], "ab"), TypeError,
         "LanguageModel: texts must hold str only, got int"),
        (lambda: LanguageModel([], "ab"), ValueError,
         "LanguageModel: texts must hold at least one text, got none"),
        (lambda: LanguageModel({"a": 0}, "ab"), ValueError,
         "LanguageModel: texts must hold at least one text, got none"),
        (lambda: LanguageModel(["!"], "ab", unknown="skip"), ValueError,
         "LanguageModel: texts must hold at least one text, got none (1 skipped for unknown "
         "symbols)"),
        (lambda: LanguageModel(["a!"], "ab"), ValueError,
         "LanguageModel: texts must use known symbols only, got '!' in 'a!'"),
        (lambda: LanguageModel(["a"], "ab", unknown="drop"), ValueError,
         "LanguageModel: unknown must be 'error' or 'skip', got 'drop'"),
        (lambda: LanguageModel({"a": -1}, "ab"), ValueError,
         "LanguageModel: texts must have counts in [0, 2^53), got -1 of 'a'"),
        (lambda: LanguageModel(["a"], "ab", order=0), ValueError,
         "LanguageModel: order must lie in [1, 8], got 0"),
        (lambda: LanguageModel(["a"], "ab", order=9), ValueError,
         "LanguageModel: order must lie in [1, 8], got 9"),
        (lambda: LanguageModel(["a"], "aa"), ValueError,
         "LanguageModel: symbols must be all different, got 'a' twice"),
        (lambda: LanguageModel(["a"], "ab", blank=3), ValueError,
         "LanguageModel: blank must lie in [0, 2], got 3"),
        (lambda: LanguageModel(["a"], "ab").log_prob("x"), ValueError,
         "LanguageModel.log_prob: text must use known symbols only, got 'x' in 'x'"),
        (lambda: LanguageModel(["a"], "ab").perplexity([]), ValueError,
         "LanguageModel.perplexity: texts must hold at least one text, got none"),
    ],
)  # fmt: skip
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_public() -> None:
    assert "LanguageModel" in crnn_ext.__all__
    assert isinstance(LanguageModel(["a"], "ab").next_log_probs(), torch.Tensor)
