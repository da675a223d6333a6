"""Readers of rated texts, on small files and, where present, on the real ones."""

import os
from pathlib import Path

import pytest
import torch

from bayesrnn.data.reviews import SCALE_AUTHORS, read_rated_snippets, read_scale_reviews

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
