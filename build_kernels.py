"""Puts the compiled kernels into a wheel where there is a C++ compiler; without one the wheel holds their sources."""

import importlib.util
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACE = "bayesrnn/nn/kernels/scan"


class KernelsHook(BuildHookInterface):
    """Compiles the library and names the wheel after the machine; it depends on no version of Python or torch."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the library to the wheel."""
        if version == "editable":  # compiled on first use: its sources may change
            return
        compiling = self._compiling()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / compiling.library_name()
        try:
            compiling.compile_library(path)
        except (OSError, RuntimeError) as error:
            self.app.display_warning(f"The wheel holds no compiled kernels: {error}")
            return
        build_data["force_include"][str(path)] = f"{PLACE}/cpp/{path.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def _compiling(self) -> Any:
        spec = importlib.util.spec_from_file_location("compiling", Path(self.root, PLACE, "compiling.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
