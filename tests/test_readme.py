"""The documents' tables are the committed results, and the README's commands are the program's."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ebm_refine.cli.commands import _parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


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
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith(("http://", "https://")) or (page.parent / target).exists(), target
