"use strict";
const $ = (id) => document.getElementById(id);
const view = $("view"), mark = $("mark");
const sides = { left: $("a"), right: $("b") };
const KEPT = 160, AT_ONCE = 2; // bitmaps in memory; tiles asked for at a time, each side
const bitmaps = new Map(), asked = { left: new Map(), right: new Map() }, failed = new Set();
const chosen = { left: 0, right: 0 };
let scene, divider, bands, low, high;
let centre = { x: 0, y: 0 }, zoom = 0; // pixels of the result; a pixel of the screen is 2 ** zoom of them
let drawing = null, corners = [], pointed = null, inspecting = false, frame = 0;

async function tell(path) {
  const answer = await fetch(path);
  const facts = await answer.json();
  if (!answer.ok) throw new Error(facts.error);
  return facts;
}
function say(text, wrong = false) {
  $("said").textContent = text;
  $("said").classList.toggle("wrong", wrong);
}
const screen = (canvas) => ({ width: canvas.width, height: canvas.height });
const level = () => Math.max(0, zoom);

// Where a canvas looks: pixels of the screen from the scene's corner to its own, always whole, so that pixels stay sharp.
function corner(canvas) {
  const by = 2 ** -zoom;
  return { x: Math.round(centre.x * by - canvas.width / 2), y: Math.round(centre.y * by - canvas.height / 2), by };
}
const across = () => scene.side * 2 ** (level() - zoom); // a tile's side on the screen
const key = (model, where, row, col) => [model, where, row, col, bands, low, high].join("/");
const address = (model, where, row, col) => `tile/${model}/${where}/${row}/${col}?bands=${bands}&low=${low}&high=${high}`;

function tiles(canvas) {
  const { x, y } = corner(canvas), side = across(), found = [];
  const rows = Math.ceil(scene.height / 2 ** level() / scene.side), cols = Math.ceil(scene.width / 2 ** level() / scene.side);
  for (let row = Math.max(0, Math.floor(y / side)); row < Math.min(rows, (y + canvas.height) / side); row++)
    for (let col = Math.max(0, Math.floor(x / side)); col < Math.min(cols, (x + canvas.width) / side); col++)
      found.push({ row, col, far: Math.hypot((row + 0.5) * side - y - canvas.height / 2, (col + 0.5) * side - x - canvas.width / 2) });
  return found.sort((one, other) => one.far - other.far);
}

function draw() {
  frame = 0;
  for (const [side, canvas] of Object.entries(sides)) {
    const pen = canvas.getContext("2d"), { x, y } = corner(canvas), size = across();
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.imageSmoothingEnabled = false;
    for (const { row, col } of tiles(canvas)) paint(pen, chosen[side], row, col, col * size - x, row * size - y, size);
  }
  $("zoom").textContent = zoom > 0 ? `1:${2 ** zoom}` : `${2 ** -zoom}:1`;
  drawMarks();
}
function paint(pen, model, row, col, x, y, size) {
  const own = bitmaps.get(key(model, level(), row, col)), times = size / scene.side;
  if (own) return pen.drawImage(own, x, y, own.width * times, own.height * times);
  for (let up = 1; level() + up <= scene.levels; up++) { // until it is there, a coarser one that is
    const coarse = bitmaps.get(key(model, level() + up, row >> up, col >> up));
    if (!coarse) continue;
    const part = scene.side / 2 ** up, left = (col % 2 ** up) * part, top = (row % 2 ** up) * part;
    const width = Math.min(part, coarse.width - left), height = Math.min(part, coarse.height - top);
    if (width > 0 && height > 0)
      pen.drawImage(coarse, left, top, width, height, x, y, (width / part) * size, (height / part) * size);
    return undefined;
  }
  return undefined;
}
function later() {
  if (!frame) frame = requestAnimationFrame(draw);
}

// What is out of view is called back; what is in view is asked for, the middle first.
function refresh() {
  let missing = 0;
  for (const [side, canvas] of Object.entries(sides)) {
    const wanted = new Map(tiles(canvas).map(({ row, col }) => [key(chosen[side], level(), row, col), { row, col }]));
    for (const [name, control] of asked[side]) if (!wanted.has(name)) control.abort(), asked[side].delete(name);
    const lacking = [...wanted].filter(([name]) => !bitmaps.has(name) && !failed.has(name));
    missing += lacking.length;
    for (const [name, { row, col }] of lacking)
      if (!asked[side].has(name) && asked[side].size < AT_ONCE) ask(side, name, address(chosen[side], level(), row, col));
  }
  if (!$("said").classList.contains("wrong")) say(missing ? `${missing} tile${missing > 1 ? "s" : ""} to come` : told());
  document.body.dataset.missing = String(missing);
  later();
}
function told() {
  return 2 ** level() >= scene.scale && !scene.result ? "Zoom in to see what the models make of it: from here both sides are the scene." : "";
}
async function ask(side, name, path) {
  const control = new AbortController();
  asked[side].set(name, control);
  try {
    const answer = await fetch(path, { signal: control.signal });
    if (answer.status === 503) await new Promise((go) => setTimeout(go, 500));
    else if (!answer.ok) throw new Error((await answer.json()).error);
    else keep(name, await createImageBitmap(await answer.blob()));
  } catch (error) {
    if (control.signal.aborted) return;
    failed.add(name);
    say(error.message === "Failed to fetch" ? "geosr has ended; start it again and reload." : error.message, true);
  }
  if (asked[side].get(name) === control) asked[side].delete(name);
  refresh();
}
function keep(name, bitmap) {
  bitmaps.set(name, bitmap);
  for (const old of bitmaps.keys()) {
    if (bitmaps.size <= KEPT) break;
    bitmaps.get(old).close();
    bitmaps.delete(old);
  }
}

function look(x, y, z = zoom) {
  zoom = Math.min(scene.levels, Math.max(-4, z));
  centre = { x: Math.min(scene.width, Math.max(0, x)), y: Math.min(scene.height, Math.max(0, y)) };
  history.replaceState(null, "", `#${Math.round(centre.x)},${Math.round(centre.y)},${zoom}`);
  refresh();
}
function zoomBy(step, at) {
  const canvas = sides.left, spot = at || { x: canvas.width / 2, y: canvas.height / 2 };
  const from = corner(canvas), z = Math.min(scene.levels, Math.max(-4, zoom + step)), by = 2 ** -z;
  const x = (from.x + spot.x) / from.by, y = (from.y + spot.y) / from.by; // stays where it is on the screen
  look(x + (canvas.width / 2 - spot.x) / by, y + (canvas.height / 2 - spot.y) / by, z);
}
function whole() {
  const { width, height } = sides.left;
  look(scene.width / 2, scene.height / 2, Math.max(-4, Math.ceil(Math.log2(Math.max(scene.width / width, scene.height / height)))));
}
function fit() {
  const dense = window.devicePixelRatio || 1;
  for (const canvas of [sides.left, sides.right, mark]) {
    canvas.width = Math.round(canvas.clientWidth * dense);
    canvas.height = Math.round(canvas.clientHeight * dense);
  }
  refresh();
}

// The pixel of the result under a pointer, and where in its canvas that is.
function under(event) {
  const beside = view.classList.contains("beside"), box = view.getBoundingClientRect(), dense = window.devicePixelRatio || 1;
  const half = beside && event.clientX - box.left > box.width / 2;
  const canvas = half ? sides.right : sides.left, { left, top } = canvas.getBoundingClientRect();
  const x = (event.clientX - left) * dense, y = (event.clientY - top) * dense, from = corner(canvas);
  return { x, y, col: (from.x + x) / from.by, row: (from.y + y) / from.by };
}
async function inspect(row, col) {
  pointed = { row: Math.floor(row), col: Math.floor(col) };
  drawMarks();
  if (inspecting || pointed.row < 0 || pointed.col < 0 || pointed.row >= scene.height || pointed.col >= scene.width) return;
  inspecting = true;
  const { row: y, col: x } = pointed;
  try {
    show(await tell(`point?row=${y}&col=${x}&bands=${bands}&left=${chosen.left}&right=${chosen.right}`));
  } catch (error) {
    say(error.message, true);
  }
  inspecting = false;
  if (pointed.row !== y || pointed.col !== x) inspect(pointed.row, pointed.col);
}
function cell(kind, text, row, scope) {
  const made = row.appendChild(document.createElement(kind));
  if (scope) made.scope = scope;
  made.textContent = text;
}
function show(facts) {
  const table = document.createElement("table"), head = table.createTHead().insertRow(), body = table.createTBody();
  cell("th", `row ${facts.row}, column ${facts.col} (${Number(facts.x.toFixed(6))}, ${Number(facts.y.toFixed(6))})`, head, "col");
  for (const name of facts.bands) cell("th", name, head, "col");
  const plain = facts.values.scene && facts.stored.scene.every((number, band) => number === facts.values.scene[band]);
  for (const [side, name] of [["scene", "scene"], ["left", scene.models[chosen.left].title], ["right", scene.models[chosen.right].title]]) {
    const row = body.insertRow(), stored = facts.stored[side];
    cell("th", name, row, "row");
    facts.bands.forEach((_, band) => {
      const value = stored && stored[band] !== null && !plain ? ` (${Number(facts.values[side][band].toPrecision(5))})` : "";
      cell("td", !stored ? "not computed yet" : stored[band] === null ? "no data" : Number(stored[band].toPrecision(7)) + value, row);
    });
  }
  $("point").replaceChildren(table);
}

function drawMarks() {
  const pen = mark.getContext("2d"), from = corner(sides.left);
  pen.clearRect(0, 0, mark.width, mark.height);
  pen.strokeStyle = "#fff";
  pen.shadowColor = "#000";
  pen.shadowBlur = 3;
  pen.lineWidth = 1.5 * (window.devicePixelRatio || 1);
  const place = ({ x, y }) => [x * from.by - from.x, y * from.by - from.y];
  if (pointed && view.classList.contains("beside"))
    for (const shift of [0, mark.width / 2]) cross(pen, ...place({ x: pointed.col + 0.5, y: pointed.row + 0.5 }), shift);
  if (!corners.length) return;
  const points = corners.map(place);
  pen.beginPath();
  if (drawing === "rectangle" && points.length > 1) pen.rect(...points[0], points[1][0] - points[0][0], points[1][1] - points[0][1]);
  else points.forEach((point, index) => (index ? pen.lineTo(...point) : pen.moveTo(...point)));
  if (drawing === "polygon") pen.closePath();
  pen.stroke();
}
function cross(pen, x, y, shift) {
  if (x < 0 || x > sides.left.width) return;
  pen.beginPath();
  for (const [dx, dy] of [[1, 0], [0, 1], [-1, 0], [0, -1]]) pen.moveTo(x + shift + 4 * dx, y + 4 * dy), pen.lineTo(x + shift + 14 * dx, y + 14 * dy);
  pen.stroke();
}

async function send(points) {
  drawing = null;
  try {
    const answer = await fetch("export", { method: "POST", body: JSON.stringify({ model: chosen.right, corners: points }) });
    const facts = await answer.json();
    if (!answer.ok) throw new Error(facts.error);
    await follow();
  } catch (error) {
    $("exported").textContent = error.message;
  }
  corners = [];
  drawMarks();
}
async function follow() {
  for (;;) {
    const { state, path, done, total, error, command } = await tell("export");
    $("exported").textContent = { running: `${path}: ${done} of ${total || "?"} tiles`, failed: `${path}: ${error}`, done: `${path} is written, as by ` }[state];
    if (state === "done") $("exported").appendChild(document.createElement("code")).textContent = command;
    if (state !== "running") return say(state === "done" ? `${path} is written.` : error, state !== "done");
    await new Promise((go) => setTimeout(go, 300));
  }
}
function begin(kind) {
  drawing = kind;
  corners = [];
  view.focus();
  say(kind === "rectangle" ? "Drag from corner to corner; Escape leaves it." : "Click the corners; Enter or a double click ends it, Escape leaves it.");
  document.querySelectorAll("details").forEach((each) => (each.open = each.id === "" && each.open));
}
function inView() {
  const { x, y, by } = corner(sides.left), { width, height } = sides.left;
  const clip = (value, most) => Math.min(most, Math.max(0, Math.floor(value)));
  return [[clip(x / by, scene.width), clip(y / by, scene.height)], [clip((x + width) / by, scene.width), clip((y + height) / by, scene.height)]];
}

async function stretchTo(where) {
  const [[left, top], [right, bottom]] = inView();
  const part = where === "view" ? `&window=${top},${left},${bottom - top},${right - left}` : "";
  try {
    const facts = await tell(`stretch?bands=${bands}${part}`);
    low = facts.low;
    high = facts.high;
    ends();
    refresh();
  } catch (error) {
    say(error.message, true);
  }
}
function ends() {
  $("ends").replaceChildren();
  bands.forEach((band, place) => {
    const row = $("ends").insertRow();
    cell("th", scene.bands[band], row, "row");
    for (const [list, name] of [[low, "Black"], [high, "White"]]) {
      const input = document.createElement("input");
      input.type = "number";
      input.step = "any";
      input.value = Number(list[place].toPrecision(6));
      input.setAttribute("aria-label", `${name} of ${scene.bands[band]}`);
      input.addEventListener("change", () => {
        if (input.value !== "" && Number.isFinite(Number(input.value))) list[place] = Number(input.value);
        refresh();
      });
      row.insertCell().append(input);
    }
  });
}
function selects() {
  scene.models.forEach((model, index) => {
    for (const side of ["left", "right"]) $(side).add(new Option(model.title, index));
  });
  scene.bands.forEach((name, band) => [0, 1, 2].forEach((place) => $("band" + place).add(new Option(name, band))));
  for (const place of [1, 2]) $("band" + place).add(new Option("one band", ""), 0);
  [0, 1, 2].forEach((place) => {
    const select = $("band" + place);
    select.value = bands[place] === undefined ? "" : bands[place];
    select.addEventListener("change", () => {
      const single = place > 0 && select.value === "";
      for (const other of [1, 2]) if (single) $("band" + other).value = "";
      const picked = [0, 1, 2].map((each) => $("band" + each).value).filter((each) => each !== "").map(Number);
      if (picked.length === 2) for (const other of [1, 2]) if ($("band" + other).value === "") $("band" + other).value = $("band0").value;
      bands = [0, 1, 2].map((each) => $("band" + each).value).filter((each) => each !== "").map(Number);
      stretchTo("scene");
    });
  });
  for (const side of ["left", "right"]) {
    $(side).value = chosen[side];
    $(side).addEventListener("change", () => {
      chosen[side] = Number($(side).value);
      names();
      refresh();
    });
  }
}
function names() {
  for (const side of ["left", "right"]) $(side + "tag").textContent = scene.models[chosen[side]].title;
  failed.clear();
  say("");
  notes();
}
async function notes() {
  if (!$("about").open) return;
  const lines = (await tell(`notes?model=${chosen.right}&bands=${bands}`)).notes;
  $("notes").replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
}

function handle() {
  const held = new Map();
  let wheel = 0, spread = 0;
  view.addEventListener("pointerdown", (event) => {
    view.setPointerCapture(event.pointerId);
    held.set(event.pointerId, event);
    const { row, col } = under(event);
    if (drawing === "rectangle") corners = [{ x: col, y: row }, { x: col, y: row }];
    if (drawing === "polygon" && event.detail < 2) corners.push({ x: col, y: row });
    if (!drawing) view.classList.add("dragging");
    drawMarks();
  });
  view.addEventListener("pointermove", (event) => {
    const { row, col } = under(event), before = held.get(event.pointerId), dense = window.devicePixelRatio || 1;
    if (before) held.set(event.pointerId, event);
    if (held.size > 1) {
      const [one, other] = [...held.values()], far = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      spread = spread || far;
      if (Math.abs(Math.log2(far / spread)) > 0.6) zoomBy(far > spread ? -1 : 1, under(event)), (spread = far);
    } else if (before && drawing === "rectangle") {
      corners[1] = { x: col, y: row };
      drawMarks();
    } else if (before && !drawing) {
      const by = 2 ** zoom * dense;
      look(centre.x - (event.clientX - before.clientX) * by, centre.y - (event.clientY - before.clientY) * by);
    } else inspect(row, col);
  });
  for (const name of ["pointerup", "pointercancel"])
    view.addEventListener(name, (event) => {
      held.delete(event.pointerId);
      spread = 0;
      view.classList.remove("dragging");
      if (name === "pointerup" && drawing === "rectangle" && corners.length > 1) send(corners.map(({ x, y }) => [x, y]));
    });
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    wheel += event.deltaMode ? event.deltaY * 40 : event.deltaY;
    if (Math.abs(wheel) < 60) return;
    zoomBy(Math.sign(wheel), under(event));
    wheel = 0;
  }, { passive: false });
  view.addEventListener("dblclick", (event) => (drawing === "polygon" ? close() : zoomBy(-1, under(event))));
  view.addEventListener("keydown", keys);
}
function close() {
  if (corners.length > 2) send(corners.map(({ x, y }) => [x, y]));
}
function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = (sides.left.width / 8) * 2 ** zoom, move = (x, y) => look(centre.x + x * step, centre.y + y * step);
  const acts = {
    ArrowLeft: () => move(-1, 0), ArrowRight: () => move(1, 0), ArrowUp: () => move(0, -1), ArrowDown: () => move(0, 1),
    "+": () => zoomBy(-1), "=": () => zoomBy(-1), "-": () => zoomBy(1), 1: () => look(centre.x, centre.y, 0), 0: whole,
    s: beside, "[": () => divider.by(-2), "]": () => divider.by(2), i: () => inspect(centre.y, centre.x), Enter: close,
    Escape: () => ((drawing = null), (corners = []), say(""), drawMarks()),
  };
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
}
function beside() {
  const on = view.classList.toggle("beside");
  $("beside").setAttribute("aria-pressed", String(on));
  fit();
}

async function start() {
  scene = await tell("scene");
  document.title = `${scene.result || scene.name} - geosr`;
  $("name").textContent = scene.result ? `${scene.result} of ${scene.name}` : scene.name;
  $("name").title = `${scene.width} x ${scene.height} pixels, ${scene.crs || "no CRS"}`;
  ({ shown: bands, low, high } = scene);
  const named = (name) => scene.models.findIndex((model) => model.name === name);
  Object.assign(chosen, { left: named("nearest"), right: named(scene.model) });
  divider = swipe(view);
  selects();
  names();
  ends();
  handle();
  for (const [id, act] of Object.entries({
    in: () => zoomBy(-1), out: () => zoomBy(1), whole, full: () => look(centre.x, centre.y, 0), beside,
    toview: () => stretchTo("view"), toscene: () => stretchTo("scene"), exportview: () => send(inView()),
    rectangle: () => begin("rectangle"), polygon: () => begin("polygon"),
  })) $(id).addEventListener("click", act);
  $("about").addEventListener("toggle", notes);
  new ResizeObserver(fit).observe(view);
  const [x, y, z] = location.hash.slice(1).split(",").map(Number);
  [centre, zoom] = location.hash && Number.isFinite(z) ? [{ x, y }, z] : [{ x: scene.start[1], y: scene.start[0] }, 0];
  fit();
  if (scene.warnings.length) $("about").querySelector("summary").textContent = `Notes (${scene.warnings.length})`;
}
start().catch((error) => say(error.message, true));
