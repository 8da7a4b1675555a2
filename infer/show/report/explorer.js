"use strict";
// The explorer: one image large with its patches, all images small, the prompts. What is shown is a function of
// `state`; the fragment of the address holds it: #image=0&patch=12&view=prompt&prompt=3
const report = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function make(tag, className, parent, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

// --- Vectors: rows of little-endian int16, of any length.
function decodeRows(base64, width) {
  const bytes = atob(base64), values = new Float32Array(bytes.length / 2);
  for (let i = 0; i < values.length; ++i) {
    const word = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
    values[i] = word > 32767 ? word - 65536 : word;
  }
  const rows = [];
  for (let at = 0; at < values.length; at += width) {
    const row = values.subarray(at, at + width);
    const length = Math.sqrt(cosine(row, row));
    if (length > 0) for (let i = 0; i < width; ++i) row[i] /= length;
    rows.push(row);
  }
  return rows;
}

// Of unit vectors.
function cosine(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; ++i) sum += a[i] * b[i];
  return sum;
}

const [rows, columns] = report.grid, patches = rows * columns;
const prompts = decodeRows(report.prompts.vectors, report.width);
const images = report.images.map((image) => {
  const vectors = decodeRows(image.vectors, report.width);
  return {...image, student: vectors.slice(0, patches), whole: vectors[patches], teacher: vectors.slice(patches + 1)};
});
// Whose patches there are, and of each image their cosines with each prompt.
const owners = images.some((image) => image.teacher.length > 0) ? ["student", "teacher"] : ["student"];
const promptCosines = Object.fromEntries(owners.map((owner) =>
    [owner, images.map((image) => prompts.map((p) => image[owner].map((e) => cosine(e, p))))]));

// --- Colours: "inferno" of matplotlib (Smith and van der Walt, CC0) between ten of its colours.
const stops = [[0, 0, 4], [27, 12, 66], [75, 12, 107], [120, 28, 109], [165, 44, 96], [207, 68, 70], [237, 105, 37],
               [251, 154, 6], [247, 208, 60], [252, 255, 164]];
function colour(t) {
  const place = Math.min(Math.max(t, 0), 1) * (stops.length - 1), below = Math.min(Math.floor(place), stops.length - 2);
  return stops[below].map((v, i) => Math.round(v + (stops[below + 1][i] - v) * (place - below)));
}

const show = (value) => (value < 0 ? "\u2212" : "") + Math.abs(value).toFixed(3);
const where = (patch) => `row ${Math.floor(patch / columns) + 1}, column ${patch % columns + 1}`;

// --- State.
const views = ["similar", "prompt", "weights", "image"];
const state = {image: 0, patch: null, view: "similar", prompt: 0, of: "student", hover: null};
const active = () => state.hover ?? state.patch;

function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const number = (key, end) => {
    const text = asked.get(key);
    return text !== null && /^\d{1,9}$/.test(text) && Number(text) < end ? Number(text) : null;
  };
  state.image = number("image", images.length) ?? 0;
  state.patch = number("patch", patches);
  state.prompt = number("prompt", prompts.length) ?? 0;
  state.of = owners.includes(asked.get("of")) ? asked.get("of") : "student";
  const view = asked.get("view") ?? (asked.has("prompt") ? "prompt" : "similar");
  state.view = views.includes(view) && (view !== "prompt" || prompts.length > 0) ? view : "similar";
}

function writeAddress() {
  const parts = [`image=${state.image}`];
  if (state.patch !== null) parts.push(`patch=${state.patch}`);
  if (state.view !== "similar") parts.push(`view=${state.view}`);
  if (state.view === "prompt") parts.push(`prompt=${state.prompt}`);
  if (state.of !== "student") parts.push(`of=${state.of}`);
  try {
    history.replaceState(null, "", "#" + parts.join("&"));
  } catch {
    // A browser that keeps pages from files from doing so.
  }
}

// The vector that patches are compared with: the patch at hand, else the image as a whole.
function reference() {
  const image = images[state.image];
  return active() === null ? image.whole : image[state.of][active()];
}

// What an image's patches are coloured by, or null.
function scores(index) {
  switch (state.view) {
    case "similar": {
      if (active() === null) return null;
      const vector = reference();
      return images[index][state.of].map((e) => cosine(e, vector));
    }
    case "prompt": return promptCosines[state.of][index][state.prompt];
    case "weights": return images[index].weights;
    default: return null;
  }
}

// The ends of the colour scale. One range for all images and prompts, so that colours can be compared; from 0
// where anything is above 0.
const rangeOf = (values) => {
  let low = Infinity, high = -Infinity;
  for (const v of values) low = Math.min(low, v), high = Math.max(high, v);
  return {low: high > 0 ? Math.max(low, 0) : low, high: high > low ? high : low + 1};
};
const shared = {
  similar: {low: 0, high: 1},
  prompt: rangeOf(Object.values(promptCosines).flat(3)),
  weights: {low: 0, high: Math.max(...images.map((image) => Math.max(...image.weights)), 1e-9)},
};
function range() {
  const values = scores(state.image);
  if (!byId("fit").checked || values === null) return shared[state.view] ?? {low: 0, high: 1};
  const low = Math.min(...values), high = Math.max(...values);
  return {low, high: high > low ? high : low + 1e-6};
}

// --- Drawing.
function paint(canvas, values, {low, high}) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d"), pixels = context.createImageData(columns, rows);
  for (let n = 0; n < patches; ++n) {
    const t = Math.min(Math.max((values[n] - low) / (high - low), 0), 1);
    pixels.data.set([...colour(t), Math.round(255 * (.3 + .55 * t))], 4 * n);  // low scores let the image through
  }
  context.putImageData(pixels, 0, 0);
}

function makeRamp() {
  const context = byId("ramp").getContext("2d"), pixels = context.createImageData(256, 1);
  for (let i = 0; i < 256; ++i) pixels.data.set([...colour(i / 255), 255], 4 * i);
  context.putImageData(pixels, 0, 0);
}

const small = report.pixels < 160;  // pictures that are shown larger than they are
const thumbs = [...document.querySelectorAll("#gallery button")].map((button, index) => {
  const thumb = button.querySelector(".thumb");
  button.addEventListener("click", () => choose({image: index, patch: null, hover: null}));
  return {button, picture: thumb.querySelector("img"), canvas: make("canvas", "", thumb),
          value: make("output", "", button.querySelector(".label"))};
});

const cells = [];
function makeCells() {
  const grid = byId("cells");
  grid.style.gridTemplate = `repeat(${rows}, 1fr) / repeat(${columns}, 1fr)`;
  for (let n = 0; n < patches; ++n) {
    const cell = make("button", "", grid);
    cell.type = "button";
    cell.id = `patch-${n}`;
    cell.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && choose({hover: n}, false));
    cell.addEventListener("focus", () => cell.matches(":focus-visible") && choose({hover: n}, false));
    cell.addEventListener("click", () => choose({patch: state.patch === n ? null : n, hover: null}));
    cells.push(cell);
  }
  grid.addEventListener("pointerleave", () => choose({hover: null}, false));
  grid.addEventListener("focusout", (event) => !grid.contains(event.relatedTarget) && choose({hover: null}, false));
  grid.addEventListener("keydown", (event) => {
    const from = cells.indexOf(document.activeElement), column = from % columns;
    const to = {ArrowLeft: column > 0 ? from - 1 : from, ArrowRight: column < columns - 1 ? from + 1 : from,
                ArrowUp: from - columns, ArrowDown: from + columns, Home: from - column,
                End: from - column + columns - 1}[event.key];
    if (event.key === "Escape") choose({patch: null, hover: null});
    if (to === undefined) return;
    event.preventDefault();
    if (from >= 0 && to >= 0 && to < patches) cells[to].focus({focusVisible: true});
  });
}

const lines = [];
function makePrompts() {
  const list = make("div", "rows", byId("prompts"));
  report.prompts.texts.forEach((text, p) => {
    const line = make("label", "", list), input = make("input", "", line);
    input.type = "radio";
    input.name = "prompt";
    input.value = p;
    input.addEventListener("click", () => choose({view: "prompt", prompt: p}));
    make("span", "text", line, text);
    const bar = make("i", "", make("span", "bar", line)), value = make("output", "", line);
    value.id = `prompt-${p}`;
    lines.push({line, input, bar, value});
  });
  byId("prompts").hidden = prompts.length === 0;
}

function drawBoxes(image) {
  byId("boxes").replaceChildren();
  for (const [prompt, x0, y0, x1, y1] of image.objects) {
    if (state.view === "prompt" && prompt !== state.prompt) continue;
    if (state.view === "weights") continue;
    const box = make("div", "", byId("boxes"));
    Object.assign(box.style, {left: `${100 * x0}%`, top: `${100 * y0}%`, width: `${100 * (x1 - x0)}%`,
                              height: `${100 * (y1 - y0)}%`});
  }
}

function caption() {
  switch (state.view) {
    case "similar":
      return active() === null ? "Point at a patch: its like light up, here and in the other images"
                               : `Cosine of each patch with the one in ${where(active())}`;
    case "prompt": return `Cosine of each patch with \u201c${report.prompts.texts[state.prompt]}\u201d`;
    case "weights": return "The share of each patch in the embedding of its image";
    default: return "";
  }
}

function drawStage() {
  const image = images[state.image], values = scores(state.image), ends = range();
  const picture = byId("picture"), smooth = byId("smooth").checked;
  if (picture.dataset.index !== String(state.image)) {
    picture.src = thumbs[state.image].picture.src;
    picture.alt = image.name;
    picture.dataset.index = state.image;
  }
  picture.classList.toggle("grey", values !== null);
  picture.classList.toggle("pixels", small);
  byId("heat").hidden = values === null;
  byId("heat").classList.toggle("pixels", !smooth);
  if (values) paint(byId("heat"), values, ends);
  cells.forEach((cell, n) => {
    cell.classList.toggle("active", n === active());
    cell.tabIndex = n === (active() ?? 0) ? 0 : -1;
    cell.setAttribute("aria-pressed", n === state.patch);
    cell.setAttribute("aria-label", where(n) + (values ? `: ${show(values[n])}` : ""));
    cell.textContent = values && byId("numbers").checked ? show(values[n]).replace("0.", ".") : "";
  });
  drawBoxes(image);
  byId("low").textContent = values ? show(ends.low) : "";
  byId("high").textContent = values ? show(ends.high) : "";
  document.querySelector(".scale").classList.toggle("empty", values === null);
  byId("caption").textContent = caption();
  for (const view of views) document.querySelector(`#views [value=${view}]`).checked = view === state.view;
  byId("teacher").checked = state.of === "teacher";
}

function drawSide() {
  const image = images[state.image], patch = active(), vector = reference();
  byId("name").textContent = image.name;
  byId("readout").textContent = patch === null ? "The image as a whole"
      : `Patch in ${where(patch)} \u00b7 weight ${image.weights[patch].toFixed(3)}`;
  byId("release").hidden = state.patch === null;
  const values = prompts.map((p) => cosine(p, vector)), best = Math.max(...values);
  lines.forEach(({line, input, bar, value}, p) => {
    value.textContent = show(values[p]);
    bar.style.width = `${100 * Math.min(Math.max(values[p] / Math.max(shared.prompt.high, best, 1e-9), 0), 1)}%`;
    line.classList.toggle("best", values[p] === best);
    input.checked = state.view === "prompt" && p === state.prompt;
    line.classList.toggle("chosen", input.checked);
  });
}

function drawThumbs() {
  const ends = range();
  thumbs.forEach(({button, picture, canvas, value}, index) => {
    const values = scores(index);
    button.setAttribute("aria-current", index === state.image);
    picture.classList.toggle("grey", values !== null);
    picture.classList.toggle("pixels", small);
    canvas.hidden = values === null;
    canvas.classList.toggle("pixels", !byId("smooth").checked);
    if (values) paint(canvas, values, ends);
    value.textContent = values ? show(Math.max(...values)) : "";
    value.title = values ? "the highest of its patches" : "";
  });
}

let drawing = 0;
function choose(change, keep = true) {
  Object.assign(state, change);
  if (keep) writeAddress();
  drawStage();
  drawSide();
  // They are many: once a frame is enough.
  clearTimeout(drawing);
  drawing = setTimeout(drawThumbs, 16);
}

if (images.length > 0) {
  byId("explorer").hidden = false;
  makeRamp();
  makeCells();
  makePrompts();
  document.querySelectorAll("#views input").forEach((input) => {
    input.disabled = input.value === "prompt" && prompts.length === 0;
    input.addEventListener("change", () => choose({view: input.value}));
  });
  byId("of-teacher").hidden = owners.length === 1;
  byId("teacher").addEventListener("change", () => choose({of: byId("teacher").checked ? "teacher" : "student"}));
  for (const id of ["smooth", "numbers", "fit"]) byId(id).addEventListener("change", () => choose({}));
  byId("release").addEventListener("click", () => choose({patch: null, hover: null}));
  addEventListener("hashchange", () => { readAddress(); choose({hover: null}, false); });
  readAddress();
  choose({}, false);
  drawThumbs();
}
