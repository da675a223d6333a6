"""`bayesrnn lm train | evaluate | generate`: language models on the command line."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bayesrnn.models import LanguageModel
    from bayesrnn.schemes import Scheme
    from bayesrnn.training.recipes import Recipe

lm = typer.Typer(help="Language models: train, evaluate, generate.", no_args_is_help=True, rich_markup_mode=None)

_VOCABULARY, _MODEL, _HISTORY = "vocabulary.json", "model", "history.json"
_SCHEMES = ("none", "zaremba", "naive", "gal", "gal-tied", "moon")
_RECIPES = ("zaremba", "gal", "adamw")

Run = Annotated[Path, typer.Argument(help="Folder of the run: model, vocabulary, checkpoint, history.")]


@lm.command()
def train(
    text: Annotated[Path, typer.Argument(help="UTF-8 text file, or a folder with train, valid and test files.")],
    run: Run,
    level: Annotated[str, typer.Option(help="word or character.")] = "word",
    min_count: Annotated[int, typer.Option(help="Rarer tokens become <unk>.")] = 1,
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

    from bayesrnn._files import atomic_write
    from bayesrnn.data.text import Vocabulary, read_corpus
    from bayesrnn.models import LanguageModel
    from bayesrnn.storage import save
    from bayesrnn.training.language import train_language_model

    corpus = read_corpus(text, level=level, min_count=min_count)
    tokens = corpus["train"]
    chosen = _recipe(recipe, epochs, batch_size, window, "bf16" if bf16 else None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LanguageModel(
            len(corpus.vocabulary),
            embedding,
            hidden,
            layers,
            cell,
            dropout=_scheme(scheme, rate),
            shared_embeddings=shared,
            init_range=0.1,
        )
    run.mkdir(parents=True, exist_ok=True)
    if resume and (run / _VOCABULARY).exists() and Vocabulary.load(run / _VOCABULARY) != corpus.vocabulary:
        raise ValueError(
            f"{run} holds a run with another vocabulary than that of {text}. It is left as it is: choose another "
            "folder, or --no-resume to begin anew there."
        )
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
        progress=True,
    )
    corpus.vocabulary.save(run / _VOCABULARY)
    atomic_write(run / _HISTORY, json.dumps({"level": level, "epochs": history}, indent=1) + "\n")
    save(model, run / _MODEL)
    typer.echo(f"{len(history)} epochs; the model is in {run / _MODEL}.")


@lm.command()
def evaluate(
    run: Run,
    text: Annotated[Path, typer.Argument(help="UTF-8 text file, or a folder with a test file.")],
    draws: Annotated[int, typer.Option(help="Draws; 0 for the deterministic pass alone.")] = 100,
    lifetime: Annotated[str, typer.Option(help="stream or window.")] = "stream",
    words: Annotated[bool, typer.Option(help="Drop word types too.")] = True,
    batch_size: Annotated[int, typer.Option(help="Parallel rows.")] = 1,
    window: Annotated[int, typer.Option(help="Steps of a window.")] = 35,
    seed: Annotated[int, typer.Option(help="Seed of the masks.")] = 0,
    bf16: Annotated[bool, typer.Option(help="bfloat16 factors in matrix products.")] = False,
) -> None:
    """Print the perplexity of a text, deterministic and averaged over draws, with its uncertainty."""
    from bayesrnn.data.text import read_text, tokenize
    from bayesrnn.inference.perplexity import perplexity

    model, vocabulary, level = _opened(run)
    if text.is_dir():
        from bayesrnn.data.text import read_corpus

        tokens = read_corpus(text, level=level, vocabulary=vocabulary)["test"]
    else:
        tokens = vocabulary.encode(tokenize(read_text(text), level))
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
    typer.echo(f"tokens                     {int(result.mask.sum())}")
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

    model, vocabulary, level = _opened(run)
    words = tokenize(prompt, level)[:-1] if prompt else [EOS]
    made = write(model, vocabulary.encode(words), length=length, draws=draws, seed=seed, temperature=temperature)
    tokens = vocabulary.decode(made.tokens)
    typer.echo(("" if level == "character" else " ").join(["\n" if token == EOS else token for token in tokens]))
    if plain:
        return
    typer.echo(f"\n{'token':<20}{'probability':>12}{'entropy':>9}{'epistemic':>11}")
    for i, token in enumerate(tokens):
        probability = float(made.log_prob[i].exp())
        typer.echo(f"{token:<20}{probability:>12.4f}{float(made.entropy[i]):>9.3f}{float(made.epistemic[i]):>11.3f}")


def _opened(run: Path) -> "tuple[LanguageModel, Any, str]":
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
        )
    history = json.loads((run / _HISTORY).read_text(encoding="utf-8"))
    return model, vocabulary, str(history["level"])


def _scheme(name: str, rate: float) -> "Scheme":
    from bayesrnn import schemes
    from bayesrnn._checks import check_choice

    check_choice(name, "scheme", _SCHEMES)
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
