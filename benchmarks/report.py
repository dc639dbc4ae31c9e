"""Put the newest results into the documents: `python -m benchmarks.report [--check]`.

A table stands between `<!-- results: NAME -->` and `<!-- end -->`. NAME is a file of
benchmarks/results/, and may be followed by the one implementation that is wanted; only the newest
line of each case and implementation counts.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    "README.md",
    "docs/benchmarks.md",
    "docs/music.md",
    "python/crnn/weights/base.md",
    "python/crnn/weights/music.md",
    "python/crnn/weights/small.md",
)
_BLOCK = re.compile(r"(<!-- results: (\w+)(?: (\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)

Line = dict[str, Any]


def newest(name: str) -> list[Line]:
    """The newest line of each case and implementation of results/<name>.jsonl, in file order."""
    path = RESULTS / f"{name}.jsonl"
    if not path.exists():
        return []
    kept: dict[str, Line] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        key = json.dumps([line["case"], line["implementation"]], sort_keys=True)
        kept.pop(key, None)
        kept[key] = line
    return list(kept.values())


def speed_table(lines: list[Line]) -> str:
    """A row for each implementation against the baseline of its case: times, ratio, errors."""
    baselines = {_case(line): line for line in lines if line["ratio"] is None}
    rows = ["| case | ms | baseline | ms | times faster (p10–p90) | error | of baseline |"]
    rows.append("|---|---:|---|---:|---:|---:|---:|")
    for line in sorted(lines, key=_order):
        if line["ratio"] is None:
            continue
        base, ratio = baselines[_case(line)], line["ratio"]
        rows.append(
            f"| {_case(line)} | {_milliseconds(line)} | {base['implementation']} "
            f"| {_milliseconds(base)} "
            f"| **{ratio['median']:.2f}** ({ratio['p10']:.2f}–{ratio['p90']:.2f}) "
            f"| {_error(line)} | {_error(base)} |"
        )
    return "\n".join([*rows, "", _footer(lines)])


def accuracy_table(lines: list[Line]) -> str:
    """Each data set and lexicon: words, accuracy with its interval, 1-NED, calibration error."""
    measured = any("calibration_error" in line for line in lines)  # not in older results
    rows = [
        "| images | model | lexicon or language model | words | word accuracy % (95 % interval) "
        f"| 1-NED |{' calibration error % |' if measured else ''} ms per image |"
    ]
    rows.append(f"|---|---|---|---:|---:|---:|{'---:|' if measured else ''}---:|")
    for line in lines:
        low, high = line["interval"]
        case = line["case"]
        labels = ", alphanumeric labels" if case["protocol"] == "alnum" else ""
        lexicon = case["lexicon"].removeprefix("language model ")
        lexicon = "none: the network alone" if lexicon == "none" else lexicon
        lexicon += " words an image" if lexicon.isdigit() else ""
        rows.append(
            f"| {case['images']}{labels} | {line['implementation']} | {lexicon} | {line['count']} "
            f"| **{100 * line['accuracy']:.1f}** ({100 * low:.1f}–{100 * high:.1f}) "
            f"| {line['distance']:.3f} "
            + (f"| {100 * line['calibration_error']:.1f} " if measured else "")
            + f"| {1e3 * line['seconds_per_image']:.1f} |"
        )
    return "\n".join([*rows, "", _footer(lines)])


def music_table(lines: list[Line]) -> str:
    """Table 4: each set of fragments, with the paper's figures where it has them."""
    paper = {"clean": "74.6 / 0.37", "synthesized": "81.5 / 0.30", "real-world": "84.0 / 0.30"}
    rows = [
        "| fragments | model | count | right % (95 % interval) | average edit distance "
        "| symbol errors % | ms per image | CRNN in the paper, its own images |"
    ]
    rows.append("|---|---|---:|---:|---:|---:|---:|---:|")
    for line in lines:
        (low, high), (near, far) = line["interval"], line["distance_interval"]
        images = line["case"]["images"]
        rows.append(
            f"| {images} | {line['implementation']} | {line['count']} "
            f"| **{100 * line['accuracy']:.1f}** ({100 * low:.1f}–{100 * high:.1f}) "
            f"| **{line['average_distance']:.2f}** ({near:.2f}–{far:.2f}) "
            f"| {100 * line['cer']:.1f} | {1e3 * line['seconds_per_image']:.1f} "
            f"| {paper.get(images, '–')} |"
        )
    return "\n".join([*rows, "", _footer(lines)])


def bad_music_table(lines: list[Line]) -> str:
    """Each kind of picture: how many read as nothing, and how many as pitches with confidence."""
    rows = ["| picture | drawn by | count | read as nothing % | read with confidence % | right % |"]
    rows.append("|---|---|---:|---:|---:|---:|")
    for line in lines:
        shares = (f"{100 * line[k] / line['count']:.0f}" for k in ("empty", "confident", "right"))
        case = line["case"]
        rows.append(
            f"| {case['images']} | {case['drawn by']} | {line['count']} | {' | '.join(shares)} |"
        )
    return "\n".join([*rows, "", _footer(lines)])


def lexicon_table(lines: list[Line]) -> str:
    """Each kind of posteriors and method: what is read, and how long an image takes."""
    rows = [
        "| posteriors | mean p | method | read % | recall % | words looked at | µs | p95 | max "
        "| mean in a batch |"
    ]
    rows.append("|---|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    for line in lines:
        if "build" in line["case"]:
            continue
        times = line["seconds"]
        rows.append(
            f"| {line['case']['posteriors']} | {line['mean_probability']:.2g} "
            f"| {line['implementation']} | {100 * line['accuracy']:.1f} "
            f"| {100 * line['recall']:.1f} | {line['looked_at']:.0f} "
            f"| **{1e6 * times['median']:.0f}** | {1e6 * times['p95']:.0f} "
            f"| {1e6 * times['max']:.0f} | {1e6 * line['seconds_in_batch']:.0f} |"
        )
    rows += ["", "| words | letters | built, ms | mapped from a file, ms | bytes a word |"]
    rows.append("|---:|---:|---:|---:|---:|")
    for line in lines:
        if size := line["case"].get("build"):
            rows.append(
                f"| {size:,} | {line['letters']:,} | {1e3 * line['seconds']:.3g} "
                f"| {1e3 * line['load_seconds']:.3g} | {line['bytes'] / size:.1f} |"
            )
    return "\n".join([*rows, "", _footer(lines)])


def peers_table(lines: list[Line]) -> str:
    """Each implementation of one case: its time, and how many times faster than the baseline."""
    rows = ["| implementation | µs a query | times the baseline's speed (p10–p90) |"]
    rows.append("|---|---:|---:|")
    for line in lines:
        ratio = line["ratio"]
        shown = (
            "baseline"
            if ratio is None
            else f"**{ratio['median']:.2g}** ({ratio['p10']:.2g}–{ratio['p90']:.2g})"
        )
        rows.append(
            f"| {line['implementation']} | {1e6 * line['seconds']['median']:.0f} | {shown} |"
        )
    return "\n".join([*rows, "", f"Case: {_case(lines[0])}. {_footer(lines)}"])


def decode_table(lines: list[Line]) -> str:
    """Each kind of frames and decoder: how probable what it reads is, and its time."""
    rows = [
        "| frames | decoder | mean log p(l\\|y) | best of all % | read % | µs an image (p10–p90) |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for line in lines:
        case, times = line["case"], line["seconds"]
        read = f"{100 * line['read']:.1f}" if "read" in line else ""
        rows.append(
            f"| {case['frames']} | {line['implementation']} | {line['log_probability']:.3f} "
            f"| {100 * line['best']:.1f} | {read} | **{1e6 * times['median']:.0f}** "
            f"({1e6 * times['p10']:.0f}–{1e6 * times['p90']:.0f}) |"
        )
    return "\n".join([*rows, "", _footer(lines)])


def synth_table(lines: list[Line]) -> str:
    """Each difficulty and what draws: images a second, and the share of Pillow's text alone."""
    rows = ["| case | what | images/s (p10–p90) | times Pillow's text alone |"]
    rows.append("|---|---|---:|---:|")
    for line in sorted(lines, key=_order):
        images, times = line["case"]["images"], line["seconds"]
        ratio = f"{line['ratio']['median']:.2f}" if line["ratio"] else "1"
        rows.append(
            f"| {_case(line)} | {line['implementation']} | **{images / times['median']:.0f}** "
            f"({images / times['p90']:.0f}–{images / times['p10']:.0f}) | {ratio} |"
        )
    return "\n".join([*rows, "", _footer(lines)])


TABLES: dict[str, Callable[[list[Line]], str]] = {
    "accuracy": accuracy_table,
    "bad_music": bad_music_table,
    "bk_tree": peers_table,
    "decode": decode_table,
    "lexicon": lexicon_table,
    "music": music_table,
    "synth": synth_table,
    "synth_cuda": synth_table,
}


def _case(line: Line) -> str:
    """The case in words: texts as they are, flags by name where set, numbers as name=value."""
    words = []
    for key, value in line["case"].items():
        if isinstance(value, bool):
            words += [key] if value else []
        else:
            words.append(value if isinstance(value, str) else f"{key}={value}")
    return ", ".join(words)


def _order(line: Line) -> list[str]:
    """Sorts by mode and flags, then by size."""
    values = line["case"].values()
    texts = [str(value) for value in values if isinstance(value, (str, bool))]
    return texts[::-1] + [
        f"{v:09d}" for v in values if isinstance(v, int) and not isinstance(v, bool)
    ]


def _milliseconds(line: Line) -> str:
    return f"{line['seconds']['median'] * 1e3:.3g}"


def _error(line: Line) -> str:
    return "–" if line["error"] is None else f"{line['error']:.1e}"


def _footer(lines: list[Line]) -> str:
    """The commands and machines behind a table."""
    commands = sorted({line["command"] for line in lines})
    machines = sorted(
        {
            f"{line['machine']['cpu']}, {line['machine']['threads']} thread(s), "
            f"torch {line['versions']['torch']}"
            for line in lines
        }
    )
    return f"Made by {'; '.join(f'`{c}`' for c in commands)} on {'; '.join(machines)}."


def render(text: str) -> str:
    """`text` with every results block filled in."""

    def fill(match: re.Match[str]) -> str:
        name = match[2]
        lines = [line for line in newest(name) if match[3] in (None, line["implementation"])]
        table = TABLES.get(name, speed_table)(lines) if lines else "Not measured yet."
        return f"{match[1]}\n{table}\n\n{match[4]}"

    return _BLOCK.sub(fill, text)


def main() -> int:
    """Rewrite the documents, or with --check only say whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if stale")
    check = parser.parse_args().check
    stale = []
    for name in DOCUMENTS:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = render(before)
        if after != before:
            stale.append(name)
            if not check:
                path.write_text(after, encoding="utf-8")
    if stale:
        print(("stale: " if check else "updated: ") + ", ".join(stale))
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
