"""What the site adds to the pages in docs/: notebooks, results, the reference, and equations as MathML."""

import html
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent.parent
REFERENCE = {
    "bayesrnn": "Top level: predict, compare, report",
    "bayesrnn.nn": "Layers",
    "bayesrnn.schemes": "Dropout schemes",
    "bayesrnn.masks": "Masks",
    "bayesrnn.models": "Ready-made models",
    "bayesrnn.likelihoods": "Likelihoods",
    "bayesrnn.inference": "Inference",
    "bayesrnn.predictive": "Predictives",
    "bayesrnn.metrics": "Metrics",
    "bayesrnn.recalibration": "Recalibration",
    "bayesrnn.report": "Reports",
    "bayesrnn.comparison": "Comparisons",
    "bayesrnn.plots": "Plots",
    "bayesrnn.training": "Training",
    "bayesrnn.tuning": "Tuning",
    "bayesrnn.objective": "Objective: priors and weight decay",
    "bayesrnn.forecasting": "Forecasting",
    "bayesrnn.estimators": "scikit-learn estimators",
    "bayesrnn.data": "Data",
    "bayesrnn.storage": "Storage",
    "bayesrnn.serving": "Export",
    "bayesrnn.pyro": "Pyro bridge",
}
_EQUATION = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.S)


def on_config(config: Any) -> Any:
    """Fill in the two sections of the navigation that are lists of files."""
    pages = {"reference/": [{title: f"reference/{name}.md"} for name, title in REFERENCE.items()]}
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    pages["decisions/"] = [f"decisions/{page.name}" for page in decisions]
    config.nav = [
        {title: pages.get(value, value) if isinstance(value, str) else value}
        for entry in config.nav
        for title, value in entry.items()
    ]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and pictures that are written elsewhere."""

    def add(uri: str, content: str | bytes) -> None:
        files.append(File.generated(config, uri, content=content))

    for name, page in _references().items():
        add(f"reference/{name}.md", page)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text, pictures = _notebook(path)
        add(f"notebooks/{path.stem}.md", text)
        for uri, picture in pictures.items():
            add(f"notebooks/{uri}", picture)
    for path in sorted((ROOT / "evaluation").rglob("*")):
        uri = path.relative_to(ROOT).as_posix()
        if path.suffix == ".md":
            add(uri, path.read_text(encoding="utf-8"))
        elif path.suffix in (".png", ".json", ".csv"):
            add(uri, path.read_bytes())
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links that are right in the repository into links that are right in the site."""
    deep = page.file.src_uri.count("/")
    if page.file.src_uri.startswith("evaluation/"):
        markdown = markdown.replace("](../docs/", "](../").replace("](../../docs/", "](../../")
    else:
        up = "../" * (deep + 1)
        for folder in ("notebooks", "evaluation"):
            markdown = markdown.replace(f"]({up}{folder}/", f"]({'../' * deep}{folder}/")
    return markdown.replace(".ipynb)", ".md)")


def on_page_content(content: str, **_: Any) -> str:
    r"""Set every \(...\) and \[...\] as MathML."""
    return _EQUATION.sub(lambda found: _mathml(html.unescape(found[2]).strip()), content)


def _mathml(text: str) -> str:
    return convert(text[2:-2].strip(), display="block" if text.startswith(r"\[") else "inline")


def _references() -> dict[str, str]:
    """Return the pages of the reference; a name that two modules show is documented where it comes first."""
    pages: dict[str, str] = {}
    documented: set[str] = set()
    for name, title in REFERENCE.items():
        module = import_module(name)
        parts = [n for n in module.__all__ if isinstance(getattr(module, n), ModuleType)]
        lines = [f"# {title}\n", f"`{name}`: {(module.__doc__ or '').strip()}\n"]
        if parts:
            lines.append(
                "Modules: " + ", ".join(f"[`{p}`]({name}.{p}.md)" for p in parts if f"{name}.{p}" in REFERENCE)
            )
        lines += [_entry(name, member, documented) for member in module.__all__ if member not in parts]
        pages[name] = "\n\n".join(lines)
    return pages


def _entry(name: str, member: str, documented: set[str]) -> str:
    value = getattr(import_module(name), member)
    home = str(getattr(value, "__module__", ""))
    if not (callable(value) and hasattr(value, "__qualname__") and home.startswith("bayesrnn")):
        return f"### `{member}`\n\n`{value!r}`\n"
    identifier = f"{home}.{member}"
    if identifier in documented:
        return f"### `{member}`\n\nSee [{member}][{identifier}].\n"
    documented.add(identifier)
    return f"::: {identifier}\n"


def _notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    from nbconvert import MarkdownExporter

    page, resources = MarkdownExporter().from_filename(str(path))
    pictures = {f"{path.stem}_{name}": data for name, data in resources["outputs"].items()}
    for name in resources["outputs"]:
        page = page.replace(f"]({name})", f"]({path.stem}_{name})")
    return re.sub(r"\n<div>\n<style.*?</style>", "\n<div>", page, flags=re.S), pictures
