"""The rig of this folder, once a session: everything imported, every subject run once."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rig.injector import build, find_compiler
from rig.processes import ForkServer
from rig.trials import Rig

if not sys.platform.startswith("linux"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def injector(tmp_path_factory):
    """The library that counts calls and lets them fail."""
    if find_compiler() is None:
        pytest.skip("found no C compiler: the calls of a process cannot be counted")
    return build(tmp_path_factory.mktemp("injector"))


@pytest.fixture(scope="session")
def rig(injector, tmp_path_factory):
    pytest.importorskip("trl")
    with ForkServer(injector) as server:
        yield Rig(server, tmp_path_factory.mktemp("faults"))
