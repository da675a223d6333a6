"""`bayesrnn lm evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesrnn.cli.lm.options import BatchSize, Seed, Window
from bayesrnn.cli.lm.runs import Device, Run, opened, text_digest

if TYPE_CHECKING:
    from torch import Tensor

    from bayesrnn.data import Vocabulary
    from bayesrnn.predictive import TokenPredictive

__all__ = ["evaluate"]


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
    seed: Seed = 0,
    bf16: Annotated[bool, typer.Option(help="bfloat16 factors in matrix products.")] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="Evaluate all of the file, even if it was trained on.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Print the perplexity of a text, deterministic and averaged over draws, with its uncertainty."""
    from bayesrnn._checks import check_choice
    from bayesrnn.data.vocabulary import UNK
    from bayesrnn.inference._perplexity import perplexity

    check_choice(lifetime, "--lifetime", ("stream", "window"))
    model, vocabulary, facts = opened(run, device)
    tokens, note = _tokens(text, vocabulary, facts, whole)
    result = perplexity(
        model,
        tokens,
        draws=draws,
        seed=seed,
        lifetime=lifetime,
        drop_words=drop_words,
        batch_size=batch_size,
        window=window,
        precision="bf16" if bf16 else None,
        progress=True,
    )
    if note:
        typer.echo(note)
    unknown = int((tokens[1:] == vocabulary.encode([UNK])).sum()) if UNK in vocabulary else 0
    for name, value in _lines(result, draws, unknown, len(tokens) - 1):
        typer.echo(f"{name:<27}{value}")


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
    """Return the tokens to evaluate, and a note about them: of a text that was trained on only what was withheld."""
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
    error = float(result.standard_error * result.perplexity)
    return f"{error:.2f}" if error < float("inf") else "unknown: one block of draws; take 32 or more"
