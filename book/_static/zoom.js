// A click on a figure opens it large, with links that save it as PNG and, where there is one, as SVG. Escape, or a click
// anywhere, closes it.
const vector = (image) => {
  if (image.dataset.svg) return image.dataset.svg;
  const name = [...image.classList].find((c) => c.startsWith("svg-"))?.slice(4); // as pgjr_book/vectors.py writes it
  if (!name) return null;
  const number = [...image.closest(".cell").querySelectorAll(".cell_output img")].indexOf(image);
  return `${document.documentElement.dataset.content_root}_static/vectors/${name}-${number}.svg`;
};
document.addEventListener("click", (event) => {
  const image = event.target.closest("article .cell_output img, article img.figure");
  if (!image || image.closest("a, dialog")) return;
  const dialog = document.createElement("dialog");
  dialog.className = "zoom";
  const large = document.createElement("img"), close = document.createElement("button");
  Object.assign(large, { src: image.src, alt: image.alt });
  const title = document.querySelector("article h1")?.firstChild?.textContent ?? "figure";
  const links = [["PNG", image.src], ["SVG", vector(image)]].filter(([, href]) => href).map(([kind, href]) => {
    const download = `${title.replace(/[^\w]+/g, "-").toLowerCase()}.${kind.toLowerCase()}`;
    return Object.assign(document.createElement("a"), { href, download, textContent: `save as ${kind}` });
  });
  Object.assign(close, { type: "button", textContent: "close" });
  dialog.append(large, ...links, close);
  dialog.addEventListener("click", (inside) => links.includes(inside.target) || dialog.close());
  dialog.addEventListener("keydown", (key) => key.key === "Escape" && dialog.close()); // the theme keeps Escape for its search
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
});
