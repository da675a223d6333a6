"""Labelled sequences from tables, archives and folders: right, or refused in words of what to do."""

from pathlib import Path

import numpy as np
import pytest

from bayesrnn.data.labelled import read_labelled


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_texts_are_read_as_they_stand(tmp_path: Path) -> None:
    """Commas, quotes, line ends, a hash at the start: nothing of a text is taken for the file's own signs."""
    path = written(tmp_path, "a.csv", 'text,label\n"A, ""b""\nc",x\n#tag is text,y\n,x\n"  ",y\n')
    data = read_labelled(path, text="text", target="label")
    assert data.rows == ['A, "b"\nc', "#tag is text", "", "  "]
    assert data.target.tolist() == ["x", "y", "x", "y"]
    assert data.names.tolist() == [3, 4, 5, 6]  # the line where a row ends


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators(separator: str, tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", f"text{separator}label\ngood one{separator}1\nbad one{separator}0\n")
    assert read_labelled(path, text="text", target="label").target.tolist() == ["1", "0"]


def test_a_long_table_in_any_order(tmp_path: Path) -> None:
    lines = ["machine,hour,heat,noise,site,broken"]
    rows = [("b", 10, 1.5, 2), ("a", 2, 5, 6), ("b", 9, 0.5, 1), ("a", 10, 7, 8), ("a", 1, 3, 4)]
    lines += [f"{m},{h},{x},{y},s{m},{'yes' if m == 'a' else 'no'}" for m, h, x, y in rows]
    path = written(tmp_path, "long.csv", "\n".join(lines))
    with pytest.warns(UserWarning, match="column 'site' left out, since it holds no numbers"):
        data = read_labelled(path, id="machine", time="hour", target="broken")
    assert data.names.tolist() == ["b", "a"]
    assert data.features == ("heat", "noise")
    assert data.rows[0].tolist() == [[0.5, 1], [1.5, 2]]
    assert data.rows[1].tolist() == [[3, 4], [5, 6], [7, 8]]
    assert data.target.tolist() == ["no", "yes"]
    only = read_labelled(path, id="machine", time="hour", target="broken", features=["noise"], group="site")
    assert only.rows[0].tolist() == [[1], [2]]
    assert only.groups.tolist() == ["sb", "sa"]


def test_steps_in_columns_end_where_cells_are_empty(tmp_path: Path) -> None:
    path = written(tmp_path, "wide.csv", "y,t0,t1,t2\nu,1,2,3\nv,4,5,\n")
    data = read_labelled(path, sequence=["t*"], target="y")
    assert [row[:, 0].tolist() for row in data.rows] == [[1, 2, 3], [4, 5]]


def test_ts_files(tmp_path: Path) -> None:
    head = "#note\n@problemName p\n@timeStamps false\n@classLabel true u v\n@data\n"
    data = read_labelled(written(tmp_path, "a.ts", f"{head}1,2,3:4,5,6:u\n7,8:9,10:v\n"))
    assert data.rows[0].tolist() == [[1, 4], [2, 5], [3, 6]]
    assert data.rows[1].tolist() == [[7, 9], [8, 10]]
    assert data.target.tolist() == ["u", "v"]


def test_npz_archives(tmp_path: Path) -> None:
    padded = np.arange(24.0).reshape(2, 4, 3)
    np.savez(tmp_path / "padded.npz", x=padded, y=[0, 1], lengths=[4, 2])
    data = read_labelled(tmp_path / "padded.npz", target="y")
    assert [row.tolist() for row in data.rows] == [padded[0].tolist(), padded[1, :2].tolist()]
    np.savez(tmp_path / "flat.npz", mfcc=padded.reshape(8, 3), offsets=[0, 3, 8], y=["u", "v"])
    data = read_labelled(tmp_path / "flat.npz", sequence=["mfcc"], target="y")
    assert [row.shape for row in data.rows] == [(3, 3), (5, 3)]


def test_folders_of_texts(tmp_path: Path) -> None:
    lines, files, ends = tmp_path / "lines", tmp_path / "files", tmp_path / "ends"
    for folder in (lines, files / "good", files / "bad", ends):
        folder.mkdir(parents=True)
    written(lines, "good.txt", "one\n\ntwo\n")
    written(lines, "bad.txt", "three\n")
    written(lines, "README.txt", "not a class")
    written(files / "good", "1.txt", "one\nstill one")
    written(files / "bad", "1.txt", "two")
    written(ends, "r.pos", "one\n")
    written(ends, "r.neg", "two\n")
    assert read_labelled(lines).rows == ["three", "one", "two"]
    assert read_labelled(lines).target.tolist() == ["bad", "good", "good"]
    assert read_labelled(files).rows == ["two", "one\nstill one"]
    assert read_labelled(ends).target.tolist() == ["neg", "pos"]


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("a,b\n1,2\n", {"target": "b"}, "how does .* hold sequences"),
        ("a,b\n1,2\n", {"text": "a", "id": "b"}, "text and id were given"),
        ("a,b\n1,2\n", {"text": "c"}, "no column 'c'; its columns are a, b"),
        ("a,b\n", {"text": "a"}, "no rows"),
        ("a,b\n1,2,3\n", {"text": "a"}, "line 2 .* has 3 fields where the header has 2"),
        ('a,b\n"1,2\n', {"text": "a"}, "a quotation mark that is never closed"),
        ("a,b\nx,\n", {"text": "a", "target": "b"}, "1 of 1 rows of .* have no 'b' .first: line 2."),
        ("i,t,v,y\n1,1,5,u\n1,2,6,w\n", {"id": "i", "time": "t", "target": "y"}, "several values of 'y': "),
        ("i,t,v,y\n1,1,5,u\n1,1,6,u\n", {"id": "i", "time": "t", "target": "y"}, "comes more than once"),
        ("i,t,v\n1,1,\n1,2,6\n", {"id": "i", "time": "t"}, "1 missing or infinite values"),
        ("i,t,v\n1,1,u\n1,2,6\n", {"id": "i", "time": "t"}, "no column of numbers beside i, t"),
        ("i,t,v\n1,1,u\n1,2,6\n", {"id": "i", "features": ["v"]}, "must hold numbers, but line 2 holds 'u'"),
        ("y,t0,t1\nu,,1\n", {"sequence": ["t*"]}, "1 missing or infinite values"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(text: str, options: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        read_labelled(written(tmp_path, "bad.csv", text), **options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2:u\n", "line 1 comes before @data"),
        ("@classLabel true\n@data\n", "no @data line followed by cases"),
        ("@classLabel true\n@data\n1,?:u\n", "line 3 .* no number"),
        ("@classLabel true\n@data\n1,2:3:u\n", "differ in number or length"),
        ("@timeStamps true\n@data\n", "time stamps"),
        ("@classLabel true\n@data\n1,nan:u\n", "missing or infinite"),
    ],
)
def test_ts_files_that_cannot_be_read_are_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        read_labelled(written(tmp_path, "bad.ts", text))


def test_archives_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    for arrays, options, words in (
        ({"x": np.array([{}], dtype=object)}, {}, "without running code"),
        ({"a": np.zeros((2, 3))}, {}, "no array 'X'; its arrays are a"),
        ({"x": np.full((2, 3), np.nan)}, {}, "finite numbers"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(3)}, {"target": "y"}, "shape .3,., but there are 2"),
        ({"x": np.zeros((2, 3)), "lengths": np.array([1, 9])}, {}, "'lengths'"),
        ({"x": np.zeros((4, 3)), "offsets": np.array([0, 9])}, {}, "'offsets'"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=words):
            read_labelled(path, **options)
    path.write_text("no archive")
    with pytest.raises(ValueError, match=r"not a \.npz archive"):
        read_labelled(path)


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 folders and 0 files"):
        read_labelled(tmp_path)
    written(tmp_path, "a.txt", "one\n")
    written(tmp_path, "b.txt", "\n")
    with pytest.raises(ValueError, match="nothing to learn of the class 'b'"):
        read_labelled(tmp_path)


def test_real_files(data_folder: Path) -> None:
    vowels = read_labelled(data_folder / "japanese_vowels" / "JapaneseVowels_TRAIN.ts")
    assert (len(vowels), len(vowels.features), len(set(vowels.target))) == (270, 12, 9)
    assert {len(row) for row in vowels.rows} <= set(range(7, 30))
    names = read_labelled(data_folder / "names_by_nationality")
    assert (len(names), len(set(names.target))) == (20050, 18)
