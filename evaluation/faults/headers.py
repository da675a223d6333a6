"""Crafted models: headers and cards that promise more than the file holds are refused at once and without memory."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import bayesrnn as br
from bayesrnn._documents import sealed_text
from evaluation.faults.trials import Trial, outcome, scratch

SECONDS, MEGABYTES = 0.2, 50.0
"""What a refusal may take above reading the file."""


def headers() -> dict[str, Any]:
    """Try every crafted model in a process of its own; return outcomes, the longest time and the most memory."""
    outcomes: dict[str, int] = {}
    worst: dict[str, str] = {}
    slowest = largest = 0.0
    with scratch() as place:
        for number, (name, craft) in enumerate(_crafted()):
            folder = Path(place) / f"{number}"
            folder.mkdir()
            craft(folder)
            verdict, words, seconds, megabytes = _measured(folder)
            slowest, largest = max(slowest, seconds), max(largest, megabytes)
            if verdict == "refused" and (seconds > SECONDS or megabytes > MEGABYTES):
                verdict, words = "over the limits", f"{seconds:.2f} s, {megabytes:.0f} MB"
            outcomes[verdict] = outcomes.get(verdict, 0) + 1
            if verdict != "refused":
                worst[name] = f"{verdict}: {words:.300}"
    return {
        "trials": sum(outcomes.values()),
        "outcomes": outcomes,
        "worst": worst,
        "slowest_s": slowest,
        "largest_mb": largest,
    }


def _measured(folder: Path) -> tuple[str, str, float, float]:
    """Load in a child; return outcome, words, seconds, and megabytes above the size of the files."""
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    read, write = os.pipe()
    process = os.fork()
    if not process:
        before = _resident(reset=True)
        start = time.perf_counter()
        verdict, words = outcome(Trial("load", lambda: br.load(folder)))
        report = [verdict, words, time.perf_counter() - start, max(_resident() - before - size, 0.0)]
        os.write(write, json.dumps(report).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read()
    os.waitpid(process, 0)
    return tuple(json.loads(text)) if text else ("killed", "the process died", 0.0, 0.0)


def _resident(reset: bool = False) -> float:
    """Return the most memory so far in megabytes, counted from a reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))


def _crafted() -> Iterator[tuple[str, Callable[[Path], None]]]:
    sizes = (-1, 0, 9_000, 10**6, 2**31, 2**63, 10**30, 1e308, "8", None, [8], {"a": 1}, True)
    for key in ("input_size", "hidden_size", "num_layers", "outputs"):
        for value in sizes:
            if (key, value) != ("num_layers", True):
                yield f"{key}: {value}", lambda folder, key=key, value=value: _edited(folder, config={key: value})
    for value in (-0.1, 1.0, 1e308, "0.2", None, [], {"name": "x"}):
        yield f"dropout: {value}", lambda folder, value=value: _edited(folder, config={"dropout": value})
    for key in ("class", "config", "rates", "weights", "recalibration"):
        for value in (None, 3, "../../x", [], {}, [[]] * 1000, "x" * 10**6):
            if not (key == "recalibration" or (key in ("config", "rates") and value == {})):
                yield f"{key}: {value!r:.20}", lambda folder, key=key, value=value: _edited(folder, **{key: value})
    texts = {
        "nested": b"[" * 10**6, "nested objects": b'{"a":' * 10**5, "digits": b"9" * 10**6, "one key": b'{"a":1}',
        "many keys": b"{" + b",".join(b'"%d":0' % n for n in range(10**6)) + b"}",
        "many numbers": b"[" + b"0," * 10**6 + b"0]", "many lists": b"[" + b"[]," * 10**6 + b"[]]",
        "long text": b'"' + b"x" * 10**8 + b'"', "nothing": b"", "no text": bytes(range(256)) * 100, "NaN": b"NaN",
    }  # fmt: skip
    for name, text in texts.items():
        yield f"card: {name}", lambda folder, text=text: _written(folder, "model.json", text)
    lengths = (0, 1, 7, 10**6, 10**8, 10**9, 2**40, 2**63, 2**64 - 1)
    for length in lengths:
        yield f"header of {length} bytes", lambda folder, n=length: _weights(folder, n.to_bytes(8, "little") + b"{}")
    tensor = {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}
    for name, header in {
        "a huge tensor": {"x": tensor},
        "offsets beyond": {"x": tensor | {"shape": [1], "data_offsets": [0, 10**12]}},
        "many tensors": {f"{n}": tensor | {"shape": [0], "data_offsets": [0, 0]} for n in range(20_000)},
        "more tensors": {f"{n}": tensor | {"shape": [0], "data_offsets": [0, 0]} for n in range(200_000)},
        "many facts": {"__metadata__": {f"{n}": "x" for n in range(30_000)}},
        "a shared name of none": {"__metadata__": {"shared": '{"a": "b"}'}},
        "shared nested": {"__metadata__": {"shared": "[" * 10**6}},
        "shared a list": {"__metadata__": {"shared": "[1]"}},
    }.items():
        text = json.dumps(header).encode()
        yield name, lambda folder, t=text: _weights(folder, len(t).to_bytes(8, "little") + t + b"\0" * 4)
    yield "more layers than tensors", lambda folder: _edited(folder, config={"num_layers": 10**6})
    yield "tensors of another model", lambda folder: _foreign(folder)


def _saved(folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        br.save(br.models.SequenceRegressor(3, 8, dropout=0.1), folder)


def _edited(folder: Path, **changes: Any) -> None:
    """Change the card as one who knows the format would: with a digest that fits."""
    _saved(folder)
    file = folder / "model.json"
    card = json.loads(file.read_text())
    kind, _ = card.pop("format"), card.pop("digest")
    for key, value in changes.items():
        card[key] = card[key] | value if isinstance(value, dict) and isinstance(card[key], dict) else value
    file.write_text(sealed_text(kind, card))


def _written(folder: Path, name: str, content: bytes) -> None:
    _saved(folder)
    (folder / name).write_bytes(content)


def _weights(folder: Path, content: bytes) -> None:
    _saved(folder)
    (weights,) = folder.glob("weights-*")
    weights.write_bytes(content)


def _foreign(folder: Path) -> None:
    _saved(folder)
    (weights,) = folder.glob("weights-*")
    save_file({"x": torch.zeros(2)}, weights)
