"""The report of a run: one self-contained page made from the run directory alone.

The page lives with the server rather than with the experiments, because a run under ``flwr run`` ends here.
"""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from common import provenance
from common.config import RunConfig
from common.examples import nouns_of
from common.files import read_file, write_atomically
from common.journal_lines import EventLine, RoundLine
from common.metrics import table
from common.objectives import Objective
from common.reconstruction import missing_networks
from server.records import curves, journal, plots, privacy_words
from server.records.generator_weak_spots import client_names, weak_spots
from server.records.incidents import incidents, reasons
from server.records.run_directory import RunDirectory
from server.records.sample_pages import STYLE, sample_pages
from server.records.sample_picture import SAMPLE_COLUMNS
from server.records.scored_with import scored_with_words

_STRIP = 7
_INCIDENTS = 100
_MOST_COLUMNS, _LONGEST_HEAD = 20, 16
_LONGEST_PICTURE = 64 * 2**20  # bytes
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.sub, .note { opacity: .75; } .sub { margin-top: .2rem; } p, h1, .why { overflow-wrap: anywhere; }
.warning { border-left: .3rem solid #d90; padding-left: .7rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; }
.tile { background: var(--soft); border-radius: .6rem; padding: .7rem 1rem; min-width: 7rem; }
.tile b { display: block; font-size: 1.6rem; font-variant-numeric: tabular-nums; } .tile span { opacity: .75; }
.strip { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .8rem; margin-bottom: 1rem; }
figure { margin: 0; } figcaption { font-size: .85rem; opacity: .75; }
img { width: 100%; image-rendering: pixelated; border-radius: .4rem; display: block; }
.last { grid-column: 1 / -1; max-width: 36rem; }
.rows { display: grid; grid-template-columns: fit-content(9rem) minmax(0, 1fr); gap: .6rem; }
.rows ol { list-style: none; margin: 0; padding: .3% 0; display: grid; }
.rows ol { grid-auto-rows: minmax(0, 1fr); font-size: .8rem; }
.rows li { align-self: center; text-align: right; line-height: 1; min-width: 0; }
.rows li { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
svg.plot { display: block; width: 100%; height: auto; margin: .5rem 0; }
svg.plot text { fill: currentColor; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { border-bottom: 1px solid var(--line); padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
.wide { overflow-x: auto; margin-bottom: 1rem; } .long { max-height: 30rem; overflow-y: auto; }
pre { font-size: .85em; white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def write_report(run: RunDirectory) -> Path:
    """Writes ``report.html`` from the journal, the pictures and the summary of a run, and returns its path.

    Raises:
        ConfigError: The run's configuration is not whole.
        CheckpointError: Its journal or summary, or the record of who holds what, is not whole.
    """
    lines, events = journal.read(run.journal), journal.events(run.journal)
    config, summary, roster = run.read_config(), run.read_summary(), run.read_partition()
    scores: Mapping[str, Any] = summary.get("scores", {})
    names = roster.get("class-names") or summary.get("class-names") or ()
    name = config.data.name.partition(" ")[0]
    example, _ = nouns_of(roster.get("shape", {}))
    whose = "one generator" if config.algorithm_component.publishes_model else "a generator each"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>fedgan: {html.escape(name)}</title><style>{_STYLE}{STYLE}</style>",
        f"<h1>{_counted(config.federation.num_clients, 'client')}, {whose}</h1>",
        f"<p class=sub>{html.escape(config.algorithm)} on {html.escape(config.data.name)}, split "
        f"{html.escape(config.partition)}; {len(lines)} of "
        f"{_counted(config.federation.num_rounds, 'round')}; no {example} left its client.</p>",
        _end(summary, events),
        _tiles(summary, events),
        _privacy(summary.get("privacy")),
        sample_pages(run),
        _samples(run, names, bool(getattr(config.model_component, "conditional", False))),
        _reconstructions(run, config),
        _training(lines, config.objective_component),
        f"<h2>Who holds what</h2>{plots.partition_svg(roster)}" if roster else "",
        _by_client_and_class(scores, names, roster),
        _incidents(lines, events),
        "<h2>Configuration</h2>",
        f"<pre>{html.escape(run.config.read_text(encoding='utf-8'))}</pre>",
    ]
    write_atomically(run.report, "\n".join(parts).encode())
    return run.report


def _end(summary: Mapping[str, Any], events: Sequence[EventLine]) -> str:
    """Returns why a run ended before its last round; nothing of one that is finished, or goes on."""
    if summary or not events or events[-1]["event"] != "stopped":
        return ""
    return _warning(f"The run stopped: {events[-1]['reason']}")


def _tiles(summary: Mapping[str, Any], events: Sequence[EventLine]) -> str:
    """Returns the final scores with what they were computed with, and what is to be known of them."""
    scores: Mapping[str, Any] = summary.get("scores", {})
    tiles = [
        f"<div class=tile title='{html.escape(it.meaning)}'><b>{_short(scores[it.name])}</b>"
        f"<span>{html.escape(it.label)}</span></div>"
        for it in table.figures().values()
        if isinstance(scores.get(it.name), float)
    ]
    words = [_warning(reason) for reason in reasons(events, "features")]
    absent = "; ".join(reasons(events, "not-scored"))
    if tiles:
        how = scored_with_words(summary.get("scored-with"))
        words.append(
            f"<p class=note>{html.escape(f'Final scores: {how}. ')}{html.escape(f'{absent}.' if absent else '')}</p>"
        )
        return f"<h2>Scores</h2><div class=tiles>{''.join(tiles)}</div>{''.join(words)}"
    return f"<p>This run has no {'' if summary else 'final '}scores{': ' if absent else '.'}" + (
        f"{html.escape(f'{absent}.' if absent else '')}</p>{''.join(words)}"
    )


def _privacy(said: Mapping[str, Any] | None) -> str:
    """Returns what is proven of the run, and what each client has spent; nothing of a run without a promise."""
    if not said:
        return ""
    rows = "".join(
        f"<tr><td>{'any' if (k := row['partition']) is None else k}<td>{row['epsilon']:.3f}<td>{row['releases']:,}"
        f"<td>{row['noise-multiplier']:.3f}<td>{row['rate']:.4f}"
        for row in said["clients"]
    )
    head = "<tr><th>client<th>epsilon<th>uses of noise<th>noise multiplier<th>sampling rate"
    return (
        f"<h2>Privacy</h2><p>{html.escape(privacy_words.sentence(said))}</p>"
        f"<div class='wide long'><table>{head}{rows}</table></div>"
    )


def _samples(run: RunDirectory, names: Sequence[str], conditional: bool) -> str:
    """Returns the pictures of samples: the last one large, with the name of the class beside each row."""
    paths = sorted(run.samples.glob("round-*.png"))
    if len(paths) > _STRIP:  # first, last, and an even pick between
        paths = [paths[round(i * (len(paths) - 1) / (_STRIP - 1))] for i in range(_STRIP)]
    if not paths:
        return ""
    rows = _row_names(paths[-1], names) if conditional else []
    figures = [
        f"<figure{' class=last' if path == paths[-1] else ''}>"
        f"{_with_rows(_picture(path, f'samples after round {int(path.stem[6:])}'), rows if path == paths[-1] else [])}"
        f"<figcaption>round {int(path.stem[6:])}</figcaption></figure>"
        for path in [paths[-1], *paths[:-1]]
    ]
    what = "a row a class" if rows else "without classes"
    return f"<h2>Samples</h2><p>The same noise at every round; {what}.</p><div class=strip>{''.join(figures)}</div>"


def _reconstructions(run: RunDirectory, config: RunConfig) -> str:
    """Returns the picture of reconstructions, or why there can be none; nothing where the model makes none."""
    model, algorithm = config.model_component, config.algorithm_component
    heading = "<h2>Reconstructions</h2>"
    if run.reconstructions.exists():
        number = _facts(run.reconstructions).get("round")
        when = f" after round {number}" if isinstance(number, int) else ""
        words = (
            f"Rows of real examples that no client trained on, and below each row what the model made of them{when}: "
            "encoded to the mean of the latent vector, and decoded, with the weights that clients go on from."
        )
        picture = f"<figure class=last>{_picture(run.reconstructions, f'real examples and reconstructions{when}')}"
        return f"{heading}<p>{words}</p><div class=strip>{picture}</figure></div>"
    everywhere = {f"{name}.": torch.zeros(0) for name in model.roles.networks}
    if missing := missing_networks(model, algorithm.shared(everywhere, model.roles)):
        words = (
            f"There are none: with algorithm={config.algorithm!r} the {' and the '.join(missing)} "
            f"{'stays' if len(missing) == 1 else 'stay'} with each client, and the server has nothing to encode with."
        )
        return f"{heading}<p>{html.escape(words)}</p>"
    return ""


def _facts(path: Path) -> dict[str, Any]:
    """Returns what a picture tells of itself; empty where it tells nothing, or cannot be read."""
    try:
        with Image.open(io.BytesIO(read_file(path, _LONGEST_PICTURE))) as picture:
            picture.load()
            found = json.loads(getattr(picture, "text", {}).get(provenance.KEY, "{}"))
    except (OSError, ValueError, TypeError, AttributeError, SyntaxError):
        return {}
    return found if isinstance(found, dict) else {}


def _row_names(path: Path, names: Sequence[str]) -> list[str]:
    """Returns the name of the class of each row of a picture of samples, from the labels that the picture tells."""
    try:
        labels = [int(label) for label in _facts(path).get("labels", [])][::SAMPLE_COLUMNS]
    except (ValueError, TypeError):
        return []
    if len(set(labels)) < 2:  # without classes
        return []
    return [str(names[label]) if 0 <= label < len(names) else str(label) for label in labels]


def _with_rows(picture: str, rows: Sequence[str]) -> str:
    if not rows:
        return picture
    items = "".join(f"<li title='{html.escape(row)}'>{html.escape(row)}</li>" for row in rows)
    return f"<div class=rows><ol>{items}</ol>{picture}</div>"


def _training(lines: Sequence[RoundLine], objective: Objective) -> str:
    if not lines:
        return ""
    made_with = [line["scored-with"] for line in lines if "scored-with" in line]
    found = curves.curves(lines)
    charts = curves.plots(found.means, found.scores, objective)
    drawn = plots.curves_svg(found, charts, scored_with_words(made_with[-1]) if made_with else "")
    return f"<h2>Training</h2><div class=plots>{drawn}</div>" if drawn else ""


def _by_client_and_class(scores: Mapping[str, Any], names: Sequence[str], roster: Mapping[str, Any]) -> str:
    """Returns which clients and classes the generator serves worst, in words and in figures."""
    words = weak_spots(scores, names, roster)
    several = [score for score in table.scores().values() if score.form == "figures"]
    clients, classes = ({s.label: scores.get(s.name) for s in several if s.of == of} for of in ("client", "class"))
    tables = _table("client", clients, client_names(roster)) + _table("class", classes, dict(enumerate(names)))
    if not words and not tables:
        return ""
    heading = "<h2>Which clients and classes the generator serves worst</h2>"
    return f"{heading}<p>{html.escape(' '.join(words), quote=False)}</p>{tables}"


def _table(what: str, rows: Mapping[str, Sequence[float | None] | None], names: Mapping[int, str]) -> str:
    """Returns figures of every client or class, called by ``names``, or numbers: a column each, of many a row each."""
    known = {name: values for name, values in rows.items() if values}
    if not known:
        return ""
    columns = range(max(map(len, known.values())))
    if len(columns) > _MOST_COLUMNS or any(len(name) > _LONGEST_HEAD for name in names.values()):
        return _long_table(what, known, names)
    head = "".join(f"<th>{html.escape(str(names.get(k, k)))}</th>" for k in columns)
    cells = {
        name: "".join(f"<td>{'' if value is None else _short(value)}</td>" for value in values)
        for name, values in known.items()
    }
    body = "".join(f"<tr><td>{name}</td>{row}</tr>" for name, row in cells.items())
    return f"<div class=wide><table><tr><th>{what}</th>{head}</tr>{body}</table></div>"


def _long_table(what: str, known: Mapping[str, Sequence[float | None]], names: Mapping[int, str]) -> str:
    """Returns the same with a row each, in a frame that scrolls."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in known)
    body = ""
    for k, values in enumerate(zip_longest(*known.values())):
        cells = "".join(f"<td>{'' if value is None else _short(value)}</td>" for value in values)
        body += f"<tr><td>{k}{f' {html.escape(names[k])}' if k in names else ''}</td>{cells}</tr>"
    return f"<div class='wide long'><table><tr><th>{what}</th>{head}</tr>{body}</table></div>"


def _incidents(lines: Sequence[RoundLine], events: Sequence[EventLine]) -> str:
    """Returns what went wrong: clients that were left out, rounds that were repeated, going back, stops."""
    rows = incidents(lines, events)
    if not rows:
        return ""
    cells = "".join(
        f"<tr><td>{round}</td><td>{html.escape(what)}</td><td class=why>{html.escape(why)}</td></tr>"
        for round, what, why in rows[-_INCIDENTS:]
    )
    more = f"<p>The last {_INCIDENTS} of {len(rows)}.</p>" if len(rows) > _INCIDENTS else ""
    table = f"<div class=wide><table><tr><th>round</th><th>what</th><th>why</th></tr>{cells}</table></div>"
    return f"<h2>What went wrong</h2>{more}{table}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _warning(words: str) -> str:
    return f"<p class=warning>{html.escape(words)}</p>"


def _picture(path: Path, shows: str) -> str:
    try:
        data = base64.b64encode(read_file(path, _LONGEST_PICTURE)).decode()
    except OSError as error:
        return f"<p>The picture cannot be shown: {html.escape(str(error.strerror))}.</p>"
    return f"<img alt='{shows}' src='data:image/png;base64,{data}'>"
