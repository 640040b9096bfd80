"""Who may import whom inside smcd, and that imports stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "smcd"
# Each may import those before it.
NETWORKS = ("models", "conditions", "schedulers", "latents", "text", "inputs", "guidance", "parts", "pipeline")
READS = {"config", "tracking", "sprites", "data", "convert"}
ALLOWED = {  # from the bottom up: what of smcd each folder may import besides itself and `runtime`
    "runtime": set(),
    "config": set(),
    **{name: set(NETWORKS[:place]) for place, name in enumerate(NETWORKS)},
    "tracking": set(),
    "sprites": {"tracking", *NETWORKS},
    "data": {"config", "sprites", *NETWORKS},
    "convert": {"config", *NETWORKS},
    "sampler": {"config", "convert", *NETWORKS},
    **{name: {"sampler", *READS, *NETWORKS} for name in ("customize", "evaluation")},
    "training": {*READS, *NETWORKS},
    "editor": {"customize", "sampler", *READS, *NETWORKS},  # it is the customize command with a page
    "cli": {"sampler", "customize", "editor", "evaluation", "training", *READS, *NETWORKS},
}
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_inside_the_package(file):
    module = file.parts[0].removesuffix(".py")
    imported = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == "smcd":
            names += [f"smcd.{alias.name}" for alias in node.names]
        imported |= {name.split(".")[1] for name in names if name and name.startswith("smcd.")}
    assert imported - {module} <= ALLOWED[module] | {"runtime"}


@pytest.mark.parametrize(
    "module",
    [
        "smcd",
        "smcd.cli",
        "smcd.config",
        "smcd.customize.animate",
        "smcd.editor.app",
        "smcd.runtime.command",
        "inference_customize",
        "inference_eval",
        "ms_main",
    ],
)
def test_commands_start_without_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'omegaconf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent).returncode == 0


def test_torchvision_is_never_imported():
    modules = "smcd.customize.animate, smcd.evaluation, smcd.training.loop, smcd.tracking.detectors, torchmetrics, cv2"
    code = f"import sys, {modules}; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent).returncode == 0
