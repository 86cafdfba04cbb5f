"""Distributions as pip lays them on disk, so that the router finds plugins the way it always does."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest


class SitePackages:
    """A folder on ``sys.path`` that distributions are installed into."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        monkeypatch.syspath_prepend(folder)
        self._folder = folder
        self._monkeypatch = monkeypatch

    def install(self, distribution: str, plugins: Mapping[str, str], version: str = "1.0", **modules: str) -> None:
        """
        Args:
            plugins: Its entry points of the group ``sodarouter``: names and what they point at.
            modules: Source code by module name.
        """
        for module, source in modules.items():
            (self._folder / f"{module}.py").write_text(dedent(source), encoding="utf-8")
            # so that the end of the test takes the module away again
            self._monkeypatch.setitem(sys.modules, module, sys)
            del sys.modules[module]
        info = self._folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [f"{name} = {target}" for name, target in plugins.items()]
        (info / "entry_points.txt").write_text("\n".join(["[sodarouter]", *lines, ""]))
        importlib.invalidate_caches()
