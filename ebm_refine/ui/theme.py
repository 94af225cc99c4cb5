"""How the page looks: system fonts, quiet colours, sharp pixels, light and dark."""

import gradio as gr

SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Helvetica Neue", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace"]


def theme() -> gr.themes.Base:
    """Fonts by name only: the browser has them, so nothing is fetched."""
    soft = gr.themes.Soft(primary_hue="indigo", secondary_hue="slate", neutral_hue="slate", font=SANS, font_mono=MONO)
    plain = {"text_color": "*body_text_color", "background_fill": "transparent", "border_color": "transparent"}
    return soft.set(
        **{f"block_title_{name}{mode}": value for name, value in plain.items() for mode in ("", "_dark")},
        body_text_color_subdued="*neutral_500",  # on white, 400 is too pale to be read
        block_title_padding="0",
        block_title_text_weight="600",
    )


CSS = """
.gradio-container { width: 100% !important; max-width: 1480px !important; margin: 0 auto !important; }
.gradio-container .column, .gradio-container .row > * { min-width: 0; }
#title h1 { margin: 0.4rem 0 0.1rem; font-size: 1.7rem; letter-spacing: -0.01em; }
#title p { color: var(--body-text-color-subdued); margin: 0; max-width: 62rem; }
.note { color: var(--body-text-color-subdued); font-size: 0.92rem; padding: 0 0.3rem; }

/* Samples are a few dozen pixels wide: enlarge them without smoothing. */
.pixel img { image-rendering: pixelated; width: 100%; height: auto; object-fit: contain; }
.pixel .image-container, .pixel .image-frame { height: auto !important; }
/* The label stands above the picture, not on its first tile. */
.pixel label[data-testid="block-label"] { position: static; display: inline-flex; background: none; border: 0; box-shadow: none;
  color: var(--body-text-color); font-weight: 600; }
.clickable img { cursor: pointer; }
/* Long names end before the arrow. */
.gradio-container input[role="listbox"] { text-overflow: ellipsis; padding-right: 1.4rem; }

#film, #divider, .film { max-width: 600px; margin: 0 auto; width: 100%; }
.sketch-one { max-width: 300px; margin: 0 auto; width: 100%; }
.sketch-row { max-width: 900px; }
#tile-film { max-width: 300px; }

/* The slider holds log10(eps); its number would mislead, the exact one stands beside. */
.log-slider input[type="number"], .log-slider .min_value, .log-slider .max_value,
.log-slider .tab-like-container, .log-slider .reset-button { display: none !important; }

.run-status, #status { min-height: 1.6rem; font-variant-numeric: tabular-nums; }
:is(.run-status, #status) .bar { height: 4px; border-radius: 2px; margin-top: 0.35rem; overflow: hidden;
               background: var(--border-color-primary); }
:is(.run-status, #status) .bar span { display: block; height: 100%; background: var(--color-accent); }

.panel :is(table, thead, tbody, tr, th, td) { border: 0 !important; box-shadow: none !important; }
.panel table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.4rem 0; }
.panel th { text-align: left; font-weight: 500; }
.panel td, .panel th { padding: 0.25rem 0.5rem 0.25rem 0 !important; }
.panel :is(td, th) { border-bottom: 1px solid var(--border-color-primary) !important; }
.panel thead th { color: var(--body-text-color-subdued); font-size: 0.85rem; }
.panel .small { color: var(--body-text-color-subdued); font-size: 0.85rem; margin: 0.4rem 0; }
.panel .floor { color: var(--body-text-color-subdued); }
.panel td.share { width: 50%; }
.panel td.share span { display: block; height: 0.6rem; border-radius: 2px; background: var(--color-accent); }
.panel.histogram tbody th { white-space: nowrap; }
.panel.histogram thead th { vertical-align: bottom; }
.panel.histogram td { width: 30%; }
.panel.histogram :is(td, th) { padding-top: 0.1rem !important; padding-bottom: 0.1rem !important; }
.panel.histogram .bar { display: inline-block; height: 0.7rem; max-width: 82%; border-radius: 2px;
                        background: var(--color-accent); vertical-align: middle; }
.panel.histogram .count { font-size: 0.8rem; padding-left: 0.3rem; color: var(--body-text-color-subdued); }
.panel caption { text-align: left; }
.panel .wide { overflow-x: auto; }
.panel .wide :is(th, td) { white-space: nowrap; padding-right: 0.9rem !important; }
.panel .wide :is(th, td):nth-child(3) { white-space: normal; min-width: 11rem; }
#energy-measured .wide :is(th, td):nth-child(3) { min-width: 0; }
.panel .gained > :is(th, td) { background: color-mix(in srgb, #15803d 14%, transparent); }
.panel .heat td { text-align: center;
  background: color-mix(in srgb, var(--color-accent) calc(var(--shade, 0%) * 0.6), transparent); }
.panel .heat :is(th, td):nth-child(3) { min-width: 4rem; }
.panel .heat thead th { text-align: center; }
.copies { image-rendering: pixelated; width: 100%; max-width: 420px; }
.panel summary { cursor: pointer; margin-top: 0.4rem; }
.verdict { padding: 0.55rem 0.8rem; border-radius: 8px; border-left: 5px solid var(--border-color-accent); font-weight: 550;
           background: var(--background-fill-secondary); margin: 0 0 0.5rem; }
.verdict.better { border-color: #15803d; } .verdict.worse { border-color: #b91c1c; } .verdict.same { border-color: #a16207; }

#article { max-width: 62rem; }
#article .katex-display { overflow-x: auto; overflow-y: hidden; padding: 0.2rem 0; }
@media (max-width: 640px) { #title h1 { font-size: 1.35rem; } }
"""
