"""JSON files with a format name and a digest of all values; a file that was changed is refused."""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bayesrnn._files import atomic_write

_MOST_VALUES = 2**18  # of a file, counted before memory is taken for them
_BYTES_PER_VALUE, _VALUES_PER_KEY, _VALUES_PER_NEST = 32, 4, 16
_TAKE_A_COPY = "Take a copy, or write it again."


def write_document(path: Path, format: str, values: Mapping[str, Any], *, most: int = _MOST_VALUES) -> None:
    """Write `values` (JSON values, no NaN) with their format and digest, in one step.

    Raises:
        ValueError: If they are too many to be read again, or cannot be written there.
    """
    text = sealed_text(format, values)
    _check_size(text.encode(), most, f"{path} cannot be written", "Keep fewer values.")
    atomic_write(path, text)


def read_document(
    path: Path, format: str, keys: Collection[str], *, fix: str = _TAKE_A_COPY, most: int = _MOST_VALUES
) -> dict[str, Any]:
    """Return what `write_document` wrote, without format and digest.

    Args:
        path: The file.
        format: Name and version, such as "bayesrnn.model/1".
        keys: The keys that it must have, no others.
        fix: What to do about a file that cannot be read.
        most: How many values it may hold.

    Raises:
        ValueError: If there is no such file, it is of another format or version, keys are unknown or missing, or a bit
            differs from what was written.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}. {fix}")
    wrong = f"{path} is not JSON that was written here"
    if path.stat().st_size > _BYTES_PER_VALUE * most:
        raise ValueError(f"{wrong}: it has {path.stat().st_size:,} bytes. {fix}")
    data = path.read_bytes()
    values = parse_json(data, wrong, fix, most)
    kind, _, version = format.partition("/")
    written = values.get("format") if isinstance(values, dict) else None
    if not isinstance(written, str) or written.partition("/")[0] != kind:
        raise ValueError(f"{path} does not describe a {kind.removeprefix('bayesrnn.')} of bayesrnn. {fix}")
    if written != format:
        raise ValueError(
            f"{path} has the format version {written.partition('/')[2]}, but this bayesrnn reads {version}. Use the "
            "bayesrnn that wrote it, or a newer one."
        )
    missing, unknown = sorted({*keys, "digest"} - set(values)), sorted(set(values) - {*keys, "format", "digest"})
    if missing or unknown:
        parts = [f"lacks {_some(missing)}"] * bool(missing) + [f"has the unknown {_some(unknown)}"] * bool(unknown)
        raise ValueError(f"{path} {' and '.join(parts)}: it is not what was written. {fix}")
    values = {key: value for key, value in values.items() if key not in ("format", "digest")}
    if data != sealed_text(format, values).encode("utf-8", "surrogatepass"):
        raise ValueError(f"{path} is damaged: its content is not what was written. {fix}")
    return values


def sealed_text(format: str, values: Mapping[str, Any]) -> str:
    """Return the only text that a document with these values has."""
    content = {"format": format, **values}
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return json.dumps(content | {"digest": digest}, indent=1, ensure_ascii=False) + "\n"


def parse_json(data: bytes, wrong: str, fix: str = "", most: int = _MOST_VALUES, *, infinite: bool = False) -> Any:
    """Return the content of JSON, read strictly: no key twice, no size or depth without bound, only finite numbers.

    With `infinite`, NaN and infinities that Python wrote are read too.

    Raises:
        ValueError: That begins with `wrong` and ends with `fix`, if it is not JSON, too long or too deep.
    """
    _check_size(data, most, wrong, fix)
    try:
        return json.loads(
            data, parse_constant=float if infinite else _no_constant, parse_float=_finite, object_pairs_hook=_each_once
        )
    except RecursionError:
        raise ValueError(f"{wrong}: it is nested too deeply. {fix}".strip()) from None
    except ValueError as error:
        raise ValueError(f"{wrong} ({error}). {fix}".strip()) from None


def _check_size(data: bytes, most: int, wrong: str, fix: str) -> None:
    """Refuse JSON with too many bytes, commas, brackets or colons, before it is parsed."""
    nests = data.count(b"[") + data.count(b"{")
    if len(data) > _BYTES_PER_VALUE * most or data.count(b",") >= most or nests > most // _VALUES_PER_NEST:
        raise ValueError(f"{wrong}: it is too long. {fix}".strip())
    if data.count(b":") > most // _VALUES_PER_KEY:
        raise ValueError(f"{wrong}: it has too many keys. {fix}".strip())


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.40} is beyond the largest number")
    return number


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key comes twice")
    return values


def _some(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"{name!r:.60}" for name in names[:most]) + more
