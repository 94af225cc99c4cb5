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
        # Fields and boxes have edges that are seen: Soft draws none on white.
        input_border_width="1px",
        input_border_color="*neutral_400",
        input_border_color_dark="*neutral_600",
        input_shadow="none",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        checkbox_label_border_width="1px",
        checkbox_label_border_color="*neutral_300",
        checkbox_label_border_color_dark="*neutral_600",
        checkbox_label_shadow="none",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_600",
        button_border_width="1px",
    )
