"""The model card: Hub front matter and readable text, from `config.json` alone, so that it cannot say anything else."""

from typing import Any

from ebm_refine.models.card_evidence import chosen, evidence, rights, table

HUB_DATASETS = {"mnist": "ylecun/mnist", "cifar10": "uoft-cs/cifar10", "celeba": "nielsr/CelebA-faces"}
RAW_NOTE = (
    "The discriminator gives no logit: the scale and the offset of its raw score are arbitrary. The raw row shows how poor a "
    "log ratio that score is without calibration."
)
KIND_TEXT = {
    "pair": "a GAN pair: a generator and its discriminator, which together are an energy-based model of images",
    "energy": "an energy-based model of images",
    "joint": "a generator and an energy-based model trained together",
    "rbm": "a restricted Boltzmann machine",
    "dbn": "a deep belief network",
    "points": "a model of points in the plane",
    "features": "a frozen classifier whose penultimate layer gives the features in which samples are compared",
}
ENCODER_TEXT = "a frozen encoder, trained without labels, that gives the features in which samples are compared"
PANEL_TEXT = "an evidence panel: frozen encoders of several kinds, and the tests that decide which of them may vote"
# Where the data's terms bind what is trained on it.
DATA_LICENSES = {"celeba": "other"}


def model_card(config: dict[str, Any]) -> str:
    """The README.md of a checkpoint with this config. `name` in it is the model's name; any other key may be missing."""
    sections = [
        [f"# {config.get('title') or config.get('name') or 'Model'}", "", _what(config)],
        _usage(config),
        _ratios(config),
        _scores(config.get("discriminator_scores")),
        chosen(config.get("panel_choice")),
        _choice(config.get("choice")),
        evidence(config.get("evidence")),
        _metrics(config.get("metrics")),
        _holdout(config.get("holdout_distance")),
        _accuracy(config.get("accuracy")),
        _floors(config.get("floors")),
        rights(config),
        _training(config.get("training")),
        _weights(config.get("parts")),
        _honesty(config),
    ]
    text = "\n\n".join("\n".join(section) for section in sections if section)
    return f"---\n{_front_matter(config)}\n---\n\n{text}\n"


def _front_matter(config: dict[str, Any]) -> str:
    # huggingface_hub takes a moment to import, and only a card needs this part of it.
    from huggingface_hub import EvalResult, ModelCardData

    kind, dataset = config.get("kind", "pair"), _dataset(config)
    hub_id = HUB_DATASETS.get(dataset, dataset)
    # The Hub's entries are for images; numbers of points stand in the text alone.
    metrics = [] if kind == "points" else config.get("metrics") or []
    results = [
        EvalResult(
            task_type="unconditional-image-generation",
            dataset_type=hub_id,
            dataset_name=dataset,
            dataset_split=metric.get("reference_split"),
            metric_type=str(metric["name"]),
            metric_name=str(metric["name"]),
            metric_value=metric["value"],
            metric_args={key: value for key, value in metric.items() if key not in ("name", "value")},
        )
        for metric in metrics
    ]
    data = ModelCardData(
        model_name=config.get("name") or config.get("title") or "model",
        library_name="ebm_refine",
        pipeline_tag="unconditional-image-generation" if kind not in ("features", "points") else None,
        tags=["ebm_refine", "energy-based-model", *(["gan"] if kind in ("pair", "joint") else []), kind],
        datasets=[hub_id] if dataset in HUB_DATASETS else None,
        license=_license(config),
        eval_results=results or None,
    )
    return data.to_yaml().strip()


def _license(config: dict[str, Any]) -> str:
    """The one recorded; else, of models trained here, the data's or the project's own, and of those of others none claimed."""
    training = config.get("training") or {}
    ours = DATA_LICENSES.get(_dataset(config), "mit")
    return str(training.get("license") or ("unknown" if training.get("recipe") == "import" else ours))


def _what(config: dict[str, Any]) -> str:
    kind, data = config.get("kind", "pair"), config.get("data", {})
    shape = "×".join(map(str, data.get("shape", []))) or "unknown shape"
    shape += " numbers a point" if kind == "points" else " (channels first)"
    # A classifier has an accuracy.
    what = ENCODER_TEXT if kind == "features" and not config.get("accuracy") else KIND_TEXT.get(kind, kind)
    what = PANEL_TEXT if config.get("rights") else what
    text = f"This is {what}. Data: {_dataset(config)}, {shape}, range {data.get('range')}."
    prior = config.get("prior")
    if prior and prior.get("name") == "mixture":
        text += " The prior is the generator's own law, a Gaussian mixture in closed form."
    elif prior:
        text += f" Latents: standard {prior.get('name')}, dimension {prior.get('dim')}."
    return text


def _usage(config: dict[str, Any]) -> list[str]:
    name = config.get("repo") or config.get("name") or "FOLDER"
    if config.get("rights"):
        said = f'report = ebm_refine.panel(before, after, dataset="{_dataset(config)}")'
        return ["## Use", "", "```python", "import ebm_refine", "", said, "```"]
    if config.get("kind") == "features":
        return ["## Use", "", "```python", "import ebm_refine", "", f'features = ebm_refine.load("{name}")', "```"]
    return [
        "## Use",
        "",
        "```python",
        "import ebm_refine",
        "",
        f'result = ebm_refine.refine("{name}", num_images=64, seed=0)',
        'result.save("out")  # before.png, after.png, samples.npz, settings.json, metrics.json',
        "```",
        "",
        "```sh",
        f"python -m ebm_refine refine --model {name} --num-images 64 --seed 0 --out out",
        "```",
    ]


def _ratios(config: dict[str, Any]) -> list[str]:
    report, samples = config.get("ratio_report"), "points" if config.get("kind") == "points" else "images"
    if not report:
        return []
    columns = ("cross_entropy", "z_statistic", "mean_weight", "effective_sample_share")
    rows = [[name, *(_number(values.get(column)) for column in columns)] for name, values in report.items()]
    sizes = next(iter(report.values()))
    return [
        "## How good the log ratios are",
        "",
        f"On {sizes.get('n_real', '?')} held-out real {samples} and {sizes.get('n_fake', '?')} newly generated ones. Chance is "
        "a cross-entropy of 0.693. A calibrated ratio has a Z statistic like a standard normal number and a mean weight exp(r) "
        "of 1. The effective share is near 0 where a few samples carry all the weight.",
        "",
        *table(["ratio", "cross-entropy", "Z", "mean weight", "effective share"], rows),
        *([] if config.get("discriminator_output", "logit") == "logit" else ["", RAW_NOTE]),
        "",
        f"Reliability, by tenths of the scale: share of real {samples} predicted → observed (number of {samples}).",
        "",
        *_reliability(report),
    ]


def _reliability(report: dict[str, Any]) -> list[str]:
    """One row a ratio: predicted -> observed share of real, with the count, for each tenth of the scale."""
    rows = []
    for name, values in report.items():
        cells = ["–"] * 10
        for count, predicted, observed in values.get("reliability", []):
            cells[min(int(predicted * 10), 9)] = f"{predicted:.2f} → {observed:.2f} ({count})"
        rows.append([name, *cells])
    return table(["ratio", *(f"{k / 10:.1f}–{(k + 1) / 10:.1f}" for k in range(10))], rows)


def _scores(scores: dict[str, Any] | None) -> list[str]:
    """D's raw score on images that it was trained on beside held-out ones: how much it has memorised."""
    if not scores:
        return []
    rows = [[name, *(_number(row.get(column)) for column in ("mean", "sd", "images"))] for name, row in scores.items()]
    return [
        "## How much the discriminator has memorised",
        "",
        "Its raw score. A discriminator that has memorised nothing gives training images and held-out ones the same mean.",
        "",
        *table(["images", "mean", "sd", "N"], rows),
    ]


def _choice(choice: dict[str, Any] | None) -> list[str]:
    """How the default method, ratio and settings were chosen: what each candidate measured on held-out images."""
    if not choice:
        return []
    columns = ("method", "ratio", "setting", "value", "precision", "recall")
    return [
        "## How the defaults were chosen",
        "",
        f"By the Fréchet distance ({choice.get('title')}, `{choice.get('extractor')}` {str(choice.get('sha256', ''))[:12]}) to "
        f"{choice.get('split')} images, N = {choice.get('num_images')}, seeds {_listed(choice.get('seeds'))}. A method has the "
        "settings of its lowest row; the default method and ratio are those of the lowest of all.",
        "",
        *table(["method", "ratio", "setting", "distance", "precision", "recall"],
                [[_number(row.get(column)) for column in columns] for row in choice["rows"]]),
    ]  # fmt: skip


def _metrics(metrics: list[dict[str, Any]] | None) -> list[str]:
    if not metrics:
        return []
    rows = [
        [
            str(metric.get("name")),
            _number(metric.get("value")),
            str(metric.get("num_images", "–")),
            _listed(metric.get("seeds")),
            f"{metric['extractor']} `{str(metric.get('extractor_sha256', ''))[:12]}`" if metric.get("extractor") else "–",
            str(metric.get("reference_split", "–")),
            _number(metric.get("floor")),
        ]
        for metric in metrics
    ]
    lines = ["## Metrics", "", *table(["metric", "value", "N", "seeds", "extractor", "reference", "real-versus-real"], rows)]
    commands = sorted({str(metric["command"]) for metric in metrics if metric.get("command")})
    return lines + (["", "Measured by:", "", "```sh", *commands, "```"] if commands else [])


def _holdout(distance: dict[str, Any] | None) -> list[str]:
    if not distance:
        return []
    return [
        f"Chosen among its training states by holdout distance: {_number(distance.get('value'))} "
        f"({distance.get('title', 'Fréchet distance')}, `{distance.get('extractor')}` {str(distance.get('sha256', ''))[:12]}, "
        f"N = {distance.get('num_images')})."
    ]


def _accuracy(accuracy: dict[str, Any] | None) -> list[str]:
    if not accuracy:
        return []
    return ["## Accuracy", "", *table(["measured on", "value"], [[key, _number(value)] for key, value in accuracy.items()])]


def _floors(floors: dict[str, Any] | None) -> list[str]:
    """Real against real: what a perfect generator would score."""
    if not floors:
        return []
    columns = list(dict.fromkeys(key for row in floors.values() for key in row))
    rows = [[size, *(_number(row.get(column)) for column in columns)] for size, row in floors.items()]
    return ["## Real-versus-real floors", "", *table(["N", *columns], rows)]


def _training(training: dict[str, Any] | None) -> list[str]:
    if not training:
        return []
    rows = [[key, _listed(value) if isinstance(value, dict | list) else _number(value)] for key, value in training.items()]
    return ["## Training record", "", *table(["", ""], rows)]


def _weights(parts: dict[str, Any] | None) -> list[str]:
    if not parts:
        return []
    rows = [[role, part.get("architecture", "–"), f"`{part.get('sha256', '')}`"] for role, part in parts.items()]
    return ["## Weights", "", *table(["role", "architecture", "sha256"], rows)]


def _honesty(config: dict[str, Any]) -> list[str]:
    notes = []
    if config.get("kind") != "features":
        notes.append("A sampler optimises the energy, so energy and log ratio are never a measure of quality.")
    if config.get("kind") == "pair":
        notes.append("The discriminator estimates the density ratio for this generator only.")
    notes += [str(note) for note in config.get("notes") or []]
    named = [str(metric.get("name", "")).upper() for metric in config.get("metrics") or []]
    if config.get("kind") != "points" and "FID" not in named:
        notes.append("No number here is an FID: that name is reserved for Inception-v3 features at 2,048 images or more.")
    if not config.get("metrics") and config.get("kind") not in ("features", None):
        notes.append("No quality metric has been recorded for this model.")
    training = config.get("training") or {}
    if training.get("recipe") == "import":
        notes.append(
            f"Imported from foreign weights; what a state dict does not record was assumed: {training.get('assumed')}."
        )
    return ["## Notes", "", *(f"- {note}" for note in notes)]


def _dataset(config: dict[str, Any]) -> str:
    return str(config.get("data", {}).get("dataset", "unknown"))


def _listed(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_number(item)}" for key, item in value.items()) or "–"
    return ", ".join(map(_number, value)) if isinstance(value, list | tuple) else _number(value)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
