"""What is done with a run: predict, update, calibrate, compare, audit, and the list of runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesrnn.cli import forecast_runs
from bayesrnn.cli.options import Common, check_table_name, with_common_options, write_table

if TYPE_CHECKING:
    from bayesrnn.data.labelled import Labelled
    from bayesrnn.storage.run import Manifest
    from bayesrnn.tables import SequenceRun

_RUN = Annotated[Path, typer.Argument(help="Folder of a run.")]
_FILE = Annotated[Path, typer.Argument(help="A file like the one that the run was trained on.")]
_FOLDER = Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the page; by default in the run.")]
_SEQUENCES, _FORECASTS = ("classify", "regress"), ("forecast",)


@with_common_options
def predict(
    run: _RUN,
    file: Annotated[
        Path | None,
        typer.Argument(help="Rows to predict; of a forecast newer rows, or none: it goes on from those it knows."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The table: .csv, .parquet or .json (a line per row).")
    ] = Path("predictions.csv"),
    level: Annotated[float, typer.Option(help="Level of the sets of classes.")] = 0.9,
    risk: Annotated[float, typer.Option(help="Share of wrong answers accepted: beyond it rows abstain.")] = 0.05,
    future: Annotated[Path | None, typer.Option(help="Of a forecast: file of the known covariates ahead.")] = None,
    *,
    common: Common,
) -> None:
    """Predict the rows of a file with a run, or forecast from the newest rows, without training.

    Example: bayesrnn predict run new.csv -o predictions.csv
    """
    from bayesrnn.storage.run import read_run

    check_table_name(output)
    manifest = read_run(run, (*_SEQUENCES, *_FORECASTS))
    if manifest.kind in _FORECASTS:
        frame = forecast_runs.predicted(run, manifest, file, future, common)
        note = shortage = ""
    else:
        if file is None:
            raise ValueError(f"which rows? {run} predicts rows of a file: bayesrnn predict {run} FILE -o {output}.")
        task, data = _opened(run, manifest, file, common, need_target=False)
        frame = task.frame(data, level=level, risk=risk)
        note = f"; {int((~frame['abstain']).sum())} answered" if "abstain" in frame else ""
        shortage = task.shortage(risk)
    write_table(frame, output)
    common.result(
        {"output": str(output), "rows": len(frame)} | ({"note": shortage} if shortage else {}),
        f"{len(frame)} rows are in {output}{note}.",
        *([f"Note: {shortage}"] if shortage else []),
    )


@with_common_options
def calibrate(run: _RUN, file: _FILE, output: _FOLDER = None, *, common: Common) -> None:
    """Judge a run on new rows of a file: calibration report, and sets and abstention of classes.

    Example: bayesrnn calibrate run labelled.csv
    """
    from bayesrnn.storage.run import read_run

    manifest, folder = read_run(run, (*_SEQUENCES, *_FORECASTS)), output or run / "calibrate"
    title = f"{run.name} on {file.name}"
    if manifest.kind in _FORECASTS:
        report = forecast_runs.reported(run, manifest, file, common, title)
        page = report.save(folder)
        common.result(report.to_dict(), report.sentence, f"Open {page} in a browser.")
        return
    from bayesrnn.tables import judge

    task, data = _opened(run, manifest, file, common, need_target=True, least=2)
    judgement = judge(task, data, title=title)
    judgement.save(folder)
    common.result(
        {"scores": judgement.scores(), "sentences": judgement.sentences},
        *judgement.sentences,
        f"Open {folder / 'report' / 'report.html'} in a browser.",
    )


@with_common_options
def compare(run: _RUN, file: _FILE, output: _FOLDER = None, *, common: Common) -> None:
    """Compare MC dropout with the deterministic pass (and a forecast with baselines) on new rows of a file.

    Example: bayesrnn compare run labelled.csv
    """
    from bayesrnn.storage.run import read_run

    manifest = read_run(run, (*_SEQUENCES, *_FORECASTS))
    if manifest.kind in _FORECASTS:
        shown = forecast_runs.judged_later(run, manifest, file, common)
        page = shown.save(output or run / "compare")
        common.result(shown.to_dict(), *(text for text, _ in shown.sentences), f"Open {page} in a browser.")
        return
    from bayesrnn.tables.judgement import compared

    task, data = _opened(run, manifest, file, common, need_target=True, least=2)
    comparison = compared(task, data)
    page = comparison.save(output or run / "compare")
    common.result(comparison.to_dict(), comparison.sentence, f"Open {page} in a browser.")


@with_common_options
def update(run: _RUN, file: _FILE, *, common: Common) -> None:
    """Take new rows in: a forecast goes on from them, sequences are recalibrated on them; the weights stay.

    Example: bayesrnn update run new.csv
    """
    from dataclasses import replace

    from bayesrnn.storage.run import changed, held, read_run, write_run

    with held(run), changed(run) as new:
        manifest = read_run(run, (*_SEQUENCES, *_FORECASTS))
        if manifest.kind in _FORECASTS:
            manifest, text = forecast_runs.updated(run, new, manifest, file, common)
        else:
            from bayesrnn.cli.sequences import recalibrate_on

            task, data = _opened(run, manifest, file, common, need_target=True, least=4)
            task = recalibrate_on(task, data, common.seed)
            task.save(new / "model")
            manifest = replace(manifest, details=task.details())
            text = f"{run} is recalibrated on {len(data)} rows of {file.name}."
        write_run(new, manifest)
    common.result({"run": str(run), "data": manifest.data}, text)


@with_common_options
def audit(run: _RUN, *, common: Common) -> None:
    """List what is stochastic in the model of a run at test time, and at which rate.

    Example: bayesrnn audit run
    """
    from bayesrnn.inference import audit as audited

    listed = audited(_network(run))
    common.result({"sites": listed.to_frame().to_dict("records")}, str(listed))


@with_common_options
def models(
    folder: Annotated[Path, typer.Argument(help="Where to look for runs.")] = Path("."), *, common: Common
) -> None:
    """List the runs in a folder with their data, dates and scores.

    Example: bayesrnn models
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from bayesrnn.report.format import number
    from bayesrnn.storage.run import find_runs, read_run

    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}.")
    runs = {place: read_run(place) for place in find_runs(folder)}
    if common.json:
        keys = ("kind", "data", "date", "scores")
        common.result({str(place): {key: getattr(m, key) for key in keys} for place, m in runs.items()})
        return
    if not runs:
        common.say(f"There are no runs in {folder}.")
        return
    grid = Table(box=SIMPLE)
    for name in ("run", "kind", "data", "date", "scores"):
        grid.add_column(name, overflow="fold")
    for place, manifest in runs.items():
        scores = ", ".join(f"{name} {number(value)}" for name, value in manifest.scores.items())
        grid.add_row(str(place), manifest.kind, str(manifest.data.get("file", "")), manifest.date[:10], scores)
    if not common.quiet:
        Console().print(grid)


def _opened(
    run: Path, manifest: "Manifest", file: Path, common: Common, *, need_target: bool, least: int = 1
) -> "tuple[SequenceRun, Labelled]":
    """Return the model of a run, and the rows of a file, read as the training file was."""
    from bayesrnn.data.labelled import read_labelled
    from bayesrnn.tables import SequenceRun

    task = SequenceRun.load(run / "model", manifest.kind, manifest.details, common.where())
    columns: dict[str, Any] = dict(task.columns)
    if not need_target:
        columns["target"] = None
        columns["group"] = columns["group"] if task.sets is not None and task.sets.by == "group" else None
    data = read_labelled(file, **columns)
    if len(data) < least:
        raise ValueError(
            f"{file} holds {len(data)} labelled rows, but this takes {least} or more (and a few hundred to say much)."
        )
    return task, data


def _network(run: Path) -> Any:
    """Return the network of a run of any kind."""
    if (run / "model" / "forecaster.json").is_file():
        from bayesrnn.estimators import BayesianRNNForecaster

        return BayesianRNNForecaster.load(run / "model")._fitted().fitted.network
    from bayesrnn.storage import load

    if not (run / "model").is_dir():
        raise ValueError(f"{run} holds no model. Give the folder of a finished run.")
    return load(run / "model")
