"""The text and decoding functions among threads, signals and forks."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

import crnn_ext

# A tree and queries that keep one core busy for minutes.
LONG = """
import random, crnn_ext
rng = random.Random(0)
words = ["".join(rng.choices("abcdefghij", k=rng.randrange(4, 14))) for _ in range(60000)]
"""
LONG_RUNS = {
    "query_batch": "tree = crnn_ext.BKTree(words)\n"
    "queries = words * 10\n"
    "print('ready', flush=True)\n"
    "tree.query_batch(queries, 6)",
    "extend": "letters = [chr(0x20000 + i) for i in range(60000)]\n"
    "tree = crnn_ext.BKTree()\n"
    "print('ready', flush=True)\n"
    "tree.extend(letters)",
    "edit_distance": "a = ''.join(rng.choices('abcd', k=3000000))\n"
    "b = ''.join(rng.choices('abcd', k=3000000))\n"
    "print('ready', flush=True)\n"
    "crnn_ext.edit_distance(a, b)",
    "decode": "import torch\n"
    "lexicon = crnn_ext.Lexicon(words, 'abcdefghij')\n"
    "log_probs = torch.zeros(100, 500, 11).log_softmax(-1)\n"
    "print('ready', flush=True)\n"
    "lexicon.decode(log_probs, method='exhaustive')",
}


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("case", LONG_RUNS)
def test_ctrl_c_stops_a_long_call(case: str) -> None:
    script = LONG + (
        "import time\n"
        "try:\n"
        + "".join(f"    {line}\n" for line in LONG_RUNS[case].splitlines())
        + "except KeyboardInterrupt:\n    print('interrupted', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-B", "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        assert process.poll() is None
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            rest, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert rest == "interrupted\n"
    assert process.returncode == 0
    assert time.monotonic() - sent < 20  # generous: machines under test are busy


def test_fork_after_use_of_the_pool() -> None:
    script = LONG + (
        "import os, torch\n"
        "torch.set_num_threads(2)\n"
        "tree = crnn_ext.BKTree(words[:2000])\n"
        "expected = tree.query_batch(words[:100], 2)\n"
        "pid = os.fork()\n"
        "same = tree.query_batch(words[:100], 2) == expected and tree.add('new')\n"
        "if pid == 0:\n"
        "    os._exit(0 if same else 1)\n"
        "print(same, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-B", "-c", script], capture_output=True, text=True, timeout=120
    )
    assert run.stdout == "True 0\n", run.stderr


def test_queries_while_another_thread_adds() -> None:
    tree = crnn_ext.BKTree(["word"])
    failures: list[BaseException] = []
    done = threading.Event()

    def query() -> None:
        try:
            while not done.is_set():
                for word, distance in tree.query("word1", 2):
                    assert crnn_ext.edit_distance("word1", word) == distance
                tree.query_batch(["word1", "word22"], 1)
                assert "word" in tree
                assert next(iter(tree)) == "word"
                assert len(tree.__getstate__()) > 40
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=query) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(300):
        tree.extend(f"word{j}" for j in range(10 * i, 10 * i + 10))
        tree.add("word")
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(tree) == 3001


def test_the_gil_is_released() -> None:
    """Another thread makes progress while one call runs."""
    lexicon = crnn_ext.Lexicon([f"{i:05d}" for i in range(20000)], "0123456789")
    log_probs = torch.zeros(60, 4, 11).log_softmax(-1)
    ticks = 0
    done = threading.Event()

    def decode() -> None:
        lexicon.decode(log_probs, method="exhaustive")
        done.set()

    thread = threading.Thread(target=decode)
    thread.start()
    while not done.wait(0.001):
        ticks += 1
    thread.join()
    assert ticks > 3
