"""The rules that keep the layers apart, read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("common", "client", "server", "simulations")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
LIBRARY = [path for path in FILES if "performance" not in path.parts]  # benchmarks print, and draw numbers of their own
MAY_IMPORT = {
    "common": {"common"},
    "client": {"common", "client"},
    "server": {"common", "server"},
    "simulations": set(PACKAGES),
}
MAY_IMPORT_FLOWER = {
    "common/wire/fields.py",
    "common/wire/masks.py",
    "common/wire/queries.py",
    "common/wire/roll_call.py",
    "common/wire/training.py",
    "common/wire/trees.py",
    "client/app.py",
    "client/state.py",
    "server/app.py",
    "server/clients/requests.py",
    "server/clients/resilient_grid.py",
    "server/clients/roll_call.py",
    "server/clients/roster.py",
    "server/replies.py",
    "server/run.py",
    "server/strategy.py",
}
# Packages of one layer, lowest first; a package imports those of lines above it alone, "" is the layer's own files.
FLOORS = {
    "client": [["functional"], [""], ["batched"]],
    "server": [["clients", "records"], ["evaluation"], ["rounds"], [""]],
    "simulations": [
        ["runtime", "runs", "deployment", "presets"],
        ["tools"],
        ["export"],
        ["compression"],
        ["serve"],
        ["api"],
        ["studies"],
        ["benchmark", "search"],
        ["commands"],
        ["performance"],
        [""],
    ],
}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            yield (node.module or "").partition(".")[0]


def modules(path):
    """Yields the dotted name of every module that a file may import: ``from a import b`` may mean ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(dotted):
    """Returns the layer of a module, and its package there: "" for the layer's own files."""
    layer, *rest = dotted.split(".")
    inside = rest[0] if rest else ""
    known = {name for floor in FLOORS.get(layer, []) for name in floor}
    return layer, inside if inside in known else ""


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down_the_layers_only(path):
    package = name_of(path).partition("/")[0]
    forbidden = set(imports(path)) & set(PACKAGES) - MAY_IMPORT[package]
    assert not forbidden, f"{name_of(path)} imports {forbidden}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_packages_of_a_layer_import_downwards_only(path):
    layer, own = package_of(path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."))
    if layer not in FLOORS:
        return
    floor = {name: height for height, names in enumerate(FLOORS[layer]) for name in names}
    for module in modules(path):
        other_layer, other = package_of(module)
        if other_layer == layer and other != own and (ROOT / layer / other).exists():
            assert floor[other] < floor[own], f"{name_of(path)} imports {module}, which is above or beside it"


def test_every_package_of_a_layer_has_its_floor():
    for layer, floors in FLOORS.items():
        packages = {path.parent.name for path in (ROOT / layer).glob("*/__init__.py")}
        assert packages <= {name for floor in floors for name in floor}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_flower_is_imported_at_the_edge_only(path):
    if "flwr" in imports(path):
        assert name_of(path) in MAY_IMPORT_FLOWER or name_of(path).startswith("simulations/")


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_random_numbers_come_from_named_generators(path):
    if name_of(path) == "common/seeding.py":
        return
    banned = [
        name
        for name in calls(path)
        if name in ("torch.manual_seed", "torch.cuda.manual_seed_all", "np.random.default_rng")
        or name.startswith(("random.", "np.random.", "numpy.random."))
    ]
    assert not banned, f"{name_of(path)} calls {banned}: use common.seeding"


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_library_code_neither_prints_nor_exits(path):
    is_command = 'if __name__ == "__main__":' in path.read_text()
    allowed = {"sys.exit"} if is_command else set()
    assert not {"print", "exit", "quit", "sys.exit", "os._exit"} & set(calls(path)) - allowed


def test_the_rules_see_the_whole_project():
    assert len(FILES) > 40
    assert {name_of(path) for path in FILES} >= MAY_IMPORT_FLOWER
