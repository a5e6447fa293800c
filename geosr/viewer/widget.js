"use strict";
// The viewer in a notebook: what it asks for goes as messages through the widget's comm, and so do the answers.
function render({ model, el }) {
  const host = el.appendChild(document.createElement("div")), root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet(), waiting = new Map(), own = Math.random().toString(36).slice(2);
  let count = 0;
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  root.innerHTML = BODY;
  host.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys, while the focus is in here
  host.addEventListener("keydown", (event) => event.stopPropagation());

  const hear = (content, buffers) => {
    const answer = waiting.get(content.id);
    waiting.delete(content.id);
    if (answer) answer(new Response(buffers[0], { status: content.status, headers: { "Content-Type": content.kind } }));
  };
  const ask = (path, { signal } = {}) => new Promise((resolve, reject) => {
    const id = `${own} ${++count}`;
    waiting.set(id, resolve);
    if (signal) signal.addEventListener("abort", () => {
      if (waiting.delete(id)) model.send({ id, left: true });
      reject(signal.reason);
    });
    model.send({ id, path });
  });
  model.on("msg:custom", hear);
  const theme = new ResizeObserver(() => { host.style.colorScheme = isDark(el) ? "dark" : "light"; }); // once it has a place
  theme.observe(host);
  const made = viewer(root, ask);
  made.catch((error) => { root.getElementById("said").textContent = error.message; });
  return () => {
    theme.disconnect();
    model.off("msg:custom", hear);
    made.then((viewed) => viewed.close(), () => {});
  };
}
// Whether what is around an element is dark, as notebooks have themes of their own.
function isDark(element) {
  for (let at = element; at; at = at.parentElement) {
    const [red, green, blue, alpha = 1] = (getComputedStyle(at).backgroundColor.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
    if (alpha > 0) return 0.3 * red + 0.6 * green + 0.1 * blue < 128;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches;
}
export default { render };
