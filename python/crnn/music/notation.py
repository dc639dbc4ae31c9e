"""Pitches as notation that other programs read: ABC and MusicXML.

A reading holds pitches and nothing else, so every note is written as a crotchet, without bar
lines or metre, in C major.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

_PITCH = re.compile(r"([A-G])([0-9])")
_PARTWISE = (
    '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" '
    '"http://www.musicxml.org/dtds/partwise.dtd">'
)


def is_music(symbols: Sequence[str]) -> bool:
    """Whether these symbols of a charset are all pitches."""
    return all(_PITCH.fullmatch(symbol) for symbol in symbols)


def to_abc(pitches: Sequence[str], title: str = "", number: int = 1) -> str:
    """A tune in ABC notation (standard 2.1).

    Args:
        pitches: such as ``["C4", "F5"]``; none gives a tune of one rest.
        title: of the tune; control characters are left out.
        number: of the tune in its file, from 1.

    Raises:
        ValueError: something is not a pitch.
    """
    notes = [_abc(name, octave) for name, octave in map(_split, pitches)]
    shown = "".join(c for c in title if c.isprintable()).replace("%", r"\%")
    lines = [f"X:{number}", f"T:{shown}", "M:none", "L:1/4", "K:C"]
    return "\n".join([*lines, f"{' '.join(notes or ['z'])} |]"]) + "\n"


def to_musicxml(pitches: Sequence[str], title: str = "") -> str:
    """A score in MusicXML 4.0, of one part in one measure.

    Args:
        pitches: such as ``["C4", "F5"]``; none gives a measure's rest.
        title: of the work; control characters are left out.

    Raises:
        ValueError: something is not a pitch.
    """
    notes = [
        f"<note><pitch><step>{name}</step><octave>{octave}</octave></pitch>"
        "<duration>1</duration><type>quarter</type></note>"
        for name, octave in map(_split, pitches)
    ]
    rest = '<note><rest measure="yes"/><duration>1</duration></note>'
    shown = escape("".join(c for c in title if c.isprintable()))
    beats = max(1, len(notes))
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>', _PARTWISE,
            f'<score-partwise version="4.0"><work><work-title>{shown}</work-title></work>',
            '<part-list><score-part id="P1"><part-name>Music</part-name></score-part></part-list>',
            '<part id="P1"><measure number="1"><attributes><divisions>1</divisions>',
            '<key><fifths>0</fifths></key><time print-object="no">',
            f"<beats>{beats}</beats><beat-type>4</beat-type></time>",
            "<clef><sign>G</sign><line>2</line></clef></attributes>",
            *(notes or [rest]),
            "</measure></part></score-partwise>",
        ]
    ) + "\n"  # fmt: skip


def _split(pitch: str) -> tuple[str, int]:
    match = _PITCH.fullmatch(pitch)
    if match is None:
        raise ValueError(f"notation: pitch must be a letter A-G and an octave, got {pitch!r}")
    return match[1], int(match[2])


def _abc(name: str, octave: int) -> str:
    """``C`` is C4, ``c`` C5; a comma is an octave lower, an apostrophe one higher."""
    if octave >= 5:
        return name.lower() + "'" * (octave - 5)
    return name + "," * (4 - octave)
