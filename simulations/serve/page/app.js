/* The page: which view an address means, the bar above, and what is shown when something is wrong. */

import { enter } from "./api.js";
import { h, patch } from "./dom.js";
import { refresh, watch } from "./live.js";
import { runView } from "./run.js";
import { runsView } from "./runs.js";
import { searchView } from "./searches.js";
import { local, onDraw, redraw, remember, remembered, state } from "./store.js";
import { roundOf } from "./words.js";

const THEMES = { auto: ["◐", "as the system"], light: ["☀", "light"], dark: ["☾", "dark"] };
const VIEWS = { run: runView, search: searchView };
const main = document.getElementById("main");

/* #/ is all runs; #/run/ID, #/run/ID/clients/3 and so on is one; #/search/ID is a search. */
function routeOf(hash) {
  let parts;
  try {
    parts = hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  } catch {
    parts = [""];
  }
  const [view, id, tab = "", client = ""] = parts;
  return (view === "run" || view === "search") && id ? { view, id, tab, client } : { view: "runs" };
}

function arrive(isFirst) {
  const before = state.route;
  const route = routeOf(location.hash);
  state.route = route;
  const isSame = !isFirst && before.view === route.view && before.id === route.id;
  if (!isSame) {
    state.cursor = null;
    watch(route);
  }
  redraw();
  if (isFirst) return;
  requestAnimationFrame(() => requestAnimationFrame(() => {
    if (isSame && route.client) document.querySelector(".one")?.scrollIntoView({ block: "start" });
    if (isSame) return;
    scrollTo(0, 0);
    (main.querySelector("h1") ?? main).focus({ preventScroll: true });
  }));
}

function draw() {
  patch(document.getElementById("bar"), bar());
  patch(document.getElementById("banner"), banner());
  try {
    patch(main, state.link === "token" ? door() : (VIEWS[state.route.view] ?? runsView)(state.route));
  } catch (error) {
    console.error(error);
    main.replaceChildren();
    patch(main, [h("section", { class: "card welcome" }, h("h1", { tabindex: -1 }, "This cannot be shown"), h("p", {}, `The server's answer is not what this page expects (${error.message}). Reload the page: it may be that of another version.`), h("p", {}, h("a", { class: "button", href: "#/" }, "All runs")))]);
  }
  document.title = title();
}

function title() {
  if (state.route.view === "search") return `${state.route.id} · fedgan`;
  if (state.route.view !== "run") return "fedgan";
  const { run } = state;
  return run ? `${run.id} · ${roundOf(run)} · fedgan` : `${state.route.id} · fedgan`;
}

function bar() {
  const theme = remembered("theme", "auto");
  const [sign, words] = THEMES[theme] ?? THEMES.auto;
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(theme) + 1) % names.length];
  return [
    h("a", { class: "brand", href: "#/" }, h("img", { src: "icon.svg", alt: "", width: 26, height: 26 }), "fedgan"),
    h("nav", { "aria-label": "Main" }, h("a", { href: "#/", "aria-current": state.route.view === "runs" ? "page" : null }, "Runs"), h("a", { href: "docs" }, "API")),
    h("button", { type: "button", class: "theme", "aria-label": `Colours: ${words}. Change to ${THEMES[next][1]}`, title: `Colours: ${words}`, onclick: () => { remember("theme", next); dress(next); redraw(); } }, h("span", { "aria-hidden": "true" }, sign)),
  ];
}

function dress(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

function banner() {
  if (state.link === "gone") return [h("p", { class: "note error" }, "The server does not answer. What you see may be old; this page tries again by itself.")];
  if (state.trouble) return [h("p", { class: "note error" }, `Something is wrong: ${state.trouble}.`)];
  return [];
}

/* Asks for the token of a server that wants one. */
function door() {
  const own = local("door", () => ({ failure: "", isBusy: false }));
  const give = async (event) => {
    event.preventDefault();
    const field = event.currentTarget.elements.token;
    own.isBusy = true;
    redraw();
    try {
      await enter(field.value.trim());
      own.failure = "";
      state.link = "ok";
      watch(state.route);
    } catch (failure) {
      own.failure = failure.kind === "token" ? "That is not the token." : failure.message;
      field.select();
    }
    own.isBusy = false;
    redraw();
  };
  return [h("form", { class: "card welcome", onsubmit: give, key: "door" },
    h("h1", { tabindex: -1 }, "This server needs its token"),
    h("p", {}, "It is what was given to fedgan serve as --token or FEDGAN_TOKEN. This browser keeps a cookie in its place."),
    h("label", { class: "field" }, h("span", {}, "Token"), h("input", { type: "password", name: "token", required: true, autocomplete: "current-password", "aria-invalid": own.failure ? "true" : null, "aria-describedby": own.failure ? "door-failure" : null, mount: (node) => requestAnimationFrame(() => node.focus()) })),
    own.failure && h("p", { class: "note error", id: "door-failure", role: "alert" }, own.failure),
    h("button", { type: "submit", class: "main", disabled: own.isBusy }, "Enter"))];
}

dress(remembered("theme", "auto"));
onDraw(draw);
addEventListener("hashchange", () => arrive(false));
addEventListener("online", () => refresh());
arrive(true);
setInterval(() => document.hidden || redraw(), 15_000); /* that times like "a minute ago" stay true */
