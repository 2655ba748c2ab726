"""The pages: links lead to existing files, and a Chinese page (x.zh.md) has the code and figures of its English one."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
CHINESE_PAGES = [path for path in PAGES if path.name.endswith(".zh.md")]


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


every_page = pytest.mark.parametrize("path", PAGES, ids=page_id)
every_chinese_page = pytest.mark.parametrize("path", CHINESE_PAGES, ids=page_id)


def split(path: Path) -> tuple[list[str], list[str]]:
    """Return the lines of code, which are fenced or indented by four, and the lines of prose, without empty lines."""
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


def english_page(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".zh.md") + ".md")


@every_page
def test_links_lead_to_existing_files(path: Path) -> None:
    links = re.findall(r"\]\(<?([^)>\s]+)>?\)", "\n".join(split(path)[1]))
    targets = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [target for target in targets if not path.parent.joinpath(target).exists()] == []


def test_chinese_pages_are_found() -> None:
    assert ROOT / "docs/asymmnet.zh.md" in CHINESE_PAGES
    assert ROOT / "README.zh.md" in CHINESE_PAGES


@every_chinese_page
def test_the_languages_link_to_each_other(path: Path) -> None:
    english = english_page(path)
    assert split(english)[1][1] == f"[简体中文]({path.name})"
    assert split(path)[1][1] == f"[English]({english.name})"


@every_chinese_page
def test_chinese_pages_link_to_chinese_pages(path: Path) -> None:
    links = re.findall(r"\]\(([^):#\s]+)\.md", "\n".join(split(path)[1][2:]))
    assert [link for link in links if path.parent.joinpath(f"{link}.zh.md").exists()] == []


@every_chinese_page
def test_code_and_figures_are_those_of_the_english_page(path: Path) -> None:
    """Compare code line by line, the numbers of tables row by row, and every `name` of the prose."""
    (code, prose), (english_code, english_prose) = split(path), split(english_page(path))
    assert code == english_code

    def rows(lines: list[str]) -> list[Counter[str]]:
        return [Counter(re.findall(r"\d(?:[\d.,]*\d)?", line)) for line in lines if line.startswith("|")]

    assert rows(prose) == rows(english_prose)

    def names(lines: list[str]) -> set[str]:
        return set(re.findall(r"`([^`]+)`", "\n".join(lines).replace("\n", " ")))

    assert names(prose) == names(english_prose)


@every_chinese_page
def test_characters_are_simplified(path: Path) -> None:
    """GB 2312 contains only simplified characters."""
    characters = re.findall(r"[\u4e00-\u9fff]", path.read_text(encoding="utf-8"))
    assert characters
    assert [character for character in characters if not character.encode("gb2312", "ignore")] == []
