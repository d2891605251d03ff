"""Every link between the pages leads to an existing file and heading."""

import re
from pathlib import Path

PAGES = ("*.md", "docs/*.md", "deploy/*.md")
_LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_every_link_between_pages_has_its_target(project: Path):
    links = [
        (page, file, anchor)
        for pattern in PAGES
        for page in sorted(project.glob(pattern))
        for file, anchor in _LINK.findall(page.read_text())
    ]
    broken = [
        f"{page.relative_to(project)}: {file}#{anchor}"
        for page, file, anchor in links
        if not (target := page.parent / file if file else page).exists()
        or (anchor and target.suffix == ".md" and anchor not in anchors(target))
    ]

    assert links
    assert broken == []
