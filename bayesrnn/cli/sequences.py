"""`bayesrnn classify` and `bayesrnn regress`: sequences of a file, a class or a number each."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesrnn.cli.options import Common, columns_of, stopped, with_common_options

if TYPE_CHECKING:
    from bayesrnn.data.labelled import Labelled
    from bayesrnn.tables import Judgement, SequenceRun, Settings

_FILE = Annotated[
    Path,
    typer.Argument(
        help="A csv file with a header (or JSON lines, Parquet), a .ts file, a .npz archive, or a folder of texts per "
        "class."
    ),
]
_OUTPUT = Annotated[Path, typer.Option("--output", "-o", help="Folder of the run: model, report, tables.")]
_TARGET = Annotated[str | None, typer.Option(help="Column of what is to be predicted.")]
_TEXT = Annotated[str | None, typer.Option(help="Column of texts: a row is a sequence.")]
_SEQUENCE = Annotated[
    str | None, typer.Option(help="Columns of the steps, in order, as t* or a,b,c; of a .npz the array.")
]
_ID = Annotated[str | None, typer.Option(help="Column that says to which sequence a row (a step) belongs.")]
_TIME = Annotated[str | None, typer.Option(help="With --id: column by which steps are ordered.")]
_FEATURES = Annotated[str | None, typer.Option(help="With --id: columns of numbers of a step; by default all.")]
_GROUP = Annotated[str | None, typer.Option(help="Column of groups that are not torn apart, such as speakers.")]
_TEST = Annotated[Path | None, typer.Option(help="File of test rows; by default 14 % of the rows.")]
_HIDDEN = Annotated[int, typer.Option(help="Hidden units.")]
_LAYERS = Annotated[int, typer.Option(help="Recurrent layers.")]
_RATE = Annotated[float, typer.Option(help="Rate of the masks.")]
_CELL = Annotated[str, typer.Option(help="lstm, gru or rnn.")]
_LEVEL = Annotated[str | None, typer.Option(help="Tokens of texts: word or character; by default by their length.")]
_EPOCHS = Annotated[int, typer.Option(help="Most passes over the training rows.")]
_PATIENCE = Annotated[int, typer.Option(help="Epochs without a better loss before the training stops.")]
_DRAWS = Annotated[int, typer.Option(help="Mask sets per prediction.")]
_QUICK = Annotated[bool, typer.Option("--quick", help="Seconds instead of minutes, and worse.")]
_ANEW = Annotated[bool, typer.Option("--anew", help="Replace the run that is there.")]


@with_common_options
def classify(
    file: _FILE,
    output: _OUTPUT,
    target: _TARGET = None,
    text: _TEXT = None,
    sequence: _SEQUENCE = None,
    id: _ID = None,
    time: _TIME = None,
    features: _FEATURES = None,
    group: _GROUP = None,
    test: _TEST = None,
    sets: Annotated[str, typer.Option(help="Scores of the sets of classes: lac, aps or raps.")] = "lac",
    by: Annotated[str | None, typer.Option(help="Sets with a bound for each: class or group.")] = None,
    hidden: _HIDDEN = 64,
    layers: _LAYERS = 1,
    rate: _RATE = 0.25,
    cell: _CELL = "lstm",
    level: _LEVEL = None,
    epochs: _EPOCHS = 60,
    patience: _PATIENCE = 6,
    draws: _DRAWS = 100,
    quick: _QUICK = False,
    anew: _ANEW = False,
    *,
    common: Common,
) -> None:
    """Train a classifier of sequences, judge it on rows it has not seen, and keep it for `bayesrnn predict`.

    Example: bayesrnn classify reviews.csv --text review --target verdict -o run
    """
    from bayesrnn.tables import Settings

    settings = Settings(
        "classify", hidden, layers, rate, cell, level=level, epochs=epochs, patience=patience, draws=draws, score=sets,
        by=by, seed=common.seed,
    )  # fmt: skip
    columns = _columns(target, text, sequence, id, time, features, group)
    _train(file, test, output, settings, columns, common, quick=quick, anew=anew)


@with_common_options
def regress(
    file: _FILE,
    output: _OUTPUT,
    target: _TARGET = None,
    text: _TEXT = None,
    sequence: _SEQUENCE = None,
    id: _ID = None,
    time: _TIME = None,
    features: _FEATURES = None,
    group: _GROUP = None,
    test: _TEST = None,
    likelihood: Annotated[
        str, typer.Option(help="gaussian, homoscedastic, student_t, poisson or negative_binomial.")
    ] = "gaussian",
    hidden: _HIDDEN = 64,
    layers: _LAYERS = 1,
    rate: _RATE = 0.1,
    cell: _CELL = "lstm",
    level: _LEVEL = None,
    epochs: _EPOCHS = 60,
    patience: _PATIENCE = 6,
    draws: _DRAWS = 100,
    quick: _QUICK = False,
    anew: _ANEW = False,
    *,
    common: Common,
) -> None:
    """Train a network that predicts a number for a sequence, with intervals; judge it and keep it.

    Example: bayesrnn regress machines.csv --id machine --time hour --target wear -o run
    """
    from bayesrnn.tables import Settings

    settings = Settings(
        "regress", hidden, layers, rate, cell, likelihood, level=level, epochs=epochs, patience=patience, draws=draws,
        seed=common.seed,
    )  # fmt: skip
    columns = _columns(target, text, sequence, id, time, features, group)
    _train(file, test, output, settings, columns, common, quick=quick, anew=anew)


def _columns(
    target: str | None,
    text: str | None,
    sequence: str | None,
    id: str | None,
    time: str | None,
    features: str | None,
    group: str | None,
) -> dict[str, Any]:
    """Return the arguments of `read_labelled`."""
    lists = {"sequence": columns_of(sequence), "features": columns_of(features)}
    return {"target": target, "text": text, "id": id, "time": time, "group": group, **lists}


def _train(
    file: Path,
    test: Path | None,
    output: Path,
    settings: "Settings",
    columns: dict[str, Any],
    common: Common,
    *,
    quick: bool,
    anew: bool,
) -> None:
    """Read, train, judge, and put the run in its place as a whole."""
    from bayesrnn.data.labelled import read_labelled
    from bayesrnn.storage.run import held, same_request, training_folder
    from bayesrnn.tables import judge, learn, time_needed
    from bayesrnn.tables.learning import prepared
    from bayesrnn.tables.parts import fingerprint

    where = common.where()
    settings = settings.quick() if quick else settings
    data = read_labelled(file, **columns)
    own_test = None if test is None else read_labelled(test, **columns)
    ready = prepared(data, settings, own_test)
    request = {"settings": asdict(settings), "columns": columns, "data": fingerprint(data)}
    request |= {} if own_test is None else {"test": fingerprint(own_test)}
    with held(output):
        if same_request(output, request, anew):
            common.result({"run": str(output)}, f"{output} holds this run already; --anew makes it again.")
            return
        common.say(_what(file, data, ready.parts))
        if not quick:
            common.say_time("Training takes at most", time_needed(ready, settings, where), "--quick takes seconds")
        try:
            state = training_folder(output, request)
            run = learn(ready, settings, columns=columns, device=where, checkpoint=state, progress=common.progress)
        except KeyboardInterrupt:
            raise stopped(output) from None
        common.say("Judging it on rows it has not seen ...")
        title = f"{file.name}: {settings.kind}"
        judgement = judge(run, ready.parts["test"], title=title, resamples=200 if quick else 1000)
        summary = {"file": file.name, "sequences": len(data), **{k: len(v) for k, v in ready.parts.items()}}
        _keep(output, run, judgement, summary, request)
    common.result(
        {"run": str(output), "scores": judgement.scores(), "data": summary, "sentences": judgement.sentences},
        *judgement.sentences,
        *(f"Note: {note}" for note in run.notes),
        f"The run is in {output}: open {output / 'report' / 'report.html'} in a browser. "
        f"New rows: bayesrnn predict {output} NEW -o predictions.csv",
    )


def _keep(
    output: Path, run: "SequenceRun", judgement: "Judgement", summary: dict[str, Any], request: dict[str, Any]
) -> None:
    from bayesrnn.storage.run import Manifest, replaced, write_run

    with replaced(output) as folder:
        run.save(folder / "model")
        judgement.save(folder)
        write_run(folder, Manifest(run.kind, summary, judgement.scores(), request, run.details()))


def _what(file: Path, data: "Labelled", parts: dict[str, Any]) -> str:
    """Say what was read, and which rows serve for what."""
    sizes = ", ".join(
        f"{len(parts[name])} {words}"
        for name, words in (
            ("train", "to train"), ("watch", "to stop in time"), ("calibrate", "to calibrate"), ("test", "to judge")
        )
    )  # fmt: skip
    kind = "texts" if data.are_texts else f"sequences of {len(data.features)} features"
    return f"{file.name}: {len(data)} {kind}; {sizes}."


def recalibrate_on(run: "SequenceRun", data: "Labelled", seed: int) -> "SequenceRun":
    """Return the run with recalibration and sets fitted anew on labelled rows, half for each."""
    import numpy as np

    from bayesrnn.tables.learning import recalibrated

    order = np.random.default_rng(seed).permutation(len(data))
    half = len(order) // 2
    score, by = ("lac", None) if run.sets is None else (run.sets.score, run.sets.by)
    return recalibrated(replace(run, notes=()), data[order[:half]], data[order[half:]], score, by)
