"""The table of what the page costs its visitor, and that of the verdicts of a first run."""

from typing import Any

# Name in the results, title, and how its number is written.
ROWS: tuple[tuple[str, str, str], ...] = (
    ("start_s", "start to served page, s", "{:.1f}"),
    ("html_bytes", "HTML of the first page, kB", "kB"),
    ("html_bytes_sent", "the same, compressed, kB", "kB"),
    ("requests", "requests to load it", "{:.0f}"),
    ("run_visible_s", "Run is visible after, s", "{:.1f}"),
    ("run_visible_slowed_s", "the same with 4× CPU throttling, s", "{:.1f}"),
    ("main_thread_slowed_s", "work of the main thread with 4× throttling, s", "{:.1f}"),
    ("first_pictures_s", "first visitor on the bare page: from Run to the first pictures, s", "{:.1f}"),
    ("first_verdict_s", "the same, to the verdict, s", "{:.1f}"),
    ("pictures_s", "later visitors: from Run to the first pictures, s", "{:.1f}"),
    ("verdict_s", "the same, to the verdict, s", "{:.1f}"),
    ("run_bytes", "sent for one run of digits, kB", "kB"),
    ("run_s", "the run on the page, s", "{:.1f}"),
    ("api_s", "the same run over the API, s", "{:.1f}"),
    ("page_over_api", "page / API", "{:.2f}"),
    ("phone_screens_to_verdict", "screens of a phone down to the verdict", "{:.1f}"),
)


def page(results: dict[str, Any]) -> str:
    """Before and after, as Markdown."""
    before, after = results["before"], results["after"]
    lines = [f"| | before ({before['commit']}) | after ({after['commit']}) |", "| --- | --- | --- |"]
    lines += [f"| {title} | {_written(before, name, form)} | {_written(after, name, form)} |" for name, title, form in ROWS]
    return "\n".join(lines) + "\n"


def first_run(results: dict[str, Any]) -> str:
    """How many seeds gave which verdict."""
    settings, verdicts = results["settings"], results["verdicts"]
    said = {"better": "Better", "same": "too few images to tell", "worse": "Worse"}
    counts = ", ".join(f"{verdicts.get(kind, 0)} “{words}”" for kind, words in said.items())
    return (
        f"`{settings['model']}`, {settings['method']}, N = {settings['n_steps']}, {settings['num_images']} images, "
        f"{len(results['rows'])} seeds: {counts}.\n"
    )


def _written(results: dict[str, Any], name: str, form: str) -> str:
    """A figure as its row writes it; a dash for what that page has not, or what was not measured."""
    value = results.get(name)
    if value is None:
        return "–"
    return f"{value / 1000:,.0f}" if form == "kB" else form.format(value)
