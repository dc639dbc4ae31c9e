"""Speed and accuracy against the tools people already use: `python -m benchmarks.<subject>`.

Every benchmark first verifies its results on the inputs it will time, then times all
implementations interleaved in one process, prints a table, and appends one JSON line per case and
implementation to `benchmarks/results/<subject>.jsonl`. Tables in the documentation come from
those files.
"""
