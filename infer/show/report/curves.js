// The curves of the run: report.run.train and report.run.val hold arrays of one length each. null: not finite.

const svgNamespace = "http://www.w3.org/2000/svg";
function draw(tag, attributes, parent, text) {
  const element = document.createElementNS(svgNamespace, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

// About `count` round numbers from low to high.
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * .999);
  const out = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; ++n) out.push(n * step);
  return out;
}

function number(value) {
  if (value === null || value === undefined) return "not finite";
  const size = Math.abs(value);
  if (size >= 1e5 || (size > 0 && size < 1e-3)) return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

function curve(title, unit, series) {
  const shown = series.filter((s) => s.y.some((v) => v !== null));
  if (shown.length === 0) return;
  const box = make("div", "curve", byId("curves")), head = make("header", "", box), heading = make("h3", "", head, title);
  const output = make("output", "", head);
  if (series.length > 1) {
    const key = make("span", "key", heading);
    for (const s of shown) make("i", s.kind, key), key.append(s.label);
  }
  const svg = draw("svg", {tabindex: 0, role: "img"}, box);
  const finite = shown.flatMap((s) => s.y.filter((v) => v !== null));
  const x = {low: Math.min(...shown.map((s) => s.x[0])), high: Math.max(...shown.map((s) => s.x.at(-1)))};
  const last = shown.map((s) => `${s.label} ${number(s.y.findLast((v) => v !== null))}`).join(", ");
  svg.setAttribute("aria-label", `${title} up to step ${x.high}; at the end ${last}. Arrow keys read the values.`);
  const y = finite.reduce((r, v) => ({low: Math.min(r.low, v), high: Math.max(r.high, v)}), {low: Infinity, high: -Infinity});
  if (x.high <= x.low) x.low -= 1, x.high += 1;
  const margin = (y.high - y.low) * .06 || Math.abs(y.high) * .1 || 1;
  y.low = y.low >= 0 && y.low - margin < 0 ? 0 : y.low - margin;
  y.high += margin;
  const all = [...new Set(shown.flatMap((s) => s.x))].sort((a, b) => a - b);  // steps that have a value
  let place = {}, cursor = null;

  function layout() {
    const width = svg.clientWidth || 420, height = svg.clientHeight || 220;
    const left = 52, right = 10, top = 10, bottom = 36;
    place = {
      x: (v) => left + (v - x.low) / (x.high - x.low) * (width - left - right),
      y: (v) => height - bottom - (v - y.low) / (y.high - y.low) * (height - top - bottom),
      step: (pixel) => x.low + (pixel - left) / (width - left - right) * (x.high - x.low),
    };
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    for (const v of ticks(y.low, y.high, 4)) {
      draw("line", {class: "grid", x1: left, x2: width - right, y1: place.y(v), y2: place.y(v)}, svg);
      draw("text", {x: left - 8, y: place.y(v) + 4, "text-anchor": "end"}, svg, number(v));
    }
    for (const v of ticks(x.low, x.high, Math.max(3, width / 80)))
      if (Number.isInteger(v)) draw("text", {x: place.x(v), y: height - bottom + 16, "text-anchor": "middle"}, svg, String(v));
    draw("text", {x: width - right, y: height - 4, "text-anchor": "end"}, svg, "step");
    draw("text", {x: 0, y: height - 4}, svg, unit);
    for (const s of shown) {
      let path = "", pen = "M";
      s.x.forEach((step, i) => {
        if (s.y[i] === null) return void (pen = "M");
        path += `${pen}${place.x(step).toFixed(1)} ${place.y(s.y[i]).toFixed(1)}`;
        pen = "L";
      });
      draw("path", {class: s.kind, d: path}, svg);
      if (s.x.length <= 40) s.x.forEach((step, i) => s.y[i] !== null &&
          draw("circle", {class: s.kind, cx: place.x(step), cy: place.y(s.y[i]), r: 2.4}, svg));
    }
    point(cursor);
  }

  // Shows the values at a step: of each series its last one up to there.
  function point(step) {
    svg.querySelectorAll(".cursor, .at").forEach((mark) => mark.remove());
    cursor = step;
    if (step === null) return void (output.textContent = last);
    draw("line", {class: "cursor", x1: place.x(step), x2: place.x(step), y1: place.y(y.high), y2: place.y(y.low)}, svg);
    const texts = [`step ${step}`];
    for (const s of shown) {
      const i = s.x.findLastIndex((v) => v <= step);
      if (i < 0) continue;
      texts.push(`${s.label} ${number(s.y[i])}`);
      if (s.y[i] !== null)
        draw("circle", {class: `${s.kind} at`, cx: place.x(s.x[i]), cy: place.y(s.y[i]), r: 4, "stroke-width": 2}, svg);
    }
    output.textContent = texts.join(" \u00b7 ");
  }

  const nearest = (step) => all.reduce((best, v) => Math.abs(v - step) < Math.abs(best - step) ? v : best, all[0]);
  svg.addEventListener("pointermove", (event) =>
      point(nearest(place.step(event.clientX - svg.getBoundingClientRect().left))));
  svg.addEventListener("pointerleave", () => point(null));
  svg.addEventListener("blur", () => point(null));
  svg.addEventListener("keydown", (event) => {
    const at = cursor === null ? all.length - 1 : all.indexOf(cursor);
    const to = {ArrowLeft: cursor === null ? at : at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1}[event.key];
    if (event.key === "Escape") point(null);
    if (to === undefined) return;
    event.preventDefault();
    point(all[Math.min(Math.max(to, 0), all.length - 1)]);
  });
  new ResizeObserver(layout).observe(svg);
  layout();
}

if (report.run) {
  const {train, val} = report.run;
  curve("Loss", "loss", [{kind: "train", label: "training", x: train.step, y: train.loss},
                         {kind: "val", label: "validation", x: val.step, y: val.loss}]);
  curve("Cosine with the teacher", "cosine, validation", [{kind: "val", label: "cosine", x: val.step, y: val.cosine}]);
  curve("Learning rate", "learning rate", [{kind: "train", label: "lr", x: train.step, y: train.lr}]);
  curve("Speed", "images per second", [{kind: "train", label: "images/s", x: train.step, y: train.images_per_second}]);
  byId("training").hidden = byId("curves").childElementCount === 0;
}
