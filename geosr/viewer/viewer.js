"use strict";
// The viewer in a document, or in a shadow root: `ask` fetches a path as `fetch` does, `place` keeps where it looks.
async function viewer(root, ask, place = { get: () => null, set: () => {} }) {
  const $ = (id) => root.getElementById(id);
  const view = $("view"), mark = $("mark"), sides = { left: $("a"), right: $("b") }, chosen = {};
  const dense = () => window.devicePixelRatio || 1;
  let scene, divider, bands, low, high;
  let centre = { x: 0, y: 0 }, zoom = 0; // pixels of the result; a pixel of the screen is 2 ** zoom of them
  let drawing = null, corners = [], pointed = null, inspecting = false, frame = 0;
  let spread = false, top = null; // whether the right side shows the uncertainty, and what is brightest there

  async function tell(path, options) {
    const answer = await ask(path, options);
    const facts = await answer.json();
    if (!answer.ok) throw new Error(facts.error);
    return facts;
  }
  function say(text, wrong = false) {
    $("said").textContent = text;
    $("said").classList.toggle("wrong", wrong);
  }
  const fail = (error) => say(error.message === "Failed to fetch" ? "geosr has ended; start it again and reload." : error.message, true);
  const store = tileStore(ask, () => refresh(), fail);
  const level = () => Math.max(0, zoom);
  const beside = () => view.classList.contains("beside");

  // What each side shows: the uncertainty stands right of the image that it is of.
  const shown = (side) => (spread ? { model: chosen.right, sigma: side === "right" } : { model: chosen[side], sigma: false });
  function layer({ model, sigma }) {
    const ends = sigma ? `low=0&high=${top}` : `low=${low}&high=${high}`;
    return { path: `${sigma ? "sigma" : "tile"}/${model}`, query: `bands=${bands}&${ends}`, side: scene.side };
  }
  const title = (model) => (model === scene.source ? "scene" : scene.models[model].title);
  const near = (model) => 2 ** level() < scene.scale && !scene.models[model].finished;
  const made = (model) => near(model) || scene.models[model].finished; // whether what is seen is finer than the scene
  const empty = ({ model, sigma }) => sigma && (top === null || !made(model));
  const most = (model) => (near(model) ? scene.most >> (2 * level()) : scene.most);

  // Where a canvas looks: pixels of the screen from the scene's corner to its own, always whole, so that pixels stay sharp.
  function corner(canvas) {
    const by = 2 ** -zoom;
    return { x: Math.round(centre.x * by - canvas.width / 2), y: Math.round(centre.y * by - canvas.height / 2), by };
  }
  const across = () => scene.side * 2 ** (level() - zoom); // a tile's side on the screen

  // The tiles that a side shows, those that are seen first, and the middle before the rim.
  function tiles(side) {
    const canvas = sides[side], { x, y } = corner(canvas), size = across(), found = [];
    const at = beside() ? null : (divider.at() / 100) * canvas.width, left = side === "left";
    const rows = Math.ceil(scene.height / 2 ** level() / scene.side), cols = Math.ceil(scene.width / 2 ** level() / scene.side);
    const middle = at === null ? canvas.width / 2 : left ? at / 2 : (at + canvas.width) / 2;
    for (let row = Math.max(0, Math.floor(y / size)); row < Math.min(rows, (y + canvas.height) / size); row++)
      for (let col = Math.max(0, Math.floor(x / size)); col < Math.min(cols, (x + canvas.width) / size); col++) {
        const hidden = at !== null && (left ? col * size - x >= at : (col + 1) * size - x <= at);
        const far = Math.hypot((row + 0.5) * size - y - canvas.height / 2, (col + 0.5) * size - x - middle);
        found.push({ row, col, hidden, far });
      }
    return found.sort((one, other) => one.hidden - other.hidden || one.far - other.far);
  }

  function draw() {
    frame = 0;
    const source = layer({ model: scene.source });
    for (const [side, canvas] of Object.entries(sides)) {
      const pen = canvas.getContext("2d"), { x, y } = corner(canvas), size = across(), what = shown(side), own = layer(what);
      pen.clearRect(0, 0, canvas.width, canvas.height);
      pen.imageSmoothingEnabled = false;
      if (empty(what)) continue;
      for (const { row, col } of tiles(side)) { // the scene stands in for what is still to come
        const order = what.sigma ? [own] : !store.has(own, level(), row, col) && store.has(source, level(), row, col) ? [source] : [own, source];
        order.some((each) => store.paint(pen, each, level(), scene.levels, row, col, col * size - x, row * size - y, size));
      }
    }
    $("zoom").textContent = zoom > 0 ? `1:${2 ** zoom}` : `${2 ** -zoom}:1`;
    drawMarks();
  }
  function later() {
    if (!frame) frame = requestAnimationFrame(draw);
  }

  function refresh() {
    const lacking = Object.fromEntries(Object.keys(sides).map((side) => {
      const what = shown(side);
      return [side, store.want(side, layer(what), level(), empty(what) ? [] : tiles(side), most(what.model))];
    }));
    const coming = spread && top === null && made(chosen.right) ? 1 : 0;
    const missing = lacking.left.missing + lacking.right.missing + coming;
    for (const side of Object.keys(sides)) $(side + "tag").classList.toggle("coming", lacking[side].seen > 0 || (coming && side === "right"));
    if (!$("said").classList.contains("wrong")) say(missing ? `${missing} tile${missing > 1 ? "s" : ""} to come` : hint());
    Object.assign($("geosr").dataset, { missing, seen: lacking.left.seen + lacking.right.seen + coming, source: lacking.left.seen });
    later();
  }
  function hint() {
    if (made(chosen.right)) return "";
    return spread ? "Zoom in to see the uncertainty: nothing is made finer from here." : "Zoom in to see what the models make of it: from here both sides are the scene.";
  }

  function look(x, y, z = zoom) {
    zoom = Math.min(scene.levels, Math.max(-4, z));
    centre = { x: Math.min(scene.width, Math.max(0, x)), y: Math.min(scene.height, Math.max(0, y)) };
    place.set([Math.round(centre.x), Math.round(centre.y), zoom]);
    if (spread && top === null) reach();
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
    for (const canvas of [sides.left, sides.right, mark]) {
      canvas.width = Math.round(canvas.clientWidth * dense());
      canvas.height = Math.round(canvas.clientHeight * dense());
    }
    refresh();
  }

  // The pixel of the result under a pointer, and where in its canvas that is.
  function under(event) {
    const box = view.getBoundingClientRect(), half = beside() && event.clientX - box.left > box.width / 2;
    const canvas = half ? sides.right : sides.left, { left, top: above } = canvas.getBoundingClientRect();
    const x = (event.clientX - left) * dense(), y = (event.clientY - above) * dense(), from = corner(canvas);
    return { x, y, col: (from.x + x) / from.by, row: (from.y + y) / from.by };
  }
  async function inspect(row, col) {
    pointed = { row: Math.floor(row), col: Math.floor(col) };
    drawMarks();
    if (inspecting || pointed.row < 0 || pointed.col < 0 || pointed.row >= scene.height || pointed.col >= scene.width) return;
    inspecting = true;
    const { row: y, col: x } = pointed, left = shown("left").model;
    try {
      show(await tell(`point?row=${y}&col=${x}&bands=${bands}&left=${left}&right=${chosen.right}${spread ? "&spread=1" : ""}`));
    } catch (error) {
      fail(error);
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
    const models = { left: shown("left").model, right: chosen.right }, lines = [["scene", "scene"]];
    for (const [side, model] of Object.entries(models))
      if (model !== scene.source && (side === "right" || model !== models.right)) lines.push([side, title(model)]);
    for (const [side, name] of lines) {
      const row = body.insertRow();
      cell("th", name, row, "row");
      facts.bands.forEach((_, band) => cell("td", number(facts, side, band, plain), row));
    }
    $("point").replaceChildren(table);
  }
  function number(facts, side, band, plain) {
    const stored = facts.stored[side];
    if (!stored) return "not computed yet";
    if (stored[band] === null) return "no data";
    const sigma = side === "right" && facts.spread ? facts.spread[band] : null, short = (value, digits) => Number(value.toPrecision(digits));
    const pair = (value, gain) => short(value, 7) + (sigma === null ? "" : ` ± ${short(sigma * gain, 3)}`);
    return pair(stored[band], 1) + (plain ? "" : ` (${pair(short(facts.values[side][band], 5), scene.gains[bands[band]])})`);
  }

  function drawMarks() {
    const pen = mark.getContext("2d"), from = corner(sides.left);
    pen.clearRect(0, 0, mark.width, mark.height);
    Object.assign(pen, { strokeStyle: "#fff", shadowColor: "#000", shadowBlur: 3, lineWidth: 1.5 * dense() });
    const spot = ({ x, y }) => [x * from.by - from.x, y * from.by - from.y];
    if (pointed && (beside() || pointed.keyed))
      for (const shift of beside() ? [0, mark.width / 2] : [0]) cross(pen, ...spot({ x: pointed.col + 0.5, y: pointed.row + 0.5 }), shift);
    if (!corners.length) return;
    const points = corners.map(spot);
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
      await tell("export", { method: "POST", body: JSON.stringify({ model: chosen.right, corners: points }) });
      await follow();
    } catch (error) {
      $("exported").textContent = error.message;
      fail(error);
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
    root.querySelectorAll("details").forEach((each) => (each.open = each.id === "exporting" && each.open));
  }
  function inView() {
    const { x, y, by } = corner(sides.left), { width, height } = sides.left;
    const clip = (value, limit) => Math.min(limit, Math.max(0, Math.floor(value)));
    return [[clip(x / by, scene.width), clip(y / by, scene.height)], [clip((x + width) / by, scene.width), clip((y + height) / by, scene.height)]];
  }

  async function stretchTo(where) {
    const [[left, above], [right, below]] = inView();
    const part = where === "view" ? `&window=${above},${left},${below - above},${right - left}` : "";
    try {
      ({ low, high } = await tell(`stretch?bands=${bands}${part}`));
      if (spread) await reach();
      ends();
      refresh();
    } catch (error) {
      fail(error);
    }
  }
  // What is brightest of the uncertainty: of a few tiles in the middle, which are made first anyway.
  async function reach() {
    if (!made(chosen.right)) return;
    const count = Math.min(3, Math.floor(Math.sqrt(most(chosen.right)))), size = scene.side * 2 ** level();
    const at = (value, length) => Math.max(0, Math.min(Math.round(value / size - count / 2), Math.ceil(length / size) - count));
    const tiles = [level(), at(centre.y, scene.height), at(centre.x, scene.width), count, count];
    const { high: found } = await tell(`spread?model=${chosen.right}&bands=${bands}&tiles=${tiles.join("/")}`);
    top = Number(found.toPrecision(2));
    legend();
    refresh();
  }
  function legend() {
    $("legend").hidden = !spread || top === null;
    if ($("legend").hidden) return;
    const gains = new Set(bands.map((band) => scene.gains[band])), gain = [...gains][0];
    const value = (share) => Number((top * share).toPrecision(3)) + (gains.size > 1 || gain === 1 ? "" : ` (${Number((top * share * gain).toPrecision(3))})`);
    $("bar").style.background = `linear-gradient(to right, ${scene.ramp})`;
    $("least").textContent = "0";
    $("middle").textContent = value(0.5);
    $("greatest").textContent = `${value(1)} and more`;
    $("what").textContent = `Standard deviation of ${title(chosen.right)}${bands.length > 1 ? `, mean of ${bands.map((band) => scene.bands[band]).join(", ")}` : ""}`;
  }
  async function showSpread(on) {
    spread = on && scene.models[chosen.right].spread;
    top = null;
    names();
    refresh();
    try {
      if (spread) await reach();
    } catch (error) {
      fail(error);
    }
  }

  function ends() {
    $("ends").replaceChildren();
    bands.forEach((band, index) => {
      const row = $("ends").insertRow();
      cell("th", scene.bands[band], row, "row");
      for (const [list, name] of [[low, "Black"], [high, "White"]]) {
        const input = document.createElement("input");
        Object.assign(input, { type: "number", step: "any", value: Number(list[index].toPrecision(6)) });
        input.setAttribute("aria-label", `${name} of ${scene.bands[band]}`);
        input.addEventListener("change", () => {
          if (input.value !== "" && Number.isFinite(Number(input.value))) list[index] = Number(input.value);
          refresh();
        });
        row.insertCell().append(input);
      }
    });
  }
  function selects() {
    scene.models.forEach((model, index) => {
      for (const side of ["left", "right"]) $(side).add(new Option(title(index) + (index === scene.source ? ` (${model.title})` : ""), index));
    });
    const three = [0, 1, 2].map((index) => $("band" + index)), picked = () => three.map((each) => each.value).filter((each) => each !== "");
    scene.bands.forEach((name, band) => three.forEach((select) => select.add(new Option(name, band))));
    for (const select of three.slice(1)) select.add(new Option("one band", ""), 0);
    three.forEach((select, index) => {
      select.value = bands[index] === undefined ? "" : bands[index];
      select.addEventListener("change", () => {
        if (index && select.value === "") three[1].value = three[2].value = "";
        if (picked().length === 2) for (const other of three) if (other.value === "") other.value = three[0].value;
        bands = picked().map(Number);
        top = null;
        stretchTo("scene");
      });
    });
    for (const side of ["left", "right"]) {
      $(side).value = chosen[side];
      $(side).addEventListener("change", () => {
        chosen[side] = Number($(side).value);
        showSpread(spread);
      });
    }
  }
  function names() {
    for (const side of ["left", "right"]) {
      const { model, sigma } = shown(side);
      $(side + "tag").textContent = title(model) + (sigma ? ": uncertainty" : "");
    }
    $("left").disabled = spread;
    $("spread").disabled = !scene.models[chosen.right].spread;
    $("spread").title = $("spread").disabled ? `${title(chosen.right)} has none` : "";
    $("spread").setAttribute("aria-pressed", String(spread));
    store.forgive();
    say("");
    legend();
    notes();
  }
  async function notes() {
    if (!$("about").open) return;
    const lines = (await tell(`notes?model=${chosen.right}&bands=${bands}${spread ? "&spread=1" : ""}`)).notes;
    $("notes").replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  }

  function handle() {
    const held = new Map();
    let wheel = 0, apart = 0;
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
      const { row, col } = under(event), before = held.get(event.pointerId);
      if (before) held.set(event.pointerId, event);
      if (held.size > 1) {
        const [one, other] = [...held.values()], far = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
        apart = apart || far;
        if (Math.abs(Math.log2(far / apart)) > 0.6) zoomBy(far > apart ? -1 : 1, under(event)), (apart = far);
      } else if (before && drawing === "rectangle") {
        corners[1] = { x: col, y: row };
        drawMarks();
      } else if (before && !drawing) {
        const by = 2 ** zoom * dense();
        look(centre.x - (event.clientX - before.clientX) * by, centre.y - (event.clientY - before.clientY) * by);
      } else inspect(row, col);
    });
    for (const name of ["pointerup", "pointercancel"])
      view.addEventListener(name, (event) => {
        held.delete(event.pointerId);
        apart = 0;
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
      s: split, u: () => showSpread(!spread), "[": () => divider.by(-2), "]": () => divider.by(2), i: middle, Enter: close,
      Escape: () => ((drawing = null), (corners = []), say(""), drawMarks()),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }
  function middle() {
    inspect(centre.y, centre.x);
    pointed.keyed = true; // so that it is seen where that is
    drawMarks();
  }
  function split() {
    $("beside").setAttribute("aria-pressed", String(view.classList.toggle("beside")));
    fit();
  }

  scene = await tell("scene");
  $("name").textContent = scene.title;
  $("name").title = `${scene.width} x ${scene.height} pixels, ${scene.crs || "no CRS"}`;
  $("exporting").hidden = !scene.exports;
  ({ shown: bands, low, high } = scene);
  Object.assign(chosen, { left: scene.source, right: scene.model });
  divider = swipe(view, () => divider && refresh());
  selects();
  names();
  ends();
  handle();
  for (const [id, act] of Object.entries({
    in: () => zoomBy(-1), out: () => zoomBy(1), whole, full: () => look(centre.x, centre.y, 0), beside: split,
    spread: () => showSpread(!spread), toview: () => stretchTo("view"), toscene: () => stretchTo("scene"),
    exportview: () => send(inView()), rectangle: () => begin("rectangle"), polygon: () => begin("polygon"),
  })) $(id).addEventListener("click", act);
  $("about").addEventListener("toggle", notes);
  const [x, y, z] = place.get() || [scene.start[1], scene.start[0], 0];
  [centre, zoom] = [{ x, y }, z];
  const watch = new ResizeObserver(fit);
  watch.observe(view);
  fit();
  if (scene.warnings.length) $("about").querySelector("summary").textContent = `Notes (${scene.warnings.length})`;
  const now = () => ({ scene, centre, zoom, bands, low, high, chosen, spread, top });
  return { now, look, draw, under, choose: (side, model) => ((chosen[side] = model), names(), refresh()), close: () => (watch.disconnect(), store.close()) };
}
