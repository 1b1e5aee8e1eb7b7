"""What is published: the files of wheel and sdist, and an installed raystilts that plans the shipped quickstart far from any checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from places import ROOT

import raystilts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    made = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def sources(folder: str) -> set[str]:
    """The files below a folder of the checkout that belong to the project."""
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
    return {name for name in found if "__pycache__" not in name and "/_build/" not in name}


def test_the_wheel_holds_the_package_and_the_experiments(built: Path) -> None:
    """Every file of the package, every experiment below it, metadata; no tests, no data, no weights."""
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == sources("raystilts") | {f"raystilts/{name}" for name in sources("experiments")}


def test_the_sdist_holds_what_a_reader_needs(built: Path) -> None:
    """Package, experiments, documentation and the files at the top; no tests, no data, and what it holds is enough to build the wheel."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        names = {member.name.partition("/")[2] for member in packed.getmembers() if member.isfile()}
    top = {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "constraints.txt", "pyproject.toml"}
    assert names == sources("raystilts") | sources("experiments") | sources("docs") | top | {".gitignore", "PKG-INFO"}


def test_an_installed_raystilts_plans_the_quickstart_anywhere(built: Path, tmp_path: Path) -> None:
    """Installed from the wheel, without a network and without its tests' folder, `quickstart:smoke` plans to the keys of the checkout's."""
    (wheel,) = built.glob("*.whl")
    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(install, capture_output=True, check=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}

    def keys(experiment: str) -> list[str]:
        command = [sys.executable, "-m", "raystilts.cli", "plan", experiment, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=elsewhere, env=environment)
        return [row["key"] for row in json.loads(done.stdout)]

    where = [sys.executable, "-c", "import raystilts; print(raystilts.__file__)"]
    found = subprocess.run(where, capture_output=True, text=True, check=True, cwd=elsewhere, env=environment)
    assert found.stdout.strip() == str(target / "raystilts" / "__init__.py")
    assert keys("quickstart:smoke") == keys(f"{ROOT / 'experiments' / 'quickstart.py'}:smoke")


def test_the_citation_is_of_this_version() -> None:
    """CITATION.cff names the version and the licence that the package has."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["license"]) == (raystilts.__version__, "Apache-2.0")
