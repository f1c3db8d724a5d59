"use strict";
async function show() {
  const { runs } = await (await fetch("/api/runs")).json();
  document.getElementById("runs").replaceChildren(...runs.map((run) => {
    const row = document.createElement("tr");
    const best = run.best ? `${run.best.fid.toPrecision(3)} in round ${run.best.round}` : "";
    const link = document.createElement("a");
    link.href = `/api/runs/${encodeURIComponent(run.id)}`;
    link.textContent = run.id;
    for (const content of [link, run.words, `${run.round} of ${run.rounds}`, best]) {
      const cell = document.createElement("td");
      cell.append(content);
      row.append(cell);
    }
    return row;
  }));
}
show();
setInterval(show, 2000);
