"""The current settings as code that can be pasted: client, library, command line, curl."""

import json
import shlex
from typing import Any

from ebm_refine.settings import Settings


def for_client(settings: Settings, address: str) -> str:
    given = call(settings)
    arguments = "\n".join(f"    {name}={value!r}," for name, value in given.items())
    return (
        "from gradio_client import Client\n\n"
        f"client = Client({address!r})\n"
        "before, after, metrics, bundle = client.predict(\n"
        f"{arguments}\n"
        '    api_name="/refine",\n'
        ")\n"
        'print(metrics.get("verdict") or metrics.get("kernel_distance") or metrics)\n'
    )


def for_library(settings: Settings) -> str:
    arguments = "\n".join(f"    {name}={value!r}," for name, value in _stated(settings).items())
    return (
        "from ebm_refine import refine\n\n"
        f"result = refine(\n{arguments}\n)\n"
        'result.save("out")\n'
        'print(result.diagnostics["mean_energy_after"])\n'
    )


def for_command_line(settings: Settings) -> str:
    named = _stated(settings)
    options = named.pop("options", {})
    flags = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in named.items()]
    flags += [f"--set {shlex.quote(f'{name}={value}')}" for name, value in options.items()]
    return "python -m ebm_refine refine \\\n  " + " \\\n  ".join([*flags, "--out out"]) + "\n"


def for_curl(settings: Settings, address: str) -> str:
    body = shlex.quote(json.dumps(call(settings)))
    start = shlex.quote(f"{address.rstrip('/')}/gradio_api/call/v2/refine")
    answer = shlex.quote(f"{address.rstrip('/')}/gradio_api/call/refine/")
    return (
        f"event=$(curl -s {start} -H 'Content-Type: application/json' \\\n  -d {body} | cut -d'\"' -f4)\n"
        f'curl -sN {answer}"$event"\n'
    )


def call(settings: Settings) -> dict[str, Any]:
    """The arguments of `/refine`; what is no argument there goes into the options."""
    named = _stated(settings)
    options = named.pop("options", {})
    options |= {name: named.pop(name) for name in ("beta", "temperature") if name in named}
    return named | ({"options": options} if options else {})


def _stated(settings: Settings) -> dict[str, Any]:
    """The arguments of `refine` without those that leave a choice to the method."""
    named = {name: value for name, value in settings.as_dict().items() if value is not None}
    options = {name: value for name, value in named.pop("options").items() if value is not None}
    if named["beta"] == 1.0:
        del named["beta"]
    return named | ({"options": options} if options else {})


def for_energies(model: str, address: str) -> str:
    """Both endpoints of energies, asked of that model about a digit that the snippet draws itself."""
    return (
        "import base64\nimport io\n\n"
        "from gradio_client import Client\n"
        "from PIL import Image, ImageDraw\n\n"
        f"client = Client({address!r})\n"
        f'before, after, answer = client.predict({model!r}, num_images=16, seed=0, api_name="/energy_sample")\n'
        'print(after, answer["notes"])\n\n'
        'picture = Image.new("L", (200, 200), 255)\n'
        "ImageDraw.Draw(picture).line([(60, 40), (140, 40), (90, 160)], fill=0, width=16)  # a seven\n"
        "file = io.BytesIO()\n"
        'picture.save(file, "PNG")\n'
        "images = [base64.b64encode(file.getvalue()).decode()]\n"
        f'_, answer = client.predict({model!r}, "detect", images, api_name="/energy_question")\n'
        'print(answer["energy"], answer["share_of_digits_above"])\n'
        'options = {"mask": "bottom", "share": 0.5, "n_steps": 60}\n'
        f'completions, answer = client.predict({model!r}, "complete", images, 0, options, api_name="/energy_question")\n'
        "print(completions)\n"
    )
