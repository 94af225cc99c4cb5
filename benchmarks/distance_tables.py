"""Tables about distances themselves: what features see, what ratios go by, published settings."""

from typing import Any

from markdown import grid, listed, number, page, plus_minus


def sense(results: dict[str, Any]) -> str:
    """What the face features make of held-out faces that were spoiled, one line a kind, strength growing to the right."""
    clean, *spoiled = results["rows"]
    words = (
        f"{results['title']} (`{results['extractor']}`, sha256 {results['sha256'][:12]}): kernel distance × 1000 of "
        f"{results['num_images']} {results['split']} faces, mean of {results['draws']} draws; in brackets the strength. "
        f"Untouched: {1000 * clean['mean']:.2f} ± {1000 * clean['sd']:.2f}."
    )
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in spoiled:
        by_kind.setdefault(f"{row['kind']} ({row['unit']})", []).append(row)
    most = max(map(len, by_kind.values()))
    rows = [
        [kind, *(f"{1000 * row['mean']:.1f} ({row['strength']:g})" for row in line), *["–"] * (most - len(line))]
        for kind, line in by_kind.items()
    ]
    head = ["spoiled by", "weakest", *["stronger"] * (most - 2), "strongest"]
    return page(words, grid(head, rows))


def seen_by_ratio(results: dict[str, Any]) -> str:
    """What the log ratios go by among generated images."""
    ratios = results["ratios"]
    described = [f"{name} (mean {one['mean']:.2f}, sd {one['sd']:.2f})" for name, one in ratios.items()]
    words = (
        f"`{results['model']}`, {results['num_images']} generated faces, seed {results['seed']}: Spearman's rank correlation "
        f"of log ratios, {' and '.join(described)}, with"
    )
    titles = next(iter(ratios.values()))["rank_correlations"]
    rows = [[title, *(f"{one['rank_correlations'][title]:+.2f}" for one in ratios.values())] for title in titles]
    return page(words, grid(["property", *ratios], rows))


def known(results: dict[str, Any]) -> str:
    """The known experiments beside ours: 32 images as there, 32 of ours over seeds, and a sample large enough to measure."""
    small, ratio = results["small"], next(iter(results["models"].values()))["ratio"]
    head = ["model", "setting", "published, 32 images", "Fréchet, 32 images of ours", "gain there", "Fréchet, large N",
            "kernel × 1000", "gain"]  # fmt: skip
    rows, floors, sizes = [], [], []
    for name, model in results["models"].items():
        sizes.append(f"`{name}` {model['large']}, seed(s) {listed(model['seeds'])}, {model['machine']}")
        floor = model["floor_small"]
        floors.append(f"`{name}` {floor['frechet_mean']:.2f} ± {floor['frechet_sd']:.2f}")
        for row in model["rows"]:
            kernel = row["large"]["kernel_distance"]["mean"]
            gain = row["large"].get("kernel_gain", {}).get("mean")
            rows.append(
                [
                    f"`{name}`",
                    row["setting"],
                    f"{row['published']:.2f}",
                    plus_minus(row["small"], 2),
                    plus_minus(row["gain_small"], 2) if "gain_small" in row else "–",
                    number(row["large"]["frechet_distance"]["mean"], 3),
                    f"{1000 * kernel:.2f}",
                    "–" if gain is None else f"{1000 * gain:+.2f}",
                ]
            )
    words = (
        f"Langevin, {ratio} ratio. Published: Inception-v3 features of {small} images against another data set; ours: each "
        f"model's own features against its test images. The two columns of Fréchet distances are not comparable. Of "
        f"{small} images mean ± sd over {len(results['small_seeds'])} seeds; large N: {'; '.join(sizes)}. "
        f"Real against real at {small}: {'; '.join(floors)}."
    )
    return page(words, grid(head, rows))
