"""Help, and everything that does not compute, starts without torch."""

from __future__ import annotations

import importlib.util
import pkgutil
import subprocess
import sys

import pytest

import xpm_stream

HEAVY = ("torch", "torchvision", "transformers", "scipy.optimize", "pandas", "matplotlib")
TORCH_FREE = ("cli", "config", "data", "text", "label_queue", "registry", "monitoring")
TORCH_FREE_MODULES = (
    "xpm_stream.records",
    "xpm_stream.masks",
    "xpm_stream.vocabulary",
    "xpm_stream.errors",
    "xpm_stream.crash_points",
    "xpm_stream.stages.promotion",
    "xpm_stream.stages.shard_registration",
    "xpm_stream.stages.run_folder",
    "xpm_stream.stages.status",
    "xpm_stream.stages.reporting",
)


def _modules() -> list[str]:
    found = list(TORCH_FREE_MODULES)
    for package in TORCH_FREE:
        spec = importlib.util.find_spec(f"xpm_stream.{package}")
        assert spec is not None
        assert spec.submodule_search_locations is not None
        found.append(f"xpm_stream.{package}")
        prefix = f"xpm_stream.{package}."
        found += [m.name for m in pkgutil.walk_packages(list(spec.submodule_search_locations), prefix)]
    return sorted(found)


def _heavy_after(program: str) -> str:
    check = f"import sys\n{program}\nprint([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True, timeout=120)
    return ended.stderr.strip()


def test_help_imports_nothing_heavy() -> None:
    program = """
from xpm_stream.cli.main import main
sys.argv = ["xpm-stream", "--help"]
try:
    main()
except SystemExit as ended:
    assert not ended.code
"""
    assert _heavy_after(program) == "[]"


@pytest.mark.parametrize(
    "command",
    ["up", "label", "train", "promote", "teach", "audit", "status", "report", "show", "evaluate", "predict", "synth"],
)
def test_every_command_explains_itself(command: str) -> None:
    from typer.testing import CliRunner

    from xpm_stream.cli.main import app

    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert "Usage:" in shown.output


def test_rows_from_data_down_import_no_torch() -> None:
    modules = _modules()
    assert len(modules) > 60
    program = "import importlib\n" + "\n".join(
        f"importlib.import_module({module!r})\nassert 'torch' not in sys.modules, {module!r}" for module in modules
    )
    assert "torch" not in _heavy_after(program)


def test_the_package_itself_imports_nothing_of_its_own() -> None:
    assert xpm_stream.__version__
    assert _heavy_after("import xpm_stream; assert 'msgspec' not in sys.modules") == "[]"
