"""Text files, their tokens, and the parallel rows that a stream of tokens is read in."""

import codecs
import os
from pathlib import Path

import torch
from torch import Tensor

from bayesrnn._checks import check_choice, check_whole
from bayesrnn.data.vocabulary import EOS

__all__ = ["LEVELS", "fold_stream", "lines_of", "read_text", "tokenize"]

LEVELS = ("word", "character")


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a UTF-8 file.

    Raises:
        ValueError: If it does not exist, is empty, or is not UTF-8 (the message names the byte).
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no text file {path}.")
    raw = path.read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path} is UTF-16, not UTF-8. Convert it first: iconv -f utf-16 -t utf-8.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        strange = sum(raw.count(byte) for byte in range(32) if byte not in b"\t\n\v\f\r\x1a\x1b")
        fix = (
            "It holds control characters and seems to be no text (a picture, an archive, a model). Give a text file."
            if strange
            else "Convert it first, for example, if it is Latin-1, with: iconv -f latin1 -t utf-8."
        )
        raise ValueError(
            f"{path} is not UTF-8: byte {error.start} is 0x{raw[error.start]:02x} ({error.reason}). {fix}"
        ) from None
    if "\0" in text:
        raise ValueError(
            f"{path} holds a zero byte at character {text.index(chr(0))}: it is binary, or UTF-16 without its mark. "
            "Convert it to UTF-8 first."
        )
    if not text.strip():
        raise ValueError(f"{path} is empty: it holds no token.")
    return text


def tokenize(text: str, level: str = "word") -> list[str]:
    r"""Return the tokens of a text: words between blanks or characters, and `<eos>` for each line end.

    Example:
        >>> tokenize("a cat\nsat")
        ['a', 'cat', '<eos>', 'sat', '<eos>']
    """
    check_choice(level, "level", LEVELS)
    if not isinstance(text, str):
        raise TypeError(f"text must be one str, but a {type(text).__name__} was given. For a file: read_text(path).")
    tokens: list[str] = []
    for line in lines_of(text):
        tokens.extend(line.split() if level == "word" else line)
        tokens.append(EOS)
    return tokens


def fold_stream(tokens: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut a stream into `rows` parallel ones: row r goes on where row r - 1 ends.

    Returns:
        Inputs and targets, both (rows, steps), the targets one token later, and which targets exist, (rows, steps):
        what is missing at the end of the last row is filled with token 0. Where that would leave rows without any
        target, the targets are spread over all rows instead, and later rows end one step earlier.

    Raises:
        ValueError: If the stream is not whole numbers of shape (N,), or has less than one target per row.
        TypeError: If it is no tensor.
    """
    if not isinstance(tokens, Tensor):
        raise TypeError(
            f"tokens must be a tensor of token numbers, but a {type(tokens).__name__} was given. Make one with "
            "vocabulary.encode(words) or torch.tensor(numbers)."
        )
    if tokens.dim() != 1 or tokens.is_floating_point() or tokens.dtype == torch.bool:
        raise ValueError(
            f"tokens must be one stream of whole numbers, shape (N,), but {tokens.dtype} of shape "
            f"{tuple(tokens.shape)} was given. To read parallel streams of one text pass the text and batch_size=."
        )
    count = tokens.numel() - 1
    if count < check_whole(rows, "batch_size"):
        raise ValueError(
            f"a stream of {tokens.numel()} tokens cannot be cut into {rows} rows with a target each. "
            "Give more text or a smaller batch_size."
        )
    steps = -(-count // rows)
    lengths = torch.full((rows, 1), steps)
    if count <= steps * (rows - 1):  # the last row would be empty
        lengths = count // rows + (torch.arange(rows)[:, None] < count % rows).long()
    places = lengths.cumsum(0) - lengths + torch.arange(steps)
    exists = ((torch.arange(steps) < lengths) & (places < count)).to(tokens.device)
    places = places.clamp(max=count - 1).to(tokens.device)
    return tokens[places] * exists, tokens[places + 1] * exists, exists


def lines_of(text: str) -> list[str]:
    """Return the lines that line feeds end; other separators of Unicode are characters of the text."""
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")
