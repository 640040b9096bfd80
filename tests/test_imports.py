"""Who may import whom inside smcd, and that imports stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "smcd"
ANYWHERE = {"assets", "errors", "files"}  # leaves
ALLOWED = {  # module: what of smcd it may import besides itself
    "assets": set(),
    "errors": set(),
    "files": set(),
    "models": set(),
    "data": {"conditions", "config", "key_frames", "latents", "media", "text", "weights_hash"},
    "diffusion": set(),
    "media": set(),
    "metrics": {"media", "weights_hash"},
    "config": set(),
    "text": set(),
    "latents": set(),
    "conditions": set(),
    "command": {"config"},
    "inputs": {"conditions"},
    "key_frames": set(),
    "custom_input": {"key_frames", "media"},
    "denoiser": {"models", "diffusion", "conditions"},
    "pipeline": {"models", "diffusion", "conditions", "denoiser", "inputs", "latents", "text"},
    "tiny": {"models", "pipeline", "diffusion"},
    "convert": {"models", "pipeline", "diffusion"},
    "precision": set(),
    "processes": set(),
    "sampling": {
        *("allocation", "compilation", "config", "convert", "diffusion", "inputs", "media", "models", "pipeline"),
        *("precision", "processes"),
    },
    "customize": {"config", "custom_input", "custom_output", "inputs", "key_frames", "media", "sampling", "sprites"},
    "evaluation": {"config", "data", "inputs", "media", "metrics", "processes", "sampling", "weights_hash"},
    "sprites": {"config", "convert", "data", "latents", "media", "metrics", "models", "sampling"},
    "prepare": {"config", "convert", "data", "latents", "processes", "text"},
    "training": {
        *("allocation", "conditions", "config", "convert", "data", "diffusion", "latents", "media", "models"),
        *("pipeline", "precision", "text", "tiny", "weights_hash"),
    },
    "custom_output": {"config", "custom_input", "media"},
    "allocation": set(),
    "compilation": set(),
    "weights_hash": set(),
    "benchmark": {  # anything; nothing imports it
        *("allocation", "command", "compilation", "conditions", "config", "convert", "denoiser", "diffusion"),
        *("latents", "models", "pipeline", "processes", "tiny", "training"),
    },
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
    assert imported - {module} <= ALLOWED[module] | ANYWHERE


@pytest.mark.parametrize(
    "module",
    [
        "smcd",
        "smcd.config",
        "smcd.command",
        "smcd.benchmark.__main__",
        "inference_customize",
        "inference_eval",
        "ms_main",
    ],
)
def test_commands_start_without_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'omegaconf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent).returncode == 0


def test_torchvision_is_never_imported():
    modules = "smcd.customize, smcd.evaluation, smcd.training.loop, torchmetrics, cv2"
    code = f"import sys, {modules}; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent).returncode == 0
