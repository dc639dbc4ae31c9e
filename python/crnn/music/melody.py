"""Random melodies as MEI, the notation that verovio engraves.

Only pitches matter to the label. Values, beams, dots, rests, bar lines, signatures and signs are
there to be ignored, so they need not add up to bars: what counts is that each looks like print.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from crnn.charset import NAMED

Generator = np.random.Generator

PITCHES = tuple(NAMED["music"])
#: The usual range of a tune; one fragment in ten uses all of `PITCHES`.
_RANGE = (PITCHES.index("C4"), PITCHES.index("A5") + 1)
LEAST, MOST = 3, 20  # notes of a fragment (section 3.4)

_LOWEST = 26  # steps from C0 to A3, the first of `PITCHES`
_VALUES = ("1", "2", "4", "8", "16")
# How often each value comes, for kinds of tunes: even, hymn-like, lively, mixed, fast.
_STYLES = (
    (0.0, 0.08, 0.92, 0.0, 0.0),
    (0.10, 0.40, 0.45, 0.05, 0.0),
    (0.0, 0.08, 0.42, 0.50, 0.0),
    (0.05, 0.15, 0.40, 0.32, 0.08),
    (0.0, 0.0, 0.2, 0.4, 0.4),
)
_METERS = ("2/4", "3/4", "4/4", "6/8", "3/8", "2/2", "sym", "cut", "")
_ENDS = ("single", "dbl", "end", "rptend", "invis")
#: Steps from a note's place under the treble clef to the pitch that has this place under another,
#: by the clef's letter and line.
CLEFS = {"G2": 0, "F4": -12, "C3": -6, "C4": -8}


@dataclass
class Melody:
    """A melody and the part of it that a fragment shows.

    Attributes:
        mei: the whole melody.
        pitches: of all its notes, in order, those of a chord from below; under another clef than
            the treble clef, the names of their places on the staff.
        first, last: measures that the fragment begins and ends with, counted from 0.
        header: whether the fragment shows clef and signatures.
    """

    mei: str
    pitches: list[str]
    first: int
    last: int
    header: bool


@dataclass
class _Writer:
    """MEI under construction."""

    rng: Generator
    weights: tuple[float, ...]
    dotted: float
    rests: float
    flags: float  # share of short notes without beams
    signs: float  # share of notes with an accidental or an articulation
    steps: int  # of `CLEFS`
    chords: float  # share of notes with others above
    pitches: list[str] = field(default_factory=list)
    spans: list[str] = field(default_factory=list)  # slurs and fermatas of the open measure

    def measure(self, number: int, heights: list[int], right: str) -> str:
        """One measure of the pitches `heights`, indices of `PITCHES`."""
        parts: list[str] = []
        rest = list(heights)
        first = len(self.pitches)
        while rest:
            value = _VALUES[int(self.rng.choice(5, p=self.weights))]
            if self.rng.random() < self.rests:
                parts.append(f'<rest dur="{value}"/>')
            beamed = value in ("8", "16") and len(rest) > 1 and self.rng.random() >= self.flags
            count = min(len(rest), int(self.rng.integers(2, 5))) if beamed else 1
            notes = "".join(self._note(rest.pop(0), value) for _ in range(count))
            parts.append(f"<beam>{notes}</beam>" if beamed else notes)
        self._span(first)
        spans, self.spans = "".join(self.spans), []
        body = "".join(parts)
        return (
            f'<measure n="{number}" right="{right}"><staff n="1"><layer n="1">{body}</layer>'
            f"</staff>{spans}</measure>"
        )

    def _note(self, height: int, value: str) -> str:
        more = ""
        if self.rng.random() < self.dotted:
            more += ' dots="1"'
        draw = self.rng.random()
        if draw < 0.5 * self.signs:
            more += f' accid="{self.rng.choice(["s", "f", "n"])}"'
        elif draw < self.signs:
            more += f' artic="{self.rng.choice(["stacc", "ten", "acc"])}"'
        if self.rng.random() < 0.03:
            more += f' stem.dir="{self.rng.choice(["up", "down"])}"'
        if not self.chords or self.rng.random() >= self.chords:
            return self._head(height, f' dur="{value}"{more}')
        # Two to four heads, a second to a sixth apart.
        apart = self.rng.choice([1, 2, 2, 3, 4, 5], int(self.rng.integers(1, 4)))
        heights = height + np.concatenate([[0], np.cumsum(apart)])
        heads = "".join(self._head(int(h), "") for h in heights if h < len(PITCHES))
        return f'<chord dur="{value}">{heads}</chord>'

    def _head(self, height: int, more: str) -> str:
        number = len(self.pitches)
        self.pitches.append(PITCHES[height])
        octave, name = divmod(_LOWEST + height + self.steps, 7)
        return f'<note xml:id="n{number}" pname="{"cdefgab"[name]}" oct="{octave}"{more}/>'

    def _span(self, first: int) -> None:
        """Perhaps a slur or a fermata over notes of the measure that begins with note `first`."""
        last = len(self.pitches) - 1
        if last > first and self.rng.random() < 0.08:
            self.spans.append(f'<slur startid="#n{first}" endid="#n{last}"/>')
        if self.rng.random() < 0.04:
            self.spans.append(f'<fermata startid="#n{last}"/>')


def melody(
    rng: Generator, most: int = MOST, *, clef: str = "G2", chords: float = 0.0, whole: bool = False
) -> Melody:
    """Draw a melody whose fragment holds `LEAST` to `most` notes.

    Args:
        rng: the source of all chance.
        most: see above.
        clef: a name of `CLEFS`.
        chords: share of notes to which others are added above.
        whole: the fragment shows clef and signatures.
    """
    count = int(rng.integers(LEAST, most + 1))
    low, high = _RANGE if rng.random() < 0.9 else (0, len(PITCHES))
    heights = _heights(count, low, high, rng)
    sizes = _measures(count, rng)
    # What comes before and after the fragment on the page, to be cropped away.
    before = int(rng.integers(1, 4)) if rng.random() < 0.3 and not whole else 0
    after = int(rng.integers(1, 4)) if rng.random() < 0.3 else 0
    heights = [
        *_heights(before, low, high, rng), *heights, *_heights(after, low, high, rng),
    ]  # fmt: skip
    sizes = [*([before] if before else []), *sizes, *([after] if after else [])]
    writer = _Writer(
        rng,
        _STYLES[int(rng.integers(len(_STYLES)))],
        dotted=float(rng.choice([0.0, 0.05, 0.2])),
        rests=float(rng.choice([0.0, 0.0, 0.05, 0.15])),
        flags=float(rng.choice([0.0, 0.2, 1.0])),
        signs=float(rng.choice([0.0, 0.0, 0.05, 0.15])),
        steps=CLEFS[clef],
        chords=chords,
    )
    measures, start = [], 0
    for i, size in enumerate(sizes):
        final = i + 1 == len(sizes)
        right = str(rng.choice(_ENDS)) if final else "dbl" if rng.random() < 0.03 else "single"
        measures.append(writer.measure(i + 1, heights[start : start + size], right))
        start += size
    first, last = (1 if before else 0), len(sizes) - 1 - (1 if after else 0)
    header = not before and bool(rng.random() < 0.75 or whole)
    return Melody(_document(measures, clef, rng), writer.pitches, first, last, header)


def empty(rng: Generator) -> Melody:
    """A staff without notes: of rests, or of nothing but bar lines."""
    count = int(rng.integers(1, 7))
    rest = str(rng.choice(["<mRest/>", '<space dur="1"/>', '<rest dur="4"/><rest dur="2"/>']))
    measures = [
        f'<measure n="{i + 1}"><staff n="1"><layer n="1">{rest}</layer></staff></measure>'
        for i in range(count)
    ]
    clef = str(rng.choice(list(CLEFS), p=[0.7, 0.2, 0.05, 0.05]))
    return Melody(_document(measures, clef, rng), [], 0, count - 1, True)


def _heights(count: int, low: int, high: int, rng: Generator) -> list[int]:
    """`count` indices of `PITCHES` in ``[low, high)``: at random, or step by step like a tune."""
    if rng.random() < 0.4:
        return [int(h) for h in rng.integers(low, high, count)]
    height, found = int(rng.integers(low, high)), []
    spread = float(rng.choice([0.8, 1.5, 3.0]))
    for _ in range(count):
        found.append(height)
        height = int(np.clip(height + round(rng.normal(0, spread)), low, high - 1))
    return found


def _measures(count: int, rng: Generator) -> list[int]:
    """Notes of each measure."""
    usual, sizes = float(rng.choice([2.5, 4.0, 6.0, 20.0])), []
    while count:
        size = min(count, max(1, int(rng.poisson(usual))))
        sizes.append(size)
        count -= size
    return sizes


def _document(measures: list[str], clef: str, rng: Generator) -> str:
    meter = str(rng.choice(_METERS))
    time = ""
    if meter in ("sym", "cut"):
        time = f' meter.sym="{"common" if meter == "sym" else "cut"}"'
    elif meter:
        beats, unit = meter.split("/")
        time = f' meter.count="{beats}" meter.unit="{unit}"'
    key = "0"
    if rng.random() < 0.25:
        key = f"{int(rng.integers(1, 6))}{rng.choice(['s', 'f'])}"
    return (
        '<mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="5.0"><music><body><mdiv>'
        f'<score><scoreDef key.sig="{key}"{time}><staffGrp><staffDef n="1" lines="5" '
        f'clef.shape="{clef[0]}" clef.line="{clef[1]}"/></staffGrp></scoreDef><section>'
        f"{''.join(measures)}</section></score></mdiv></body></music></mei>"
    )
