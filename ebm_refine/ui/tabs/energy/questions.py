"""Single questions about digits on the page: detection, ranking, labels, and rows of digits."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import gradio as gr
import torch

from ebm_refine.tasks import energy_model as answers
from ebm_refine.tasks import row_decoding
from ebm_refine.ui.components.digit_input import DigitInput, given
from ebm_refine.ui.components.line_chart import line_chart
from ebm_refine.ui.components.picture_view import picture_view
from ebm_refine.ui.components.picture_view import shown as seen
from ebm_refine.ui.components.run_bar import laned, refilled
from ebm_refine.ui.components.status_line import idle
from ebm_refine.ui.tabs.energy import job as asking
from ebm_refine.ui.tabs.energy import panels as energy_words
from ebm_refine.ui.tabs.energy.job import Question
from ebm_refine.ui.tabs.refine.job import user_errors

ORDER = "The candidates in the order of their energies"


def _asks(button: gr.Button, asked: Callable[..., Question], shown: Callable[..., dict[Any, Any]], inputs: Sequence[Any],
          outputs: Sequence[Any]) -> None:  # fmt: skip
    """Wire a button: `asked(*values)` gives the question, `shown(answer, *values)` what is made of its answer."""

    def run(*values: Any) -> Iterator[dict[Any, Any]]:
        with user_errors():
            question = asked(*values)
            yield {outputs[0]: idle("Asking …")}
            with closing(asking.ask(question)) as news:
                for item in news:
                    yield {outputs[0]: gr.skip()} if item is None else shown(item, *values)

    button.click(refilled(run, inputs), list(inputs), list(outputs), **laned())


def detecting(model: gr.Dropdown, digit: DigitInput) -> None:
    """Where the digit's energy lies among those of digits and of what is none."""
    button = gr.Button("Is it a digit?", variant="primary", elem_id="detect-run")
    words = gr.HTML(elem_id="detect-words")
    plot = line_chart(
        "energy", "share", "Shares of each set by energy", "detect-plot", "set", 300, visible=False,
        color_map=energy_words.COLOURS, colors_in_legend=[],
    )  # fmt: skip

    def shown(found: Any, *values: Any) -> dict[Any, Any]:
        return {
            words: energy_words.of_detection(found),
            plot: gr.update(value=energy_words.detection_frame(found), visible=True),
        }

    _asks(button, lambda name, images: asking.detection(name, given(images)[0]), shown, [model, digit.digits], [words, plot])


def ranking(model: gr.Dropdown, digit: DigitInput) -> None:
    """The digit among what is made of it: noise, its negative, mirror image and blur, and a piece of clothing."""
    seed = gr.Number(0, label="Seed of the noise and the clothing", precision=0, elem_id="rank-seed")
    button = gr.Button("Rank the candidates", variant="primary", elem_id="rank-run")
    words = gr.HTML(elem_id="rank-words")
    picture = picture_view(elem_id="rank-picture")

    def candidates(images: Any, seed: Any) -> dict[str, torch.Tensor]:
        return answers.variants(given(images)[0], asking.SEED.given(seed))

    def asked(name: Any, images: Any, seed: Any) -> Question:
        return asking.ranking(name, torch.stack(list(candidates(images, seed).values())))

    def shown(found: Any, name: Any, images: Any, seed: Any) -> dict[Any, Any]:
        made = candidates(images, seed)
        names = list(made)
        grid = energy_words.ranked_picture(torch.stack(list(made.values())), found, names)
        return {words: energy_words.of_ranking(found, names), picture: seen(grid, "Most probable first", ORDER)}

    _asks(button, asked, shown, [model, digit.digits, seed], [words, picture])


def classifying(model: gr.Dropdown, digit: DigitInput) -> None:
    """The label of least energy, and p(y | x)."""
    beta = gr.Slider(0, 5, value=1, step=0.05, label="beta", info=asking.BETA.help, elem_id="beta-y")
    button = gr.Button("Which digit is it?", variant="primary", elem_id="classify-run")
    words = gr.HTML(elem_id="classify-words")

    def shown(found: Any, name: Any, images: Any, beta: Any) -> dict[Any, Any]:
        return {words: energy_words.of_classification(found, beta)}

    def asked(name: Any, images: Any, beta: Any) -> Question:
        return asking.classification(name, given(images)[:1], beta)

    _asks(button, asked, shown, [model, digit.digits, beta], [words])


def reading_a_row(model: gr.Dropdown) -> None:
    """A row of digits whose neighbours follow a rule: K digits are 10^K rows, and min-sum finds the best."""
    row = DigitInput("row", row=True)
    with gr.Row():
        rule = gr.Dropdown(list(row_decoding.RULES), value="never falls", label="Rule", info=asking.RULE.help, elem_id="rule")
        weight = gr.Slider(0, 50, value=5, step=0.5, label="Weight", info=asking.WEIGHT.help, elem_id="weight")
    button = gr.Button("Read the row", variant="primary", elem_id="read-run")
    words = gr.HTML(elem_id="read-words")

    def asked(name: Any, images: Any, rule: Any, weight: Any) -> Question:
        return asking.row_question(name, asking.stacked(list(given(images)), 2), rule, weight)

    def shown(found: Any, name: Any, images: Any, rule: Any, weight: Any) -> dict[Any, Any]:
        return {words: energy_words.of_row(found, rule)}

    _asks(button, asked, shown, [model, row.digits, rule, weight], [words])
