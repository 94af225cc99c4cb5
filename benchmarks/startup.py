"""How long from `python app.py` to a served page, and from there to the first refinement of 16 images by 20 steps, in parts.

    python benchmarks/startup.py [--model NAME]

Prints JSON. The page is started as a visitor's machine would start it, in a process of its own, and asked over loopback.
"""

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
IMPORTS = ("torch", "torchvision", "gradio", "ebm_refine.ui", "ebm_refine.metrics.report")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="an embedded model; without it the first that can be refined")
    chosen = parser.parse_args()
    report = {"machine": {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()}}
    report["imports_s"] = imports()
    report |= page(chosen.model)
    report["parts_s"] = parts(str(report["model"]))
    print(json.dumps(report, indent=1))


def imports() -> dict[str, float]:
    """Seconds that each import adds, in a fresh process, in this order."""
    code = (
        "import json, time, importlib\nparts = {}\n"
        f"for name in {IMPORTS!r}:\n"
        "    began = time.perf_counter(); importlib.import_module(name); parts[name] = round(time.perf_counter() - began, 3)\n"
        "print(json.dumps(parts))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def parts(model: str) -> dict[str, float]:
    """Seconds of what the first refinement consists of, in a fresh process."""
    code = (
        "import json, time\nfrom ebm_refine import load, refine\nseconds = {}\nlast = time.perf_counter()\n"
        "def lap(name):\n    global last\n    now = time.perf_counter(); seconds[name] = round(now - last, 3); last = now\n"
        f"checkpoint = load({model!r}); lap('load the model')\n"
        "result = refine(checkpoint, n_steps=20, num_images=16); lap('sample 16 images by 20 steps')\n"
        "from ebm_refine.metrics.features import features_for\n"
        "from ebm_refine.metrics.report import compare\nlap('import metrics')\n"
        "extractor = features_for(checkpoint.config['data']['dataset']); lap('load the extractor')\n"
        "compare(result.before, result.after, extractor); lap('measure')\nprint(json.dumps(seconds))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def page(model: str | None) -> dict[str, object]:
    """Start the page, wait for it, and refine twice: the first call also loads the metrics, the second is the steady state."""
    from gradio_client import Client

    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    began = time.perf_counter()
    server = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                urlopen(address, timeout=5).read()
                break
            except (URLError, ConnectionError):
                if server.poll() is not None:
                    raise SystemExit("the page did not start") from None
                time.sleep(0.05)
        served = time.perf_counter() - began
        client = Client(address, verbose=False, analytics_enabled=False)
        name = model or client.predict(api_name="/models")[0]["name"]
        refinements = []
        for _ in range(2):
            began, sampled = time.perf_counter(), None
            job = client.submit(name, n_steps=20, num_images=16, api_name="/refine")
            for output in job:
                if isinstance(output[2], dict) and output[2].get("step") is not None:
                    sampled = time.perf_counter() - began
            metrics = job.result()[2]
            whole = time.perf_counter() - began
            refinements.append({"seconds": round(whole, 3), "last_live_frame_after": round(sampled or whole, 3)})
        return {"start_to_page_s": round(served, 3), "model": metrics["settings"]["model"], "refine_16x20": refinements}
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
