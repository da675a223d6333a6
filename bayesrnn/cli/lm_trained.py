"""`bayesrnn lm evaluate` and `bayesrnn lm generate`: what a trained language model is used for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesrnn.cli.lm_runs import BatchSize, Run, Window, opened, text_digest
from bayesrnn.cli.options import Common, with_common_options

if TYPE_CHECKING:
    from torch import Tensor

    from bayesrnn.data import Vocabulary
    from bayesrnn.predictive import TokenPredictive

_LONG = 40
"""Windows beyond which the first one is timed, to say how long all of them take."""


@with_common_options
def evaluate(
    run: Run,
    text: Annotated[
        Path,
        typer.Argument(
            help="UTF-8 text file, or a folder with a test file. Of the file that the run was trained on only the last "
            "5 % of the lines, which were withheld, are evaluated."
        ),
    ],
    draws: Annotated[int, typer.Option(min=0, help="Draws; 0 for the deterministic pass only.")] = 100,
    lifetime: Annotated[str, typer.Option(help="stream or window.")] = "stream",
    drop_words: Annotated[bool, typer.Option(help="Drop word types too.")] = True,
    batch_size: BatchSize = 1,
    window: Window = 35,
    bf16: Annotated[bool, typer.Option(help="bfloat16 factors in matrix products.")] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="Evaluate all of the file, even if it was trained on.")
    ] = False,
    *,
    common: Common,
) -> None:
    """Print the perplexity of a text, deterministic and averaged over draws, with its uncertainty.

    Example: bayesrnn lm evaluate run text.txt
    """
    from bayesrnn._checks import check_choice
    from bayesrnn._progress import timed
    from bayesrnn.data.vocabulary import UNK
    from bayesrnn.inference._perplexity import perplexity

    check_choice(lifetime, "--lifetime", ("stream", "window"))
    model, vocabulary, facts = opened(run, common.where())
    tokens, note = _tokens(text, vocabulary, facts, whole)
    options: dict[str, Any] = {
        "draws": draws, "seed": common.seed, "lifetime": lifetime, "drop_words": drop_words, "batch_size": batch_size,
        "window": window, "precision": "bf16" if bf16 else None,
    }  # fmt: skip
    first = batch_size * window + 1
    if draws and len(tokens) > _LONG * first:
        needed = timed(lambda: perplexity(model, tokens[:first], **options)) * len(tokens) / first
        common.say_time("Evaluating takes", needed, f"--draws {-(-draws // 10)} takes a tenth")
    result = perplexity(model, tokens, **options, progress=common.progress)
    if note:
        common.say(note)
    unknown = int((tokens[1:] == vocabulary.encode([UNK])).sum()) if UNK in vocabulary else 0
    lines = _lines(result, draws, unknown, len(tokens) - 1)
    values = {"tokens": int(result.mask.sum()), "deterministic_perplexity": result.deterministic_perplexity}
    values |= {"draws": draws, "perplexity": float(result.perplexity)} if draws else {}
    common.result(values, *(f"{name:<27}{value}" for name, value in lines))


def _lines(result: "TokenPredictive", draws: int, unknown: int, tokens: int) -> list[tuple[str, str]]:
    """Return what is printed: names and values."""
    from bayesrnn.data.vocabulary import UNK

    scored = result.mask
    lines = [("tokens", f"{int(scored.sum())}")]
    if unknown:
        lines.append((f"of them {UNK}", f"{unknown}  ({unknown / tokens:.1%})"))
    lines.append(("perplexity, deterministic", f"{result.deterministic_perplexity:.2f}"))
    if draws:
        lines.append((f"perplexity, {draws} draws", f"{result.perplexity:.2f}  (Monte Carlo s.e. {_error(result)})"))
        for part in ("entropy", "aleatoric", "epistemic"):
            lines.append((f"{part}, nats per token", f"{float(getattr(result, part)[scored].mean()):.4f}"))
    return lines


def _tokens(text: Path, vocabulary: "Vocabulary", facts: dict[str, Any], whole: bool) -> "tuple[Tensor, str]":
    """Return the tokens to evaluate and a note; of the training text only what was withheld."""
    from bayesrnn.data import part_files, read_corpus, read_text, tokenize

    if text.is_dir():
        files = part_files(text)
        if "test" not in files:
            raise ValueError(f"{text} has no file with 'test' in its name, which is what is evaluated. Give that file.")
        text = files["test"]
    digest = text_digest(text)
    trained_on = digest in (facts.get("text"), facts.get("train"))
    if whole or not trained_on:
        note = f"{text.name} was trained on: the perplexity of all of it is too low." if trained_on else ""
        return vocabulary.encode(tokenize(read_text(text), facts["level"])), note
    if digest == facts.get("text"):
        parts = read_corpus(text, level=facts["level"], vocabulary=vocabulary).parts
        if "test" in parts:
            note = f"{text.name} was trained on: only its last 5 % of lines, which were withheld, are evaluated."
            return parts["test"], note
    raise ValueError(
        f"{text} was trained on, and nothing of it was withheld: its perplexity would be too low. Give another text, a "
        "folder with a test file, or --whole to evaluate what was trained on."
    )


def _error(result: "TokenPredictive") -> str:
    """Return the standard error of the perplexity P, which is P times the standard error of log P."""
    error = result.standard_error
    return "unknown: one block of draws; take 32 or more" if error is None else f"{error * result.perplexity:.2f}"


@with_common_options
def generate(
    run: Run,
    prompt: Annotated[str, typer.Option(help="Text to go on from; the end of a line if not given.")] = "",
    length: Annotated[int, typer.Option(min=1, help="Tokens to write.")] = 40,
    draws: Annotated[int, typer.Option(min=0, help="Draws; 0 for the deterministic pass.")] = 100,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the most probable token.")] = 1.0,
    plain: Annotated[bool, typer.Option(help="Print the text without the table.")] = False,
    *,
    common: Common,
) -> None:
    """Write text, each token with its probability and its uncertainty (total and epistemic, nats).

    Example: bayesrnn lm generate run --prompt "the cat" --length 20
    """
    from bayesrnn.data.text import tokenize
    from bayesrnn.data.vocabulary import EOS, UNK
    from bayesrnn.inference.generation import generate as write

    model, vocabulary, facts = opened(run, common.where())
    level = facts["level"]
    words = tokenize(prompt, level)[:-1] if prompt else [EOS]
    if not words:
        raise ValueError(f"--prompt holds no word, only {prompt!r}. Give words, or leave it out to begin a line.")
    result = write(
        model, vocabulary.encode(words), length=length, draws=draws, seed=common.seed, temperature=temperature
    )
    unknown = [word for word in words if word not in vocabulary]
    if unknown:
        typer.echo(f"read as {UNK}, not in the vocabulary: {', '.join(map(repr, unknown))}", err=True)
    tokens = vocabulary.decode(result.tokens)
    text = ("" if level == "character" else " ").join(["\n" if token == EOS else token for token in tokens])
    rows: list[dict[str, Any]] = [
        {"token": token, "probability": float(p.exp()), "entropy": float(entropy), "epistemic": float(epistemic)}
        for token, p, entropy, epistemic in zip(tokens, result.log_prob, result.entropy, result.epistemic)
    ]
    lines = [f"\n{'token':<20}{'probability':>12}{'entropy':>9}{'epistemic':>11}"]
    lines += ["{token:<20}{probability:>12.4f}{entropy:>9.3f}{epistemic:>11.3f}".format(**row) for row in rows]
    common.result({"text": text, "tokens": rows}, text, *([] if plain else lines))
