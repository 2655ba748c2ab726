"""mkdocs hooks: show files of the repository's root as pages, and adapt links that are written for the repository."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# A page that consists of one link to a file in the root shows that file: docs/changelog.md shows CHANGELOG.md.
ONLY_LINK = re.compile(r"\[[^\]]+\]\(\.\./([A-Z]+(?:\.zh)?\.md)\)\s*")
LANGUAGE_LINK = re.compile(r"^\[(?:English|简体中文)\]\([^)]+\)\n", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\(<?([^)>#\s]+)>?(#[^)\s]*)?\)")
CODE = re.compile(r"(^```.*?^```$|^    .*?$)", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: object) -> str:
    """Return the text of a page as the site shows it; the switch of languages is in the site's header."""
    if config.theme["language"] == "zh" and page.file.src_uri.startswith("api/"):
        return _link_to_english(markdown, page.file.src_uri)
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))
    only_link = ONLY_LINK.fullmatch(markdown)
    if only_link:
        markdown = ROOT.joinpath(only_link[1]).read_text(encoding="utf-8")
    source = "" if only_link else folder
    markdown = LANGUAGE_LINK.sub("", markdown, count=1)
    blocks = CODE.split(markdown)  # prose and code in turn
    blocks[::2] = [LINK.sub(lambda match: _site_link(match, source, folder), prose) for prose in blocks[::2]]
    return "".join(blocks)


def _site_link(match: re.Match[str], source: str, folder: str) -> str:
    """Return a link from a file in the folder `source` as a page in `folder` has it.

    Root files lead to the pages that show them, Chinese pages lose their `.zh` (the site finds the translation), and
    what is not on the site, such as a recipe, is shown without a link.
    """
    text, target, anchor = match[1], match[2], match[3] or ""
    if re.match(r"[a-z]+:", target):
        return match[0]
    path = posixpath.normpath(posixpath.join(source, target))
    if "/" not in path and path.endswith(".md"):
        path = f"docs/{path.lower()}"
    if not path.startswith("docs/") or (ROOT / path).is_dir():
        return text if "`" in text else f"`{text}`"
    path = re.sub(r"\.zh\.md$", ".md", path)
    return f"[{text}]({posixpath.relpath(path, folder)}{anchor})"


def _link_to_english(markdown: str, path: str) -> str:
    """Return a page of the API reference for the Chinese side: its title and a link, as docstrings are English."""
    title = markdown.partition("\n")[0]
    address = "../" + path.removesuffix(".md").removesuffix("index").rstrip("/") + "/"
    up = "../" * (address.count("/") - 1)
    return f'{title}\n\nAPI 参考只有英文: <a href="{up}{address}">{address.removeprefix("../")}</a>\n'
