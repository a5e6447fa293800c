"use strict";
// The viewer on a page of its own, whose address says where it looks.
const where = () => location.hash.slice(1).split(",").map(Number);
const place = {
  get: () => (where().length === 3 && where().every(Number.isFinite) ? where() : null),
  set: (numbers) => history.replaceState(null, "", `#${numbers}`),
};
viewer(document, (path, options) => fetch(path, options), place).then(
  (made) => {
    window.geosr = made;
    document.title = `${made.now().scene.title} - geosr`;
  },
  (error) => Object.assign(document.getElementById("said"), { textContent: error.message, className: "wrong" }),
);
