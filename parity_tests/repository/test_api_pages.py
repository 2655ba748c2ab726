"""The API reference on the documentation site names every module of repro/ and backends/."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_room_is_in_the_api_reference() -> None:
    """A package's page lists its modules by itself."""
    pages = [path.read_text(encoding="utf-8") for path in ROOT.glob("docs/api/*.md")]
    listed = re.findall(r"^::: (\S+)", "\n".join(pages), re.MULTILINE)
    folders = [path.parent for folder in ("repro", "backends") for path in ROOT.glob(f"{folder}/*/__init__.py")]
    packages = {".".join(path.relative_to(ROOT).parts) for path in folders}
    modules = {f"repro.{path.stem}" for path in ROOT.glob("repro/*.py")} - {"repro.__init__", "repro.sweep"}
    assert sorted(listed) == sorted(packages | modules)
