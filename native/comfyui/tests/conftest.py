import importlib.util
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "double"))
sys.path.insert(0, str(HERE))


@pytest.fixture(scope="session")
def pack():
    """The pack as ComfyUI loads it: by its path."""
    spec = importlib.util.spec_from_file_location("x2i_pack", HERE.parent / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["x2i_pack"] = module
    import folder_paths

    folder_paths.reset(tempfile.mkdtemp())
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def nodes(pack, tmp_path):
    """The nodes by their ids, with folders of models of the test's own."""
    import asyncio

    import folder_paths

    folder_paths.reset(str(tmp_path))

    async def entered():
        extension = await pack.comfy_entrypoint()
        return await extension.get_node_list()

    found = {node.define_schema().node_id: node for node in asyncio.run(entered())}
    yield found
    sys.modules["x2i_pack.nodes.backend"].LOCAL.unload()
