"""`bayesrnn lm evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesrnn.cli.lm.options import in_options
from bayesrnn.cli.lm.runs import Device, Run, opened
from bayesrnn.cli.lm.seen import digest, share_known

if TYPE_CHECKING:
    from torch import Tensor

    from bayesrnn.data import Vocabulary
    from bayesrnn.predictive import TokenPredictive

__all__ = ["evaluate"]

_KNOWN = 0.1
"""Above which share of lines that were trained on this is said."""


def evaluate(
    run: Run,
    text: Annotated[
        Path,
        typer.Argument(
            help="UTF-8 text file, or a folder with a test file. Of the file that the run was trained on only the last "
            "5 % of the lines, which were withheld, are evaluated."
        ),
    ],
    draws: Annotated[int, typer.Option(help="Draws; 0 for the deterministic pass alone.")] = 100,
    lifetime: Annotated[str, typer.Option(help="stream or window.")] = "stream",
    drop_words: Annotated[bool, typer.Option(help="Drop word types too.")] = True,
    batch_size: Annotated[int, typer.Option(help="Parallel rows.")] = 1,
    window: Annotated[int, typer.Option(help="Steps of a window.")] = 35,
    seed: Annotated[int, typer.Option(help="Seed of the masks.")] = 0,
    bf16: Annotated[bool, typer.Option(help="bfloat16 factors in matrix products.")] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="Evaluate all of the file, even if it was trained on.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Print the perplexity of a text, deterministic and averaged over draws, with its uncertainty."""
    from bayesrnn.data.vocabulary import UNK
    from bayesrnn.inference._perplexity import perplexity

    with in_options():
        model, vocabulary, facts = opened(run, device)
        tokens, note = _evaluated(text, vocabulary, facts, whole)
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
            lines.append((f"{part}, nats a token", f"{float(getattr(result, part)[scored].mean()):.4f}"))
    return lines


def _evaluated(text: Path, vocabulary: "Vocabulary", facts: dict[str, Any], whole: bool) -> "tuple[Tensor, str]":
    """Return the tokens to evaluate, and what has to be said of them."""
    from bayesrnn.data import part_files, read_corpus, read_text, tokenize

    level = facts["level"]
    if text.is_dir():
        files = part_files(text)
        if "test" not in files:
            raise ValueError(f"{text} has no file with 'test' in its name, which is what is evaluated. Give that file.")
        text = files["test"]
    content = read_text(text)
    seen, trained = digest(content), (facts.get("text"), facts.get("train"))
    if whole or seen not in trained:
        tokens = vocabulary.encode(tokenize(content, level))
        if seen in trained:
            return tokens, f"{text.name} was trained on: the perplexity of all of it, asked for by --whole, is too low."
        known = share_known(tokens, vocabulary, str(facts.get("lines", "")))
        note = (
            f"About {known:.0%} of the longer lines of {text.name} are in what was trained on: they lower the "
            "perplexity below that of new text."
        )
        return tokens, note if known > _KNOWN else ""
    if seen == facts.get("train"):
        raise ValueError(
            f"{text} is what the run was trained on, and its perplexity would be too low. Give the folder, whose test "
            "file is evaluated, or another text; or --whole to evaluate what was trained on."
        )
    parts = read_corpus(text, level=level, vocabulary=vocabulary).parts
    if "test" not in parts:
        raise ValueError(
            f"{text} was trained on and is so short that nothing of it was withheld. Give another text, or --whole to "
            "evaluate what was trained on."
        )
    return parts["test"], f"{text.name} was trained on: only its last 5 % of lines, which were withheld, are evaluated."


def _error(result: "TokenPredictive") -> str:
    """Standard error of the perplexity: that of its logarithm times itself."""
    error = float(result.standard_error * result.perplexity)
    return f"{error:.2f}" if error < float("inf") else "unknown: one block of draws; take 32 or more"
