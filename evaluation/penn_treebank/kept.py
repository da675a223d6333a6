"""Weights of a row that outlive its training: a saved model, in small parts where wanted, and digests."""

import tempfile
from pathlib import Path
from typing import Any

import bayesrnn as br
from bayesrnn.data import Vocabulary
from bayesrnn.models import LanguageModel
from evaluation import records

_FACTS = "row"  # the name of the JSON file beside the weights


def keep(
    model: LanguageModel, folder: Path, vocabulary: Vocabulary, result: dict[str, Any], part_bytes: int | None = None
) -> None:
    """Write a trained model and what is known of it to `folder`, in files of at most `part_bytes`."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    br.save(model, folder)
    if part_bytes is not None:
        for path in [path for path in folder.iterdir() if path.stat().st_size > part_bytes]:
            _cut(path, part_bytes)
    facts = {"vocabulary": vocabulary.fingerprint(), "sha256": records.checksums([folder]), "result": result}
    records.save(_FACTS, facts, folder=folder, data=[])  # the result within names the data


def opened(folder: Path, vocabulary: Vocabulary) -> tuple[LanguageModel, dict[str, Any]]:
    """Return the model that `keep` wrote, and its result as it was then.

    Raises:
        ValueError: If there is none, a file is missing or damaged, or it was trained with another vocabulary.
    """
    try:
        facts = records.load(_FACTS, folder)
        wanted, known, result = facts["sha256"], facts["vocabulary"], facts["result"]
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no kept weights: train that row first, without --judge-only.") from None
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / f'{_FACTS}.json'} cannot be read ({error!r}). Take a copy.") from None
    if known != vocabulary.fingerprint():
        raise ValueError(f"the weights in {folder} were trained with another vocabulary than that of this text.")
    there = records.checksums(path for path in folder.iterdir() if path.name in wanted)
    if wrong := sorted(name for name in wanted if there.get(name) != wanted[name]):
        raise ValueError(f"{folder}: {', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} missing or damaged.")
    with tempfile.TemporaryDirectory() as whole:
        for name in sorted(wanted):  # parts in their order
            with (Path(whole) / name.partition(".part-")[0]).open("ab") as file:
                file.write((folder / name).read_bytes())
        model = br.load(whole)
    if not isinstance(model, LanguageModel):
        raise ValueError(f"{folder} holds a {type(model).__name__}, not a language model.")
    return model, result


def _cut(path: Path, part_bytes: int) -> None:
    """Replace a file by its parts."""
    with path.open("rb") as file:
        number = 0
        while content := file.read(part_bytes):
            path.with_name(f"{path.name}.part-{number:03}").write_bytes(content)
            number += 1
    path.unlink()
