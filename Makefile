# The one door: `make check` (format, lint, types, floors), `make test` (the suite), `make slow` (what takes longer), `make docs` (the site).
PYTHON ?= python

.PHONY: check test slow notebooks docs

check:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -c "from importlinter.cli import lint_imports_command as c; c()"

test:
	$(PYTHON) -m pytest -n auto -m "not slow"

slow:
	$(PYTHON) -m pytest -m slow

notebooks:
	$(PYTHON) -m pytest tests/notebooks

docs:
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(PYTHON) -m mkdocs build --quiet --strict --site-dir site
