"""An executed notebook as a piece of HTML that loads and runs nothing: a page of `srlib.ops.site`.

nbconvert's HTMLExporter writes it, in its plainest template (`basic`: no MathJax, no require.js, no
style of its own). What a notebook's own outputs bring along is taken out by a list of what may
stay. Long code cells are folded, figures get the heading above them as their description:

    body(notebook, {"00_start_here"})   ->   <div class="cell …"><h1>…</h1>…
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

FOLDED = 14  # lines of code from which on a cell is shown folded
LOADS = ("script", "link", "iframe", "frame", "object", "embed", "base", "meta", "form", "audio")
LOADS += ("video", "source", "track", "portal")
KEPT = {"class", "id", "style", "href", "src", "alt", "title", "colspan", "rowspan", "scope"}
KEPT |= {"open", "width", "height", "align", "start", "type", "lang", "dir"}


def body(notebook: Any, names: set[str]) -> Any:
    """Return an executed notebook as HTML that loads and runs nothing."""
    from bs4 import BeautifulSoup
    from markupsafe import Markup
    from nbconvert import HTMLExporter

    kinds = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]
    exporter = HTMLExporter(
        template_name="basic", exclude_anchor_links=True, exclude_input_prompt=True,
        exclude_output_prompt=True, config={"NbConvertBase": {"display_data_priority": kinds}},
    )  # fmt: skip
    _describe(notebook)
    html, _ = exporter.from_notebook_node(notebook)
    soup = BeautifulSoup(html, "html.parser")
    _tame(soup, names)
    _fold(soup)
    return Markup(soup)


def _describe(notebook: Any) -> None:
    """Give every figure the words of the heading above it, for those who do not see it."""
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#+\s+(.+)$", cell.source, re.M)
            heading = re.sub(r"[*`]", "", headings[-1]) if headings else heading
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.metadata.setdefault("image/png", {})["alt"] = f"Figure: {heading}"


def _tame(soup: Any, names: set[str]) -> None:
    """Take out all that runs, or that would be loaded from elsewhere."""
    for tag in soup.find_all(LOADS):
        tag.decompose()
    for tag in soup.find_all("style"):
        if tag.has_attr("scoped") or re.search(r"url\s*\(|@import", tag.get_text(), re.I):
            tag.decompose()  # scoped: pandas' own, which would win over ours
    for tag in soup.find_all(True):
        attrs = {k: v for k, v in tag.attrs.items() if k in KEPT or k[:5] in ("aria-", "data-")}
        if "url(" in re.sub(r"\s", "", str(attrs.get("style", ""))).lower():
            del attrs["style"]
        if not str(attrs.get("src", "data:image/")).startswith("data:image/"):
            del attrs["src"]
        if "href" in attrs:
            link = attrs.pop("href")
            page = f"{Path(link).stem}.html" if Path(link).stem in names else ""
            link = link if re.match(r"https?://|#", link) else page
            attrs |= {"href": link} if link and tag.name == "a" else {}
        tag.attrs = attrs


def _fold(soup: Any) -> None:
    """Fold long cells of code, so that a reader on a phone meets the results first."""
    for cell in soup.select("div.code_cell"):
        box = cell.select_one("div.input")
        lines = box.get_text().strip().count("\n") + 1 if box else 0
        if lines < FOLDED:
            continue
        kinds = {"celltag_parameters": "All parameters, with their defaults"}
        kinds |= {"celltag_injected-parameters": "The parameters of this run"}
        words = next((kinds[c] for c in cell.get("class", []) if c in kinds), "Code")
        details, summary = soup.new_tag("details", attrs={"class": "code"}), soup.new_tag("summary")
        summary.string = f"{words} ({lines} lines)"
        box.wrap(details).insert(0, summary)
