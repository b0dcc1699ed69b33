"""A static site of a profile's runs: `outputs/<profile>/report/`, to be shown, sent or projected.

    write(Path("outputs/quick"))   ->   index.html, a page a notebook, figures/

It opens from a disk, without a network and without JavaScript: each page holds its style and its
figures, loads nothing, and forbids the browser to (a Content-Security-Policy). The pages are the
executed notebooks, which redact what models said to harmful requests; a run with `reveal: true` is
left out, unless that is asked for. The same inputs give the same bytes. A page, as the index lists
it:

    name="01_cot_prompting", title="01 · Does asking for …", question="A prompt can …",
    figure="figures/01_cot_prompting/trade_off.png"
"""

from __future__ import annotations

import json
import math
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from .. import store
from ..analysis import verdicts
from ..errors import UserError
from ..experiment import study
from . import site_page

# a notebook's picture in the index: the first of these that it has
FIGURES = ("trade_off", "frontiers", "before_after", "intentions", "claims", "answer_classes")


class Site(NamedTuple):
    """Where the site begins, and the runs that are not in it: notebook -> why."""

    index: Path
    left_out: dict[str, str]


class Page(NamedTuple):
    """A notebook's page: `figure` is a path in the site, "" where the run drew none."""

    name: str
    title: str
    question: str
    figure: str
    alt: str


def write(base: Path, reveal: bool = False) -> Site:
    """Write the site of a profile's folder; files that it no longer has are removed.

    Raises UserError where the profile has no finished run.
    """
    notebooks, left_out = _shown(base, reveal)
    if not notebooks and not left_out:
        raise UserError(study.nothing(base))
    results, fresh = _study(base)
    if study.OWN in notebooks and not fresh:
        left_out[study.OWN] = "older than the runs that it read: run it again"
        del notebooks[study.OWN]
    head = _headline(base, notebooks)
    pages = [_page(base, name, notebook, head) for name, notebook in notebooks.items()]
    contents = {page.figure: _png(base, page.figure) for page in [*pages, *head] if page.figure}
    names = {page.name for page in pages}
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        body = site_page.body(notebooks[page.name], names)
        near = {"before": before, "after": after}
        contents[f"{page.name}.html"] = _fill(title=page.title, body=body, **near)
    variables = {"profile": base.name, "pages": pages, "headline": next(iter(head), None)}
    missing = {name.removeprefix(f"{base.name}/"): why for name, why in results.missing.items()}
    variables |= {"notes": missing | left_out, "revealed": any(map(_reveals, notebooks.values()))}
    variables |= _results(results, pages)
    contents["index.html"] = _fill(title=f"Results of {base.name}", **variables)
    _put(base / "report", contents)
    return Site(base / "report" / "index.html", left_out)


def _study(base: Path) -> tuple[study.Study, bool]:
    """Load the runs that the verdicts are made of: those that notebook 06's parameters name, or
    else this profile's; return them, and whether notebook 06 has read just these."""
    record = store.read_json(base / study.OWN / "run.json")
    parameters = record.get("parameters") or {}
    results = study.load(base.parent, parameters.get("profiles") or [base.name])
    return results, record.get("reads") == results.digests()


def _shown(base: Path, reveal: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the executed notebooks that may be shown, by name, and why others may not."""
    import nbformat

    shown, left_out = {}, {}
    for path in sorted(base.glob("*/run.json")):
        record, name = store.read_json(path), path.parent.name
        if record.get("status") != "done":
            continue
        try:
            notebook = nbformat.read(path.parent / f"{name}.ipynb", as_version=4)
        except (OSError, ValueError, AttributeError, nbformat.ValidationError):
            left_out[name] = "its notebook file cannot be read: run it again"
            continue
        values = record.get("parameters") or {}
        if _ran_with(notebook) != values:  # it may show what that run would have hidden
            left_out[name] = "its notebook file is of another run: run it again"
        elif _reveals(notebook) and not reveal:
            left_out[name] = "made with `reveal: true`, shows harmful answers (--reveal)"
        else:
            shown[name] = notebook
    return shown, left_out


def _ran_with(notebook: Any) -> dict:
    """Return the parameters that papermill gave a notebook, {} where it did not run it."""
    return json.loads(json.dumps(notebook.metadata.get("papermill", {}).get("parameters", {})))


def _reveals(notebook: Any) -> bool:
    return bool(_ran_with(notebook).get("reveal"))


def _titles(name: str, notebook: Any) -> tuple[str, str]:
    """Return a notebook's title and question, as plain text."""
    text = next((c.source for c in notebook.cells if c.cell_type == "markdown"), "")
    title = re.search(r"^#\s+(.+)$", text, re.M)
    questions = re.findall(r"^\*\*Question[^*]*\*\*\s*(.+)$", text, re.M)
    plain = [re.sub(r"[*`]", "", words) for words in (title[1] if title else name, *questions[-1:])]
    return plain[0], "".join(plain[1:])


def _headline(base: Path, notebooks: dict) -> list[Page]:
    """Return the picture that the site begins with, as a list of one or none: all arms in one
    plane, or else those of notebook 02."""
    for name in (study.OWN, "02_long_cot_finetuning"):
        if name in notebooks and (base / name / "figures" / "trade_off.png").is_file():
            return [Page(name, "", "", f"figures/{name}/trade_off.png", "")]
    return []


def _page(base: Path, name: str, notebook: Any, head: list[Page]) -> Page:
    taken = {page.figure for page in head}
    drawn = sorted(path.stem for path in (base / name / "figures").glob("*.png"))
    wanted = [*(f for f in FIGURES if f in drawn), *drawn]
    paths = [f"figures/{name}/{figure}.png" for figure in wanted]
    figure = next((path for path in paths if path not in taken), "")
    title, question = _titles(name, notebook)
    return Page(name, title, question, figure, f"The main figure of {title}")


def _png(base: Path, figure: str) -> bytes:
    _, name, file = Path(figure).parts
    return (base / name / "figures" / file).read_bytes()


def _fill(**told: Any) -> str:
    """Render a whole page: everything but `body` is escaped."""
    import jinja2

    here = files("srlib").joinpath("assets")
    page = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.ChainableUndefined
    )
    css = jinja2.utils.markupsafe.Markup(here.joinpath("site.css").read_text("utf-8"))
    return page.from_string(here.joinpath("site.html.j2").read_text("utf-8")).render(
        css=css, **told
    )


def _results(found: study.Study, pages: list[Page]) -> dict[str, Any]:
    """Return what the index says of the study: the claims' table, a sentence on them, the runs."""
    table = found.verdicts()
    counts = table["verdict"].value_counts()
    words = [word for word in verdicts.VERDICTS if word in counts]
    said = ", ".join(f"{counts[word]} {word}" for word in words)
    models = ", ".join(dict.fromkeys(map(str, found.runs["model"])))
    pooled = f", {len(found.folders)} profiles together" if len(found.folders) > 1 else ""
    return {
        "claims": [_claim(c, pages) for c in table.to_dict("records")] if table["n"].any() else [],
        "summary": f"Of {len(table)} claims and parts of claims: {said}.",
        "several": (table["runs"] > 1).any(),
        "facts": f"model {models}{pooled}",
        "runs": [_run(run, len(found.folders) > 1) for run in found.runs.itertuples()],
    }


def _claim(c: dict, pages: list[Page]) -> dict[str, Any]:
    definition = verdicts.claim(c["claim"])
    page = next((p.name for p in pages if p.name.startswith(definition["notebook"])), "")
    names = " and ".join(verdicts.measures(c["claim"]))
    words = {"page": page, "measure": names.replace("_", " "), "also": "", "also_interval": ""}
    words |= {k: c[k] for k in ("claim", "statement", "verdict", "n", "trainings", "runs")}
    words["why"] = "; ".join(filter(None, [c["why"], c["note"]]))
    if math.isnan(c["effect"]):
        return words | dict.fromkeys(("effect", "interval", "p", "n", "trainings"), "")
    p = "" if math.isnan(c["p_holm"]) else f"{c['p_holm']:.3f}"
    words |= {"p": "< 0.001" if c["p_holm"] < 0.001 else p}
    if not math.isnan(c["also_effect"]):
        words |= {"also": _points(c["also_effect"]), "also_interval": _interval(c, "also_")}
    return words | {"effect": _points(c["effect"]), "interval": _interval(c)}


def _interval(c: dict, prefix: str = "") -> str:
    return f"{_points(c[prefix + 'low'])} to {_points(c[prefix + 'high'])}"


def _points(share: float) -> str:
    rounded = round(100 * share)
    return f"{rounded:+d}".replace("-", "−") if rounded else "0"


def _run(run: Any, several: bool) -> dict[str, Any]:
    row = {k: getattr(run, k) for k in ("model", "dtype", "seed")}
    name = f"{run.profile}/{run.notebook}" if several else run.notebook
    row |= {"name": name, "minutes": f"{(run.seconds or 0) / 60:.1f}"}
    return row | {"started": run.started, "commit": str(run.commit or "")[:10]}


def _put(folder: Path, contents: dict[str, str | bytes]) -> None:
    """Write the site's files, those that changed, and remove those of earlier sites."""
    store.writable(folder)
    for name, content in contents.items():
        path, blob = folder / name, content.encode() if isinstance(content, str) else content
        if not path.is_file() or path.read_bytes() != blob:
            with store.full_disk(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(blob)
    for path in [*folder.glob("*.html"), *folder.glob("figures/*/*.png")]:
        if path.relative_to(folder).as_posix() not in contents:
            path.unlink()
