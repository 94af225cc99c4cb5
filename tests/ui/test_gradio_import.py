"""The page imports Gradio without comparing type stubs of components; what was changed for that is as before afterwards."""

import subprocess
import sys

# Prints the names of the classes whose source was read, and whether a component's file can be found afterwards.
LOOKED_AT = """
import ast, inspect
whole, names = ast.get_source_segment, []
def segment(source, node, **options):
    names.append(getattr(node, "name", ""))
    return whole(source, node, **options)
ast.get_source_segment = segment
import ebm_refine.ui
import gradio
print(*names)
print(inspect.getfile(gradio.Slider))
"""


def test_no_stub_of_a_component_is_compared() -> None:
    ran = subprocess.run([sys.executable, "-c", LOOKED_AT], capture_output=True, text=True, check=True)
    names, file = ran.stdout.splitlines()
    assert not {"Slider", "Button", "Dropdown", "Textbox", "HTML"} & set(names.split())
    assert file.endswith("slider.py")
