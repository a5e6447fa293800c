"use strict";
document.documentElement.classList.add("ready");
document.querySelectorAll(".swipe").forEach((box) => {
  const { follow } = swipe(box);
  box.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse" && event.buttons === 1) follow(event); });
});
document.querySelectorAll(".choice input").forEach((input) => input.addEventListener("change", () => {
  document.querySelectorAll(`.swipe img[data-side=${input.name}]`).forEach((image) => { image.hidden = image.dataset.layer !== input.value; });
  document.querySelectorAll(`.tag[data-side=${input.name}]`).forEach((tag) => { tag.textContent = input.value; });
}));
