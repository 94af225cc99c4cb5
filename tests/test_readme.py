"""The documents: tables are current, commands parse, links and references lead somewhere, and every cited paper is listed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ebm_refine.cli.commands import _parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_tables_are_what_the_committed_results_give():
    command = [sys.executable, "benchmarks/render_tables.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", re.findall(r"^python -m ebm_refine (.*?)(?:\s+#.*)?$", README, re.MULTILINE))
def test_every_command_in_the_readme_is_understood(line):
    assert _parser().parse_args(shlex.split(line)).command


def test_the_picture_is_there():
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file()


def test_set_up_is_two_commands():
    for name in ("demo", "tests"):
        block = README.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]
        assert len([line for line in block.splitlines() if line.startswith("    ")]) == 1


def test_the_readme_is_short():
    assert len(README.split("---\n", 2)[2].splitlines()) <= 150


DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor


TO_WRITE = "ebm_refine/samplers/random_walk.py"  # the file that docs/adding-a-sampler.md has you write
SOURCES = [*(ROOT / "ebm_refine").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tests").rglob("*.py")]


def test_files_named_in_sources_and_documents_exist():
    """`docs/design.md`, `benchmarks/panel.py` and their like, in docstrings, comments, messages and documents."""
    for file in [*SOURCES, *DOCUMENTS]:
        for name in re.findall(
            r"(?<![\w./-])((?:docs|benchmarks|tests|ebm_refine)/[\w./-]+\.(?:md|py|ipynb))\b", file.read_text()
        ):
            if name != TO_WRITE:
                assert (ROOT / name).is_file(), f"{file.relative_to(ROOT)} names {name}"


def test_oracles_that_tests_cite_are_in_the_design():
    numbered = set(re.findall(r"\*\*(D\d+)\.", (ROOT / "docs" / "design.md").read_text()))
    cited = {name for file in (ROOT / "tests").rglob("*.py") for name in re.findall(r"\bD\d{1,2}\b", file.read_text())}
    assert numbered
    assert cited <= numbered


def test_every_paper_cited_is_in_the_references():
    listed = (ROOT / "docs" / "references.md").read_text()
    for file in [*SOURCES, *DOCUMENTS]:
        for paper in re.findall(r"arXiv[\s#:]*(\d{4}\.\d{4,5})", file.read_text()):
            assert paper in listed, f"{file.relative_to(ROOT)} cites arXiv {paper}"


# "Hinton 2010", "Earl and Deem 2005", "Che et al. 2020", "Del Moral, Doucet and Jasra 2006, …": the first name and the year.
CITED = re.compile(
    r"\b([A-Z][^\W\d_]+)(?:,? (?:[A-Z][\w.-]+,? )*(?:and|et al\.) ?(?:[A-Z][\w-]+)?)?,? \(?(19[4-9]\d|20[01]\d|202[0-5])\b"
)


def test_every_author_cited_is_in_the_references():
    listed = " ".join((ROOT / "docs" / "references.md").read_text().split())
    found = {file: CITED.findall(" ".join(file.read_text().split())) for file in [*SOURCES, *DOCUMENTS]}
    assert sum(map(len, found.values())) > 100
    for file, papers in found.items():
        for name, year in papers:
            assert re.search(rf"\b{name}\b.{{0,80}}?{year}", listed), f"{file.relative_to(ROOT)} cites {name} {year}"
