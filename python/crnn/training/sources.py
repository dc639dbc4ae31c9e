"""The stream of batches that a configuration describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from crnn.charset import Charset
from crnn.data import open_datasets
from crnn.data.batches import Mixture, StoredWords, pools_of
from crnn.music.dataset import SyntheticMusic
from crnn.music.dataset import widths as music_widths
from crnn.synth import Batch, Renderer, SyntheticWords, TextSampler, find_fonts, load_words
from crnn.synth.backgrounds import load_backgrounds
from crnn.synth.dataset import POOL, WIDTHS
from crnn.synth.device import Composer, Sketch, SketchedWords, load_atlas
from crnn.training.config import TrainConfig
from crnn.training.signals import leave_signals_to_the_trainer


def batches(
    config: TrainConfig,
    charset: Charset,
    height: int,
    step: int,
    report: Callable[[str], object] = lambda problem: None,
    rank: int = 0,
    ranks: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Batch `step` and those after it, without end; a function of the configuration alone.

    Args:
        config: says what is drawn and what is read.
        charset: encodes the labels.
        height: pixels of every image.
        step: number of the first batch.
        report: called with each sample that could not be used.
        rank, ranks: this process and their number; each pool belongs to one of them.
        device: where sketches are made into pictures, see `TrainConfig.compose`.

    Raises:
        ValueError: no fonts, no words, or a data set that holds no usable samples.
        OSError: a data set cannot be read.
    """
    data, pool_size, composer = _pools(config, charset, height, device)
    pool, drawn = divmod(step, pool_size)
    pools = DataLoader(
        data,
        batch_size=None,
        sampler=pools_of(rank, ranks, pool),
        num_workers=config.workers,
        prefetch_factor=None if config.workers == 0 else 2,
        worker_init_fn=leave_signals_to_the_trainer,
    )
    try:
        for group in pools:
            for batch in group[drawn:]:
                for problem in getattr(batch, "problems", ()):
                    report(str(problem))
                yield composer(batch) if composer and isinstance(batch, Sketch) else batch
            drawn = 0
    except ValueError as error:  # a worker's comes with its traceback: the last line says it
        raise ValueError(str(error).strip().splitlines()[-1].removeprefix("ValueError: ")) from None


def _pools(
    config: TrainConfig, charset: Charset, height: int, device: torch.device | str
) -> tuple[Dataset[list[Any]], int, Composer | None]:
    """The pools, how many batches each holds, and what makes pictures of those not drawn yet."""
    widths = WIDTHS if config.task == "text" else music_widths(height)
    if config.fixed_width:
        widths = (config.fixed_width,)
    stored = None
    if config.data:
        stored = StoredWords(
            open_datasets(config.data), charset, config.batch_size,
            seed=config.seed, height=height, widths=widths,
        )  # fmt: skip
        if not config.synthetic:
            return stored, POOL, None
    drawn, composer = _drawn(config, charset, height, widths, device)
    if stored is None:
        return drawn, POOL, composer
    return Mixture(drawn, stored, config.seed), 2 * POOL, composer


def _drawn(
    config: TrainConfig,
    charset: Charset,
    height: int,
    widths: tuple[int, ...],
    device: torch.device | str,
) -> tuple[Dataset[list[Any]], Composer | None]:
    """What the task's synthesis draws, and what finishes it where `config.compose` says so."""
    backgrounds = load_backgrounds(config.backgrounds)
    if config.task == "music":
        music = SyntheticMusic(
            charset, config.batch_size, seed=config.seed, height=height,
            widths=widths, backgrounds=backgrounds, warmup=config.warmup_samples,
        )  # fmt: skip
        return music, None
    fonts = find_fonts(config.fonts) if config.fonts else find_fonts()
    texts = TextSampler(load_words(config.words))
    if config.compose == "device":
        atlas = load_atlas(fonts, config.workers)
        sketches = SketchedWords(
            texts, atlas, [photo.shape for photo in backgrounds], charset, config.batch_size,
            seed=config.seed, height=height, widths=widths, warmup=config.warmup_samples,
        )  # fmt: skip
        return sketches, Composer(atlas, backgrounds, device)
    words = SyntheticWords(
        texts, Renderer(fonts, backgrounds), charset, config.batch_size,
        seed=config.seed, height=height, widths=widths, warmup=config.warmup_samples,
    )  # fmt: skip
    return words, None
