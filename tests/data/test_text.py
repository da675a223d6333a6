"""Corpora and vocabularies."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bayesrnn.data.text import Corpus, fold_stream, read_corpus, read_text, tokenize
from bayesrnn.data.vocabulary import EOS, UNK, Vocabulary


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_words_and_line_ends_become_tokens() -> None:
    assert tokenize(" a  cat\n\nsat\n") == ["a", "cat", EOS, EOS, "sat", EOS]
    assert tokenize("ab\r\nc", "character") == ["a", "b", EOS, "c", EOS]


def test_other_separators_of_unicode_end_no_line() -> None:
    assert tokenize("a\u2028b\x0bc\n") == ["a", "b", "c", EOS]


def test_the_most_frequent_token_comes_first_and_ties_are_alphabetical() -> None:
    assert Vocabulary.build(["b", "a", "b", "c", "a", "b"]).tokens == ("b", "a", "c")
    assert Vocabulary.build(["z", "y", "x"]).tokens == ("x", "y", "z")


def test_rare_tokens_become_unk() -> None:
    vocabulary = Vocabulary.build(["a", "a", "b"], min_count=2)
    assert vocabulary.tokens == ("a", UNK)
    assert vocabulary.encode(["a", "b", "zebra"]).tolist() == [0, 1, 1]
    assert Vocabulary.build(["a", "a", "a", "b", "b", "c"], max_size=2).tokens == ("a", UNK)


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=40))
def test_encoding_is_undone_by_decoding(words: list[str]) -> None:
    vocabulary = Vocabulary.build(words)
    assert vocabulary.decode(vocabulary.encode(words)) == words


def test_a_word_out_of_the_vocabulary_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"token 1 of the text, 'dog', is out of the vocabulary of 2 tokens") as error:
        Vocabulary(["cat", "the"]).encode(["cat", "dog"])
    assert "\n" not in str(error.value)


def test_a_vocabulary_has_each_token_once() -> None:
    with pytest.raises(ValueError, match="the token 'a' twice"):
        Vocabulary(["a", "b", "a"])
    with pytest.raises(ValueError, match="at least one token"):
        Vocabulary([])


def test_a_vocabulary_survives_its_file(tmp_path: Path) -> None:
    vocabulary = Vocabulary(["a", "ü", "\n", '"', UNK])
    vocabulary.save(tmp_path / "v.json")
    back = Vocabulary.load(tmp_path / "v.json")
    assert back == vocabulary
    assert hash(back) == hash(vocabulary)
    assert back.fingerprint() == vocabulary.fingerprint() != Vocabulary(["a", "ü"]).fingerprint()
    assert UNK in back
    assert "zebra" not in back


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*none\.json. Give the vocabulary"):
        Vocabulary.load(tmp_path / "none.json")
    with pytest.raises(ValueError, match="does not describe a vocabulary of bayesrnn"):
        Vocabulary.load(write(tmp_path / "x.json", '{"format": "other"}'))


def test_a_folder_is_read_by_the_names_of_its_files(tmp_path: Path) -> None:
    write(tmp_path / "my.train.txt", "a b\na\n")
    write(tmp_path / "my.valid.txt", "b\n")
    write(tmp_path / "my.test.txt", "a b\n")
    corpus = read_corpus(tmp_path)
    assert corpus.vocabulary.tokens == (EOS, "a", "b")
    assert corpus["train"].tolist() == [1, 2, 0, 1, 0]
    assert corpus["test"].tolist() == [1, 2, 0]


def test_a_folder_without_training_text_needs_a_vocabulary(tmp_path: Path) -> None:
    write(tmp_path / "test.txt", "a b\n")
    with pytest.raises(ValueError, match="no file with 'train' in its name"):
        read_corpus(tmp_path)
    corpus = read_corpus(tmp_path, vocabulary=Vocabulary(["a", UNK, EOS]))
    assert corpus["test"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"no part 'validation', only \['test'\]"):
        corpus["validation"]


def test_ambiguous_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "notes.md", "a\n")
    with pytest.raises(ValueError, match="no file with 'train', 'validation' or 'test'"):
        read_corpus(tmp_path)
    write(tmp_path / "a.train.txt", "a\n")
    write(tmp_path / "b.train.txt", "a\n")
    with pytest.raises(ValueError, match="several files for the part 'train'"):
        read_corpus(tmp_path)


def test_a_single_file_is_cut_by_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "text.txt", "".join(f"w{i % 3}\n" for i in range(100)))
    corpus = read_corpus(path, fractions=(0.1, 0.2))
    assert {part: len(tokens) for part, tokens in corpus.parts.items()} == {"train": 140, "validation": 20, "test": 40}
    with pytest.raises(ValueError, match="fractions must be two shares"):
        read_corpus(path, fractions=(0.5, 0.6))
    with pytest.raises(ValueError, match="too few lines"):
        read_corpus(write(tmp_path / "one.txt", "a\n"), fractions=(0.4, 0.5))


def test_a_word_of_the_test_part_that_training_lacks_names_the_part(tmp_path: Path) -> None:
    write(tmp_path / "train.txt", "a\n")
    write(tmp_path / "test.txt", "b\n")
    with pytest.raises(ValueError, match="in the part 'test': token 0 of the text, 'b'"):
        read_corpus(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is empty"):
        read_text(write(tmp_path / "a.txt", " \n \n"))
    with pytest.raises(ValueError, match="no text file"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="no text file or folder"):
        read_corpus(tmp_path / "none")


def test_a_wrong_encoding_names_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("caf\u00e9 au lait".encode("latin1"))
    with pytest.raises(ValueError, match="byte 3 is 0xe9"):
        read_text(path)
    path.write_bytes("a cat".encode("utf-16-le"))
    with pytest.raises(ValueError, match="zero byte at character 1"):
        read_text(path)


def test_a_byte_order_mark_is_no_token(tmp_path: Path) -> None:
    path = tmp_path / "bom.txt"
    path.write_bytes(b"\xef\xbb\xbfa b")
    assert tokenize(read_text(path)) == ["a", "b", EOS]


@given(st.integers(2, 60), st.integers(1, 7))
def test_a_folded_stream_holds_each_target_once_in_order(count: int, rows: int) -> None:
    if count - 1 < rows:
        return
    assert fold_stream(torch.arange(count), rows)[2].any(1).all()
    inputs, targets, exists = fold_stream(torch.arange(count), rows)
    assert inputs.shape == targets.shape == exists.shape
    assert targets[exists].tolist() == list(range(1, count))
    assert inputs[exists].tolist() == list(range(count - 1))


def test_a_stream_is_one_line_of_whole_numbers() -> None:
    with pytest.raises(ValueError, match="one stream of whole numbers"):
        fold_stream(torch.zeros(3, 4, dtype=torch.long), 1)
    with pytest.raises(ValueError, match="cannot be cut into 5 rows"):
        fold_stream(torch.arange(5), 5)


def test_rows_that_would_be_empty_share_the_targets() -> None:
    inputs, targets, exists = fold_stream(torch.arange(11), 8)
    assert exists.sum(1).tolist() == [2, 2, 1, 1, 1, 1, 1, 1]
    assert targets[exists].tolist() == list(range(1, 11))
    assert targets[~exists].tolist() == inputs[~exists].tolist() == [0] * 6


def test_a_vocabulary_can_hold_unk_in_any_case() -> None:
    vocabulary = Vocabulary.build("abc", unknown=True)
    assert vocabulary.tokens == ("a", "b", "c", UNK)
    assert vocabulary.encode("az").tolist() == [0, 3]
    assert Vocabulary.build("aabc", unknown=True, max_size=3).tokens == ("a", "b", UNK)


@pytest.mark.parametrize(
    "names", [("training", "validation", "test"), ("a.train", "a.val", "a.test"), ("TRAIN", "dev", "testset")]
)
def test_usual_names_of_parts_are_understood(names: tuple[str, str, str], tmp_path: Path) -> None:
    for name in names:
        write(tmp_path / f"{name}.txt", "a b\n")
    assert set(read_corpus(tmp_path).parts) == {"train", "validation", "test"}


def test_foreign_classes_are_named() -> None:
    with pytest.raises(TypeError, match=r"a list was given. Make one with vocabulary.encode"):
        fold_stream([1, 2, 3], 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="text must be one str, but a NoneType"):
        tokenize(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"a list was given. Make one of it: Vocabulary\(tokens\)"):
        read_corpus("x", vocabulary=["a"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a list of texts"):
        Vocabulary([1, 2])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="there is no token 5: the vocabulary has the tokens 0 to 1"):
        Vocabulary(["a", "b"]).decode([5])


def test_utf_16_and_binary_files_get_no_advice_that_spoils_them(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("a cat".encode("utf-16"))
    with pytest.raises(ValueError, match="iconv -f utf-16"):
        read_text(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff")
    with pytest.raises(ValueError, match="seems to be no text"):
        read_text(path)


def test_the_treebank_has_its_published_sizes(data_folder: Path) -> None:
    corpus: Corpus = read_corpus(data_folder / "ptb")
    assert len(corpus.vocabulary) == 10_000
    assert {part: len(tokens) for part, tokens in corpus.parts.items()} == {
        "train": 929_589,
        "validation": 73_760,
        "test": 82_430,
    }


@pytest.mark.parametrize("fractions", [(0.1,), (0.5, 0.5), (-0.1, 0.2), 0.1, ("a", 0.1)])
def test_fractions_are_two_shares(tmp_path: Path, fractions: object) -> None:
    (tmp_path / "text.txt").write_text("a b\n" * 50)
    with pytest.raises(ValueError, match="fractions must be two shares, for validation and test"):
        read_corpus(tmp_path / "text.txt", fractions=fractions)  # type: ignore[arg-type]
