"""Draws the architecture from the code: ``python -m simulations.tools.architecture`` writes ``docs/architecture.md``.

Layers, packages and imports come from the syntax of the files, and what a file is for from its docstring. Only the path
of one round is prose, ``ROUND``; each file and name in it is looked up, so that it cannot speak of what is not there.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
LAYERS = ("common", "client", "server", "simulations")
_SHARED = "(shared)"

# [[FILE]] or [[FILE NAME]] becomes a link to the file.
ROUND = """\
Flower calls the server's application, [[server/app.py main]], which reads the configuration
([[common/config.py RunConfig]]), opens the run directory and hands over to [[server/app.py run_federation]]. There,
once:

- [[server/clients/roll_call.py]] asks every client who it is and what it holds, which [[client/app.py query]] answers;
- [[server/recovery.py Recovery]] finds the state to start from: new weights, or the last whole checkpoint.

[[server/run.py Run.train]] then starts Flower's own loop, which runs these steps in each round, and repeats a round
that fails:

1. [[server/strategy.py FederatedStrategy.configure_train]] picks the cohort and asks the algorithm
   ([[common/algorithms/base.py Algorithm.broadcast]]) what to send to each client;
   [[common/wire/training.py encode_task]] makes messages of it.
2. [[server/clients/resilient_grid.py]] sends them, waits for replies, and sends again to clients that were away. In a
   simulation the messages go to [[simulations/runtime/in_process.py]] instead of through Flower's network.
3. [[client/app.py train]] decodes the message, loads the client's examples ([[client/data.py shard]]) and what it kept
   from earlier rounds ([[client/state.py]]), and runs the client's half of the algorithm
   ([[common/algorithms/base.py Algorithm.run]]). That trains with [[client/trainer.py Trainer.fit]], the only training
   loop: it steps the phases that the objective ([[common/objectives/base.py]]) declares. With `--engine batched`,
   [[client/batched/fit.py]] does the same for several clients at once.
4. Weights or updates go back, changed by the
   transforms that the configuration lists ([[common/transforms/pipeline.py Pipeline]]).
5. [[server/strategy.py FederatedStrategy.aggregate_train]] has the replies decoded, and those refused whose form is
   wrong or whose update is too long ([[server/replies.py Replies.admitted]], by the rules of
   [[server/clients/admission.py]]). The others go, sorted by partition, to the algorithm
   ([[common/algorithms/base.py Algorithm.update]]), which makes the next weights with an aggregator
   ([[common/aggregators/base.py]]).
6. [[server/run.py]] looks at the finished round: scores ([[server/evaluation/scoring.py]]), whether to go back or to
   stop ([[server/records/model_selection.py]]), a picture of samples, a line in the journal
   ([[server/records/journal.py]]) and a checkpoint ([[server/checkpoint.py]]).

After the last round, [[server/run.py Run.finish]] computes the final scores and writes the summary and the report
([[server/records/report.py]]).
"""

_INTRODUCTION = """\
<!-- Written by `python -m simulations.tools.architecture` from the code: change the code, then run it again. -->

# Architecture

The code has four layers. An arrow leads from a layer to one that it imports from, and `tests/test_layers.py` holds
that there is no other. It also holds that only a few files import Flower. This page is made from the code by
`python -m simulations.tools.architecture`.
"""
_LEGEND = """\
An arrow leads from a package, or a file, to one that it imports. Arrows that follow from others are left out.
"""


@dataclass(frozen=True)
class Module:
    """One file of the project.

    Attributes:
        path: Relative to the root, with ``/``.
        summary: The first line of its docstring.
        imports: Dotted names of everything that it may import.
        names: The classes and functions that it defines, methods as ``Class.method``.
    """

    path: str
    summary: str
    imports: frozenset[str]
    names: frozenset[str]

    @property
    def layer(self) -> str:
        """The folder at the top that it is in."""
        return self.path.partition("/")[0]

    @property
    def package(self) -> str:
        """The folder within the layer, ``""`` for the layer's own files."""
        parts = self.path.split("/")
        return parts[1] if len(parts) > 2 else ""

    @property
    def dotted(self) -> str:
        """The name that it is imported by."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def read_modules(root: Path = ROOT) -> list[Module]:
    """Returns every file of the four layers, in order of their paths."""
    return [
        _read(path, root)
        for layer in LAYERS
        for path in sorted((root / layer).rglob("*.py"), key=lambda p: p.as_posix())
    ]


def page(modules: Sequence[Module]) -> str:
    """Returns ``docs/architecture.md``.

    Raises:
        ValueError: ``ROUND`` names a file or a name that is not there.
    """
    parts = [_INTRODUCTION, _mermaid(_layer_arrows(modules), LAYERS), "## One round, in file order\n"]
    parts += [_linked(ROUND, modules), "## Packages\n", _LEGEND]
    for layer in LAYERS:
        own = [module for module in modules if module.layer == layer]
        parts += [f"### {layer}\n", _about(own, f"{layer}/__init__.py")]
        nodes, arrows = _packages(own)
        parts += [_mermaid(arrows, nodes)] if any(arrows.values()) else []
        parts += _listings(own, layer)
    return "\n".join(parts)


def _read(path: Path, root: Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    summary = (ast.get_docstring(tree) or "").partition("\n")[0].replace("``", "`")
    return Module(path.relative_to(root).as_posix(), summary, frozenset(_imports(tree)), frozenset(_names(tree)))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _layer_arrows(modules: Sequence[Module]) -> dict[str, set[str]]:
    arrows: dict[str, set[str]] = defaultdict(set)
    for module in modules:
        arrows[module.layer] |= {name.partition(".")[0] for name in module.imports} & set(LAYERS) - {module.layer}
    return arrows


def _packages(modules: Sequence[Module]) -> tuple[list[str], dict[str, set[str]]]:
    """Returns the boxes of a layer's diagram and the arrows between them.

    A box is a package, or a file of the layer's own that imports packages of the layer; its other files share one.
    """
    boxes = _boxes(modules)
    shared = _rows([module.path.rpartition("/")[2] for module in modules if boxes.get(module.dotted) == _SHARED])
    names = {box: "<br>".join(shared) if box == _SHARED else box for box in boxes.values()}
    arrows: dict[str, set[str]] = defaultdict(set)
    for module in modules:
        if origin := boxes.get(module.dotted):
            targets = {_box(name, boxes) for name in module.imports} - {None, origin}
            arrows[names[origin]] |= {names[target] for target in targets if target}
    return list(names.values()), arrows


def _boxes(modules: Sequence[Module]) -> dict[str, str]:
    """Returns the box of each file, by dotted names; the layer's own ``__init__`` has none."""
    packages = {f"{module.layer}.{module.package}" for module in modules if module.package}
    found = {}
    for module in modules:
        name = module.path.rpartition("/")[2]
        if module.package:
            found[module.dotted] = f"{module.package}/"
        elif name != "__init__.py":
            above = any(".".join(other.split(".")[:2]) in packages for other in module.imports)
            found[module.dotted] = name if above else _SHARED
    return found


def _box(name: str, boxes: Mapping[str, str]) -> str | None:
    while name:
        if found := boxes.get(name):
            return found
        name = name.rpartition(".")[0]
    return None


def _rows(files: Sequence[str], width: int = 4) -> list[str]:
    return [" ".join(files[k : k + width]) for k in range(0, len(files), width)]


def _mermaid(arrows: Mapping[str, set[str]], nodes: Sequence[str]) -> str:
    numbers = {node: f"n{k}" for k, node in enumerate(nodes)}
    lines = [f'    {numbers[node]}["{node}"]' for node in nodes]
    for origin in nodes:
        for target in nodes:
            if target in _needed(origin, arrows):
                lines.append(f"    {numbers[origin]} --> {numbers[target]}")
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```", ""])


def _needed(origin: str, arrows: Mapping[str, set[str]]) -> set[str]:
    """Returns where arrows from ``origin`` lead that do not follow from others; those of a circle are all kept."""
    direct = arrows.get(origin, set())
    beyond = [_reached(other, arrows) for other in direct]
    return direct - {target for found in beyond if origin not in found for target in found}


def _reached(origin: str, arrows: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [origin]
    while waiting:
        new = arrows.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def _about(modules: Sequence[Module], path: str) -> str:
    return "".join(f"{module.summary}\n" for module in modules if module.path == path)


def _listings(modules: Sequence[Module], layer: str) -> Iterator[str]:
    """Yields a list of files for the layer itself, and for each folder in it."""
    folders: dict[str, list[Module]] = defaultdict(list)
    for module in modules:
        folders[module.path.rpartition("/")[0]].append(module)
    for folder, found in sorted(folders.items()):
        if folder != layer:
            yield f"#### {folder}\n"
            yield _about(found, f"{folder}/__init__.py")
        rows = [
            f"- [`{module.path.rpartition('/')[2]}`](../{module.path}): {module.summary}\n"
            for module in found
            if not module.path.endswith("__init__.py")
        ]
        if rows:
            yield "".join(rows)


def _linked(text: str, modules: Sequence[Module]) -> str:
    known = {module.path: module.names for module in modules}

    def link(match: re.Match[str]) -> str:
        path, name = match[1], match[2]
        if path not in known:
            raise ValueError(f"ROUND names {path}, which is not there")
        if name and name not in known[path]:
            raise ValueError(f"ROUND names {name}, which {path} does not define")
        return f"[`{name or path}`](../{path})"

    return re.sub(r"\[\[(\S+?)(?: ([\w.]+))?\]\]", link, text)


def _names(tree: ast.AST, before: str = "") -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield f"{before}{node.name}"
            yield from _names(node, f"{before}{node.name}.")


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(read_modules()), encoding="utf-8")
    sys.stderr.write(f"{PAGE.relative_to(ROOT)} is written\n")


if __name__ == "__main__":
    main()
