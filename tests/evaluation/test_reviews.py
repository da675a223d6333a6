"""Readers of rated texts, on small files and, where present, on the real ones."""

import os
from pathlib import Path

import pytest
import torch

from evaluation.sentiment.reviews import SCALE_AUTHORS, RatedSnippets, Reviews, read_rated_snippets, read_scale_reviews

DATA = os.environ.get("BAYESRNN_DATA")


def write_authors(root: Path, ratings: str = "0\n0.5\n1\n") -> Path:
    for author in ("A+One", "B+Two"):
        folder = root / "scaledata" / author
        folder.mkdir(parents=True)
        (folder / f"subj.{author}").write_text(f"good film {author} \nbad\nfair , fair\n")
        (folder / f"rating.{author}").write_text(ratings)
    return root


def test_lines_match_and_the_order_is_that_of_the_authors(tmp_path):
    reviews = read_scale_reviews(write_authors(tmp_path), ["B+Two", "A+One"])
    assert len(reviews) == 6
    assert reviews.texts[0] == "good film B+Two \n"
    assert reviews.authors == ("B+Two",) * 3 + ("A+One",) * 3
    assert reviews.ratings.tolist() == [0.0, 0.5, 1.0] * 2


def test_bad_folders_are_refused(tmp_path):
    write_authors(tmp_path)
    with pytest.raises(ValueError, match=r"no author folder 'C' in .*; the folders there are \['A\+One', 'B\+Two'\]"):
        read_scale_reviews(tmp_path, ["C"])
    with pytest.raises(ValueError, match=r"does not exist\. Give the folder that holds"):
        read_scale_reviews(tmp_path / "nowhere")
    (tmp_path / "scaledata/A+One/rating.A+One").write_text("0\n1\n")
    with pytest.raises(ValueError, match=r"A\+One has 3 texts but 2 ratings"):
        read_scale_reviews(tmp_path, ["A+One"])
    (tmp_path / "scaledata/A+One/rating.A+One").write_text("0\n1\nfive\n")
    with pytest.raises(ValueError, match=r"rating 3 of A\+One must be a number in \[0, 1\], but it is 'five'"):
        read_scale_reviews(tmp_path, ["A+One"])
    (tmp_path / "scaledata/A+One/rating.A+One").unlink()
    with pytest.raises(ValueError, match=r"the file .*rating\.A\+One does not exist"):
        read_scale_reviews(tmp_path, ["A+One"])


def test_snippets_have_the_moments_of_their_raters(tmp_path):
    texts, ratings = tmp_path / "t.txt", tmp_path / "r.txt"
    texts.write_text("\ufeff1\t2.0\tfine\r\n2\t-1\tnot\tfine\r\n", encoding="utf-8", newline="")
    ratings.write_text("1\t2.0\t1.0\t[1, 2, 3]\r\n2\t-1\t0\t[-1, -1]\r\n", encoding="utf-8", newline="")
    snippets = read_rated_snippets(texts, ratings)
    assert snippets.ids == ("1", "2")
    assert snippets.texts == ("fine", "not\tfine")
    torch.testing.assert_close(snippets.mean, torch.tensor([2.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(snippets.variance, torch.tensor([1.0, 0.0], dtype=torch.float64))
    ratings.write_text("1\t2.0\t1.0\t[1, 2, 3]\n")
    with pytest.raises(ValueError, match=r"1 ids are in one file only \(such as \['2'\]\)"):
        read_rated_snippets(texts, ratings)
    ratings.write_text("1\t2.0\t1.0\t[1]\n")
    with pytest.raises(ValueError, match=r"line 1 of r\.txt must be id, mean"):
        read_rated_snippets(texts, ratings)
    texts.write_text("1 2.0 fine\n")
    with pytest.raises(ValueError, match=r"line 1 of t\.txt must be id, mean and text"):
        read_rated_snippets(texts, ratings)


def write_ratings(folder: Path, ratings: str, texts: str = "1\t2.0\tfine\n") -> tuple[Path, Path]:
    (folder / "t.txt").write_text(texts)
    (folder / "r.txt").write_text(ratings)
    return folder / "t.txt", folder / "r.txt"


def test_ratings_are_read_in_any_form_of_a_number(tmp_path):
    files = write_ratings(tmp_path, "1\t0\t0\t[.5, 2, 1e-3, -1.5E2, +3.,4]\n")
    (values,) = read_rated_snippets(*files).ratings
    assert values.tolist() == [0.5, 2.0, 1e-3, -150.0, 3.0, 4.0]


@pytest.mark.parametrize("ratings", ["[1, nan, 2]", "[1, inf]", "[1, , 2]", "[1, two, 2]", "1, 2", "[1 2, 3]", "[]"])
def test_what_is_no_list_of_finite_numbers_is_refused(tmp_path, ratings):
    files = write_ratings(tmp_path, f"1\t0\t0\t{ratings}\n")
    with pytest.raises(ValueError, match=r"line 1 of r\.txt must be id, .* finite numbers as in"):
        read_rated_snippets(*files)


def test_an_id_that_comes_twice_is_refused(tmp_path):
    twice = "1\t0\t0\t[1, 2]\n1\t0\t0\t[3, 4]\n"
    with pytest.raises(ValueError, match=r"the id '1' in line 2 of r\.txt came before"):
        read_rated_snippets(*write_ratings(tmp_path, twice))
    with pytest.raises(ValueError, match=r"the id '1' in line 2 of t\.txt came before"):
        read_rated_snippets(*write_ratings(tmp_path, twice, "1\t2.0\tfine\n1\t2.0\tbad\n"))


def test_parts_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="2 texts, 3 ratings, 2 authors were given"):
        Reviews(("a", "b"), torch.zeros(3), ("x", "x"))
    with pytest.raises(ValueError, match=r"one number a text, \(N,\), but the shape is \(2, 4\)"):
        Reviews(("a", "b"), torch.zeros(2, 4), ("x", "x"))
    with pytest.raises(ValueError, match="1 ids, 2 texts, 1 ratings were given"):
        RatedSnippets(("1",), ("a", "b"), (torch.zeros(3),))


def test_one_author_is_a_list_of_one(tmp_path):
    with pytest.raises(TypeError, match=r"the text 'A\+One' was given.*pass \['A\+One'\]"):
        read_scale_reviews(write_authors(tmp_path), "A+One")


@pytest.mark.skipif(not DATA, reason="BAYESRNN_DATA names no folder")
def test_the_real_files():
    reviews = read_scale_reviews(Path(DATA or "") / "cornell_scale")
    assert [reviews.authors.count(a) for a in SCALE_AUTHORS] == [1027, 1307, 902, 1770]
    vader = Path(DATA or "") / "vader"
    snippets = read_rated_snippets(
        vader / "movieReviewSnippets_GroundTruth.txt", vader / "movieReviewSnippets_anonDataRatings.txt"
    )
    assert len(snippets) == 10_605
    counts = [len(r) for r in snippets.ratings]
    assert (min(counts), max(counts)) == (15, 29)
