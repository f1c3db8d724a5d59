"""The page of results: made of stored tables and remarks alone, so that it can be made again without the runs.

PAGE.md                           written by ``fedgan results``, never by hand
results/p1-cpu.json               a table, see ``simulations.studies.collected_results.collect``
results/p1-cpu-fid.png, ...       its figures
results/notes.toml                remarks, by hand:

    intro = "What stands above all tables."
    [p1-cpu]
    text = "What stands below one table."
    [p1-cpu.remarks]
    "fedprox mu=0.1" = "What there is to say of one row."
"""

import json
import shlex
import shutil
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import components
from common.component_tables import TABLES
from common.config import RunConfig, Scalar, upgraded
from common.errors import ConfigError
from common.examples import ImageSpec
from common.files import write_atomically
from common.metrics.table import columns
from simulations.benchmark.protocols import PROTOCOLS, settings_of
from simulations.studies.cells import figures_depend_on
from simulations.studies.collected_results import Results
from simulations.studies.entries import written
from simulations.studies.figures import CURVES, FINAL, SAMPLES
from simulations.studies.study_tables import compared
from simulations.studies.table_files import title_of
from simulations.studies.tables import machines_of, markdown, noun_of

PUBLISHED = Path(__file__).parent / "published_figures.toml"

_FIGURES = {
    CURVES: "fid over images seen: mean of the seeds, and the range from the least to the greatest",
    FINAL: "metrics of the last round: mean and range over the seeds; the dotted line is that of real images",
    SAMPLES: "samples of the last round, one seed each; a row a class",
}
_OF_THE_SPLIT = {"algorithm", "aggregate", "weighting", "partition", "local.steps"}


def store(folder: Path, page: Path) -> list[Path]:
    """Copies the tables of a benchmark's folder, and their figures, beside the page, and returns the JSON files.

    Args:
        folder: ``--out`` of ``fedgan benchmark``, or one table's folder in it.
        page: The page.

    Raises:
        ConfigError: There is no table.
    """
    tables = [folder / "results.json"] if (folder / "results.json").exists() else sorted(folder.glob("*/results.json"))
    if not tables:
        raise ConfigError(f"{str(folder)!r} holds no table (no results.json): make one with fedgan benchmark --out")
    place = _place(page)
    place.mkdir(parents=True, exist_ok=True)
    stored = []
    for table in tables:
        name = table.absolute().parent.name
        write_atomically(place / f"{name}.json", _compact(json.loads(table.read_text(encoding="utf-8"))))
        for figure in _FIGURES:
            target = place / f"{name}-{figure}"
            target.unlink(missing_ok=True)
            if table.with_name(figure).exists():
                shutil.copyfile(table.with_name(figure), target)
        stored.append(place / f"{name}.json")
    return stored


def write_page(page: Path) -> Path:
    """Writes the page from what is stored beside it, and returns its path.

    Raises:
        ConfigError: Nothing is stored, or a remark is about a table or a row that is not.
    """
    place = _place(page)
    stored = sorted(place.glob("*.json"), key=lambda path: path.stem)
    tables = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in stored}
    if not tables:
        raise ConfigError(f"{str(place)!r} holds no table: name a folder of fedgan benchmark --out")
    notes = read_remarks(
        place / "notes.toml",
        {name: [row["label"] for row in table["rows"]] for name, table in tables.items()},
        ("table", "row"),
    )
    sections = [_section(name, table, notes.get(name, {}), place) for name, table in tables.items()]
    parts = [
        "# Results",
        "<!-- Written by `fedgan results`: change notes.toml, or run fedgan benchmark again, not this page. -->",
        notes.get("intro", "").strip(),
        _legend(place.name, "".join(sections)),
        *sections,
    ]
    write_atomically(page, ("\n\n".join(part for part in parts if part) + "\n").encode())
    return page


def published(protocol: str) -> list[dict[str, Any]]:
    """Returns the published figures near a protocol: ``source``, ``protocol``, ``metric``, ``values``, ``remark``."""
    figures: list[dict[str, Any]] = tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))["figure"]
    return [figure for figure in figures if protocol in figure["near"]]


def command(results: Results) -> str:
    """Returns the command that makes a table."""
    if results.get("kind") == "study":
        return f"fedgan study {shlex.quote(results['protocol'])}.toml --out DIR"
    rows = results["rows"]
    labels = [row["label"] for row in rows if row["kind"] != "variant"]
    seeds = sorted({run["seed"] for row in rows for run in (*row["runs"], *row["failures"])})
    words = ["fedgan", "benchmark", results["protocol"], "--budget", results["budget"]]
    words += ["--seeds", ",".join(map(str, seeds))]
    words += ["--algorithms", ",".join(labels)] if labels else []
    for row in rows:
        if row["kind"] == "variant":
            words += ["--variant", f"{row['label']}={written(row['overrides'])}"]
        elif row["kind"] == "centralised":
            own = {k: v for k, v in row["overrides"].items() if k not in _OF_THE_SPLIT and "federation." not in k}
            words += ["--centralised", written(own)] if own else []
    settings = _defaults_then(results) | results["overrides"]
    words += ["-c", written(settings)] if settings else []
    words += ["--name", results["name"]] if results["name"] else []
    return shlex.join(words) + " --data ROOT --out DIR"


def _defaults_then(results: Results) -> dict[str, Scalar]:
    """Returns the settings that a protocol had when a table was made and does not have today, for ``-c``.

    A component that there is no more stays as it was written.
    """
    if results["protocol"] not in PROTOCOLS:
        return {}
    now = figures_depend_on(RunConfig.from_flat(settings_of(results["protocol"], results["budget"])))
    then = upgraded(results["config"])
    fixed = results["overrides"].keys() | {"seed"}
    changed: dict[str, Scalar] = {key: then[key] for key in now if key in then.keys() - fixed and then[key] != now[key]}
    for key in changed.keys() & TABLES.keys() - {"hooks", "transforms"}:
        with suppress(ConfigError):
            changed[key] = components.parse(key, TABLES[key], str(changed[key])).brief()
    return changed


def _place(page: Path) -> Path:
    return page.absolute().with_suffix("")


def _compact(results: Results) -> bytes:
    """Returns a table as JSON with a line a run, so that a change can be read in a diff."""
    head = {key: value for key, value in results.items() if key != "rows"}
    lines = []
    for row in results["rows"]:
        rest = json.dumps({key: value for key, value in row.items() if key != "runs"})
        runs = ",\n    ".join(json.dumps(run) for run in row["runs"])
        lines.append(f'  {rest[:-1]}, "runs": [\n    {runs}\n  ]}}')
    return (json.dumps(head)[:-1] + ', "rows": [\n' + ",\n".join(lines) + "\n]}\n").encode()


def _legend(folder: str, tables: str) -> str:
    scores = columns(of_clients=False) | columns(of_clients=True)
    shown = [score for score in scores.values() if score.heading and f"| {score.heading} |" in tables]
    named = ", ".join(f"*{score.heading}* is {score.meaning}" for score in shown)
    return (
        "Cells are the mean over the seeds ± the sample standard deviation; without ± there is one value. "
        f"{named}. *MB sent* and *received* are of one client over the whole run; *seconds* are "
        "of the whole run with its scores; *examples seen* counts each example each time that a client trains on it. "
        "The metrics are defined in [metrics.md](metrics.md). "
        f"Tables and figures are stored in [{folder}/]({folder}/); this page is made of them by `fedgan results`."
    )


def _section(name: str, results: Results, notes: Mapping[str, Any], place: Path) -> str:
    config, real = results["config"], results["real"] or {}
    steps = f"{config['federation.num-rounds']} rounds of {config['local.steps']} steps"
    extractor = real.get("extractor") or config["evaluation.extractor"]
    noun = noun_of(results)
    scored = f"{config['evaluation.final-num-samples']:,} generated {noun} against all held-out ones"
    made = (
        f"features of `{extractor}`; utility: {config['evaluation.utility-num-samples']:,} generated images."
        if noun == ImageSpec.kind
        else "and bits a character of all of these."
    )
    parts = [
        f"## {title_of(results)}",
        f'`partition="{config["partition"]}"`, {config["federation.num-clients"]} clients, {steps} of '
        f"{config['local.batch-size']} {'rows of text' if noun != ImageSpec.kind else noun}. Final scores: {scored}, "
        f"{made}",
        f"```bash\n{command(results)}\n```",
        machines_of(results),
        compared(results) if results.get("kind") == "study" else "",
        markdown(results).strip(),
        _real_remark(real, noun),
        *(f"- `{label}`: {text}" for label, text in notes.get("remarks", {}).items()),
        notes.get("text", "").strip(),
        *(
            f"![{caption}]({place.name}/{name}-{figure})\n\n*{caption[0].upper()}{caption[1:]}.*"
            for figure, caption in _FIGURES.items()
            if (place / f"{name}-{figure}").exists()
        ),
        _published(results["protocol"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _real_remark(real: Mapping[str, Any], noun: str) -> str:
    if not real:
        return ""
    if noun != ImageSpec.kind:
        return (
            f"*real {noun}*: {real['images']:,} training {noun} in the place of generated ones, others for each seed."
        )
    return (
        f"*real images*: {real['images']:,} training images in the place of generated ones (utility: "
        f"{real['utility-images']:,}), other ones for each seed: the ceiling of every metric, and the floor of fid "
        "and kid."
    )


def _published(protocol: str) -> str:
    figures = published(protocol)
    if not figures:
        return ""
    lines = [
        "Published, each under its own protocol and metric; another extractor's FID is another scale than `fid` here:",
        "",
        "| source | protocol | metric | figures |",
        "| --- | --- | --- | --- |",
    ]
    for figure in figures:
        values = ", ".join(f"{name} {value:g}" for name, value in figure["values"].items())
        remark = f" ({figure['remark']})" if "remark" in figure else ""
        lines.append(f"| {figure['source']} | {figure['protocol']} | {figure['metric']} | {values}{remark} |")
    return "\n".join(lines)


def read_remarks(file: Path, known: Mapping[str, Iterable[str]], kinds: tuple[str, str]) -> dict[str, Any]:
    """Returns the remarks in a TOML file, each of which is about something that is there; none without the file.

    Args:
        file: See the top of this file.
        known: What remarks may be about: the rows (or figures) of each table, by its name.
        kinds: What these are called in errors: ``("table", "row")``.

    Raises:
        ConfigError: Not TOML, or a remark is about something that is not there.
    """
    if not file.exists():
        return {}
    try:
        remarks = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{str(file)!r} is not TOML: {error}") from None
    whole, part = kinds
    for name, note in remarks.items():
        if name == "intro":
            continue
        if name not in known:
            raise ConfigError(f"{str(file)!r}: there is no {whole} {name!r}; known: {', '.join(known)}")
        parts = list(known[name])
        for key in note.get("remarks", {}):
            if key not in parts:
                raise ConfigError(f"{str(file)!r}, {name}: there is no {part} {key!r}; known: {', '.join(parts)}")
    return remarks
