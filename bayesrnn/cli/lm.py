"""`bayesrnn lm train | evaluate | generate`: language models on the command line."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from bayesrnn.data.text import Corpus, Vocabulary
    from bayesrnn.models import LanguageModel
    from bayesrnn.schemes import Scheme
    from bayesrnn.training.recipes import Recipe

lm = typer.Typer(help="Language models: train, evaluate, generate.", no_args_is_help=True, rich_markup_mode=None)

_VOCABULARY, _MODEL, _HISTORY = "vocabulary.json", "model", "history.json"
_SCHEMES = ("none", "zaremba", "naive", "gal", "gal-tied", "moon")
_RECIPES = ("zaremba", "gal", "adamw")

_OPTIONS = {
    r"resume=False": "--no-resume",
    r"^seed must": "--seed must",
    r"\bmodel\.dropout\.[\w.]+": "--scheme and --rate",
    r"\brecipe\.(optimizer|averaging|clip|keep)[\w.]*": "--recipe",
    r"\brecipe\.precision": "--bf16",
    r"\b(?:model|recipe)\.(\w+)": r"\1",
    r"\bshared_embeddings\b": "--shared",
    r"\b(embedding|hidden)_size\b": r"--\1",
    r"\bnum_layers\b": "--layers",
    r"\b(batch|min|max)_(size|count)\b": r"--\1-\2",
    r"^(draws|window|epochs|length|temperature|lifetime|cell|level|rate|scheme|recipe) must": r"--\1 must",
    r"(; |\()(seed|epochs|window|cell): ": r"\1--\2: ",
    r"\ba smaller --batch-size or window\b": "a smaller --batch-size or --window",
    r"Build the vocabulary with .* or replace": "Train a new run, whose vocabulary holds <unk>, or replace",
}
"""What the library says, and what that is on the command line."""

Run = Annotated[Path, typer.Argument(help="Folder of the run: model, vocabulary, checkpoint, history.")]


@lm.command()
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
    scheme: Annotated[str, typer.Option(help=f"Dropout: {', '.join(_SCHEMES)}.")] = "gal",
    rate: Annotated[float, typer.Option(help="Rate of dropping.")] = 0.2,
    shared: Annotated[bool, typer.Option(help="One matrix for embedding and decoder.")] = False,
    recipe: Annotated[str, typer.Option(help=f"Recipe: {', '.join(_RECIPES)}.")] = "zaremba",
    epochs: Annotated[int, typer.Option(help="Epochs; the recipe is squeezed into them.")] = 13,
    batch_size: Annotated[int, typer.Option(help="Parallel rows.")] = 20,
    window: Annotated[int, typer.Option(help="Steps of back-propagation.")] = 35,
    seed: Annotated[int, typer.Option(help="Seed of weights and masks.")] = 0,
    bf16: Annotated[bool, typer.Option(help="bfloat16 factors in matrix products.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on from the run's checkpoint.")] = True,
) -> None:
    """Train a language model; run the same command again after a kill and it goes on."""
    import torch

    from bayesrnn._checks import check_seed
    from bayesrnn._files import atomic_write
    from bayesrnn.data.text import Vocabulary, read_text
    from bayesrnn.models import LanguageModel
    from bayesrnn.storage import save
    from bayesrnn.training.language import train_language_model
    from bayesrnn.training.language_state import FILE

    with _options():
        check_seed(seed)
        chosen = _recipe(recipe, epochs, batch_size, window, "bf16" if bf16 else None)
        dropout = _scheme(scheme, rate)
        _check_run(run)
        corpus = _corpus(text, level, min_count, max_size)
        tokens = corpus["train"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = LanguageModel(
                len(corpus.vocabulary),
                embedding,
                hidden,
                layers,
                cell,
                dropout=dropout,
                shared_embeddings=shared,
                init_range=0.1,
            )
        place = run / _VOCABULARY
        if resume and not (run / FILE).exists() and place.exists() and Vocabulary.load(place) != corpus.vocabulary:
            raise ValueError(
                f"{run} holds a run with another vocabulary than that of {text}. It is left as it is: choose another "
                "folder, or --no-resume to begin anew there."
            )
        started = []

        def start() -> None:
            corpus.vocabulary.save(place)
            started.append(True)
            typer.echo(_parts(text, corpus))

        try:
            history = train_language_model(
                model,
                tokens,
                chosen,
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
        facts = {
            "level": level,
            "vocabulary": corpus.vocabulary.fingerprint(),
            "text": _digest(read_text(text)) if text.is_file() else None,
            "epochs": history,
        }
        atomic_write(run / _HISTORY, json.dumps(facts, indent=1) + "\n")
        save(model, run / _MODEL)
    typer.echo(f"{len(history)} epochs; the model is in {run / _MODEL}.")


@lm.command()
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
    words: Annotated[bool, typer.Option(help="Drop word types too.")] = True,
    batch_size: Annotated[int, typer.Option(help="Parallel rows.")] = 1,
    window: Annotated[int, typer.Option(help="Steps of a window.")] = 35,
    seed: Annotated[int, typer.Option(help="Seed of the masks.")] = 0,
    bf16: Annotated[bool, typer.Option(help="bfloat16 factors in matrix products.")] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="Evaluate all of the file, even if it was trained on.")
    ] = False,
) -> None:
    """Print the perplexity of a text, deterministic and averaged over draws, with its uncertainty."""
    from bayesrnn.data.text import UNK
    from bayesrnn.inference.perplexity import perplexity

    with _options():
        model, vocabulary, facts = _opened(run)
        tokens, note = _evaluated(text, vocabulary, facts, whole)
        result = perplexity(
            model,
            tokens,
            draws=draws,
            seed=seed,
            lifetime=lifetime,
            words=words,
            batch_size=batch_size,
            window=window,
            precision="bf16" if bf16 else None,
            progress=True,
        )
    if note:
        typer.echo(note)
    typer.echo(f"tokens                     {int(result.mask.sum())}")
    unknown = int((tokens[1:] == vocabulary.encode([UNK])).sum()) if UNK in vocabulary else 0
    if unknown:
        typer.echo(f"of them {UNK}              {unknown}  ({unknown / (len(tokens) - 1):.1%})")
    typer.echo(f"perplexity, deterministic  {result.deterministic_perplexity:.2f}")
    if not draws:
        return
    scored = result.mask
    typer.echo(f"perplexity, {draws} draws  {result.perplexity:.2f}  (Monte Carlo s.e. {_error(result)})")
    for name in ("entropy", "aleatoric", "epistemic"):
        typer.echo(f"{name}, nats a token  {float(getattr(result, name)[scored].mean()):.4f}")


@lm.command()
def generate(
    run: Run,
    prompt: Annotated[str, typer.Option(help="Text to go on from; the end of a line if not given.")] = "",
    length: Annotated[int, typer.Option(help="Tokens to write.")] = 40,
    draws: Annotated[int, typer.Option(help="Draws; 0 for the deterministic pass.")] = 32,
    temperature: Annotated[float, typer.Option(help="0 takes the most probable token.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of masks and choices.")] = 0,
    plain: Annotated[bool, typer.Option(help="Print the text without the table.")] = False,
) -> None:
    """Write text, each token with its probability and its uncertainty (total and epistemic, nats)."""
    from bayesrnn.data.text import EOS, tokenize
    from bayesrnn.inference.generation import generate as write

    with _options():
        model, vocabulary, facts = _opened(run)
        level = facts["level"]
        words = tokenize(prompt, level)[:-1] if prompt else [EOS]
        if not words:
            raise ValueError(f"--prompt holds no word, only {prompt!r}. Give words, or leave it out to begin a line.")
        made = write(model, vocabulary.encode(words), length=length, draws=draws, seed=seed, temperature=temperature)
    tokens = vocabulary.decode(made.tokens)
    typer.echo(("" if level == "character" else " ").join(["\n" if token == EOS else token for token in tokens]))
    if plain:
        return
    typer.echo(f"\n{'token':<20}{'probability':>12}{'entropy':>9}{'epistemic':>11}")
    for i, token in enumerate(tokens):
        probability = float(made.log_prob[i].exp())
        typer.echo(f"{token:<20}{probability:>12.4f}{float(made.entropy[i]):>9.3f}{float(made.epistemic[i]):>11.3f}")


@contextmanager
def _options() -> Iterator[None]:
    """Let errors of the library speak of options instead of arguments."""
    try:
        yield
    except (ValueError, TypeError) as error:
        message = str(error)
        for argument, option in _OPTIONS.items():
            message = re.sub(argument, option, message)
        raise ValueError(message) from error


def _check_run(run: Path) -> None:
    """Refuse, before any work is done, a folder that the results cannot be written to."""
    if run.exists() and not run.is_dir():
        raise ValueError(f"RUN must be a folder, but {run} is a file. Give another name.")
    place = run / _MODEL
    if place.exists() and not (place / "model.json").is_file() and not (place.is_dir() and not any(place.iterdir())):
        raise ValueError(
            f"{place}, where the model is to be written, exists and is no saved model. It is left alone: give another "
            "folder, or move it away."
        )


def _corpus(text: Path, level: str, min_count: int | None, max_size: int | None) -> "Corpus":
    """Read a text with a vocabulary that holds <unk>."""
    from bayesrnn.data.text import UNK, read_corpus

    corpus = read_corpus(text, level=level, min_count=min_count or 1, max_size=max_size, unknown=True)
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


def _evaluated(text: Path, vocabulary: "Vocabulary", facts: dict[str, Any], whole: bool) -> "tuple[Tensor, str]":
    """Return the tokens to evaluate, and what has to be said of them."""
    from bayesrnn.data.text import read_corpus, read_text, tokenize

    if text.is_dir():
        return read_corpus(text, level=facts["level"], vocabulary=vocabulary)["test"], ""
    content = read_text(text)
    everything = vocabulary.encode(tokenize(content, facts["level"]))
    if facts.get("text") != _digest(content):
        return everything, ""
    if whole:
        return everything, f"{text.name} was trained on: the perplexity of all of it, asked for by --whole, is too low."
    parts = read_corpus(text, level=facts["level"], vocabulary=vocabulary).parts
    if "test" not in parts:
        raise ValueError(
            f"{text} was trained on and is so short that nothing of it was withheld. Give another text, or --whole to "
            "evaluate what was trained on."
        )
    return parts["test"], f"{text.name} was trained on: only its last 5 % of lines, which were withheld, are evaluated."


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _opened(run: Path) -> "tuple[LanguageModel, Vocabulary, dict[str, Any]]":
    """Return the model, the vocabulary and the facts of a finished run."""
    from bayesrnn.data.text import Vocabulary
    from bayesrnn.models import LanguageModel
    from bayesrnn.storage import load

    if not (run / _MODEL).is_dir():
        raise ValueError(f"{run} holds no trained model. Run `bayesrnn lm train TEXT {run}` to its end first.")
    model = load(run / _MODEL)
    vocabulary = Vocabulary.load(run / _VOCABULARY)
    if not isinstance(model, LanguageModel) or model.vocabulary_size != len(vocabulary):
        size = getattr(model, "vocabulary_size", "no")
        raise ValueError(
            f"the model in {run} is for another vocabulary: it has {size} tokens, the vocabulary {len(vocabulary)}."
            f"{_UNFINISHED}"
        )
    facts = _facts(run / _HISTORY)
    if facts.get("vocabulary", vocabulary.fingerprint()) != vocabulary.fingerprint():
        raise ValueError(
            f"the model in {run} is for another vocabulary than {run / _VOCABULARY}: the tokens or their order differ."
            f"{_UNFINISHED}"
        )
    return model, vocabulary, facts


_UNFINISHED = " Was a training begun anew there and not finished? Then run it to its end; else restore the file."


def _facts(path: Path) -> dict[str, Any]:
    """Read what the training noted."""
    from bayesrnn.data.text import LEVELS

    fix = "Run the same `bayesrnn lm train` again: it writes the file anew, without training again."
    if not path.is_file():
        raise ValueError(f"there is no {path}, which says whether the model is of words or characters. {fix}")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}). {fix}") from None
    if not isinstance(facts, dict) or facts.get("level") not in LEVELS:
        raise ValueError(f"{path} does not say whether the model is of words or characters. {fix}")
    return facts


def _scheme(name: str, rate: float) -> "Scheme":
    from bayesrnn import schemes
    from bayesrnn._checks import check_choice, check_rate

    check_choice(name, "scheme", _SCHEMES)
    check_rate(rate, "--rate")
    if name == "none" or rate == 0.0:
        return schemes.none()
    return schemes.gal(rate, gates="tied") if name == "gal-tied" else getattr(schemes, name)(rate)


def _recipe(name: str, epochs: int, batch_size: int, window: int, precision: str | None) -> "Recipe":
    from dataclasses import replace

    from bayesrnn._checks import check_choice
    from bayesrnn.training.recipes import AdamW, Recipe, gal, zaremba

    check_choice(name, "recipe", _RECIPES)
    if name == "adamw":
        return Recipe(epochs, AdamW(), batch_size, window, clip=1.0, precision=precision)
    whole = zaremba("small") if name == "zaremba" else gal("medium")
    return replace(whole.shortened(epochs), batch_size=batch_size, window=window, precision=precision)


def _line(epoch: dict[str, Any]) -> str:
    text = f"epoch {epoch['epoch']}  train {epoch['train_perplexity']:.2f}"
    if "valid_perplexity" in epoch:
        text += f"  validation {epoch['valid_perplexity']:.2f}"
    return text + f"  {epoch['words_per_second']:,.0f} words/s"


def _error(result: Any) -> str:
    """Standard error of the perplexity: that of its logarithm times itself."""
    error = float(result.standard_error * result.perplexity)
    return f"{error:.2f}" if error < float("inf") else "unknown: one block of draws; take 32 or more"
