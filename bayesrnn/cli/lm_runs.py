"""A run of a language model: its folder, read back with care, and the options of its commands."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import torch

    from bayesrnn.data import Vocabulary
    from bayesrnn.models import LanguageModel
    from bayesrnn.schemes import Scheme
    from bayesrnn.training.recipes import Recipe

VOCABULARY, MODEL, HISTORY = "vocabulary.json", "model", "history.json"
HISTORY_FORMAT, FACTS = "bayesrnn.history/2", ("level", "vocabulary", "text", "train", "epochs")
_UNFINISHED = " Was a training begun anew there and not finished? Then run it to its end; else restore the file."

Run = Annotated[Path, typer.Argument(help="Folder of the run: model, vocabulary, checkpoint, history.")]


def check_run(run: Path) -> None:
    """Refuse, before any work is done, a run whose model would overwrite something else."""
    place = run / MODEL
    empty = place.is_dir() and not any(place.iterdir())
    if place.exists() and not empty and not (place / "model.json").is_file():
        raise ValueError(
            f"{place}, where the model is to be written, exists and is no saved model. It is left alone: give another "
            "folder, or move it away."
        )


def text_digest(path: Path) -> str:
    """Return a short digest that two texts share only if they are equal, whatever their line ends."""
    from bayesrnn.data.text import lines_of, read_text

    return hashlib.sha256("\n".join(lines_of(read_text(path))).encode()).hexdigest()[:16]


def opened(run: Path, where: "torch.device") -> "tuple[LanguageModel, Vocabulary, dict[str, Any]]":
    """Return the model (on the device), the vocabulary and the facts of a finished run."""
    from bayesrnn.data import Vocabulary
    from bayesrnn.models import LanguageModel
    from bayesrnn.storage import load

    if not (run / MODEL).is_dir():
        raise ValueError(f"{run} holds no trained model. Run `bayesrnn lm train TEXT {run}` to its end first.")
    model = load(run / MODEL)
    vocabulary = Vocabulary.load(run / VOCABULARY)
    if not isinstance(model, LanguageModel) or model.vocabulary_size != len(vocabulary):
        size = getattr(model, "vocabulary_size", "no")
        raise ValueError(
            f"the model in {run} is for another vocabulary: it has {size} tokens, the vocabulary {len(vocabulary)}."
            f"{_UNFINISHED}"
        )
    facts = _facts(run / HISTORY)
    if facts["vocabulary"] != vocabulary.fingerprint():
        raise ValueError(
            f"the model in {run} is for another vocabulary than {run / VOCABULARY}: the tokens or their order differ."
            f"{_UNFINISHED}"
        )
    return model.to(where), vocabulary, facts


def _facts(path: Path) -> dict[str, Any]:
    """Read what the training noted."""
    from bayesrnn._documents import read_document
    from bayesrnn.data.text import LEVELS

    fix = "Run the same `bayesrnn lm train` again: it writes the file anew, without training again."
    if not path.is_file():
        raise ValueError(f"there is no {path}, which says whether the model is of words or characters. {fix}")
    facts = read_document(path, HISTORY_FORMAT, FACTS, fix=fix)
    if facts["level"] not in LEVELS:
        raise ValueError(f"{path} does not say whether the model is of words or characters. {fix}")
    return facts


SCHEMES = ("none", "zaremba", "naive", "gal", "gal-tied", "moon")
RECIPES = ("zaremba", "gal", "one-cycle", "adamw")
RATE = 0.2

BatchSize = Annotated[int, typer.Option(min=1, help="Parallel rows.")]
Window = Annotated[int, typer.Option(min=1, help="Steps of a window.")]


def chosen_scheme(name: str, rate: float | None) -> "Scheme":
    """Return the scheme of a name at a rate, `RATE` if none is given.

    Raises:
        ValueError: If there is no such scheme, the rate is outside [0, 1), or `none` is given one.
    """
    from bayesrnn import schemes
    from bayesrnn._checks import check_choice, check_rate

    check_choice(name, "--scheme", SCHEMES)
    if rate is not None:
        check_rate(rate, "--rate")
    if name == "none":
        if rate:
            raise ValueError(
                f"--scheme none drops nothing, but --rate {rate:g} was given. Leave --rate out, or choose a scheme "
                f"that drops: {', '.join(SCHEMES[1:])}."
            )
        return schemes.none()
    rate = RATE if rate is None else rate
    if rate == 0.0:
        return schemes.none()
    return schemes.gal(rate, gates="tied") if name == "gal-tied" else getattr(schemes, name)(rate)


def chosen_recipe(name: str, epochs: int, batch_size: int, window: int, precision: str | None) -> "Recipe":
    """Return the recipe of a name, squeezed into `epochs`."""
    from bayesrnn._checks import check_choice
    from bayesrnn.training.recipes import AdamW, Recipe, gal, one_cycle, zaremba

    check_choice(name, "--recipe", RECIPES)
    if name == "adamw":
        return Recipe(epochs, AdamW(), batch_size, window, clip=1.0, precision=precision)
    wholes = {"zaremba": zaremba("small"), "gal": gal("medium"), "one-cycle": one_cycle()}
    return replace(wholes[name].shortened(epochs), batch_size=batch_size, window=window, precision=precision)
