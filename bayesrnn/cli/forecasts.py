"""`bayesrnn forecast`: judge on the last part of a file, learn from all of it, keep the model, forecast."""

import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayesrnn.cli.forecast_files import numbers_of, read_frame, remember, whole
from bayesrnn.cli.options import Common, columns_of, stopped, with_common_options

if TYPE_CHECKING:
    from bayesrnn.estimators import BayesianRNNForecaster
    from bayesrnn.tables.forecast_page import ForecastPage


_ROLES = ("known", "past", "static")


@with_common_options
def forecast(
    file: Annotated[Path, typer.Argument(help="A csv file with a header line; or JSON lines, or Parquet.")],
    target: Annotated[str, typer.Option(help="Column of the values.")],
    horizon: Annotated[int, typer.Option(help="Steps ahead.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run: model, forecast, page, tables.")],
    time: Annotated[
        str | None, typer.Option(help="Column of the times; parts are joined by commas: date,hour.")
    ] = None,
    id: Annotated[str | None, typer.Option(help="Column that names the series, if there are several.")] = None,
    known: Annotated[
        str | None, typer.Option(help="Covariates known in advance; rows ahead without target hold them.")
    ] = None,
    past: Annotated[str | None, typer.Option(help="Covariates known afterwards only.")] = None,
    static: Annotated[str | None, typer.Option(help="Covariates that do not change over time.")] = None,
    future: Annotated[Path | None, typer.Option(help="File of the known covariates ahead.")] = None,
    season: Annotated[
        str | None, typer.Option(help="Steps of the seasons, as 24,168; by default from the time step.")
    ] = None,
    holidays: Annotated[
        str | None, typer.Option(help="Country, or part of one, whose holidays matter, as US or DE-BY.")
    ] = None,
    every: Annotated[str | None, typer.Option(help="Without times: the step, as 5min, h, D, B, W, MS, QS, YS.")] = None,
    start: Annotated[str | None, typer.Option(help="With --every: time of the first row.")] = None,
    day_first: Annotated[
        bool | None,
        typer.Option("--day-first/--month-first", help="How 03/04/2024 is read; by default as the file shows."),
    ] = None,
    decimal: Annotated[str | None, typer.Option(help="Decimal sign: . or ,; by default as the file shows.")] = None,
    missing: Annotated[
        str | None, typer.Option(help="Numbers that mean missing, as -9999,-200; none: keep such numbers.")
    ] = None,
    duplicates: Annotated[str, typer.Option(help="Times that come twice: mean, first, last or error.")] = "error",
    bridge: Annotated[
        bool, typer.Option("--bridge", help="Bridge missing values and rows; they are neither learned nor scored.")
    ] = False,
    units: Annotated[str, typer.Option(help="Units of the values, for labels.")] = "",
    hidden: Annotated[int, typer.Option(help="Units of the network.")] = 32,
    rate: Annotated[
        float | None, typer.Option(help="Rate of the masks; by default the better of two in the validation span.")
    ] = None,
    context: Annotated[int | None, typer.Option(help="Steps of history that the network reads.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training windows.")] = None,
    draws: Annotated[int | None, typer.Option(help="Mask sets per forecast; by default 200.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Seconds instead of minutes, and worse forecasts.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Replace the run that is there.")] = False,
    *,
    common: Common,
) -> None:
    """Forecast the series of a file with intervals: judged on its last fifth, then learned from all of it.

    Example: bayesrnn forecast sales.csv --time date --target sold --horizon 14 -o run
    """
    from bayesrnn._checks import check_whole

    reading = {
        "time": time, "target": target, "id": id, "known": columns_of(known), "past": columns_of(past),
        "static": columns_of(static), "every": every, "start": start, "day_first": day_first, "decimal": decimal,
        "missing": None if missing is None else numbers_of(missing), "duplicates": duplicates, "bridge": bridge,
        "units": units,
    }  # fmt: skip
    options: dict[str, Any] = {
        "horizon": check_whole(horizon, "--horizon"),
        "seasons": None if season is None else [whole(part, "--season") for part in columns_of(season)],
        "holidays": holidays,
        "hidden_size": min(hidden, 8) if quick else hidden,
        "context": None if context is None else check_whole(context, "--context"),
        "epochs": 2 if quick and epochs is None else epochs,
        "draws": (16 if quick else 200) if draws is None else draws,
        "likelihood": "gaussian" if quick else "auto",
        "dropout": 0.2 if quick and rate is None else rate,
        "seed": common.seed,
    }
    _run(file, future, output, reading, options, common, anew=anew)


def _run(
    file: Path,
    future: Path | None,
    output: Path,
    reading: dict[str, Any],
    options: dict[str, Any],
    common: Common,
    *,
    anew: bool,
) -> None:
    """Read, judge, learn from everything, forecast, and put the run in its place as a whole."""
    from bayesrnn.data.panels import without_future
    from bayesrnn.forecasting.panel import covariates_ahead, read_panel
    from bayesrnn.forecasting.record import Columns
    from bayesrnn.storage.run import held, same_request, training_folder
    from bayesrnn.tables.rows import aligned, ended_before, table_digest

    common.where()
    frame, names = read_frame(file, reading)
    if not reading["known"]:
        ahead = None
    elif future is None:
        frame, ahead = without_future(frame, names["time"], names["target"])
    else:
        ahead = read_frame(future, reading, ahead=True)[0]
    forecaster = _forecaster(options, reading, common)
    columns = Columns(names.get("id"), names["time"], names["target"], *(tuple(reading[role]) for role in _ROLES))
    records, encoding = read_panel(frame, columns)  # what cannot be used is refused before anything is learned
    ahead = aligned(ahead, columns, records)
    covariates_ahead(ahead if ahead is None or len(ahead) else None, records, columns, encoding, options["horizon"])
    if note := ended_before(records):
        common.say(f"Note: {note}")
    request = {"options": options, "reading": reading, "data": table_digest(frame)}
    request |= {} if ahead is None else {"ahead": table_digest(ahead)}
    with held(output):
        if same_request(output, request, anew):
            common.result({"run": str(output)}, f"{output} holds this run already; --anew makes it again.")
            return
        try:
            state = training_folder(output, request)
            page = _judged(forecaster, frame, ahead, names, reading["units"], common, state)
            summary = {"file": file.name, **forecaster.summary_}
            _keep(output, forecaster, page, summary, request, {"reading": reading}, ahead)
        except KeyboardInterrupt:
            raise stopped(output) from None
    _show(output, page, summary, common)


def _forecaster(options: dict[str, Any], reading: dict[str, Any], common: Common) -> "BayesianRNNForecaster":
    from bayesrnn.estimators import BayesianRNNForecaster

    roles = {role: reading[role] for role in _ROLES}
    return BayesianRNNForecaster(**options, **roles, progress=common.progress)


def _judged(
    forecaster: "BayesianRNNForecaster",
    frame: Any,
    ahead: Any,
    names: dict[str, str],
    units: str,
    common: Common,
    state: Path,
) -> "ForecastPage":
    """Judge a twin that learned from the first four fifths, fit the forecaster to everything, forecast."""
    from bayesrnn._progress import duration
    from bayesrnn.data.unequal import time_text
    from bayesrnn.estimators import BayesianRNNForecaster
    from bayesrnn.tables.forecast_page import ForecastPage
    from bayesrnn.tables.forecasts import histories_of, judge_ahead, time_needed
    from bayesrnn.tables.rows import held_out_start, learned_from, with_levels_of

    cut = held_out_start(frame, names["time"])
    begin = time_text(cut, frame[names["time"]])
    early, rows = BayesianRNNForecaster(**forecaster.get_params()), learned_from(frame, names, cut)
    covariates = (*forecaster.known, *forecaster.past, *forecaster.static)
    common.say(f"{len(frame)} rows; judged on those from {begin} on.")
    if early.likelihood == "auto":  # else it is --quick
        common.say_time("Judging and learning take", time_needed(forecaster), "--quick takes seconds")
    since, seconds = clock.perf_counter(), {}
    try:
        early.fit(rows, **names, checkpoint=state / "judged")
    except ValueError as error:
        raise ValueError(
            f"the first four fifths, which are learned from to judge the rest, cannot be used: {error}"
        ) from None
    seconds["learning to judge"] = clock.perf_counter() - since
    since = clock.perf_counter()
    judgement = judge_ahead(
        early, with_levels_of(frame, rows, covariates), cut, units=units, say=lambda text: common.say(f"· {text} ...")
    )
    seconds["judging"] = clock.perf_counter() - since
    common.say(f"· learning from everything, about {duration(seconds['learning to judge'])} ...")
    since = clock.perf_counter()
    forecaster.fit(frame, **names, checkpoint=state / "kept")
    seconds["learning from everything"] = clock.perf_counter() - since
    distribution = forecaster.predict_distribution(known=ahead)
    forecaster.progress = False
    setup = (
        f"Judged by a twin that learned from the rows before {begin}, on {len(judgement.test)} origins, "
        f"{forecaster.horizon} steps each, {forecaster.draws} mask sets; then learned again from all {len(frame)} rows."
    )
    return ForecastPage(
        judgement, setup, units, distribution, forecaster.predict(known=ahead), histories_of(forecaster), seconds,
        forecaster._fitted().columns.target,
    )  # fmt: skip


def _keep(
    output: Path,
    forecaster: "BayesianRNNForecaster",
    page: "ForecastPage",
    summary: dict[str, Any],
    request: dict[str, Any],
    details: dict[str, Any],
    ahead: Any,
) -> None:
    from bayesrnn.storage.run import Manifest, replaced, write_run

    with replaced(output) as folder:
        forecaster.save(folder / "model")
        remember(folder, ahead)
        page.save(folder)
        write_run(folder, Manifest("forecast", summary, page.judgement.scores(), request, details))


def _show(output: Path, page: "ForecastPage", summary: dict[str, Any], common: Common) -> None:
    from rich.console import Console

    from bayesrnn.cli.shown import score_grid

    if not common.json and not common.quiet:
        Console().print(score_grid(page.judgement.comparison, page.units))
    common.result(
        {"run": str(output), "scores": page.judgement.scores(), "data": summary, **page.to_dict()},
        *(text for text, _ in page.sentences),
        f"The forecast is {output / 'forecast.csv'}; open {output / 'report.html'} in a browser. With newer rows: "
        f"bayesrnn predict {output} NEW.csv -o tomorrow.csv",
    )
