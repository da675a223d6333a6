"""Mutated inputs to everything that reads a file: each is read or refused in one line, within five seconds.

Where atheris is installed, which coverage the mutations reach guides them; else a mutator of our own draws them.
"""

import importlib.util
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bayesrnn import recalibration
from bayesrnn._documents import read_document, sealed_text
from bayesrnn.data import Vocabulary, read_corpus, read_series
from bayesrnn.data.labelled import read_labelled
from bayesrnn.storage import load
from evaluation.faults.trials import BAD, Trial, outcome, scratch

_CSV = b"day,sold,shop\n2024-01-01,3,a\n2024-01-02,5.5,a\n2024-01-03,4,b\n2024-01-04,7,b\n2024-01-05,6,b\n"
_LONG = b"id,t,x,y,verdict\n1,0,0.5,1,good\n1,1,0.25,2,good\n2,0,1.5,3,bad\n2,1,2.5,4,bad\n"
_TS = b"@problemName x\n@timeStamps false\n@univariate true\n@classLabel true a b\n@data\n1,2,3:a\n4,5,6:b\n"
_TOKENS = (b"NaN", b"inf", b"1e999", b"-", b"", b"9" * 400, b"2024-02-30", b"24:00", b'"', b"\0", b"\xff", b",", b";",
           b"\t", b"\r\n", b"[", b"{", b"null", b"1,5", b"\xef\xbb\xbf", b"1e-400",
           b"0001-01-01", b"%", b"\\u0000")  # fmt: skip

_WORTH_GUIDING = 500  # inputs; fewer end before coverage has taught anything

Reader = tuple[str, list[bytes], Callable[[Path], Any]]


def readers() -> dict[str, Reader]:
    """Return by name: the ending of a file, inputs to begin with, and what reads it."""
    lines = b"\n".join(b'{"day": "2024-01-0%d", "sold": %d}' % (n, n) for n in range(1, 6))
    document = sealed_text("bayesrnn.test/1", {"a": [1, 2.5, None], "b": {"c": "x"}}).encode()
    vocabulary = sealed_text("bayesrnn.vocabulary/2", {"tokens": ["a", "b"]}).encode()
    card = sealed_text("bayesrnn.model/2", {"class": "SequenceRegressor", "config": {}, "rates": {}}).encode()
    scaling = {"name": "variance_scaling", "settings": {}, "parameters": {"factor": 1.5}}
    conformal = {"name": "split_conformal", "settings": {"scaled": True}, "parameters": {"radii": [0.1, 0.5]}}
    horizon = {"name": "per_horizon", "steps": [scaling, scaling]}
    described = [json.dumps(value).encode() for value in (scaling, conformal, horizon)]
    series = lambda path: read_series(path, time="day", target="sold")  # noqa: E731
    return {
        "series": (".csv", [_CSV, _CSV.replace(b",", b";"), _CSV.replace(b"2024-01-0", b"0")], series),
        "json lines": (".json", [lines, b"[" + lines.replace(b"\n", b",") + b"]"], series),
        "labelled": (".csv", [_LONG], lambda path: read_labelled(path, id="id", time="t", target="verdict")),
        "texts": (".csv", [_CSV], lambda path: read_labelled(path, text="day", target="shop")),
        "archive": (".ts", [_TS], read_labelled),
        "corpus": (".txt", [b"the cat sat\non the mat\n" * 5], lambda path: read_corpus(path, unknown=True)),
        "document": (".json", [document], lambda path: read_document(path, "bayesrnn.test/1", ("a", "b"))),
        "vocabulary": (".json", [vocabulary], Vocabulary.load),
        "card": ("model.json", [card], lambda path: load(path.parent)),
        "recalibration": (".json", described, lambda path: recalibration.from_dict(_plain(path))),
    }  # fmt: skip


def _plain(path: Path) -> Any:
    """Return JSON as a user's own program would read it; what is none is refused by Python, not by us."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise ValueError("this is no JSON, says Python itself") from None


def mutated(draw: random.Random, seeds: list[bytes]) -> bytes:
    """Return one of the inputs after a few random changes."""
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 3, 5, 8))):
        place, length = draw.randrange(len(data) + 1), draw.choice((1, 1, 2, 4, 16))
        kind = draw.randrange(7)
        if kind == 0 and data:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[place : place + length]
        elif kind == 2:
            data[place:place] = draw.choice(_TOKENS)
        elif kind == 3:
            data[place : place + length] = draw.choice(_TOKENS)
        elif kind == 4:
            data[place:place] = data[place : place + 4 * length]
        elif kind == 5:
            data[place:place] = draw.randbytes(length)
        else:
            other = draw.choice(seeds)
            data[place:] = other[draw.randrange(len(other)) :]
    return bytes(data)


class Tried:
    """Inputs tried on one reader, counted by what became of them."""

    def __init__(self, name: str, folder: Path) -> None:
        ending, self.seeds, self.read = readers()[name]
        self.name, self.path = name, folder / (ending if "." in ending[1:] else f"input{ending}")
        self.outcomes, self.worst = Counter[str](), dict[str, str]()

    def attempt(self, data: bytes) -> None:
        """Give the reader one input."""
        self.path.write_bytes(data)
        verdict, words = outcome(Trial(self.name, lambda: self.read(self.path)))
        self.outcomes[verdict] += 1
        key = f"{verdict}: {words.partition(':')[0]} {words[-60:]}"
        if verdict in BAD and key not in self.worst and len(self.worst) < 10:
            self.worst[key] = f"{words:.200} | {data[:200]!r}"

    def result(self) -> dict[str, Any]:
        """Return the counts, and the first input of every kind that was neither read nor refused."""
        worst = {f"{self.name}: {key}": value for key, value in self.worst.items()}
        return {"trials": self.outcomes.total(), "outcomes": dict(self.outcomes), "worst": worst}


def fuzz(name: str, count: int, seed: int) -> dict[str, Any]:
    """Try `count` mutated inputs on one reader, guided by coverage where atheris is installed."""
    if count >= _WORTH_GUIDING and importlib.util.find_spec("atheris"):
        return _guided(name, count, seed)
    draw = random.Random(seed)
    with scratch() as folder:
        tried = Tried(name, Path(folder))
        for _ in range(count):
            tried.attempt(mutated(draw, tried.seeds))
    return tried.result() | {"mutator": "own"}


def _guided(name: str, count: int, seed: int) -> dict[str, Any]:
    with scratch() as folder:
        corpus, answer = Path(folder) / "corpus", Path(folder) / "answer.json"
        corpus.mkdir()
        for number, data in enumerate(readers()[name][1]):
            (corpus / f"{number}").write_bytes(data)
        options = [f"-runs={count}", f"-seed={seed + 1}", "-verbosity=0", "-print_final_stats=0", "-timeout=60"]
        command = [sys.executable, "-m", "evaluation.faults.fuzz", name, folder, str(answer), *options, str(corpus)]
        subprocess.run(command, check=False, capture_output=True)
        if not answer.is_file():
            return {"trials": 0, "outcomes": {"the fuzzer died": 1}, "worst": {name: "no answer"}}
        return json.loads(answer.read_text()) | {"mutator": "atheris"}


def _instrumented(arguments: list[str]) -> None:
    """Run in a process of its own: the fuzzer ends it."""
    import atexit

    import atheris

    name, folder, answer = arguments[:3]
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith(("bayesrnn.data", "bayesrnn._documents", "bayesrnn.recalib")):
            for key, value in list(vars(module).items()):
                if (
                    callable(value)
                    and getattr(value, "__module__", "") == module.__name__
                    and hasattr(value, "__code__")
                ):
                    setattr(module, key, atheris.instrument_func(value))
    tried, draw = Tried(name, Path(folder)), random.Random(len(name))

    def once(data: bytes) -> None:
        tried.attempt(data)
        if tried.outcomes.total() % 100 == 0:
            keep()

    def keep() -> None:
        Path(answer).write_text(json.dumps(tried.result()))

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        draw.seed(seed)
        return mutated(draw, [data, *tried.seeds])[:most] if draw.random() < 0.5 else atheris.Mutate(data, most)

    atexit.register(keep)
    atheris.Setup([sys.argv[0], *arguments[3:]], once, custom_mutator=mutate)
    try:
        atheris.Fuzz()
    finally:
        keep()


if __name__ == "__main__":
    _instrumented(sys.argv[1:])
