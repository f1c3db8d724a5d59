/* What is shown is described by h() and put into the document by patch(), which changes only what differs: focus, hover
   and what is being typed stay as they are while figures change around them. */

const SVG = "http://www.w3.org/2000/svg";
const LATE = new Set(["value", "checked"]); /* set once the element has its children and limits */
const HOOKS = new Set(["key", "mount", "paint"]);

/* Describes an element. Properties: attributes; on...: handlers; style: an object; key: who it is among its siblings;
   mount(node): called once it is in the document; paint(node): called after every change. */
export function h(tag, props, ...children) {
  const given = props ?? {};
  return { tag, props: given, key: given.key, children: children.flat(Infinity).filter(isShown) };
}

function isShown(child) {
  return child !== null && child !== undefined && child !== false && child !== "";
}

/* Makes the children of an element `children`: one, or a list of lists. */
export function patch(parent, children) {
  const keyed = new Map();
  for (const node of parent.childNodes) if (node.fedganKey !== undefined) keyed.set(node.fedganKey, node);
  let at = parent.firstChild;
  for (const item of [children].flat(Infinity).filter(isShown)) {
    const old = item.key === undefined ? at : keyed.get(item.key);
    const node = fits(old, item) ? old : create(item, parent);
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
    if (typeof item === "object") update(node, item);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function fits(node, item) {
  if (!node) return false;
  if (typeof item !== "object") {
    if (node.nodeType !== Node.TEXT_NODE) return false;
    if (node.data !== String(item)) node.data = String(item);
    return true;
  }
  return node.nodeType === Node.ELEMENT_NODE && node.localName === item.tag && node.fedganKey === item.key;
}

function create(item, parent) {
  if (typeof item !== "object") return document.createTextNode(String(item));
  const inside = item.tag === "svg" || parent.namespaceURI === SVG;
  const node = inside ? document.createElementNS(SVG, item.tag) : document.createElement(item.tag);
  node.fedganKey = item.key;
  return node;
}

function update(node, item) {
  const before = node.fedganItem;
  if (before === item) return;
  node.fedganItem = item;
  const old = before?.props ?? {};
  for (const name of Object.keys(old)) if (!(name in item.props)) set(node, name, null, old[name]);
  for (const [name, value] of Object.entries(item.props)) {
    if (!LATE.has(name) && !HOOKS.has(name)) set(node, name, value, old[name]);
  }
  patch(node, item.children);
  for (const name of LATE) if (name in item.props && node[name] !== item.props[name]) node[name] = item.props[name];
  if (!before) item.props.mount?.(node);
  item.props.paint?.(node);
}

function set(node, name, value, old) {
  if (name.startsWith("on")) node[name] = value;
  else if (name === "style") restyle(node, value ?? {}, old ?? {});
  else if (value === old) return;
  else if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : String(value));
}

function restyle(node, style, old) {
  for (const name of Object.keys(old)) if (!(name in style)) node.style.removeProperty(name);
  for (const [name, value] of Object.entries(style)) if (old[name] !== value) node.style.setProperty(name, value);
}

const kept = new Map();

/* Returns what make() gave the last time, as long as none of what it depends on has changed. */
export function memo(id, depends, make) {
  const found = kept.get(id);
  if (found && found.depends.length === depends.length && found.depends.every((it, i) => Object.is(it, depends[i]))) {
    return found.value;
  }
  const value = make();
  kept.set(id, { depends, value });
  return value;
}
