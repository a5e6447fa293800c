"use strict";
// A divider between two layers of a box, for mouse, touch and keyboard. The box's --split says where it stands.
function swipe(box, moved = () => {}) {
  const divider = box.querySelector("[role=slider]");
  const at = () => Number(divider.getAttribute("aria-valuenow"));
  function move(percent) {
    const there = Math.min(100, Math.max(0, percent));
    box.style.setProperty("--split", there + "%");
    divider.setAttribute("aria-valuenow", String(Math.round(there)));
    divider.setAttribute("aria-valuetext", Math.round(there) + " percent from the left");
    moved();
  }
  function follow(event) {
    const { left, width } = box.getBoundingClientRect();
    move((100 * (event.clientX - left)) / width);
  }
  divider.addEventListener("pointerdown", (event) => {
    divider.setPointerCapture(event.pointerId);
    event.stopPropagation();
  });
  divider.addEventListener("pointermove", (event) => {
    if (divider.hasPointerCapture(event.pointerId)) follow(event);
  });
  divider.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 2;
    const there = {
      ArrowLeft: at() - step, ArrowDown: at() - step, ArrowRight: at() + step, ArrowUp: at() + step, Home: 0, End: 100,
    }[event.key];
    if (there === undefined) return;
    move(there);
    event.preventDefault();
    event.stopPropagation();
  });
  move(at());
  return { at, by: (step) => move(at() + step), follow };
}
