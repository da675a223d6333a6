"""Tables and numbers as people write them: each file is read right, or refused with advice that works."""

import gzip
import json
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
    M,
    N,
    check_command_line,
    check_read_or_refused,
    rows,
    steps,
)

COMMA = [f"{v:.2f}".replace(".", ",") for v in VALUES]
COUNTED = "y\n" + "\n".join(map(str, VALUES))
SIXTH = np.where(np.arange(N) == 5, np.nan, VALUES)
MARKED = np.append(VALUES[:-1], -9999)
NAMES = ",".join(f"c{k}" for k in range(300))
WIDE = rows(D.date, [f"{'1,' * 300}{v}" for v in VALUES], head=f"t,{NAMES},y")
RECORDS = [{"t": str(t.date()), "y": v} for t, v in zip(D, VALUES)]

FILES = {
    "semicolons and commas": File(
        rows(D.date, COMMA, head="t;y", sign=";"), D, period=7, said="semicolons.*decimal commas"
    ),
    "Excel's German export": File(
        ("sep=;\r\n" + rows(D.strftime("%d.%m.%Y"), COMMA, head="Tag;Größe", sign=";").replace("\n", "\r\n")).encode(
            "cp1252"
        ),
        D,
        options={"time": "Tag", "target": "Größe"},
        period=7,
        said="Windows-1252.*semicolons.*decimal commas.*day first",
    ),
    "Excel's Unicode text": File(rows(D.date, head="t\ty", sign="\t").encode("utf-16"), D, period=7, said="tabs"),
    "byte order mark": File(b"\xef\xbb\xbf" + rows(D.date).encode(), D, period=7),
    "thousands in quotes": File(
        rows(D.date, [f'"{1e5 * v:,.2f}"' for v in VALUES]), D, 1e5 * VALUES, period=7, said="sign of thousands"
    ),
    "thousands only": File(
        rows(D.date, [f'"{1000 * (5 + k):,}"' for k in range(N)]),
        D,
        1000 * (5.0 + np.arange(N)),
        refused="--decimal",
        advice={"decimal": "."},
        period=7,
    ),
    "percent": File(rows(D.date, [f"{v}%" for v in VALUES]), D, period=7, said="percent"),
    "dollars": File(rows(D.date, [f"${v}" for v in VALUES]), D, period=7),
    "accountants": File(rows(D.date, [f"({v})" for v in VALUES]), D, -VALUES, period=7),
    "no header": File(rows(D.date, head=""), D, options={"time": "1", "target": "2"}, period=7, said="no header"),
    "no header, names asked": File(
        rows(D.date, head=""),
        D,
        refused="no header line.*by their number",
        advice={"time": "1", "target": "2"},
        period=7,
    ),
    "no times": File(
        "y\n" + "\n".join(map(str, VALUES)),
        steps("MS", "2000-01-01"),
        options={"time": None, "every": "month"},
        said="2000-01-01",
    ),
    "no times, no header": File(
        "\n".join(map(str, VALUES)),
        D,
        options={"time": None, "target": "1", "every": "D", "start": "2019-11-01"},
        said="no header",
        period=7,
    ),
    "comments": File("# station 7\n# made by hand\n" + rows(D.date) + "# the end\n", D, period=7),
    "title lines": File("Sales of a shop\n\n" + rows(D.date), D, period=7, said="the header is line 3"),
    "trailing commas": File(rows(D.date, [f"{v}," for v in VALUES]), D, period=7),
    "trailing commas in the header too": File(rows(D.date, [f"{v},," for v in VALUES], head="t,y,,"), D, period=7),
    "blanks in the header": File(rows(D.date, head=" t , y "), D, period=7),
    "other capitals": File(rows(D.date, head="T,Y"), D, period=7, said="column 'T' taken for 't'"),
    "empty last rows": File(rows(D.date) + ",\n\n,\n", D, period=7),
    "a foot": File(rows(D.date) + "Source: the office of numbers\n", D, period=7, said="1 line of words"),
    "a total and a note": File(
        rows(D.date) + "Total,1770\nNote: made by hand, twice\n", D, period=7, said="2 lines of words"
    ),
    "a title as last line": File(
        rows(M.strftime("%Y-%m")) + '"Sales of the shop of Mr. Smith, Jan 49 to Dec 60",\n', M, said="1 line of words"
    ),
    "a month without a value as last line": File(
        rows(M.strftime("%B %Y"), [*VALUES[:-1], ""]), M, np.append(VALUES[:-1], np.nan), options={"bridge": True}
    ),
    "the header again": File(rows(D[:9].date) + rows(D[9:].date, VALUES[9:]), D, period=7, said="again in line 11"),
    "a value without a time at the end": File(rows(D.date) + ",5\n", D, refused="the time in line 42 of .* is empty"),
    "index column": File(rows([f"{k},{t.date()}" for k, t in enumerate(D)], head=",t,y"), D, period=7),
    "row names of R": File(rows([f'"{k + 1}","{t.date()}"' for k, t in enumerate(D)], head='"t","y"'), D, period=7),
    "columns by blanks": File(rows(M.strftime("%Y-%m"), head="t    y", sign="   "), M, said="separated by blanks"),
    "many columns": File(WIDE, D, period=7),
    "many columns, wrong name": File(
        WIDE,
        D,
        options={"target": "yy"},
        refused=r"c8 and 292 more\. Did you mean 'y'",
        advice={"target": "y"},
        period=7,
    ),
    "decimal commas among commas": File(
        rows(D.date, COMMA), D, refused="line 2 has 3 fields where the header has 2.*semicolons"
    ),
    "sentinels": File(
        rows(D.date, np.where(KEPT, VALUES, -9999)),
        D,
        HOLED,
        refused="3 of 40 values are missing.*-9999 of 'y'",
        advice={"bridge": True},
        period=7,
    ),
    "sentinels of the air": File(
        rows(D.date, np.where(KEPT, VALUES, -200)),
        D,
        HOLED,
        options={"bridge": True},
        period=7,
        said="values -200 of 'y'",
    ),
    "points for missing": File(
        rows(D.date, [v if k else "." for v, k in zip(VALUES, KEPT)]),
        D,
        HOLED,
        refused=r"3 of 40 values are missing",
        advice={"bridge": True},
        period=7,
    ),
    "JSON lines": File("\n".join(map(json.dumps, RECORDS)), D, name="f.jsonl", period=7),
    "JSON": File(json.dumps(RECORDS), D, name="f.json", period=7),
    "no Parquet, or no pyarrow": File(b"PAR1", D, name="f.parquet", refused="pyarrow|not a Parquet file"),
    "a workbook": File(b"PK\x03\x04 and more", D, name="f.xlsx", refused="Save the sheet as csv"),
    "no date": File(
        rows(["soon", "later", "last"], VALUES[:3]),
        steps("D", "2000-01-01", 3),
        VALUES[:3],
        refused="neither dates nor numbers.*line 2 holds 'soon'.*--every",
        advice={"time": None, "every": "D"},
        period=7,
    ),
    "JSON by columns": File(
        json.dumps({"t": [str(t.date()) for t in D], "y": VALUES.tolist()}), D, name="f.json", period=7
    ),
    "packed": File(gzip.compress(rows(D.date).encode()), D, name="f.csv.gz", period=7),
    "UTF-16 without a mark": File(rows(D.date).encode("utf-16-be"), D, period=7),
    "only a header": File("t,y\n", D, refused="a header but no rows"),
    "one column": File(
        rows(D.date), D, options={"target": "t"}, refused="times or values, not both", advice={"target": "y"}, period=7
    ),
    "an empty line among counted rows": File(
        "y\n" + "\n".join("" if k == 5 else str(v) for k, v in enumerate(VALUES)),
        D,
        SIXTH,
        options={"time": None, "every": "daily", "start": "2019-11-01"},
        refused="1 of 40 values are missing",
        advice={"bridge": True},
        period=7,
    ),
    "an empty cell among counted rows": File(
        "y,z\n" + "\n".join(f"{'' if k == 5 else v},1" for k, v in enumerate(VALUES)),
        D,
        SIXTH,
        options={"time": None, "every": "daily", "start": "2019-11-01", "bridge": True},
        period=7,
    ),
    "months counted from the 15th": File(
        COUNTED,
        M + pd.Timedelta(days=14),
        options={"time": None, "every": "MS", "start": "2019-11-15"},
    ),
    "a start between steps": File(
        COUNTED,
        steps("B"),
        options={"time": None, "every": "B", "start": "2019-11-02"},
        refused="the first one after it is 2019-11-04",
        advice={"start": "2019-11-01"},
        period=5,
    ),
    "sentinels near values that are never negative": File(
        rows(D.date, np.where(KEPT, 40 * VALUES, -200)),
        D,
        40 * HOLED,
        options={"bridge": True},
        period=7,
        said="values -200 of 'y'",
    ),
    "numbers that look like sentinels": File(
        rows(D.date, [*VALUES[:-2], -99, 99]), D, np.append(VALUES[:-2], [-99, 99]), period=7
    ),
    "points of thousands and decimal commas": File(
        rows(D.date, [f"1.{k + 100},50 €" for k in range(N)], head="t;y", sign=";"),
        D,
        1100.5 + np.arange(N),
        period=7,
        said="decimal commas; '.' in 'y' read as the sign of thousands",
    ),
    "a mark of one's own": File(
        rows(D.date, np.where(KEPT, VALUES, 77.7)), D, HOLED, options={"missing": [77.7], "bridge": True}, period=7
    ),
    "a sentinel kept": File(rows(D.date, MARKED), D, MARKED, options={"missing": []}, period=7),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_right_or_refused_with_advice_that_works(name: str, tmp_path: Path) -> None:
    check_read_or_refused(FILES[name], tmp_path)


@pytest.mark.parametrize("name", [name for name, file in FILES.items() if file.refused])
def test_the_command_line_refuses_in_one_line_and_reads_with_the_advice(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_command_line(FILES[name], tmp_path, capsys, monkeypatch)
