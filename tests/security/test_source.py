"""What the source must never do, read off its syntax tree: run data, unpickle, trust, unpack."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "paretune"
MODULES = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve",  # run what they read
    "tarfile", "zipfile",  # unpack
    "csv",  # a cell may be a formula of whoever opens the file
}  # fmt: skip
CALLS = {
    "eval", "exec", "__import__", "os.system", "os.popen", "torch.save", "shutil.unpack_archive",
    "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "pd.read_pickle",
}  # fmt: skip
METHODS = {"extractall", "to_csv", "to_pickle", "read_pickle", "unsafe_load"}
NEEDED = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
PLAIN_PRINT = {"cli/console.py", "cli/reference.py"}
"""Where the command line itself prints; everything else is told by ``console.tell``."""


def problems(path: str, source: str) -> list[str]:
    """``path:line: what`` for everything that is forbidden."""
    return [f"{path}:{line}: {what}" for line, what in _found(path, ast.parse(source))]


def _found(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            tops = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            yield from ((node.lineno, top) for top in tops if top.split(".")[0] in MODULES)
        elif isinstance(node, ast.Constant) and node.value == "trust_remote_code":
            yield node.lineno, "trust_remote_code as an option"
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in _of_call(path, node))


def _of_call(path: str, node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    last = name.rpartition(".")[2]
    given = {k.arg: getattr(k.value, "value", ...) for k in node.keywords}
    if name in CALLS or (last in METHODS and "." in name):
        yield name
    if name in NEEDED and given.get(NEEDED[name][0]) is not NEEDED[name][1]:
        yield f"{name} without {NEEDED[name]}"
    if given.get("shell", False) is not False or given.get("allow_pickle", False) is not False:
        yield f"{name} with shell or allow_pickle"
    if given.get("trust_remote_code", False) is not False:
        yield f"{name} trusts remote code"
    if last in ("from_pretrained", "load_adapter") and "Auto" in name:
        if given.get("trust_remote_code", ...) is not False:
            yield f"{name} without trust_remote_code=False"
        if "AutoModel" in name and given.get("use_safetensors", ...) is not True:
            yield f"{name} without use_safetensors=True"
    if name == "Environment" and given.get("autoescape", ...) is not True:
        yield "a template without autoescape"
    if last == "apply_chat_template" and path != "safety/templates.py":
        yield "a chat template without limits"
    if name == "print" and path.startswith("cli/") and path not in PLAIN_PRINT:
        yield "print in place of console.tell"


def test_the_source_does_none_of_it() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 150
    found = [
        problem
        for file in files
        for problem in problems(file.relative_to(SOURCE).as_posix(), file.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from zipfile import ZipFile",
        "import csv",
        "eval('1')",
        "import os\nos.system('ls')",
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=flag)",
        "yaml.load(text, Loader=yaml.Loader)",
        "torch.save(state, path)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "frame.to_csv(path)",
        "archive.extractall(folder)",
        "AutoTokenizer.from_pretrained(path)",
        "AutoTokenizer.from_pretrained(path, trust_remote_code=True)",
        "AutoTokenizer.from_pretrained(path, trust_remote_code=config.trust)",
        "AutoModelForCausalLM.from_pretrained(path, trust_remote_code=False)",
        "options = {'trust_remote_code': False}",
        "tokenizer.apply_chat_template(messages)",
        "Environment(undefined=StrictUndefined)",
    ],
)
def test_what_is_forbidden_is_found(source: str) -> None:
    assert problems("engines/lm/models.py", source)


def test_the_command_line_prints_through_one_door() -> None:
    assert problems("cli/run.py", "print(error)") and not problems("cli/run.py", "tell(error)")


@pytest.mark.parametrize(
    "source",
    [
        "import yaml\nyaml.safe_load(text)",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "model.eval()",
        "AutoModel.from_pretrained(p, trust_remote_code=False, use_safetensors=True)",
        "Environment(autoescape=True)",
    ],
)
def test_what_is_allowed_is_not(source: str) -> None:
    assert problems("engines/lm/models.py", source) == []
