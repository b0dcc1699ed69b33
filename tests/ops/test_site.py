"""The report site, on small made-up output folders: safe to show, whole without a network."""

import base64
import json
import re
import zlib

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_study import claim, made, pair, rows

from srlib import cli
from srlib.errors import UserError
from srlib.experiment import study
from srlib.ops import run, site

CHUNKS = (
    (b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"),
    (b"IDAT", zlib.compress(b"\0\xff")),
    (b"IEND", b""),
)
PNG = b"\x89PNG\r\n\x1a\n" + b"".join(
    len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)
    for kind, body in CHUNKS
)
HEAD = "# {title}\n\n**Question.** What *does* it cost?\n\n| | |\n|---|---|\n| reads | nothing |"
HOSTILE = """<table><tr><td onclick="alert(1)">kept</td></tr></table>
<script src="https://cdn.example/x.js"></script><iframe src="https://x.example"></iframe>
<img src="https://x.example/a.png" onerror="alert(1)"><a href="javascript:alert(1)">link</a>
<style>@import url(https://x.example/a.css);</style><link rel="stylesheet" href="//x.example/b.css">
<p style="background:url(https://x.example/c.png)">paragraph</p>"""


def executed(folder, title="A title", outputs=(), figures=("trade_off",), **parameters):
    """A finished run's notebook file and figures, as papermill leaves them."""
    told = json.loads((folder / "run.json").read_text())["parameters"] | parameters
    cells = [new_markdown_cell(HEAD.format(title=title)), new_markdown_cell("## 1 · A *figure*")]
    cells.append(new_code_cell("\n".join(f"name_{i} = {i}" for i in range(20))))
    cells[-1].metadata["tags"] = ["parameters"]
    image = new_output("display_data", {"image/png": base64.b64encode(PNG).decode()})
    html = [
        new_output("execute_result", {"text/html": text, "text/plain": "x"}) for text in outputs
    ]
    cells.append(new_code_cell("plot()", outputs=[image, *html]))
    notebook = new_notebook(cells=cells, metadata={"papermill": {"parameters": told}})
    nbformat.write(notebook, folder / f"{folder.name}.ipynb")
    (folder / "figures").mkdir(exist_ok=True)
    for figure in figures:
        (folder / "figures" / f"{figure}.png").write_bytes(PNG)
    return folder


@pytest.fixture
def base(tmp_path):
    """A profile with two notebooks."""
    folder = tmp_path / "mine"
    executed(made(folder, "00_start_here"), "00 · Start here", figures=("before_after",))
    two = [claim("C1", -0.3, 0.1), claim("C2", -0.98, 0.1), claim("C3", -0.3, 0.1, trainings=1)]
    executed(made(folder, "02_long_cot_finetuning", claims=two), "02 · Is long CoT safe?")
    return folder


def pages(base):
    return {f.name: f.read_text("utf-8") for f in (base / "report").glob("*.html")}


def test_the_index_begins_with_the_figure_and_the_verdicts_then_the_notebooks(base):
    made_site = site.write(base)
    assert made_site == (base / "report/index.html", {})
    text = pages(base)["index.html"]
    marks = ['src="figures/02_long_cot_finetuning/trade_off.png"', "<table", "<article>", "</main>"]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    counts = "1 supported, 1 opposite, 1 open, 12 not testable"
    assert f"Of 15 claims and parts of claims: {counts}." in text
    row = next(line for line in text.splitlines() if "<b>C2</b>" in line)
    assert "Long-CoT fine-tuning harms safety" in row and "&lt; 0.001" in row
    assert "−98" in row and "−100 to −87" in row and 'href="02_long_cot_finetuning.html"' in row
    assert "+98" in row and "refusal rate and attack success rate" in row
    assert ">5</td>" in row and 'class="verdict supported"' in row
    row = next(line for line in text.splitlines() if "<b>C3</b>" in line)
    assert "this training only: a verdict takes 5" in row and 'class="verdict open"' in row
    row = next(line for line in text.splitlines() if "<b>C4</b>" in line)
    assert "no finished run measured it" in row and 'class="verdict not-testable"' in row
    assert "What does it cost?" in text and "00 · Start here" in text
    assert "<b>01_cot_prompting</b>: not run" in text
    for source in re.findall(r'src="(figures/[^"]+)"', text):
        assert (base / "report" / source).read_bytes() == PNG


def test_every_link_between_pages_leads_somewhere(base):
    site.write(base)
    found = pages(base)
    assert set(found) == {"index.html", "00_start_here.html", "02_long_cot_finetuning.html"}
    for name, text in found.items():
        links = re.findall(r'href="([^"#][^":]*)"', text)
        assert links and all((base / "report" / link).is_file() for link in links), name
    assert 'href="index.html"' in found["00_start_here.html"]
    assert 'href="02_long_cot_finetuning.html"' in found["00_start_here.html"]


def test_pages_load_nothing_and_run_nothing(base):
    executed(base / "02_long_cot_finetuning", "02", outputs=[HOSTILE])
    notebook = nbformat.read(base / "02_long_cot_finetuning/02_long_cot_finetuning.ipynb", 4)
    notebook.cells[
        0
    ].source += '\n\n<script>alert("md")</script> <img src="https://x.example/m.png">'
    code = new_output("display_data", {"application/javascript": "alert(2)", "text/plain": "js"})
    notebook.cells[-1].outputs.append(code)
    nbformat.write(notebook, base / "02_long_cot_finetuning/02_long_cot_finetuning.ipynb")
    site.write(base)
    for name, text in pages(base).items():
        assert '<meta name="viewport" content="width=device-width' in text, name
        assert "default-src 'none'" in text
        assert not re.search(r"<(script|iframe|link|object|embed|base)\b", text, re.I), name
        assert not re.search(r"\son\w+\s*=|javascript:|@import|url\(", text, re.I), name
        sources = re.findall(r'src="([^"]*)"', text)
        assert sources and all(
            s.startswith(("data:image/png;base64,", "figures/")) for s in sources
        )
        assert set(re.findall(r'https?://[^"<\s]*', text)) <= {"https://arxiv.org/abs/2502.09673"}
    page = pages(base)["02_long_cot_finetuning.html"]
    assert all(words in page for words in ("kept", "link", "paragraph"))
    assert 'alt="Figure: 1 · A figure"' in page


def test_a_phone_gets_scrolling_tables_small_images_and_folded_parameters(base):
    site.write(base)
    page = pages(base)["00_start_here.html"]
    assert re.search(r"img \{[^}]*max-width: 100%", page)
    assert re.search(r"\.output_html[^{]*\{ overflow-x: auto", page)
    assert "<summary>All parameters, with their defaults (20 lines)</summary>" in page
    assert page.count("<details") == 1 and "plot" in page
    assert "prefers-color-scheme: dark" in page


def test_hostile_names_are_escaped(base):
    hostile = '<script>alert(1)</script>" onload="x'
    folder = base / "03_reflective_safety_data"
    table = pd.DataFrame(rows(hostile))
    made(base, folder.name, table, parameters={"model": hostile})
    executed(folder, hostile, outputs=[table.to_html()])
    site.write(base)
    texts = [pages(base)[name] for name in ("index.html", f"{folder.name}.html")]
    for text in texts:
        tags = BeautifulSoup(text, "html.parser").find_all(True)
        assert not any(tag.name == "script" or "onload" in tag.attrs for tag in tags)
    assert texts[0].count("&lt;script&gt;alert(1)&lt;/script&gt;&#34; onload=&#34;x") >= 4
    assert texts[1].count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3  # title, two rows


def test_a_run_that_reveals_is_left_out_unless_asked_for(base):
    site.write(base)
    assert (base / "report/02_long_cot_finetuning.html").exists()
    folder = base / "02_long_cot_finetuning"
    told = {"reveal": True, "long_new_tokens": 320}
    executed(made(base, folder.name, parameters=told), "02", outputs=["<p>what it said</p>"])
    left_out = site.write(base).left_out
    assert list(left_out) == ["02_long_cot_finetuning"] and "reveal" in left_out[folder.name]
    found = pages(base)
    assert set(found) == {"index.html", "00_start_here.html"}  # the earlier page is gone, too
    assert not (base / "report/figures/02_long_cot_finetuning/trade_off.png").exists()
    assert "<b>02_long_cot_finetuning</b>: made with `reveal: true`" in found["index.html"]
    assert "in full" not in found["index.html"]
    assert site.write(base, reveal=True).left_out == {}
    assert "what it said" in pages(base)["02_long_cot_finetuning.html"]
    assert "in full" in pages(base)["index.html"]


def test_a_notebook_file_of_another_run_is_not_shown(base):
    # run.json says that nothing is revealed, but the file beside it is older, and reveals
    executed(base / "02_long_cot_finetuning", "02", outputs=["<p>what it said</p>"], reveal=True)
    left_out = site.write(base).left_out
    assert left_out == {
        "02_long_cot_finetuning": "its notebook file is of another run: run it again"
    }
    assert not any("what it said" in text for text in pages(base).values())
    site.write(base, reveal=True)
    assert not any("what it said" in text for text in pages(base).values())


@pytest.mark.parametrize("content", [None, "", '{"cells": [', "[]", '{"nbformat": 4}'])
def test_a_torn_notebook_file_is_named(base, content):
    file = base / "02_long_cot_finetuning/02_long_cot_finetuning.ipynb"
    file.unlink() if content is None else file.write_text(content)
    assert list(site.write(base).left_out) == ["02_long_cot_finetuning"]
    assert "<b>02_long_cot_finetuning</b>: its notebook file" in pages(base)["index.html"]


def test_the_same_runs_give_the_same_bytes_and_nothing_is_written_twice(base):
    def stamps():
        files = [f for f in (base / "report").rglob("*") if f.is_file()]
        return {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in files}

    site.write(base)
    before = stamps()
    site.write(base)
    assert stamps() == before and len(before) == 5
    for file in before:
        file.unlink()
    site.write(base)
    assert {f: blob for f, (_, blob) in stamps().items()} == {f: b for f, (_, b) in before.items()}


def test_the_figure_of_notebook_06_comes_first_unless_it_is_older_than_its_runs(base):
    reads = study.load(base.parent, base.name).digests()
    own = made(base, study.OWN, parameters={"profiles": []}, reads=reads)
    executed(own, "06 · All", figures=("trade_off", "claims"))
    assert site.write(base).left_out == {}
    text = pages(base)["index.html"]
    assert text.index("figures/06_verdicts/trade_off.png") < text.index("<table")
    assert "figures/06_verdicts/claims.png" in text[text.index("<article>") :]
    made(base, "01_cot_prompting", claims=[claim("C4", 0.5, 0.1)])
    left_out = site.write(base).left_out
    assert "older than the runs" in left_out[study.OWN]
    text = pages(base)["index.html"]
    assert "figures/06_verdicts" not in text and "2 supported" in text


def test_the_verdicts_are_those_of_all_profiles_that_notebook_06_pooled(tmp_path):
    found = pair(tmp_path, claim("C2", -0.5, 0.2), claim("C2", -0.4, 0.1))
    told = {"profiles": ["a", "b"]}
    executed(made(tmp_path / "both", study.OWN, parameters=told, reads=found.digests()), "06")
    site.write(tmp_path / "both")
    text = pages(tmp_path / "both")["index.html"]
    row = next(line for line in text.splitlines() if "<b>C2</b>" in line)
    assert "−42" in row and 'data-name="runs:">2</td>' in row
    assert "2 profiles together" in text and "b/02_long_cot_finetuning" in text


def test_a_profile_without_a_finished_run_says_what_to_run(tmp_path):
    with pytest.raises(
        UserError, match=r"no finished run in .*mine: run `python -m srlib run mine`"
    ):
        site.write(tmp_path / "mine")
    made(tmp_path / "mine", "00_start_here", status="running")
    with pytest.raises(UserError, match="no finished run"):
        site.write(tmp_path / "mine")
    assert not (tmp_path / "mine/report").exists()


def profile(base):
    """Parameter files of the profile, as the command line takes them."""
    folder = base.parent / "params"
    folder.mkdir()
    text = f"# any; 1 minute\nprofile: {base.name}\noutputs: {base.parent}\n"
    (folder / "00_start_here.yaml").write_text(text)
    return str(folder)


def test_report_prints_the_results_and_where_the_site_is(base, capsys):
    cli.report([profile(base)], reveal=False)
    said = capsys.readouterr().out
    assert "aligned base" in said and "exact_match" in said and "pictures:" in said
    assert said.splitlines()[-1] == f"report: {base / 'report/index.html'}"


def test_a_report_that_fails_does_not_lose_a_finished_run(base, capsys, monkeypatch):
    def broken(*_):
        raise OSError("disk\non fire")

    monkeypatch.setattr(run, "is_made", lambda file: True)
    targets = [profile(base)]
    checked = [(file, {}) for file in cli._files(targets)]
    monkeypatch.setattr(cli, "_checked", lambda *_: checked)
    monkeypatch.setattr(site, "write", broken)
    cli.run(targets, force=False)
    said = capsys.readouterr()
    assert said.err == "warning: no report was written: disk on fire\n"
    assert said.out.splitlines()[-1].startswith("1 notebooks in")
