"""`bayesrnn lm train`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesrnn.cli.lm.options import RATE, RECIPES, SCHEMES, chosen_recipe, chosen_scheme, in_options
from bayesrnn.cli.lm.runs import HISTORY, MODEL, VOCABULARY, Device, Run, check_run
from bayesrnn.cli.lm.seen import digest, sketch

if TYPE_CHECKING:
    from bayesrnn.data import Corpus
    from bayesrnn.models import LanguageModel
    from bayesrnn.training.recipes import Recipe

__all__ = ["train"]


def train(
    text: Annotated[
        Path,
        typer.Argument(
            help="UTF-8 text file, of which the last 10 % of the lines are withheld (5 % for validation, 5 % for test);"
            " or a folder with train, valid and test files."
        ),
    ],
    run: Run,
    level: Annotated[str, typer.Option(help="word or character.")] = "word",
    min_count: Annotated[
        int | None,
        typer.Option(
            help="Rarer tokens become <unk>, which every vocabulary holds. By default 2 for words (1 if the text has "
            "<unk> itself) and 1 for characters."
        ),
    ] = None,
    max_size: Annotated[int | None, typer.Option(help="Largest vocabulary; what is rarer becomes <unk>.")] = None,
    embedding: Annotated[int, typer.Option(help="Length of an embedding.")] = 200,
    hidden: Annotated[int, typer.Option(help="Units of a layer.")] = 200,
    layers: Annotated[int, typer.Option(help="Layers.")] = 2,
    cell: Annotated[str, typer.Option(help="lstm or gru.")] = "lstm",
    scheme: Annotated[str, typer.Option(help=f"Dropout: {', '.join(SCHEMES)}.")] = "gal",
    rate: Annotated[float | None, typer.Option(help=f"Rate of dropping; {RATE} if not given.")] = None,
    shared: Annotated[bool, typer.Option(help="One matrix for embedding and decoder.")] = False,
    recipe: Annotated[str, typer.Option(help=f"Recipe: {', '.join(RECIPES)}.")] = "zaremba",
    epochs: Annotated[int, typer.Option(help="Epochs; the recipe is squeezed into them.")] = 13,
    batch_size: Annotated[int, typer.Option(help="Parallel rows.")] = 20,
    window: Annotated[int, typer.Option(help="Steps of back-propagation.")] = 35,
    seed: Annotated[int, typer.Option(help="Seed of weights and masks.")] = 0,
    bf16: Annotated[bool, typer.Option(help="bfloat16 factors in matrix products.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on from the run's checkpoint.")] = True,
    device: Device = "auto",
) -> None:
    """Train a language model; run the same command again after a kill and it goes on."""
    from bayesrnn._checks import check_seed
    from bayesrnn._files import atomic_write
    from bayesrnn.nn.devices import pick_device
    from bayesrnn.storage import save

    with in_options():
        check_seed(seed)
        where = pick_device(device)
        chosen = chosen_recipe(recipe, epochs, batch_size, window, "bf16" if bf16 else None)
        dropout = chosen_scheme(scheme, rate)
        check_run(run)
        corpus = _corpus(text, level, min_count, max_size)
        shape = {"embedding_size": embedding, "hidden_size": hidden, "num_layers": layers, "cell": cell}
        model = _model(seed, len(corpus.vocabulary), dropout=dropout, shared_embeddings=shared, **shape)
        if resume:
            _check_vocabulary(run, text, corpus)
        history = _trained(model.to(where), corpus, chosen, text, run, seed, resume)
        facts = {
            "level": level,
            "vocabulary": corpus.vocabulary.fingerprint(),
            **_seen(text, corpus),
            "epochs": history,
        }
        atomic_write(run / HISTORY, json.dumps(facts, indent=1) + "\n")
        save(model, run / MODEL)
    typer.echo(f"{len(history)} epoch{'s' if len(history) > 1 else ''}; the model is in {run / MODEL}.")


def _model(seed: int, size: int, **arguments: Any) -> "LanguageModel":
    """Build the model with weights of the seed, whatever the random state."""
    import torch

    from bayesrnn.models import LanguageModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LanguageModel(size, init_range=0.1, **arguments)


def _check_vocabulary(run: Path, text: Path, corpus: "Corpus") -> None:
    """Refuse to go on in a folder that has another vocabulary and no checkpoint which would say so."""
    from bayesrnn.data import Vocabulary
    from bayesrnn.training.language_checkpoint import FILE

    place = run / VOCABULARY
    if not (run / FILE).exists() and place.exists() and Vocabulary.load(place) != corpus.vocabulary:
        raise ValueError(
            f"{run} holds a run with another vocabulary than that of {text}. It is left as it is: choose another "
            "folder, or --no-resume to begin anew there."
        )


def _trained(
    model: "LanguageModel", corpus: "Corpus", recipe: "Recipe", text: Path, run: Path, seed: int, resume: bool
) -> list[dict[str, Any]]:
    """Train, and say how it goes; return the epochs."""
    from bayesrnn.training.language import train_language_model

    started = []

    def start() -> None:
        corpus.vocabulary.save(run / VOCABULARY)
        started.append(True)
        typer.echo(_parts(text, corpus))

    try:
        return train_language_model(
            model,
            corpus["train"],
            recipe,
            valid=corpus.parts.get("valid"),
            vocabulary=corpus.vocabulary,
            seed=seed,
            folder=run,
            resume=resume,
            on_epoch=lambda epoch: typer.echo(_line(epoch)),
            on_start=start,
            progress=True,
        )
    except KeyboardInterrupt:
        if not started:
            raise
        again = " (without --no-resume)" if not resume else ""
        raise typer.Abort(f"stopped; what was done is in {run}: the same command{again} goes on.") from None


def _seen(text: Path, corpus: "Corpus") -> dict[str, str]:
    """Return by what the text of the training is known again: a whole file or a folder's training part, and lines."""
    from bayesrnn.data import part_files, read_text

    lines = {"lines": sketch(corpus["train"], corpus.vocabulary)}
    if text.is_file():
        return {"text": digest(read_text(text)), **lines}
    return {"train": digest(read_text(part_files(text)["train"])), **lines}


def _corpus(text: Path, level: str, min_count: int | None, max_size: int | None) -> "Corpus":
    """Read a text with a vocabulary that holds <unk>."""
    from bayesrnn.data.corpus import read_corpus
    from bayesrnn.data.vocabulary import UNK

    corpus = read_corpus(
        text, level=level, min_count=1 if min_count is None else min_count, max_size=max_size, unknown=True
    )
    if min_count is not None:
        return corpus
    own = UNK in corpus.vocabulary and bool((corpus["train"] == corpus.vocabulary.encode([UNK])).any())
    if level != "word" or own:
        return corpus
    return read_corpus(text, level=level, min_count=2, max_size=max_size, unknown=True)


def _parts(text: Path, corpus: "Corpus") -> str:
    """Say what is trained on and what is withheld."""
    sizes = {
        part: f"{len(corpus.parts[part]):,}" if part in corpus.parts else "no" for part in ("train", "valid", "test")
    }
    shares = (" (90 % of the lines)", " (5 %)", " (5 %)") if text.is_file() else ("", "", "")
    return (
        f"{text.name}: {sizes['train']} tokens for training{shares[0]}, {sizes['valid']} for validation{shares[1]}, "
        f"{sizes['test']} withheld for test{shares[2]}; {len(corpus.vocabulary):,} in the vocabulary"
    )


def _line(epoch: dict[str, Any]) -> str:
    text = f"epoch {epoch['epoch']}  train {epoch['train_perplexity']:.2f}"
    if "valid_perplexity" in epoch:
        text += f"  validation {epoch['valid_perplexity']:.2f}"
    return text + f"  {epoch['words_per_second']:,.0f} words/s"
