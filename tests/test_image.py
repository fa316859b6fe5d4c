"""The Dockerfile and its .dockerignore, checked without a container engine."""

import re
from pathlib import Path

from docker.utils.build import exclude_paths

ROOT = Path(__file__).resolve().parents[1]


def instructions() -> list[tuple[str, str]]:
    """(name, arguments) of each instruction, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line.split(maxsplit=1) for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(name.upper(), arguments) for name, arguments in lines]


def arguments(name: str) -> list[str]:
    return [given for found, given in instructions() if found == name]


def copies() -> list[tuple[list[str], str]]:
    """(sources, target) of each COPY, without its options."""
    words = [[word for word in given.split() if not word.startswith("--")] for given in arguments("COPY")]
    return [(sources, target) for *sources, target in words]


def context(folder: Path) -> set[str]:
    """The files that .dockerignore lets into an image's context, as Docker's own client sees them."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    return {path for path in exclude_paths(str(folder), patterns) if (folder / path).is_file()}


def test_the_base_is_ray_at_the_pin():
    pin = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE).group(1)
    assert arguments("FROM") == [f"rayproject/ray:{pin}-py311-gpu"]


def test_the_pins_are_installed_as_by_make_and_before_the_code_is_copied():
    names = [name for name, _ in instructions()]
    assert copies()[0] == (["constraints.txt"], "./")
    install = arguments("RUN")[0]
    assert "pip install" in install and install.endswith("--no-deps -r constraints.txt")
    assert names.index("COPY") < names.index("RUN") < len(names) - 1 - names[::-1].index("COPY")
    assert "--no-deps -r constraints.txt" in (ROOT / "Makefile").read_text()


def test_every_source_exists_and_every_package_is_there():
    for sources, target in copies():
        assert all((ROOT / source).exists() for source in sources), sources
        folders = [source for source in sources if (ROOT / source).is_dir()]
        assert not folders or (sources == folders and target == f"{folders[0]}/")  # COPY takes a folder's content only
    copied = {source for sources, _ in copies() for source in sources}
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")}
    assert packages and packages <= copied


def test_nothing_runs_as_root():
    assert arguments("USER") == ["1000:100"]
    first = {name: [each for each, _ in instructions()].index(name) for name in ("USER", "COPY", "RUN")}
    assert first["USER"] < min(first["COPY"], first["RUN"])
    assert all("--chown=1000:100" in given for given in arguments("COPY"))


def test_our_packages_are_found_from_every_folder():
    (workdir,) = arguments("WORKDIR")
    assert f"PYTHONPATH={workdir}" in arguments("ENV")


def test_the_commit_lies_beside_the_code():
    """In the environment it would speak for the code of jobs too, which bring their own."""
    assert arguments("RUN")[-1] == 'echo "${COMMIT}" > COMMIT'
    assert not [given for given in arguments("ENV") if "COMMIT" in given]


def test_the_context_is_the_project_only(tmp_path):
    wanted = {"constraints.txt", "LICENSE", "pyproject.toml", "pipelines/train.py", "rein_core/adapters/rein.py"}
    unwanted = {
        ".git/HEAD", ".venv/bin/python", "runs/rein/run.json", "demo/report/report.md", "mlruns/0/meta.yaml",
        "mlflow.db", "tests/test_image.py", "pipelines/__pycache__/train.cpython-311.pyc",
        "rein_core/adapters/__pycache__/rein.cpython-311.pyc", ".pytest_cache/README.md",
    }  # fmt: skip
    for file in wanted | unwanted:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    assert context(tmp_path) == wanted


def test_no_copied_file_is_ignored():
    kept = context(ROOT)
    for sources, _ in copies():
        for source in sources:
            assert source in kept or any(path.startswith(f"{source}/") for path in kept), source
