/* The way from one image to another: one step large, all of them below, and a slider that goes along. */

import { h } from "./dom.js";
import { local, redraw } from "./store.js";

const PER_SECOND = 12;

export function morph(run, made) {
  const own = local(`morph ${run.id}`, () => ({ at: 0, timer: 0, way: 1 }));
  const { bitmap, request } = made.shown;
  const count = request.num;
  const size = bitmap.height;
  const at = Math.min(own.at, count - 1);
  const isPlaying = own.timer !== 0;
  const draw = (node) => {
    const brush = node.getContext("2d");
    brush.imageSmoothingEnabled = false;
    brush.clearRect(0, 0, node.width, node.height);
    brush.drawImage(bitmap, at * size, 0, size, size, 0, 0, node.width, node.height);
  };
  const go = (to) => {
    own.at = to;
    redraw();
  };
  return h("div", { class: "morph" },
    h("canvas", { width: 8 * size, height: 8 * size, role: "img", "aria-label": `Step ${at + 1} of ${count}, from seed ${request.seed} to seed ${request.interpolate.to}`, paint: draw }),
    h("div", { class: "reel" },
      h("button", { type: "button", class: "play", "aria-label": isPlaying ? "Pause" : "Play there and back", onclick: () => (isPlaying ? pause(own) : play(own, made)) }, h("span", { "aria-hidden": "true" }, isPlaying ? "❚❚" : "▶")),
      h("input", { type: "range", min: 0, max: count - 1, step: 1, value: String(at), "aria-label": "Step", "aria-valuetext": `step ${at + 1} of ${count}`, oninput: (event) => { pause(own); go(Number(event.currentTarget.value)); } }),
      h("output", {}, `${at + 1} of ${count}`)),
    h("div", { class: "strip", tabindex: 0, role: "region", "aria-label": "All steps" }, h("img", { src: made.url, alt: "All steps side by side" })));
}

function play(own, made) {
  own.timer = setInterval(() => {
    const last = (made.shown?.request.num ?? 1) - 1;
    if (!made.shown?.request.interpolate || !document.querySelector(".morph")) return pause(own);
    if (own.at >= last) own.way = -1;
    if (own.at <= 0) own.way = 1;
    own.at = Math.max(0, Math.min(last, own.at + own.way));
    return redraw();
  }, 1000 / PER_SECOND);
  redraw();
}

function pause(own) {
  clearInterval(own.timer);
  own.timer = 0;
  redraw();
}
