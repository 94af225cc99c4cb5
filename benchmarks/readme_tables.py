"""Write the README's tables from the committed results: python benchmarks/readme_tables.py [--check].

Between `<!-- table: NAME -->` and `<!-- /table -->` stands what `benchmarks/results/NAME.json` gives; --check only compares.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from ebm_refine.evaluation import table

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)


def rendered(readme: str) -> str:
    """The README's text with every table made anew."""

    def replace(match: re.Match[str]) -> str:
        results = json.loads((ROOT / "benchmarks" / "results" / f"{match[2]}.json").read_text())
        text = speed_table(results) if "machine" in results else table(results)
        return f"{match[1]}{text}{match[4]}"

    return BLOCK.sub(replace, readme)


def speed_table(results: dict) -> str:
    """The step benchmark's rows as Markdown."""
    lines = [
        f"`{results['model']}`, {results['machine']}, {results['threads']} threads, torch {results['torch']}; medians of one "
        "interleaved run.",
        "",
        "| batch | forward + gradient alone, s | step / that | step in the pipeline / that | one at a time / batched |",
        "|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        lines.append(
            f"| {row['batch']} | {row['seconds']['floor']:.4f} | {row['step_over_floor']:.2f} | "
            f"{row['step_in_pipeline_over_floor']:.2f} | {row['one_at_a_time_over_batched']:.2f} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    readme = ROOT / "README.md"
    text = readme.read_text()
    made = rendered(text)
    if parser.parse_args().check:
        sys.exit(0 if made == text else "README.md: a table differs from benchmarks/results; run benchmarks/readme_tables.py")
    readme.write_text(made)


if __name__ == "__main__":
    main()
