"""The pages: links lead somewhere, and a Chinese one (x.zh.md) is as its English one (x.md) where it can be."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("README*.md")), *sorted(ROOT.glob("docs/*.md"))]
CHINESE = [path for path in PAGES if path.name.endswith(".zh.md")]

every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
every_chinese_page = pytest.mark.parametrize("path", CHINESE, ids=lambda path: path.name)


def split(path: Path) -> tuple[list[str], list[str]]:
    """The lines of code, fenced or indented by four, and those of prose. An empty line is neither."""
    code: list[str] = []
    prose: list[str] = []
    fenced = False
    for line in path.read_text(encoding="utf-8").splitlines():
        fence = line.startswith("```")
        if fence or fenced or line.startswith("    "):
            code.append(line)
        elif line.strip():
            prose.append(line)
        fenced ^= fence
    assert not fenced, f"{path.name}: a fence is not closed"
    return code, prose


def english(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".zh.md") + ".md")


@every_page
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", "\n".join(split(path)[1]))
    places = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [place for place in places if not path.parent.joinpath(place).exists()] == []


def test_there_are_chinese_pages() -> None:
    assert ROOT / "docs/asymmnet.zh.md" in CHINESE


@every_chinese_page
def test_the_languages_link_to_each_other(path: Path) -> None:
    there = english(path)
    assert split(there)[1][1] == f"[简体中文]({path.name})"
    assert split(path)[1][1] == f"[English]({there.name})"


@every_chinese_page
def test_chinese_pages_stay_among_chinese_pages(path: Path) -> None:
    links = re.findall(r"\]\(([^):#\s]+)\.md", "\n".join(split(path)[1][2:]))
    translated = [link for link in links if path.parent.joinpath(link + ".zh.md").exists()]
    assert translated == []


@every_chinese_page
def test_code_and_figures_are_the_same(path: Path) -> None:
    """Code by line; of the tables the numbers, row by row; of the prose every `name`."""
    (code, prose), (their_code, their_prose) = split(path), split(english(path))
    assert code == their_code

    def rows(lines: list[str]) -> list[Counter[str]]:
        return [Counter(re.findall(r"\d(?:[\d.,]*\d)?", line)) for line in lines if line.startswith("|")]

    assert rows(prose) == rows(their_prose)

    def names(lines: list[str]) -> set[str]:
        return set(re.findall(r"`([^`]+)`", "\n".join(lines).replace("\n", " ")))

    assert names(prose) == names(their_prose)


@every_chinese_page
def test_characters_are_simplified(path: Path) -> None:
    """GB 2312 has the simplified characters alone."""
    found = re.findall(r"[\u4e00-\u9fff]", path.read_text(encoding="utf-8"))
    assert found
    assert [one for one in found if not one.encode("gb2312", "ignore")] == []
