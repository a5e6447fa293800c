"use strict";
// Tiles as bitmaps. What is in view is asked for, what is seen and near the middle first, as rectangles of tiles that are
// made together; what is out of view is called back.
function tileStore(ask, changed, failing) {
  const KEPT = 640, AT_ONCE = 2, FIRST = 8, PATIENCE = 600; // bitmaps; rectangles at a time, each side; tiles; ms
  const bitmaps = new Map(), asked = { left: new Set(), right: new Set() }, failed = new Set(), pace = new Map();
  const key = (layer, level, row, col) => `${layer.path}/${level}/${row}/${col}?${layer.query}`;

  // Asks for what is wanted, tiles {row, col, hidden} in the order in which they are; tells how many are missing.
  function want(side, layer, level, tiles, most) {
    const wanted = new Map(tiles.map((tile) => [key(layer, level, tile.row, tile.col), tile]));
    for (const one of asked[side])
      if (!one.names.some((name) => wanted.has(name))) one.control.abort(), asked[side].delete(one);
    const flying = new Set([...asked[side]].flatMap((one) => one.names));
    const missing = new Map([...wanted].filter(([name]) => !bitmaps.has(name) && !failed.has(name)));
    const free = new Map([...missing].filter(([name]) => !flying.has(name)));
    while (asked[side].size < AT_ONCE && free.size) {
      const [tile] = free.values(), speed = pace.get(`${layer.path}/${level}`);
      const there = grow(tile, Math.min(most, speed ? Math.max(1, Math.floor(PATIENCE / speed)) : FIRST),
        (row, col) => free.get(key(layer, level, row, col))?.hidden === tile.hidden);
      fetchAll(side, layer, level, there).forEach((name) => free.delete(name));
    }
    return { missing: missing.size, seen: [...missing.values()].filter((tile) => !tile.hidden).length };
  }
  // A rectangle of tiles around one, as large as may be, of those that are free.
  function grow(tile, most, free) {
    const there = { row: tile.row, col: tile.col, rows: 1, cols: 1 };
    const all = (count, place) => Array.from({ length: count }, (_, index) => place(index)).every(([row, col]) => free(row, col));
    const sides = [
      [0, 0, 0, 1, () => all(there.rows, (index) => [there.row + index, there.col + there.cols])],
      [0, 0, 1, 0, () => all(there.cols, (index) => [there.row + there.rows, there.col + index])],
      [0, -1, 0, 1, () => all(there.rows, (index) => [there.row + index, there.col - 1])],
      [-1, 0, 1, 0, () => all(there.cols, (index) => [there.row - 1, there.col + index])],
    ];
    for (let grown = true; grown; ) {
      grown = false;
      for (const [row, col, rows, cols, clear] of sides) {
        if ((there.rows + rows) * (there.cols + cols) > most || !clear()) continue;
        Object.assign(there, { row: there.row + row, col: there.col + col, rows: there.rows + rows, cols: there.cols + cols });
        grown = true;
      }
    }
    return there;
  }
  function fetchAll(side, layer, level, { row, col, rows, cols }) {
    const places = Array.from({ length: rows * cols }, (_, index) => ({ y: Math.floor(index / cols), x: index % cols }));
    const names = places.map(({ y, x }) => key(layer, level, row + y, col + x)), start = performance.now();
    const one = { names, control: new AbortController() }, done = () => asked[side].delete(one);
    asked[side].add(one);
    (async () => {
      try {
        const path = `${layer.path}/${level}/${row}/${col}/${rows}/${cols}?${layer.query}`;
        const answer = await ask(path, { signal: one.control.signal });
        if (answer.status === 503) await new Promise((go) => setTimeout(go, 500));
        else if (!answer.ok) throw new Error((await answer.json()).error);
        else await cut(await answer.blob(), places, names, layer.side);
        if (answer.ok) pace.set(`${layer.path}/${level}`, (performance.now() - start) / names.length);
      } catch (error) {
        if (one.control.signal.aborted) return;
        names.forEach((name) => failed.add(name));
        failing(error);
      }
      done();
      changed();
    })();
    return names;
  }
  async function cut(blob, places, names, side) {
    const whole = await createImageBitmap(blob);
    const parts = await Promise.all(places.map(({ y, x }) => {
      const width = Math.min(side, whole.width - x * side), height = Math.min(side, whole.height - y * side);
      return width > 0 && height > 0 ? createImageBitmap(whole, x * side, y * side, width, height) : null;
    }));
    whole.close();
    parts.forEach((bitmap, index) => bitmap && bitmaps.set(names[index], bitmap));
    for (const old of bitmaps.keys()) {
      if (bitmaps.size <= KEPT) break;
      bitmaps.get(old).close();
      bitmaps.delete(old);
    }
  }
  // Paints a tile of a layer onto a square of the screen, or a coarser one that covers it; false where there is neither.
  function paint(pen, layer, level, levels, row, col, x, y, size) {
    const own = bitmaps.get(key(layer, level, row, col)), times = size / layer.side;
    if (own) return pen.drawImage(own, x, y, own.width * times, own.height * times), true;
    for (let up = 1; level + up <= levels; up++) {
      const coarse = bitmaps.get(key(layer, level + up, row >> up, col >> up));
      if (!coarse) continue;
      const part = layer.side / 2 ** up, left = (col % 2 ** up) * part, top = (row % 2 ** up) * part;
      const width = Math.min(part, coarse.width - left), height = Math.min(part, coarse.height - top);
      if (width > 0 && height > 0)
        pen.drawImage(coarse, left, top, width, height, x, y, (width / part) * size, (height / part) * size);
      return true;
    }
    return false;
  }
  const has = (layer, level, row, col) => bitmaps.has(key(layer, level, row, col));
  const forgive = () => failed.clear();
  const close = () => Object.values(asked).forEach((side) => side.forEach((one) => one.control.abort()));
  return { want, paint, has, forgive, close };
}
