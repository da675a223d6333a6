"""Results as JSON that says where they come from: commit, command, seed, machine, date."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
ENVIRONMENT = (
    "BAYESRNN_COMPILED",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "MALLOC_MMAP_MAX_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
)
"""Variables that change how fast things run, noted where they are set."""
PACKAGES = ("bayesrnn", "numpy", "scipy", "pandas", "scikit-learn", "statsmodels", "lightning", "safetensors")
FOLDERS = ("--checkpoints", "--results", "--work")
"""Options whose folders say nothing of a result: a recorded command has FOLDER in their place."""
_RESULTS = (":(top,exclude)evaluation/results", ":(top,exclude)docs/images")  # what a run writes changes no result


def provenance(seed: int | None = None, data: Iterable[Path] = ()) -> dict[str, Any]:
    """Return what a reader needs to run a result again; of its data (files, or folders of them) names and SHA-256.

    Where the sources are a copy without their history, `BAYESRNN_COMMIT` says of which commit; whether the copy was
    changed is not known then.
    """
    copied = os.environ.get("BAYESRNN_COMMIT")
    return {
        "commit": copied or _git("rev-parse", "--short=12", "HEAD"),
        "uncommitted_changes": None if copied else _changed(),
        "command": " ".join(["python", "-m", _module(), *shown(sys.argv[1:])]),
        "seed": seed,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "data": checksums(data),
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
    }


def machine() -> dict[str, Any]:
    """Describe processor, cores, threads, GPU and the versions that matter; no host names or paths."""
    return {
        "processor": _of_processor("model name") or platform.processor() or platform.machine(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "amx": "amx_bf16" in _of_processor("flags").split(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "versions": {name: _version(name) for name in PACKAGES},
    }


def checksums(places: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of files, and of all files in folders, by name (with its folder where the name is taken)."""
    sums: dict[str, str] = {}
    for path in _files(places):
        name = path.name if path.name not in sums else f"{path.parent.name}/{path.name}"
        with path.open("rb") as file:
            sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def kept(folder: Path, name: str, settings: Any, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result of a finished stage from its file, or do the work and keep it.

    The file is called after the stage and a digest of its settings: others begin anew.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:12]
    file = folder / f"{name}-{digest}.json"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".json.part")
        part.write_text(json.dumps(work()), encoding="utf-8")
        os.replace(part, file)
    return json.loads(file.read_text(encoding="utf-8"))


def save(
    name: str, result: dict[str, Any], *, seed: int | None = None, folder: Path = RESULTS, data: Iterable[Path] = ()
) -> Path:
    """Write `result` with its provenance to `folder`/`name`.json, in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    temporary = path.with_suffix(".json.part")
    text = json.dumps({"provenance": provenance(seed, data), **result}, indent=1, allow_nan=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return path


def load(name: str, folder: Path = RESULTS) -> dict[str, Any]:
    """Read a result that `save` wrote.

    Raises:
        ValueError: If the file holds something else.
    """
    path = folder / f"{name}.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): copy it again, or delete it and run what wrote it."
        ) from None


def load_all(folder: Path, pattern: str, *keys: str) -> list[dict[str, Any]]:
    """Read the results whose files match, by name.

    Raises:
        ValueError: If a file holds something else, or a result without these keys.
    """
    results = {path: load(path.stem, folder) for path in sorted(folder.glob(pattern))}
    for path, result in results.items():
        if missing := [key for key in keys if key not in result]:
            raise ValueError(
                f"{path} is a result of something else: it has no {', '.join(missing)}. Give another folder."
            )
    return list(results.values())


def _files(places: Iterable[Path]) -> list[Path]:
    """Return files as they are, and folders as all that lies in them, at any depth."""
    inside = (sorted(place.rglob("*")) if place.is_dir() else [place] for place in places)
    return [path for paths in inside for path in paths if not path.is_dir()]


def _changed() -> bool:
    return bool(_git("status", "--porcelain", "--untracked-files=no", "--", ":/", *_RESULTS))


def _module() -> str:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    name = spec.name if spec is not None else Path(sys.argv[0]).stem
    return name.removesuffix(".__main__")


def shown(arguments: Sequence[str]) -> list[str]:
    """Return arguments without the folders of one machine: FOLDER for those that results and states go to.

    Example:
        >>> shown(["--seeds", "0", "--results", "r3", "--data=/tmp/ptb.txt", "/tmp/words.txt"])
        ['--seeds', '0', '--results', 'FOLDER', '--data=ptb.txt', 'words.txt']
    """
    texts, folder = [], False
    for argument in arguments:
        option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        named = Path(value).name if os.path.isabs(value) else value
        texts.append("FOLDER" if folder else option + equals + ("FOLDER" if option in FOLDERS and equals else named))
        folder = not folder and option in FOLDERS and not equals
    return texts


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _of_processor(name: str) -> str:
    """Return what the system says of its first processor under this name; nothing where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")
