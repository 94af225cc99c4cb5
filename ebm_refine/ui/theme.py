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
        # White on indigo 500 is 4.46:1, on its hover 2.98:1; readers need 4.5:1.
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        checkbox_label_background_fill_selected="*primary_600",
        checkbox_label_background_fill_selected_dark="*primary_600",
        color_accent="*primary_600",
    )
