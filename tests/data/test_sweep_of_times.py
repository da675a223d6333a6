"""Times and steps as people write them: each file is read right, or refused with advice that works."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.data.sweep import (
    HOLED,
    KEPT,
    VALUES,
    D,
    File,
    H,
    M,
    N,
    check_command_line,
    check_read_or_refused,
    check_read_there,
    rows,
    steps,
)

Q, W, B = (steps(f) for f in ("QS-JAN", "W-MON", "B"))
YEARS_LONG = steps("YS", "1975-01-01")
MORNINGS = pd.DatetimeIndex([d + pd.Timedelta(hours=h) for d in steps("B", count=5) for h in range(9, 17)])
LUNCHES = pd.DatetimeIndex([d + pd.Timedelta(hours=h) for d in steps("B", count=7) for h in (9, 10, 11, 13, 14, 15)])[
    :N
]
SHIFTS = pd.DatetimeIndex([d + pd.Timedelta(hours=h) for d in D[:14] for h in (8, 14, 20)])[:N]
OLD = steps("MS", "1949-01-01")
BERLIN = pd.date_range("2020-10-24 12:00", periods=N, freq="h", tz="Europe/Berlin")
ENDING = [f"{(t - pd.Timedelta(hours=1)).date()},{(t - pd.Timedelta(hours=1)).hour + 1:02d}" for t in H]
DAYS_ANY = M + pd.to_timedelta([k * 7 % 27 for k in range(N)], unit="D")
FILES = {
    # dates
    "ISO days": File(rows(D.date), D, period=7),
    "days of Germany": File(rows(D.strftime("%d.%m.%Y")), D, period=7, said="'t' read as day first"),
    "days of America": File(rows(D.strftime("%m/%d/%Y")), D, period=7, said="'t' read as month first"),
    "two-digit years": File(rows(D.strftime("%d/%m/%y")), D, period=7, said="two-digit years.*day first"),
    "no zeros": File(rows([f"{t.month}/{t.day}/{t.year}" for t in D]), D, period=7, said="month first"),
    "twelve ambiguous days": File(
        rows([f"01/{k:02d}/11" for k in range(1, 13)], VALUES[:12]),
        steps("MS", "2011-01-01", 12),
        VALUES[:12],
        refused="--day-first or --month-first",
        advice={"day_first": True},
    ),
    "mmm-yy": File(rows(M.strftime("%b-%y")), M, said="two-digit years"),
    "mmm-yy of the last century": File(
        rows(steps("MS", "1949-01-01").strftime("%b-%y")), steps("MS", "1949-01-01"), said="read as 1930 to 2029"
    ),
    "month and year": File(rows(M.strftime("%B %Y")), M),
    "month names": File(rows(D.strftime("%d %b %Y")), D, period=7),
    "American month names": File(rows(D.strftime('"%b %d, %Y"')), D, period=7),
    "weekdays first": File(rows(D.strftime('"%a, %d %b %Y"')), D, period=7),
    "SAS": File(rows(D.strftime("%d%b%Y").str.upper()), D, period=7),
    "year-month": File(rows(M.strftime("%Y-%m")), M),
    "Eurostat months": File(rows(M.strftime("%YM%m")), M),
    "year.month": File(rows(M.strftime("%Y.%m")), M, said="year.month"),
    "yyyymm": File(rows(M.strftime("%Y%m")), M, said="year and month"),
    "yyyymmdd": File(rows(D.strftime("%Y%m%d")), D, period=7, said="year, month, day"),
    "month/year": File(rows(M.strftime("%m/%Y")), M),
    "quarters": File(rows([f"{t.year}Q{t.quarter}" for t in Q]), Q, period=4),
    "quarters the other way": File(rows([f"Q{t.quarter} {t.year}" for t in Q]), Q, period=4),
    "years": File(rows(YEARS_LONG.year), YEARS_LONG, period=1, said="read as years"),
    "years of R": File(rows([f"{t.year + (t.month - 1) / 12:.6f}" for t in M]), M, said="month as a fraction"),
    "ISO weeks": File(rows(W.strftime("%G-W%V")), W, period=52),
    "ISO week dates": File(rows(D.strftime("%G-W%V-%u")), D, period=7),
    "month of year one": File(
        rows([f"{1 + k // 12}-{1 + k % 12:02d}" for k in range(36)], VALUES[:36]),
        steps("MS", "2000-01-01", 36),
        VALUES[:36],
        refused="--every MS",
        advice={"time": None, "every": "MS"},
    ),
    "German month names": File(
        rows([f"{m} 2020" for m in ["Mär", "Apr", "Mai", "Jun"]], VALUES[:4]),
        steps("MS", "2020-03-01", 4),
        VALUES[:4],
        refused="'Mär 2020'.*--every MS",
        advice={"time": None, "every": "MS", "start": "2020-03-01"},
    ),
    # clocks
    "minutes missing at midnight": File(rows([str(t).removesuffix(" 00:00:00") for t in H]), H, period=24),
    "T and Z": File(rows(H.strftime("%Y-%m-%dT%H:%M:%SZ")), H.tz_localize("UTC"), period=24),
    "AM and PM": File(rows(H.strftime("%m/%d/%Y %I:%M %p")), H, said="month first", period=24),
    "AM and PM, long": File(
        rows(steps("h", "2020-01-13").strftime("%m/%d/%Y %I:%M:%S %p")),
        steps("h", "2020-01-13"),
        said="month first",
        period=24,
    ),
    "offsets that change": File(
        rows([t.isoformat() for t in BERLIN]), BERLIN.tz_convert("UTC"), period=24, said="read in UTC"
    ),
    "CET and CEST": File(
        rows(BERLIN.strftime("%Y-%m-%d %H:%M %Z")), BERLIN.tz_convert("UTC"), period=24, said="read in UTC"
    ),
    "clocks put back": File(
        rows(BERLIN.strftime("%Y-%m-%d %H:%M")),
        None,
        None,
        refused="2020-10-25 02:00 comes.*--duplicates mean",
        advice={"duplicates": "mean"},
        period=24,
    ),
    "offsets and days": File(
        rows([t.isoformat() for t in pd.date_range("2020-10-10", periods=N, tz="Europe/Berlin")]),
        steps("D", "2020-10-10"),
        period=7,
    ),
    "epoch seconds": File(rows(H.astype("datetime64[s]").astype("int64")), H, period=24, said="read as s since 1970"),
    "epoch milliseconds": File(rows(D.astype("datetime64[ms]").astype("int64")), D, period=7, said="ms since 1970"),
    "date and hour 1 to 24": File(
        rows(ENDING, head="day,hour,y"), H, options={"time": "day,hour"}, period=24, said="24 o'clock.*midnight"
    ),
    "24:00": File(
        rows(["2020-01-01 23:00", "2020-01-01 24:00", "2020-01-02 01:00"], VALUES[:3]),
        steps("h", "2020-01-01 23:00", 3),
        VALUES[:3],
        period=24,
        said="next midnight",
    ),
    "date and clock": File(
        rows(H.strftime("%Y-%m-%d,%H:%M"), head="date,time,y"), H, options={"time": "date,time"}, period=24
    ),
    "year and month": File(
        rows([f"{t.year},{t.month}" for t in M], head="Year,Month,y"), M, options={"time": "Year,Month"}
    ),
    "spans": File(
        rows(
            [
                f"{a:%d.%m.%Y %H:%M} - {b:%d.%m.%Y %H:%M}"
                for a, b in zip(steps("h", "2020-01-31"), steps("h", "2020-01-31 01:00"))
            ]
        ),
        steps("h", "2020-01-31"),
        period=24,
        said="start is read",
    ),
    # steps
    "15th of the month": File(rows((M + pd.Timedelta(days=14)).date), M + pd.Timedelta(days=14)),
    "last of the month": File(rows(steps("ME").date), steps("ME")),
    "any day of the month": File(rows(DAYS_ANY.date), M, said="first of each month"),
    "trading days": File(
        rows(B[KEPT].date, VALUES[KEPT]), B, HOLED, refused=r"resample\('B'\)", advice={"bridge": True}, period=5
    ),
    "business hours": File(rows(MORNINGS), MORNINGS, period=8, said="8 times per day, 09:00 to 16:00"),
    "business hours, holed": File(
        rows(MORNINGS[[k != 20 for k in range(N)]], np.delete(VALUES, 20)),
        MORNINGS,
        np.where(np.arange(N) == 20, np.nan, VALUES),
        refused="1 of 40 times are missing.*--bridge",
        advice={"bridge": True},
        period=8,
    ),
    "five minutes, rows missing": File(
        rows(steps("5min")[KEPT], VALUES[KEPT]),
        steps("5min"),
        HOLED,
        refused=r"resample\('5min'\)",
        advice={"bridge": True},
        period=288,
    ),
    "months missing": File(
        rows(M[KEPT].date, VALUES[KEPT]), M, HOLED, refused=r"resample\('MS'\)", advice={"bridge": True}
    ),
    "newest first": File(rows(D[::-1].date, VALUES[::-1]), D, period=7),
    "a day twice": File(
        rows([*D.date, D[3].date()], [*VALUES, 0]),
        D,
        np.where(np.arange(N) == 3, 0, VALUES),
        refused="--duplicates",
        advice={"duplicates": "last"},
        period=7,
    ),
    "numbered rows": File(rows(range(1, N + 1)), pd.RangeIndex(1, N + 1), refused="period=", advice={"period": 12}),
    # parts in several columns
    "year and quarter of floats": File(
        rows([f"{t.year}.0,{t.quarter}.0" for t in Q], head="year,quarter,y"),
        Q,
        options={"time": "year,quarter"},
        period=4,
    ),
    "day, month, year": File(
        rows(D.strftime("%d,%m,%Y"), head="Day,Month,Year,y"), D, options={"time": "Day,Month,Year"}, period=7
    ),
    "year and week": File(rows(W.strftime("%G,%V"), head="Year,Week,y"), W, options={"time": "Year,Week"}, period=52),
    "year and day of the year": File(
        rows(D.strftime("%Y,%j"), head="Year,DOY,y"), D, options={"time": "Year,DOY"}, period=7
    ),
    "year and month's name": File(rows(M.strftime("%Y,%b"), head="Year,Month,y"), M, options={"time": "Year,Month"}),
    # times that are moved
    "uneven seconds": File(
        rows(steps("10min") + pd.to_timedelta(np.arange(N) % 7, unit="s")), steps("10min"), period=144, said="10min"
    ),
    "a day each, at any hour": File(
        rows(D + pd.to_timedelta(np.arange(N) * 37 % 11, unit="h")), D, period=7, said="per day, at different times"
    ),
    "a week each, on any day": File(
        rows((W + pd.to_timedelta(np.arange(N) % 7 // 5, unit="D")).date), W, period=52, said="read as its Monday"
    ),
    "three times a day": File(rows(SHIFTS), SHIFTS, period=3, said="3 times per day, 08:00 to 20:00, on 7 days"),
    "a lunch break": File(rows(LUNCHES), LUNCHES, period=6, said="6 times per day, 09:00 to 15:00"),
    # other years
    "year first, two digits": File(rows(D.strftime("%y/%m/%d")), D, period=7, said="'t' read as year first"),
    "yy-mmm": File(rows(OLD.strftime("%y-%b")), OLD, said="read as 1930 to 2029"),
    "Q1-60": File(rows([f"Q{t.quarter}-{t:%y}" for t in Q]), Q, period=4, said="two-digit years"),
    "pairs of years": File(
        rows([f"{t.year}-{(t.year + 1) % 100:02d}" for t in YEARS_LONG]), YEARS_LONG, period=1, said="first of the two"
    ),
    "a date that is none": File(
        rows(["2021-02-28", "2021-02-29", "2021-03-01"], VALUES[:3]),
        steps("D", "2000-01-01", 3),
        VALUES[:3],
        refused="line 3 holds '2021-02-29'",
        advice={"time": None, "every": "D"},
        period=7,
    ),
    "an order that does not fit": File(
        rows(D.strftime("%d/%m/%Y")),
        D,
        options={"day_first": False},
        refused="line 14 holds '13/11/2019'.*give the other",
        advice={"day_first": True},
        period=7,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_right_or_refused_with_advice_that_works(name: str, tmp_path: Path) -> None:
    check_read_or_refused(FILES[name], tmp_path)


@pytest.mark.parametrize("name", [name for name, file in FILES.items() if file.refused and file.refused != "period="])
def test_the_command_line_refuses_in_one_line_and_reads_with_the_advice(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_command_line(FILES[name], tmp_path, capsys, monkeypatch)


def test_numbered_rows_need_no_season_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_read_there(FILES["numbered rows"], tmp_path, capsys, monkeypatch)
