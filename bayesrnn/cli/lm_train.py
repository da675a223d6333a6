"""`bayesrnn lm train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesrnn.cli import lm_runs as runs
from bayesrnn.cli.lm_runs import BatchSize, Run, Window, check_run, text_digest
from bayesrnn.cli.options import Common, with_common_options

if TYPE_CHECKING:
    from bayesrnn.data import Corpus
    from bayesrnn.models import LanguageModel
    from bayesrnn.training.checkpoint import History
    from bayesrnn.training.recipes import Recipe


@with_common_options
def train(
    text: Annotated[
        Path,
        typer.Argument(
            help="UTF-8 text file, of which the last 10 % of the lines are withheld (5 % for validation, 5 % for test);"
            " or a folder with train, validation and test files."
        ),
    ],
    run: Run,
    level: Annotated[str, typer.Option(help="word or character.")] = "word",
    min_count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Rarer tokens become <unk>, which every vocabulary holds. By default 2 for words (1 if the text has "
            "<unk> itself) and 1 for characters.",
        ),
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(min=2, help="Largest vocabulary; what is rarer becomes <unk>.")
    ] = None,
    embedding: Annotated[int, typer.Option(min=1, help="Length of an embedding.")] = 200,
    hidden: Annotated[int, typer.Option(min=1, help="Units of a layer.")] = 200,
    layers: Annotated[int, typer.Option(min=1, help="Layers.")] = 2,
    cell: Annotated[str, typer.Option(help="lstm or gru.")] = "lstm",
    scheme: Annotated[str, typer.Option(help=f"Dropout: {', '.join(runs.SCHEMES)}.")] = "gal",
    rate: Annotated[float | None, typer.Option(help=f"Rate of dropping; {runs.RATE} if not given.")] = None,
    shared: Annotated[bool, typer.Option(help="One matrix for embedding and decoder.")] = False,
    recipe: Annotated[str, typer.Option(help=f"Recipe: {', '.join(runs.RECIPES)}.")] = "zaremba",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs; the recipe is squeezed into them.")] = 13,
    batch_size: BatchSize = 20,
    window: Window = 35,
    bf16: Annotated[bool, typer.Option(help="bfloat16 factors in matrix products.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on from the run's checkpoint.")] = True,
    *,
    common: Common,
) -> None:
    """Train a language model; run the same command again after a kill and it goes on.

    Example: bayesrnn lm train text.txt run --epochs 5
    """
    from bayesrnn._checks import check_choice
    from bayesrnn._documents import write_document
    from bayesrnn.data.text import LEVELS, part_files
    from bayesrnn.storage import save
    from bayesrnn.storage.run import Manifest, write_run

    check_choice(level, "--level", LEVELS)
    check_choice(cell, "--cell", ("lstm", "gru"))
    where = common.where()
    chosen = runs.chosen_recipe(recipe, epochs, batch_size, window, "bf16" if bf16 else None)
    dropout = runs.chosen_scheme(scheme, rate)
    check_run(run)
    corpus = _corpus(text, level, min_count, max_size)
    shape = {"embedding_size": embedding, "hidden_size": hidden, "num_layers": layers, "cell": cell}
    model = _model(common.seed, len(corpus.vocabulary), dropout=dropout, shared_embeddings=shared, **shape)
    if resume:
        _check_vocabulary(run, text, corpus)
    history = _trained(model.to(where), corpus, chosen, text, run, common, resume)
    facts = {
        "level": level,
        "vocabulary": corpus.vocabulary.fingerprint(),
        "text": text_digest(text) if text.is_file() else None,
        "train": None if text.is_file() else text_digest(part_files(text)["train"]),
        "epochs": history.to_frame().to_dict("records"),
    }
    write_document(run / runs.HISTORY, runs.HISTORY_FORMAT, facts)
    save(model, run / runs.MODEL)
    scores = {} if history.best is None else {"validation_perplexity": min(history.validation_perplexity)}
    write_run(run, Manifest("lm", {"file": text.name, "level": level}, scores, {}))
    common.result(
        {"run": str(run), "epochs": history.epochs, "scores": scores},
        f"{history.epochs} epoch{'s' if history.epochs > 1 else ''}; the model is in {run / runs.MODEL}.",
    )


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
    from bayesrnn.training.checkpoint import FILE

    place = run / runs.VOCABULARY
    if not (run / FILE).exists() and place.exists() and Vocabulary.load(place) != corpus.vocabulary:
        raise ValueError(
            f"{run} holds a run whose vocabulary is not the vocabulary of {text}. It is left as it is: choose another "
            "folder, or --no-resume to begin anew there."
        )


def _trained(
    model: "LanguageModel", corpus: "Corpus", recipe: "Recipe", text: Path, run: Path, common: Common, resume: bool
) -> "History":
    """Train and show the progress; return the losses of the epochs."""
    from bayesrnn.training.language import train_language_model
    from bayesrnn.training.resume import OtherTraining, described

    started = []

    def start() -> None:
        corpus.vocabulary.save(run / runs.VOCABULARY)
        started.append(True)
        common.say(_parts(text, corpus))

    try:
        return train_language_model(
            model,
            corpus["train"],
            recipe,
            corpus.parts.get("validation"),
            vocabulary=corpus.vocabulary,
            seed=common.seed,
            checkpoint=run,
            resume=resume,
            on_epoch=lambda history: common.say(_line(history, recipe.epochs)),
            on_start=start,
        )
    except OtherTraining as error:
        raise ValueError(
            f"{run} holds another training ({described(error.differences, _OPTIONS)}). It is left as it is: give the "
            "options and the text that it was begun with, or another folder, or --no-resume to begin anew there."
        ) from error
    except KeyboardInterrupt:
        if not started:
            raise
        again = " (without --no-resume)" if not resume else ""
        raise typer.Abort(f"stopped; what was done is in {run}: the same command{again} goes on.") from None


_OPTIONS = {
    "model.embedding_size": "--embedding",
    "model.hidden_size": "--hidden",
    "model.num_layers": "--layers",
    "model.cell": "--cell",
    "model.shared_embeddings": "--shared",
    "recipe.epochs": "--epochs",
    "recipe.batch_size": "--batch-size",
    "recipe.window": "--window",
    "recipe.precision": "--bf16",
    "seed": "--seed",
}
"""The options that the settings of a checkpoint came from."""


def _corpus(text: Path, level: str, min_count: int | None, max_size: int | None) -> "Corpus":
    """Read a text with a vocabulary that holds <unk>."""
    from bayesrnn.data.text import read_corpus
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
        part: f"{len(corpus.parts[part]):,}" if part in corpus.parts else "no"
        for part in ("train", "validation", "test")
    }
    shares = (" (90 % of the lines)", " (5 %)", " (5 %)") if text.is_file() else ("", "", "")
    return (
        f"{text.name}: {sizes['train']} tokens for training{shares[0]}, {sizes['validation']} for "
        f"validation{shares[1]}, {sizes['test']} withheld for test{shares[2]}; "
        f"{len(corpus.vocabulary):,} in the vocabulary"
    )


def _line(history: "History", epochs: int) -> str:
    from bayesrnn._progress import duration

    text = f"epoch {history.epochs}  train {history.train_perplexity[-1]:.2f}"
    if history.validation:
        text += f"  validation {history.validation_perplexity[-1]:.2f}"
    left = (epochs - history.epochs) * sum(history.seconds) / history.epochs
    rest = f"  about {duration(left)} left" if history.epochs < epochs else ""
    return f"{text}  {history.words_per_second[-1]:,.0f} words/s{rest}"
